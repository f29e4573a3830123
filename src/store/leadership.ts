import { sql } from 'kysely';

import type { Leadership, Lease } from '../ports/leadership.ts';
import { dbNow, dbNowPlus, inTransaction, toMs, type Db, type Tx } from './database.ts';

const LEADER = 'leader';

/** The leader's lease as one row; time comes from the database alone, because holders' clocks differ. */
export function createLeadership(db: Db): Leadership {
  return {
    async acquire(holder, ttlMs) {
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
    },

    async release(lease) {
      await inTransaction(db, async (tx) => {
        await tx
          .updateTable('leases')
          .set({ expires_at: dbNow() })
          .where('name', '=', LEADER)
          .where('holder', '=', lease.holder)
          .where('epoch', '=', lease.epoch)
          .execute();
      });
    },
  };
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
