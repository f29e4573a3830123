import { describe, expect, test } from 'vitest';

import { SCENARIO, TASK_COMMAND } from '../../examples/demo/scenario.ts';
import { Stack } from '../../examples/demo/stack.ts';
import { findBrokenPromises, glance, isOver, summarise } from '../../examples/demo/watch.ts';
import type { TaskDocument, TaskLogDocument } from '../../src/ports/reports.ts';
import { until } from '../support/wait.ts';

/** An instance ends under its tasks, without a word: they run again elsewhere and go on where they stopped. */
describe('a machine that vanishes under its tasks', () => {
  test('costs no task, and the tasks know how far they were', { timeout: 180_000 }, async () => {
    const stack = await Stack.create();
    let failed = true;
    try {
      await stack.startRegion();
      await stack.startService();
      await stack.startAgents();
      const wave = { workload: SCENARIO.workload, command: TASK_COMMAND, count: SCENARIO.tasks };
      await stack.client.post('TaskReceipt', '/v1/tasks', wave);
      const victim = await until('a task in the cloud has made progress', async () => await findProgressed(stack), {
        deadlineMs: 60_000,
        everyMs: 200,
      });
      const { machines } = await glance(stack);
      const instanceId = machines.find(({ id }) => id === victim.machineId)?.instanceId ?? '';
      await stack.shutDown(instanceId);

      await until('the wave is over', async () => isOver(await glance(stack)), { deadlineMs: 120_000 });
      await expect.poll(async () => findBrokenPromises(await summarise(stack, 0)), { timeout: 20_000 }).toEqual([]);
      const task = await stack.client.get<TaskDocument>('Task', `/v1/tasks/${victim.id}`);
      expect(task).toMatchObject({ state: 'done', attempt: 2 });
      const log = await stack.client.get<TaskLogDocument>('TaskLog', `/v1/tasks/${victim.id}/logs`, { attempt: 2 });
      const [firstStep] = Buffer.from(log.contentBase64, 'base64').toString().split('\n');
      expect(firstStep).toMatch(/^rendered [2-9] of/);
      failed = false;
    } finally {
      await stack.stop(failed);
    }
  });
});

async function findProgressed(stack: Stack): Promise<TaskDocument | undefined> {
  const { items } = await stack.client.list<TaskDocument>('TaskList', '/v1/tasks', { limit: 1000, state: 'running' });
  return items.find(({ machineId, progressBase64 }) => machineId !== null && progressBase64 !== null);
}
