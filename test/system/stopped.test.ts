/**
 * Goal: a machine that is let go is stopped, started again for the next work, and works: from the policy's file to the region's bill.
 * Method: the demo's real processes, a region that enforces infra/iam-policy.json, and joins over real SSH.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';

import { SCENARIO } from '../../examples/demo/scenario.ts';
import { Stack } from '../../examples/demo/stack.ts';
import { findBrokenPromises, glance, summarise } from '../../examples/demo/watch.ts';
import { until } from '../support/wait.ts';

interface RegionInstance {
  readonly instanceId: string;
  readonly state: string;
}

const WAIT = { deadlineMs: 60_000, everyMs: 200 };

async function changePolicy(stack: Stack, change: (text: string) => string): Promise<void> {
  await stack.crashService();
  const file = join(stack.folder, 'policies/render.yaml');
  await writeFile(file, change(await readFile(file, 'utf8')));
  await stack.launchService();
}

/** One task, which only a machine of the cloud can run; and then the machine's state. */
async function workUntil(stack: Stack, done: number, state: string): Promise<void> {
  const command = ['sh', '-c', 'echo worked'];
  await stack.client.post('TaskReceipt', '/v1/tasks', { workload: SCENARIO.workload, command, count: 1 });
  await until(`${done} tasks are done`, async () => (await glance(stack)).status.tasks.done === done, WAIT);
  await untilState(stack, state);
}

async function untilState(stack: Stack, state: string): Promise<void> {
  await until(`the machine is ${state}`, async () => (await glance(stack)).machines[0]?.state === state, WAIT);
}

async function regionInstances(stack: Stack): Promise<readonly RegionInstance[]> {
  return (await stack.askRegion<{ instances: readonly RegionInstance[] }>('instances')).instances;
}

test(
  'a machine stops, starts, joins again over SSH and works; the ledger is the bill',
  { timeout: 300_000 },
  async () => {
    const stack = await Stack.create();
    let failed = true;
    try {
      await stack.startRegion();
      await stack.startService();
      await changePolicy(stack, (text) =>
        text.replace('market: { spot: 50%, onDemandBase: 1 }', 'warmPool: { max: 1 }').replace('max: 8,', 'max: 1,'),
      );
      await workUntil(stack, 1, 'stopped');
      const [first] = await regionInstances(stack);
      expect(first?.state).toBe('stopped');
      await workUntil(stack, 2, 'stopped');
      expect(await regionInstances(stack)).toMatchObject([{ instanceId: first?.instanceId, state: 'stopped' }]);
      await changePolicy(stack, (text) => text.replace('warmPool: { max: 1 }', 'warmPool: null'));
      await untilState(stack, 'terminated');
      const broken = async (): Promise<readonly string[]> => {
        const summary = await summarise(stack, 0);
        return findBrokenPromises({ ...summary, tasks: { submitted: 2, done: 2, lost: 2 - summary.tasks.done } });
      };
      await expect.poll(broken, { timeout: 20_000 }).toEqual([]);
      failed = false;
    } finally {
      await stack.stop(failed);
    }
  },
);
