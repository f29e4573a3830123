import { Kysely, PostgresDialect, type PostgresPool, sql, type RawBuilder, type Transaction } from 'kysely';

import type { Database } from './database.generated.ts';

export type Db = Kysely<Database>;
export type Tx = Transaction<Database>;

/** Kysely over a pool of ours; every table is looked for in schema `spillway`. */
export function createDatabase(pool: PostgresPool): Db {
  return new Kysely<Database>({ dialect: new PostgresDialect({ pool }) }).withSchema('spillway');
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
        .execute(async (tx) => await work(tx));
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
