/**
 * Goal: all replicas together never call EC2 more often than the buckets allow, and slow down and recover together.
 * Method: several pools stand for replicas; the database's clock is stopped and moved, so that every level is exact.
 */
import { sql } from 'kysely';
import { describe, expect } from 'vitest';
import { API_RATES, BACKOFF, bucketOf, TERMINATE_BATCH_MAX } from '../../src/model/api-rates.ts';
import type { ApiBudget } from '../../src/ports/api-budget.ts';
import { createApiBuckets } from '../../src/store/api-buckets.ts';
import { createDatabase, type Db } from '../../src/store/database.ts';
import { createPool } from '../../src/store/pool.ts';
import { passTime, REGION, stopClock } from '../support/builders.ts';
import { test } from '../support/database.ts';
import { quietLog } from '../support/log.ts';
import { untilBlocked, withOpenTransaction } from './blocked.ts';

const READS = API_RATES['non-mutating'].calls;

/** How many of `asked` calls at the same moment get their token. */
async function takeMany(budgets: readonly ApiBudget[], asked: number, instances = 0): Promise<number> {
  const bucket = instances === 0 ? 'non-mutating' : 'terminate';
  const outcomes = await Promise.all(
    Array.from(
      { length: asked },
      async (_, index) => await budgets[index % budgets.length]?.take(REGION, bucket, instances),
    ),
  );
  return outcomes.filter((outcome) => outcome?.kind === 'taken').length;
}

async function withReplicas<T>(url: string, replicas: number, use: (budgets: ApiBudget[]) => Promise<T>): Promise<T> {
  const pools = Array.from({ length: replicas }, () =>
    createPool(url, { applicationName: 'spillway-test', max: 4, log: quietLog }),
  );
  try {
    return await use(pools.map((pool) => createApiBuckets(createDatabase(pool))));
  } finally {
    await Promise.all(pools.map(async (pool) => await pool.end()));
  }
}

/** Takes until there is nothing left; the wait that follows is returned. */
async function drain(budget: ApiBudget, ...demand: Parameters<ApiBudget['take']>): Promise<number> {
  for (let taken = 0; taken < 1000; taken += 1) {
    const outcome = await budget.take(...demand);
    if (outcome.kind === 'wait') return outcome.waitMs;
  }
  throw new Error('the bucket has no bottom');
}

async function row(db: Db, bucket: string) {
  return await db.selectFrom('api_buckets').selectAll().where('bucket', '=', bucket).executeTakeFirstOrThrow();
}

test('our rates are half of what EC2 publishes', () => {
  expect(API_RATES).toEqual({
    run: { calls: { capacity: 2.5, perSecond: 1 }, instances: { capacity: 500, perSecond: 1 } },
    start: { calls: { capacity: 2.5, perSecond: 1 }, instances: { capacity: 500, perSecond: 1 } },
    stop: { calls: { capacity: 25, perSecond: 2.5 }, instances: { capacity: 500, perSecond: 10 } },
    terminate: { calls: { capacity: 50, perSecond: 2.5 }, instances: { capacity: 500, perSecond: 10 } },
    'other-mutating': { calls: { capacity: 25, perSecond: 2.5 }, instances: null },
    'non-mutating': { calls: { capacity: 50, perSecond: 10 }, instances: null },
  });
  expect(TERMINATE_BATCH_MAX).toBe(500);
  expect(
    ['RunInstances', 'TerminateInstances', 'CreateTags', 'DescribeSubnets', 'GetConsoleOutput'].map(bucketOf),
  ).toEqual(['run', 'terminate', 'other-mutating', 'non-mutating', 'non-mutating']);
});

