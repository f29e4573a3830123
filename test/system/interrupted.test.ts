import { describe, expect, test } from 'vitest';

import { SCENARIO } from '../../examples/demo/scenario.ts';
import type { Stack } from '../../examples/demo/stack.ts';
import { glance } from '../../examples/demo/watch.ts';
import type { MachineDetails, MachineDocument, TaskDocument, TaskLogDocument } from '../../src/ports/reports.ts';
import { until } from '../support/wait.ts';
import { surviveWave } from './wave.ts';

/** An instance ends under its tasks, without a word: they run again elsewhere and go on where they stopped. */
describe('a machine that vanishes under its tasks', () => {
  test('costs no task, and the tasks know how far they were', { timeout: 180_000 }, async () => {
    let victim: TaskDocument | null = null;
    const trouble = async (stack: Stack): Promise<void> => {
      victim = await until('a task in the cloud has made progress', async () => await findProgressed(stack), {
        deadlineMs: 60_000,
        everyMs: 200,
      });
      const { machines } = await glance(stack);
      await stack.shutDown(machines.find(({ id }) => id === victim?.machineId)?.instanceId ?? '');
    };
    const afterwards = async (stack: Stack): Promise<void> => {
      const path = `/v1/tasks/${victim?.id}`;
      expect(await stack.client.get<TaskDocument>('Task', path)).toMatchObject({ state: 'done', attempt: 2 });
      const log = await stack.client.get<TaskLogDocument>('TaskLog', `${path}/logs`, { attempt: 2 });
      const [firstStep] = Buffer.from(log.contentBase64, 'base64').toString().split('\n');
      expect(firstStep).toMatch(/^rendered [2-9] of/);
    };
    await surviveWave(trouble, { afterwards });
  });
});

/** More than all machines of the policy's limits hold at once, so that each one that comes has work, whoever was faster. */
const MORE_THAN_FITS = 2 * SCENARIO.tasks;

/** EC2 gives notice: the agent on the machine finds it, and the machine is empty before its time. EC2 ends it, for that costs nothing. */
describe('a spot machine that EC2 takes back', () => {
  test('takes no new work, and is left to EC2 when its work is done', { timeout: 180_000 }, async () => {
    let victimId = '';
    const trouble = async (stack: Stack): Promise<void> => {
      const victim = await until('a spot machine works', async () => await findWorkingSpot(stack), {
        deadlineMs: 60_000,
        everyMs: 200,
      });
      victimId = victim.id;
      await stack.interrupt(victim.instanceId ?? '');
      await until('its work is done', async () => (await readMachine(stack, victimId)).state === 'terminating', {
        deadlineMs: 60_000,
        everyMs: 200,
      });
      // So that nobody has to wait for EC2's two minutes.
      await stack.shutDown(victim.instanceId ?? '');
    };
    const afterwards = async (stack: Stack): Promise<void> => {
      const machine = await readMachine(stack, victimId);
      expect(machine).toMatchObject({ state: 'terminated', endReason: 'spot-interrupted' });
      const story = machine.events.map(({ toState, actor, reason }) => [toState, actor, reason]);
      expect(story).toContainEqual(['draining', 'ec2', 'spot-interrupted']);
      expect(story).toContainEqual(['leaving', 'machine-step', 'work-gone']);
    };
    await surviveWave(trouble, { afterwards, tasks: MORE_THAN_FITS });
  });
});

async function readMachine(stack: Stack, id: string): Promise<MachineDetails> {
  return await stack.client.get<MachineDetails>('Machine', `/v1/machines/${id}`);
}

async function findWorkingSpot(stack: Stack): Promise<MachineDocument | undefined> {
  const { items: tasks } = await stack.client.list<TaskDocument>('TaskList', '/v1/tasks', {
    limit: 1000,
    state: 'running',
  });
  const { items } = await stack.client.list<MachineDocument>('MachineList', '/v1/machines', { limit: 100 });
  return items.find(({ id, market, state }) => {
    return market === 'spot' && state === 'ready' && tasks.some(({ machineId }) => machineId === id);
  });
}

async function findProgressed(stack: Stack): Promise<TaskDocument | undefined> {
  const { items } = await stack.client.list<TaskDocument>('TaskList', '/v1/tasks', { limit: 1000, state: 'running' });
  return items.find(({ machineId, progressBase64 }) => machineId !== null && progressBase64 !== null);
}
