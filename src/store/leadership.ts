import { sql } from 'kysely';

import type { Leadership, Lease } from '../ports/leadership.ts';
import { dbNow, dbNowPlus, inTransaction, toMs, type Db, type Tx } from './database.ts';

const LEADER = 'leader';

/**
 * The leader's lease as one row; time comes from the database alone, because holders' clocks differ.
 * @param isHolderGone true only when the process of that name provably exists no more: then nobody waits for its lease to run
 * out. What the dead process still has under way in the database is fenced all the same, by the row's lock and the next epoch.
 */
export function createLeadership(db: Db, isHolderGone: (holder: string) => boolean = () => false): Leadership {
  return {
    async acquire(holder, ttlMs) {
      const lease = await acquire(db, holder, ttlMs);
      if (lease !== null) return lease;
      const other = await db
        .selectFrom('leases')
        .select(['holder', 'epoch'])
        .where('name', '=', LEADER)
        .executeTakeFirst();
      if (other === undefined || !isHolderGone(other.holder)) return null;
      await release(db, other);
      return await acquire(db, holder, ttlMs);
    },

    release: async (lease) => await release(db, lease),

    async silenceMs(ttlMs) {
      const row = await db
        .selectFrom('leases')
        .select(sql<number>`(extract(epoch from ${dbNow()} - expires_at) * 1000)::float8`.as('expired_ms'))
        .where('name', '=', LEADER)
        .executeTakeFirst();
      return row === undefined ? null : Math.max(0, row.expired_ms + ttlMs);
    },
  };
}

async function acquire(db: Db, holder: string, ttlMs: number): Promise<Lease | null> {
  const row = await db
    .insertInto('leases')
    .values({ name: LEADER, holder, epoch: 1, turns: 1, expires_at: dbNowPlus(ttlMs) })
    .onConflict((conflict) =>
      conflict
        .column('name')
        .doUpdateSet({
          holder,
          // A renewal keeps the epoch; a takeover makes every write of the holder before it fail.
          epoch: sql<number>`case when leases.holder = ${holder} and leases.expires_at > ${dbNow()} then leases.epoch else leases.epoch + 1 end`,
          turns: sql<number>`leases.turns + 1`,
          expires_at: dbNowPlus(ttlMs),
        })
        .where(sql<boolean>`leases.holder = ${holder} or leases.expires_at <= ${dbNow()}`),
    )
    .returning(['holder', 'epoch', 'expires_at'])
    .executeTakeFirst();
  return row === undefined ? null : { holder: row.holder, epoch: row.epoch, expiresAtMs: toMs(row.expires_at) };
}

async function release(db: Db, lease: Pick<Lease, 'holder' | 'epoch'>): Promise<void> {
  await inTransaction(db, async (tx) => {
    await tx
      .updateTable('leases')
      .set({ expires_at: dbNow() })
      .where('name', '=', LEADER)
      .where('holder', '=', lease.holder)
      .where('epoch', '=', lease.epoch)
      .execute();
  });
}

/**
 * Locks the lease row for the rest of the transaction and says whether the lease still holds. `for share` is what fences:
 * under READ COMMITTED a plain select would let a takeover commit between this check and our writes.
 */
export async function holdsLease(tx: Tx, lease: Lease): Promise<boolean> {
  const row = await tx
    .selectFrom('leases')
    .select('epoch')
    .where('name', '=', LEADER)
    .where('holder', '=', lease.holder)
    .where('epoch', '=', lease.epoch)
    .where('expires_at', '>', dbNow())
    .forShare()
    .executeTakeFirst();
  return row !== undefined;
}
