import { Redis } from 'ioredis';
import { describe, expect, test } from 'vitest';

import type { Stack } from '../../examples/demo/stack.ts';
import { glance } from '../../examples/demo/watch.ts';
import { redisProgram, startRedis } from '../support/redis.ts';
import { until } from '../support/wait.ts';
import { surviveWave } from './wave.ts';

/** The same wave with the queue on Redis, which is emptied in the middle of it: the rows are the truth, not the queue. */
describe.skipIf(redisProgram === null)('a service whose Redis is emptied', () => {
  test('loses no task and no machine', { timeout: 180_000 }, async () => {
    const redis = await startRedis();
    const client = new Redis(redis.url);
    const trouble = async (stack: Stack): Promise<void> => {
      for (const state of ['booting', 'ready'] as const) {
        const hasCome = async () => (await glance(stack)).machines.some((machine) => machine.state === state);
        await until(`machines are ${state}`, hasCome, { deadlineMs: 60_000 });
        await client.flushall();
      }
    };
    try {
      const summary = await surviveWave(trouble, { settings: { QUEUE_URL: redis.url } });
      expect(summary).toMatchObject({ tasks: { lost: 0 }, machines: { leaked: 0 } });
    } finally {
      client.disconnect();
      await redis.stop();
    }
  });
});
