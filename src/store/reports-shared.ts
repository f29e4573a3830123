import { sql, type RawBuilder } from 'kysely';
import { AppError } from '../model/errors.ts';
import type { Page, PageRequest } from '../ports/reports.ts';
import type { Db } from './database.ts';
import { translateDatabaseError } from './pool.ts';

/** A `Date` of a row as RFC 3339 in UTC. */
export function toTimestamp(date: Date): string;
export function toTimestamp(date: Date | null): string | null;
export function toTimestamp(date: Date | null): string | null {
  return date === null ? null : date.toISOString();
}

/** Runs a query and turns a lost database into the error an operator can act on. */
export async function answered<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw translateDatabaseError(error);
  }
}

/** One more row than asked for tells whether there is a next page; the cursor is the id of the last row shown. */
export function toPage<R extends { readonly id: string }, T>(
  rows: readonly R[],
  limit: number,
  toItem: (row: R) => T,
): Page<T> {
  const shown = rows.slice(0, limit);
  return { items: shown.map(toItem), nextCursor: rows.length > limit ? (shown.at(-1)?.id ?? null) : null };
}

/**
 * The condition that goes on after a cursor: rows are ordered by a moment and their id, newest first.
 * The moment is looked up in the row, because a time that went through JSON has lost its microseconds.
 * @throws AppError NOT_FOUND when the row is gone.
 */
export async function afterCursor(
  db: Db,
  table: 'machines' | 'tasks',
  moment: string,
  page: PageRequest,
): Promise<RawBuilder<unknown>> {
  if (page.cursor === null) return sql`true`;
  const source = sql`spillway.${sql.ref(table)}`;
  const found = await sql`select 1 from ${source} where id = ${page.cursor}`.execute(db);
  if (found.rows.length === 0) throw lostCursor(page.cursor);
  return sql`(r.${sql.ref(moment)}, r.id) < (select c.${sql.ref(moment)}, c.id from ${source} c where c.id = ${page.cursor})`;
}

export function lostCursor(cursor: string): AppError {
  return new AppError('NOT_FOUND', `the list cannot go on after ${JSON.stringify(cursor)}: there is no such row`, {
    remedy: 'start the list again without a cursor',
  });
}
