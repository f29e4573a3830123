import type { MachineId } from '../model/ids.ts';
import type { MachineStore } from '../ports/machines.ts';
import { dbNow, inTransaction, type Db, type Tx } from './database.ts';
import { writeMachineEvent } from './machine-events.ts';

/** Host keys of machines: pinned once, by whoever is first, and confirmed once. */
export function createHostKeys(db: Db): Pick<MachineStore, 'pinHostKey' | 'confirmHostKey'> {
  return {
    pinHostKey: async (id, key) => await inTransaction(db, async (tx) => await pinHostKey(tx, id, key)),

    confirmHostKey: async (id, key) =>
      await inTransaction(db, async (tx) => {
        const row = await tx
          .updateTable('machines')
          .set({ host_key_confirmed_at: dbNow() })
          .where('id', '=', id)
          .where('host_key', '=', key)
          .where('host_key_confirmed_at', 'is', null)
          .returning('state')
          .executeTakeFirst();
        if (row !== undefined) await writeEvent(tx, id, { state: row.state, reason: 'host-key-confirmed', detail: {} });
      }),
  };
}

async function pinHostKey(tx: Tx, id: MachineId, key: string): Promise<string> {
  const pinned = await tx
    .updateTable('machines')
    .set({ host_key: key })
    .where('id', '=', id)
    .where('host_key', 'is', null)
    .returning('state')
    .executeTakeFirst();
  if (pinned !== undefined) {
    await writeEvent(tx, id, { state: pinned.state, reason: 'host-key-pinned', detail: { hostKey: key } });
    return key;
  }
  const row = await tx.selectFrom('machines').select('host_key').where('id', '=', id).executeTakeFirst();
  if (row === undefined || row.host_key === null) throw new Error(`bug: no host key can be pinned for machine ${id}`);
  return row.host_key;
}

interface HostKeyEvent {
  readonly state: string;
  readonly reason: string;
  readonly detail: Readonly<Record<string, unknown>>;
}

async function writeEvent(tx: Tx, machineId: MachineId, { state, reason, detail }: HostKeyEvent): Promise<void> {
  await writeMachineEvent(tx, { machineId, from: state, to: state, actor: 'machine-step', reason, detail });
}
