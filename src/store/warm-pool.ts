import { sql } from 'kysely';

import type { Machine, MachineRef } from '../model/machine.ts';
import type { MachineStore, Transition } from '../ports/machines.ts';
import { dbNow, dbNowPlus, inTransaction, type Db, type Tx } from './database.ts';
import { lockMoney } from './launch-room.ts';

type WarmPool = Pick<MachineStore, 'stopInPool' | 'claimPowerCall' | 'putOffPowerCall'>;

type Move = (tx: Tx, machine: MachineRef, transition: Transition) => Promise<boolean>;

/** Machines on their way to `stopped` and back. */
export function createWarmPool(db: Db, move: Move): WarmPool {
  return {
    stopInPool: async (machine, max) =>
      await inTransaction(db, async (tx) => await stopInPool(tx, move, { machine, max })),

    async claimPowerCall(machine, againAfterMs) {
      const row = await machineAsRead(db, machine)
        .set({ power_again_at: dbNowPlus(againAfterMs) })
        .where((eb) => eb.or([eb('power_again_at', 'is', null), eb('power_again_at', '<=', dbNow())]))
        .returning('id')
        .executeTakeFirst();
      return row !== undefined;
    },

    async putOffPowerCall(machine, ms) {
      await machineAsRead(db, machine)
        .set({ power_again_at: dbNowPlus(ms) })
        .execute();
    },
  };
}

function machineAsRead(db: Db, { id, revision, state }: MachineRef) {
  return db.updateTable('machines').where('id', '=', id).where('revision', '=', revision).where('state', '=', state);
}

/** Under the lock that money is reserved with: of two machines that leave at once, one may be one too many. */
async function stopInPool(
  tx: Tx,
  move: Move,
  { machine, max }: { readonly machine: Machine; readonly max: number },
): Promise<boolean> {
  await lockMoney(tx, machine.workload);
  const pool = await tx
    .selectFrom('machines')
    .select(sql<number>`count(*)::int`.as('count'))
    .where('workload', '=', machine.workload)
    .where('state', 'in', ['stopping', 'stopped'])
    .executeTakeFirstOrThrow();
  if (pool.count >= max) return false;
  return await move(tx, machine, {
    to: 'stopping',
    actor: 'machine-step',
    reason: 'kept-stopped',
    detail: { stopped: pool.count, max },
  });
}
