import type { Selectable } from 'kysely';

import type { Amnesia } from '../model/amnesia.ts';
import type { Database } from './database.generated.ts';
import { toMs, type Db, type Tx } from './database.ts';

/**
 * Locks the row for the rest of the transaction and says whether commits were lost. `for share` is what fences: whoever
 * declares an amnesia waits until we are through, or we see what it declared. Comes before every other lock but the lease's.
 */
export async function hasForgotten(tx: Tx): Promise<boolean> {
  const row = await tx.selectFrom('amnesia').select('since').forShare().executeTakeFirst();
  return row !== undefined && row.since !== null;
}

/** Null = nothing is known to be forgotten. */
export async function readAmnesia(db: Db): Promise<Amnesia | null> {
  const row = await db.selectFrom('amnesia').selectAll().executeTakeFirst();
  return row === undefined ? null : toAmnesia(row);
}

export type AmnesiaRow = Omit<Selectable<Database['amnesia']>, 'singleton'>;

export function toAmnesia(row: AmnesiaRow): Amnesia | null {
  if (row.since === null) return null;
  return {
    sinceMs: toMs(row.since),
    reason: row.reason as Amnesia['reason'],
    evidence: row.evidence as Amnesia['evidence'],
    rebuilt: row.rebuilt,
    cleanListings: row.clean_listings,
    cleanSinceMs: toMs(row.clean_since),
  };
}
