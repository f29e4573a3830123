import { Redis } from 'ioredis';
import { describe, expect, test } from 'vitest';

import { SCENARIO, TASK_COMMAND } from '../../examples/demo/scenario.ts';
import { Stack } from '../../examples/demo/stack.ts';
import { findBrokenPromises, glance, isOver, summarise } from '../../examples/demo/watch.ts';
import { redisProgram, startRedis } from '../support/redis.ts';
import { until } from '../support/wait.ts';

/** The same wave with the queue on Redis, which is emptied in the middle of it: the rows are the truth, not the queue. */
describe.skipIf(redisProgram === null)('a service whose Redis is emptied', () => {
  test('loses no task and no machine', { timeout: 180_000 }, async () => {
    const redis = await startRedis();
    const stack = await Stack.create({ QUEUE_URL: redis.url });
    const client = new Redis(redis.url);
    let failed = true;
    try {
      await stack.startRegion();
      await stack.startService();
      await stack.startAgents();
      const wave = { workload: SCENARIO.workload, command: TASK_COMMAND, count: SCENARIO.tasks };
      await stack.client.post('TaskReceipt', '/v1/tasks', wave);
      for (const state of ['booting', 'ready'] as const) {
        const hasCome = async () => (await glance(stack)).machines.some((machine) => machine.state === state);
        await until(`machines are ${state}`, hasCome, { deadlineMs: 60_000 });
        await client.flushall();
      }
      await until('the wave is over', async () => isOver(await glance(stack)), { deadlineMs: 120_000 });
      await expect.poll(async () => findBrokenPromises(await summarise(stack, 0)), { timeout: 20_000 }).toEqual([]);
      failed = false;
    } finally {
      client.disconnect();
      await stack.stop(failed);
      await redis.stop();
    }
  });
});
