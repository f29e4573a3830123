import { sql, type RawBuilder, type Selectable } from 'kysely';

import type { Amnesia } from '../model/amnesia.ts';
import type { Database } from './database.generated.ts';
import { leaseSeenThrough, toMs, type Db, type Tx } from './database.ts';

/**
 * Locks the row for the rest of the transaction and says whether commits were lost. `for share` is what fences: whoever
 * declares an amnesia waits until we are through, or we see what it declared. Comes before every other lock but the lease's.
 * Between a failover and the next pass, which will declare it, a lease that is older than this process has seen it says so.
 */
export async function hasForgotten(tx: Tx): Promise<boolean> {
  const { rows } = await sql<Memory>`${memoryOf(tx)} for share`.execute(tx);
  return rows.some(({ forgotten }) => forgotten);
}

/** The same, for what only reads. */
export async function mayHaveForgotten(db: Db): Promise<boolean> {
  const { rows } = await memoryOf(db).execute(db);
  return rows.some(({ forgotten }) => forgotten);
}

interface Memory {
  readonly forgotten: boolean;
}

function memoryOf(db: Db): RawBuilder<Memory> {
  return sql<Memory>`select since is not null or ${isLeaseOlder(db)} as forgotten from spillway.amnesia`;
}

/** SQL: the leader's lease is older than this process has seen it, which the next pass will declare an amnesia. */
export function isLeaseOlder(db: Db): RawBuilder<boolean> {
  const { epoch, turns } = leaseSeenThrough(db);
  return sql<boolean>`coalesce(
    (select l.epoch < ${epoch} or l.turns < ${turns} from spillway.leases l where l.name = 'leader'), ${epoch + turns > 0})`;
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
