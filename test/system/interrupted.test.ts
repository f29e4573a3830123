import { describe, expect, test } from 'vitest';

import type { Stack } from '../../examples/demo/stack.ts';
import { glance } from '../../examples/demo/watch.ts';
import type { TaskDocument, TaskLogDocument } from '../../src/ports/reports.ts';
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

async function findProgressed(stack: Stack): Promise<TaskDocument | undefined> {
  const { items } = await stack.client.list<TaskDocument>('TaskList', '/v1/tasks', { limit: 1000, state: 'running' });
  return items.find(({ machineId, progressBase64 }) => machineId !== null && progressBase64 !== null);
}
