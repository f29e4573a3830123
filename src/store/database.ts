import { Kysely, PostgresDialect, type PostgresPool, sql, type RawBuilder, type Transaction } from 'kysely';

import type { Database } from './database.generated.ts';

export type Db = Kysely<Database>;
export type Tx = Transaction<Database>;

/** The leader's lease as a process has last seen it; a database where it is older has lost commits. */
export interface SeenLease {
  epoch: number;
  turns: number;
}

export function nothingSeen(): SeenLease {
  return { epoch: 0, turns: 0 };
}

/** Beside the handles, because every transaction of a process has to know it, however deep it is asked. */
const seenThrough = new WeakMap<Db, SeenLease>();

/**
 * Kysely over a pool of ours; every table is looked for in schema `spillway`.
 * @param seen one object for all pools of a process
 */
export function createDatabase(pool: PostgresPool, seen: SeenLease = nothingSeen()): Db {
  const db = new Kysely<Database>({ dialect: new PostgresDialect({ pool }) }).withSchema('spillway');
  seenThrough.set(db, seen);
  return db;
}

/** A transaction knows what the handle knows that opened it. */
export function openedBy<T extends Db>(db: Db, tx: T): T {
  seenThrough.set(tx, leaseSeenThrough(db));
  return tx;
}

/** What the process saw whose handle or transaction this is. */
export function leaseSeenThrough(db: Db): SeenLease {
  const seen = seenThrough.get(db);
  if (seen === undefined) throw new Error('bug: this handle comes neither from createDatabase nor from openedBy');
  return seen;
}

/** The only clock a statement may use; the simulation replaces the function's body. */
export function dbNow(): RawBuilder<Date> {
  return sql<Date>`spillway.now()`;
}

/** `spillway.now()` plus milliseconds. */
export function dbNowPlus(ms: number): RawBuilder<Date> {
  return sql<Date>`spillway.now() + ${ms} * interval '1 millisecond'`;
}

/** Rerunning more often than this means that two writers fight for ever: a bug to see, not to hide. */
const TRIES_MAX = 5;
/** 40001 serialization failure, 40P01 deadlock, 55P03 lock not available: the whole transaction may run again. */
const RETRYABLE_SQLSTATES: ReadonlySet<string> = new Set(['40001', '40P01', '55P03']);

/**
 * Runs a transaction and runs it again when Postgres asks for that. `work` must touch nothing but the transaction:
 * an effect outside would be repeated.
 */
export async function inTransaction<T>(
  db: Db,
  work: (tx: Tx) => Promise<T>,
  isolation: 'read committed' | 'repeatable read' = 'read committed',
): Promise<T> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await db
        .transaction()
        .setIsolationLevel(isolation)
        .execute(async (tx) => await work(openedBy(db, tx)));
    } catch (error) {
      if (tries >= TRIES_MAX || !isRetryable(error)) throw error;
    }
  }
}

function isRetryable(error: unknown): boolean {
  return (
    error instanceof Error && 'code' in error && typeof error.code === 'string' && RETRYABLE_SQLSTATES.has(error.code)
  );
}

/** `Date` of a row to the core's milliseconds. */
export function toMs(date: Date): number;
export function toMs(date: Date | null): number | null;
export function toMs(date: Date | null): number | null {
  return date === null ? null : date.getTime();
}