describe('replicas that take at the same time', () => {
  test('get what the bucket holds and not one token more', async ({ db, databaseUrl }) => {
    await stopClock(db);
    const taken = await withReplicas(databaseUrl, 4, async (budgets) => await takeMany(budgets, 120));
    expect(taken).toBe(READS.capacity);
    expect(await row(db, 'non-mutating')).toMatchObject({ call_tokens: 0, calls: READS.capacity });
  });

  test('share the tokens for instances as they share those for calls', async ({ db, databaseUrl }) => {
    await stopClock(db);
    const taken = await withReplicas(databaseUrl, 4, async (budgets) => await takeMany(budgets, 40, 30));
    // 16 x 30 = 480 of 500; a seventeenth does not fit although calls are left.
    expect(taken).toBe(16);
    expect(await row(db, 'terminate')).toMatchObject({ call_tokens: 34, instance_tokens: 20 });
  });

  test('wait for one another: who comes second sees what the first one left', async ({ db }) => {
    await stopClock(db);
    const budget = createApiBuckets(db);
    await budget.take(REGION, 'run', 1);
    await withOpenTransaction(db, async (tx) => {
      await sql`update spillway.api_buckets set call_tokens = 1`.execute(tx);
      const second = budget.take(REGION, 'run', 1);
      await untilBlocked(db);
      await sql`update spillway.api_buckets set call_tokens = 0.25`.execute(tx);
      await tx.commit().execute();
      expect(await second).toMatchObject({ kind: 'wait' });
    });
    expect(await row(db, 'run')).toMatchObject({ call_tokens: 0.25 });
  });

  test('of different regions and kinds do not take from one another', async ({ db }) => {
    await stopClock(db);
    const budget = createApiBuckets(db);
    await drain(budget, REGION, 'run', 1);
    expect(await budget.take('us-west-2', 'run', 1)).toEqual({ kind: 'taken' });
    expect(await budget.take(REGION, 'terminate', 1)).toEqual({ kind: 'taken' });
  });
});

describe('a bucket', () => {
  test('that is empty says when to come back, and then has one token', async ({ db }) => {
    await stopClock(db);
    const budget = createApiBuckets(db);
    expect(await drain(budget, REGION, 'non-mutating', 0)).toBe(100);
    await passTime(db, 99);
    expect(await budget.take(REGION, 'non-mutating', 0)).toEqual({ kind: 'wait', waitMs: 1 });
    await passTime(db, 1);
    expect(await budget.take(REGION, 'non-mutating', 0)).toEqual({ kind: 'taken' });
    expect(await budget.take(REGION, 'non-mutating', 0)).toEqual({ kind: 'wait', waitMs: 100 });
  });

  test('refills with its rate, and never beyond its size', async ({ db }) => {
    await stopClock(db);
    const budget = createApiBuckets(db);
    await drain(budget, REGION, 'non-mutating', 0);
    await passTime(db, 1500);
    expect(await takeMany([budget], 30)).toBe(15);
    await passTime(db, 3_600_000);
    expect(await takeMany([budget], 100)).toBe(READS.capacity);
  });

  test('gives nothing when either the call or its instances do not fit', async ({ db }) => {
    await stopClock(db);
    const budget = createApiBuckets(db);
    expect(await budget.take(REGION, 'run', 450)).toEqual({ kind: 'taken' });
    // Instances: 50 are left, 60 are asked for, one a second comes back.
    expect(await budget.take(REGION, 'run', 60)).toEqual({ kind: 'wait', waitMs: 10_000 });
    expect(await row(db, 'run')).toMatchObject({ call_tokens: 1.5, instance_tokens: 50 });
    expect(await budget.take(REGION, 'run', 50)).toEqual({ kind: 'taken' });
    // Calls: half of a token is left.
    expect(await budget.take(REGION, 'run', 0)).toEqual({ kind: 'wait', waitMs: 500 });
  });

  test('refuses as a bug what never fits', async ({ db }) => {
    await expect(createApiBuckets(db).take(REGION, 'terminate', TERMINATE_BATCH_MAX + 1)).rejects.toThrow('never fits');
  });

  test('is no fuller when the clock of the database goes back', async ({ db }) => {
    await stopClock(db);
    const budget = createApiBuckets(db);
    await drain(budget, REGION, 'non-mutating', 0);
    await passTime(db, -60_000);
    expect(await budget.take(REGION, 'non-mutating', 0)).toMatchObject({ kind: 'wait' });
    await passTime(db, 60_000);
    expect(await takeMany([budget], 5)).toBe(0);
  });
});

