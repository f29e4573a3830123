import { Redis } from 'ioredis';
import type { Queues } from '../../src/queue/queues.ts';
import { test as databaseTest } from '../support/database.ts';
import { recordingLog } from '../support/log.ts';
import { withClient } from '../support/postgres.ts';
import { redisProgram, startRedis, type TestRedis } from '../support/redis.ts';
import { Consumer } from './consumer.ts';
import { openQueues, type StoreAddress } from './open-queues.ts';

interface TestStore {
  readonly address: StoreAddress;
  /** Everything in the store is lost, as by FLUSHALL or a restored backup; on Postgres its tables stay, empty. */
  empty(): Promise<void>;
}

interface QueueFixtures {
  readonly log: ReturnType<typeof recordingLog>;
  /** Opens queues on the store, closed after the test; each call is like another process. */
  readonly open: () => Promise<Queues>;
  readonly queues: Queues;
  /** Starts a real process on the store, ended after the test; its clock may be ahead (or behind, below 0). */
  readonly startConsumer: (clockShiftMs?: number) => Promise<Consumer>;
}

let redis: TestRedis | null = null;

const postgresTest = databaseTest.extend<{ store: TestStore }>({
  store: async ({ databaseUrl }, use) => {
    await use({
      address: { queueUrl: null, databaseUrl },
      empty: async () => {
        await withClient(databaseUrl, async (client) => {
          const { rows } = await client.query<{ tables: string }>(
            // What tells the version of the tables is part of the schema.
            `select string_agg(format('bullmq.%I', relname), ', ') as tables from pg_class
             where relnamespace = 'bullmq'::regnamespace and relkind in ('r', 'p') and relname not in ('migration', 'meta')`,
          );
          await client.query(`truncate ${rows[0]?.tables}`);
        });
      },
    });
  },
});

const redisTest = databaseTest.extend<{ store: TestStore }>({
  // oxlint-disable-next-line no-empty-pattern -- vitest reads the names of the fixtures a fixture needs from this pattern
  store: async ({}, use) => {
    redis ??= await startRedis();
    const { url } = redis;
    const empty = async (): Promise<void> => {
      const client = new Redis(url);
      await client.flushall();
      client.disconnect();
    };
    await empty();
    await use({ address: { queueUrl: url, databaseUrl: 'postgres://unused' }, empty });
  },
});

function withQueues(test: typeof postgresTest) {
  return test.extend<QueueFixtures>({
    // oxlint-disable-next-line no-empty-pattern -- as above
    log: async ({}, use) => use(recordingLog()),
    open: async ({ store, log }, use) => {
      const opened: Queues[] = [];
      await use(async () => {
        const queues = await openQueues(store.address, log);
        opened.push(queues);
        return queues;
      });
      await Promise.all(opened.map((queues) => queues.close()));
    },
    queues: async ({ open }, use) => use(await open()),
    startConsumer: async ({ store }, use) => {
      const started: Consumer[] = [];
      await use(async (clockShiftMs = 0) => {
        const consumer = await Consumer.start({ address: store.address, clockShiftMs });
        started.push(consumer);
        return consumer;
      });
      await Promise.all(started.map(async (consumer) => consumer.kill()));
    },
  });
}

export async function stopStores(): Promise<void> {
  await redis?.stop();
  redis = null;
}

/** Both stores, for `describe.each`: the same suite must pass on each. */
export const STORES = [
  { kind: 'postgres' as const, test: withQueues(postgresTest), missing: false },
  { kind: 'redis' as const, test: withQueues(redisTest), missing: redisProgram === null },
];
