import assert from 'node:assert/strict';
import { sql, type RawBuilder } from 'kysely';

import { API_RATES, BACKOFF, type ApiBucket, type TokenRate } from '../model/api-rates.ts';
import type { ApiBudget } from '../ports/api-budget.ts';
import type { Db } from './database.ts';

const NO_INSTANCES: TokenRate = { capacity: 0, perSecond: 0 };
/** For the moment in which another process makes the row and its level cannot be seen yet. */
const UNSEEN_WAIT_MS = 100;
/** Levels are sums of fractions: what lacks less than this lacks nothing. */
const EPSILON = 1e-6;

interface Answer {
  readonly done: boolean;
  readonly wait_ms: number | null;
}

/**
 * The buckets as rows. A row is locked by the statement that refills it, checks it and takes from it, so that replicas
 * together never take more than there is; the only clock is the database's.
 */
export function createApiBuckets(db: Db): ApiBudget {
  return {
    async take(region, bucket, instances) {
      const answer = await take(db, { region, bucket, instances });
      return answer.done ? { kind: 'taken' } : { kind: 'wait', waitMs: answer.wait_ms ?? UNSEEN_WAIT_MS };
    },

    async reportThrottle(region, bucket) {
      const answer = await backOff(db, region, bucket);
      // Another call backed off in between: what it wrote is newer than what this statement could see.
      const known = answer.done ? answer : await readBlock(db, region, bucket);
      return known.wait_ms ?? BACKOFF.blockS * 1000;
    },
  };
}

interface Demand {
  readonly region: string;
  readonly bucket: ApiBucket;
  readonly instances: number;
}

async function take(db: Db, { region, bucket, instances }: Demand): Promise<Answer> {
  const { calls, instances: perInstance } = API_RATES[bucket];
  // Where EC2 does not count instances, neither do we.
  const rate = perInstance ?? NO_INSTANCES;
  const count = perInstance === null ? 0 : instances;
  assert(count <= rate.capacity, `a call for ${count} instances never fits into the bucket ${bucket}`);
  const now = sql`excluded.refilled_at`;
  const callLevel = level(sql.ref('b.call_tokens'), calls, now);
  const instanceLevel = level(sql.ref('b.instance_tokens'), rate, now);
  const { rows } = await sql<Answer>`
    with taken as (
      insert into spillway.api_buckets as b (region, bucket, call_tokens, instance_tokens, refilled_at, calls)
      values (${region}, ${bucket}, ${num(calls.capacity - 1)}, ${num(rate.capacity - count)}, spillway.now(), 1)
      on conflict (region, bucket) do update set
        call_tokens = greatest(0, ${callLevel} - 1),
        instance_tokens = greatest(0, ${instanceLevel} - ${num(count)}),
        refilled_at = greatest(b.refilled_at, ${now}),
        calls = b.calls + 1
      where coalesce(b.blocked_until <= ${now}, true)
        and ${callLevel} >= ${num(1 - EPSILON)} and ${instanceLevel} >= ${num(count - EPSILON)}
      returning 1
    )
    select exists (select from taken) as done, (
      select ${inMs(sql`extract(epoch from b.blocked_until - spillway.now()),
        ${lackS(sql.ref('b.call_tokens'), calls, 1)}, ${lackS(sql.ref('b.instance_tokens'), rate, count)}`)}
      from spillway.api_buckets b where b.region = ${region} and b.bucket = ${bucket}) as wait_ms`.execute(db);
  return answerOf(rows);
}

