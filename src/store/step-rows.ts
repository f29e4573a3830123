import { sql, type RawBuilder } from 'kysely';

import type { StepFailureRecord } from '../ports/machines.ts';
import { dbNowPlus, inTransaction, type Db } from './database.ts';

type StepTable = 'machines' | 'launches';
/** The column takes 1,000 characters; code points of two would not fit otherwise. */
const ERROR_CHARS_MAX = 500;
/** The column takes 500. */
const WAITS_FOR_CHARS_MAX = 250;

/** Ends a visit that did not fail: the row's next one is after `ms`, or at its deadline if that comes first. */
export async function wakeLaunchAfter(db: Db, id: string, ms: number): Promise<void> {
  await db
    .updateTable('launches')
    .set({ wake_at: notAfterDeadline(ms), step_failures: 0, step_error: null })
    .where('id', '=', id)
    .execute();
}

/** The same of a machine. What it waits for is told anew by each visit; its time goes on as long as it is the same. */
export async function wakeMachineAfter(db: Db, id: string, ms: number, waitsFor: string | null): Promise<void> {
  const says = waitsFor?.slice(0, WAITS_FOR_CHARS_MAX) ?? null;
  await db
    .updateTable('machines')
    .set({ wake_at: notAfterDeadline(ms), step_failures: 0, step_error: null, waits_for: says })
    .set({
      waits_since: sql<Date | null>`case when ${says}::text is null then null
        when waits_for = ${says}::text then waits_since else spillway.now() end`,
    })
    .where('id', '=', id)
    .execute();
}

/** A row that is looked at only after its deadline would be stuck until then. */
function notAfterDeadline(ms: number): RawBuilder<Date> {
  return sql<Date>`case when deadline_at > spillway.now() then least(deadline_at, ${dbNowPlus(ms)}) else ${dbNowPlus(ms)} end`;
}

/** Counts a visit that failed and puts the next one off; the number of failures in a row, or null when there is no such row. */
export async function recordStepFailure(
  db: Db,
  table: StepTable,
  id: string,
  { error, pauseMs }: StepFailureRecord,
): Promise<number | null> {
  return await inTransaction(db, async (tx) => {
    const row = await tx
      .updateTable(table)
      .set((eb) => ({ step_failures: eb('step_failures', '+', 1), step_error: error.slice(0, ERROR_CHARS_MAX) }))
      .where('id', '=', id)
      .returning('step_failures')
      .executeTakeFirst();
    if (row === undefined) return null;
    await tx
      .updateTable(table)
      .set({ wake_at: dbNowPlus(pauseMs(row.step_failures)) })
      .where('id', '=', id)
      .execute();
    return row.step_failures;
  });
}
