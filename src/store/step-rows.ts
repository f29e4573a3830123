import { sql, type RawBuilder } from 'kysely';

import type { StepFailureRecord } from '../ports/machines.ts';
import { dbNowPlus, inTransaction, type Db } from './database.ts';

type StepTable = 'machines' | 'launches';
/** The column takes 1,000 characters; code points of two would not fit otherwise. */
const ERROR_CHARS_MAX = 500;

/** Ends a visit that did not fail: the row's next one is after `ms`, or at its deadline if that comes first. */
export async function wakeRowAfter(db: Db, table: StepTable, id: string, ms: number): Promise<void> {
  await db
    .updateTable(table)
    .set({ wake_at: notAfterDeadline(ms), step_failures: 0, step_error: null })
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