async function backOff(db: Db, region: string, bucket: ApiBucket): Promise<Answer> {
  const instances = API_RATES[bucket].instances ?? NO_INSTANCES;
  const now = sql`spillway.now()`;
  const strikes = sql`(case when ${factorAt(now)} >= 1 then 1 else b.strikes + 1 end)`;
  const blockS = sql`least(${num(BACKOFF.blockMaxS)}, ${num(BACKOFF.blockS)} * 2 ^ least(30, ${strikes} - 1))`;
  const { rows } = await sql<Answer>`
    with backed_off as (
      insert into spillway.api_buckets as b
        (region, bucket, call_tokens, instance_tokens, refilled_at, rate_factor, blocked_until, strikes, backoffs)
      values (${region}, ${bucket}, 0, ${num(instances.capacity)}, ${now} + ${seconds(num(BACKOFF.blockS))},
        0.5, ${now} + ${seconds(num(BACKOFF.blockS))}, 1, 1)
      on conflict (region, bucket) do update set
        call_tokens = 0,
        instance_tokens = ${level(sql.ref('b.instance_tokens'), instances, now)},
        refilled_at = ${now} + ${seconds(blockS)},
        rate_factor = greatest(${num(BACKOFF.factorMin)}, ${factorAt(now)} / 2),
        blocked_until = ${now} + ${seconds(blockS)},
        strikes = ${strikes},
        backoffs = b.backoffs + 1
      where coalesce(b.blocked_until <= ${now}, true)
      returning blocked_until
    )
    select exists (select from backed_off) as done, (
      select ${inMs(sql`extract(epoch from blocked_until - ${now})`)} from backed_off) as wait_ms`.execute(db);
  return answerOf(rows);
}

async function readBlock(db: Db, region: string, bucket: ApiBucket): Promise<Answer> {
  const { rows } = await sql<Answer>`
    select false as done, (
      select ${inMs(sql`extract(epoch from b.blocked_until - spillway.now())`)}
      from spillway.api_buckets b where b.region = ${region} and b.bucket = ${bucket}) as wait_ms`.execute(db);
  return answerOf(rows);
}

function answerOf(rows: readonly Answer[]): Answer {
  const [answer] = rows;
  assert(answer !== undefined, 'a select without from gives one row');
  return answer;
}

/** The level of a bucket `b` at a moment. Refilled at the rate of the last refill, which is never above today's. */
function level(tokens: RawBuilder<unknown>, rate: TokenRate, at: RawBuilder<unknown>): RawBuilder<unknown> {
  const elapsedS = sql`greatest(0, extract(epoch from ${at} - b.refilled_at))::float8`;
  return sql`least(${num(rate.capacity)}, ${tokens} + ${elapsedS} * ${num(rate.perSecond)} * ${factorAt(sql.ref('b.refilled_at'))})`;
}

/** Seconds until `count` tokens are there; after a back-off the refill begins when the block ends. */
function lackS(tokens: RawBuilder<unknown>, rate: TokenRate, count: number): RawBuilder<unknown> {
  if (rate.perSecond === 0) return sql`0`;
  const perSecond = sql`(${num(rate.perSecond)} * ${factorAt(sql.ref('b.refilled_at'))})`;
  return sql`extract(epoch from b.refilled_at - spillway.now()) + (${num(count)} - ${tokens}) / ${perSecond}`;
}

/** The share of the rate in force at a moment: what the last back-off left, and a step more for each span without another. */
function factorAt(at: RawBuilder<unknown>): RawBuilder<unknown> {
  const quietS = sql`greatest(0, coalesce(extract(epoch from ${at} - b.blocked_until), 0))::float8`;
  return sql`least(1, b.rate_factor + ${num(BACKOFF.stepFactor)} * floor(${quietS} / ${num(BACKOFF.stepS)}))`;
}

/** The longest of some spans of seconds as whole milliseconds, at least one; the broken end of a sum is no millisecond. */
function inMs(spansS: RawBuilder<unknown>): RawBuilder<unknown> {
  return sql`ceil(1000 * greatest(0.001, ${spansS}) - 0.00001)::int`;
}

/** A figure of ours with its type, which Postgres cannot infer in arithmetic. */
function num(value: number): RawBuilder<number> {
  return sql<number>`${value}::float8`;
}

function seconds(value: RawBuilder<unknown>): RawBuilder<unknown> {
  return sql`${value} * interval '1 second'`;
}