describe('a throttle', () => {
  test('stops everybody for a second and halves the rate', async ({ db }) => {
    await stopClock(db);
    const [reporting, other] = [createApiBuckets(db), createApiBuckets(db)];
    await reporting.take(REGION, 'non-mutating', 0);
    expect(await reporting.reportThrottle(REGION, 'non-mutating')).toBe(1000);
    // The block, and then a tenth of a second at half the rate.
    expect(await other.take(REGION, 'non-mutating', 0)).toEqual({ kind: 'wait', waitMs: 1200 });
    await passTime(db, 1200);
    expect(await other.take(REGION, 'non-mutating', 0)).toEqual({ kind: 'taken' });
    await passTime(db, 1000);
    expect(await takeMany([other], 20)).toBe(5);
  });

  test('also counts when it is the first that is known of a bucket', async ({ db }) => {
    await stopClock(db);
    const budget = createApiBuckets(db);
    expect(await budget.reportThrottle(REGION, 'run')).toBe(1000);
    expect(await budget.take(REGION, 'run', 100)).toEqual({ kind: 'wait', waitMs: 3000 });
    expect(await row(db, 'run')).toMatchObject({ rate_factor: 0.5, instance_tokens: 500, strikes: 1 });
  });

  test('told by several calls that were under way together halves the rate once', async ({ db, databaseUrl }) => {
    await stopClock(db);
    await withReplicas(databaseUrl, 3, async (budgets) => {
      await budgets[0]?.take(REGION, 'run', 1);
      const waits = await Promise.all(budgets.map(async (budget) => await budget.reportThrottle(REGION, 'run')));
      expect(waits).toEqual([1000, 1000, 1000]);
    });
    expect(await row(db, 'run')).toMatchObject({ rate_factor: 0.5, strikes: 1, backoffs: 1 });
  });

  test('after a throttle blocks twice as long, up to a minute, and leaves a floor of the rate', async ({ db }) => {
    await stopClock(db);
    const budget = createApiBuckets(db);
    const blocks: number[] = [];
    const factors: number[] = [];
    for (let round = 0; round < 9; round += 1) {
      const blockMs = await budget.reportThrottle(REGION, 'run');
      blocks.push(blockMs);
      factors.push((await row(db, 'run')).rate_factor);
      await passTime(db, blockMs);
    }
    expect(blocks).toEqual([1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000, 60_000]);
    expect(factors.slice(0, 5)).toEqual([1 / 2, 1 / 4, 1 / 8, BACKOFF.factorMin, BACKOFF.factorMin]);
  });

  test('is forgotten step by step: an eighth of the rate with every ten quiet seconds', async ({ db }) => {
    await stopClock(db);
    const budget = createApiBuckets(db);
    await budget.reportThrottle(REGION, 'non-mutating');
    await passTime(db, 1000);
    const perSecond: number[] = [];
    for (let span = 0; span < 6; span += 1) {
      await drain(budget, REGION, 'non-mutating', 0);
      await passTime(db, 8000);
      await drain(budget, REGION, 'non-mutating', 0);
      await passTime(db, 1000);
      perSecond.push(await takeMany([budget], 30));
      await passTime(db, 1000);
    }
    // Half, 5/8, 3/4, 7/8 and all of ten a second; a broken token is carried over.
    expect(perSecond).toEqual(
      [5, 6, 7, 8, 10, 10].map((least) => expect.toSatisfy((n) => n === least || n === least + 1)),
    );
    expect(perSecond[0]).toBe(5);
    expect(perSecond[5]).toBe(10);
    // Whole again: the next throttle is a first one.
    expect(await budget.reportThrottle(REGION, 'non-mutating')).toBe(1000);
  });

  test('of one bucket leaves the others alone', async ({ db }) => {
    await stopClock(db);
    const budget = createApiBuckets(db);
    await budget.reportThrottle(REGION, 'non-mutating');
    expect(await budget.take(REGION, 'terminate', 1)).toEqual({ kind: 'taken' });
    expect(await budget.take('us-west-2', 'non-mutating', 0)).toEqual({ kind: 'taken' });
  });
});
