import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { describe, expect } from 'vitest';
import { createQueues } from '../../src/queue/queues.ts';
import { randomIds, realClock } from '../support/clock.ts';
import { test } from '../support/database.ts';
import { recordingLog } from '../support/log.ts';
import { withClient } from '../support/postgres.ts';
import { redisProgram, startRedis } from '../support/redis.ts';
import { freePort } from '../support/server-program.ts';
import { until } from '../support/wait.ts';
import { shows } from '../support/waits.ts';

const base = { clock: realClock, ids: randomIds, databaseUrl: 'postgres://unused' };

describe('createQueues', () => {
  test('refuses an address that is no Redis before it connects anywhere', async () => {
    await expect(createQueues({ ...base, queueUrl: 'amqp://localhost', log: recordingLog() })).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
    });
  });

  test('says within seconds that nothing listens there, for either store', async () => {
    const port = await freePort();
    const addresses = [
      { queueUrl: `redis://127.0.0.1:${port}` },
      { queueUrl: null, databaseUrl: `postgres://nobody@127.0.0.1:${port}/none` },
    ];
    for (const address of addresses) {
      await expect(createQueues({ ...base, ...address, log: recordingLog() })).rejects.toMatchObject({
        code: 'QUEUE_UNREACHABLE',
      });
    }
  });

  test(`gives up on a server that takes the connection and never answers ${shows(['redis.connect', 'queue.connect'])}`, async () => {
    const hole = createServer(() => undefined).listen(0, '127.0.0.1');
    await once(hole, 'listening');
    const { port } = hole.address() as AddressInfo;

    const refusals = [
      createQueues({ ...base, queueUrl: `redis://127.0.0.1:${port}`, log: recordingLog(), waits: { connectMs: 100 } }),
      createQueues({
        waits: { connectMs: 100 },
        ...base,
        queueUrl: null,
        databaseUrl: `postgres://nobody@127.0.0.1:${port}/none`,
        log: recordingLog(),
      }),
    ];
    for (const refusal of await Promise.allSettled(refusals)) {
      expect(refusal).toMatchObject({ status: 'rejected', reason: { code: 'QUEUE_UNREACHABLE' } });
    }
    hole.close();
  });

  test('asks for `spillway migrate` when the tables are missing', async ({ databaseUrl }) => {
    await withClient(databaseUrl, (client) => client.query('drop schema bullmq cascade'));
    await expect(createQueues({ ...base, queueUrl: null, databaseUrl, log: recordingLog() })).rejects.toMatchObject({
      code: 'DATABASE_SCHEMA',
      remedy: expect.stringContaining('spillway migrate'),
    });
  });

  test('goes on when Postgres has cut all its connections', async ({ databaseUrl, pool }) => {
    const queues = await createQueues({ ...base, queueUrl: null, databaseUrl, log: recordingLog() });
    const got: string[] = [];
    const consumer = await queues.wake.consume(
      async (job) => {
        got.push(job.id);
        return { kind: 'done' };
      },
      { concurrency: 2 },
    );
    await pool.query(
      `select pg_terminate_backend(pid) from pg_stat_activity where application_name in ('spillway-queue', 'spillway-wake')`,
    );

    const id = randomIds.next('mc');
    await until('rings are heard again', async () => {
      await queues.wake.ring([{ kind: 'machine', id }]).catch(() => undefined);
      return got.includes(id);
    });
    await consumer.stop(1_000);
    await queues.close();
  });

  describe.skipIf(redisProgram === null)('on Redis', () => {
    test('refuses a Redis that evicts keys and names the setting', async () => {
      const redis = await startRedis({ maxmemoryPolicy: 'allkeys-lru' });
      await expect(createQueues({ ...base, queueUrl: redis.url, log: recordingLog() })).rejects.toMatchObject({
        code: 'CONFIG_INVALID',
        message: expect.stringContaining('allkeys-lru'),
        remedy: expect.stringContaining('noeviction'),
      });
      await redis.stop();
    });

    test('fails fast while Redis is away, without a flood of log lines, and works again when it is back', async () => {
      const log = recordingLog();
      const redis = await startRedis();
      const queues = await createQueues({ ...base, queueUrl: redis.url, log });
      const got: string[] = [];
      const consumer = await queues.wake.consume(
        async (job) => {
          got.push(job.id);
          return { kind: 'done' };
        },
        { concurrency: 2 },
      );
      await redis.stop();

      await until('calls fail', () =>
        queues.ping().then(
          () => false,
          () => true,
        ),
      );
      const startedAt = performance.now();
      await expect(queues.tasks.add('task-a-1c1m', [randomIds.next('tk')])).rejects.toMatchObject({
        code: 'QUEUE_UNREACHABLE',
      });
      await expect(queues.tasks.take('task-a-1c1m', 1, 30_000)).rejects.toMatchObject({ code: 'QUEUE_UNREACHABLE' });
      await expect(queues.wake.ring([{ kind: 'machine', id: randomIds.next('mc') }])).rejects.toMatchObject({
        code: 'QUEUE_UNREACHABLE',
      });
      expect(performance.now() - startedAt).toBeLessThan(6_000);

      const again = await startRedis({ port: redis.port });
      const id = randomIds.next('mc');
      await until('rings are heard again', async () => {
        await queues.wake.ring([{ kind: 'machine', id }]).catch(() => undefined);
        return got.includes(id);
      });
      expect(log.lines.length).toBeLessThan(20);
      await consumer.stop(1_000);
      await queues.close();
      await again.stop();
    });
  });
});
