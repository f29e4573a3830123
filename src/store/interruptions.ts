import { sql } from 'kysely';

import type { AgentId, MachineId } from '../model/ids.ts';
import type { MachineState } from '../model/machine.ts';
import type { Interruptions } from '../ports/interruptions.ts';
import { lockAgentsOf } from './cordon.ts';
import { inTransaction, type Db, type Tx } from './database.ts';
import { writeMachineEvent } from './machine-events.ts';
import { transitionMachine } from './machines.ts';

const INTERRUPTED = 'spot-interrupted';
const EC2 = 'ec2';

/** Machines that EC2 takes back, as rows. */
export function createInterruptions(db: Db): Interruptions {
  return {
    noteInterruption: async (agentId, atMs) =>
      await inTransaction(db, async (tx) => await interrupt(tx, agentId, new Date(atMs))),
  };
}

async function interrupt(tx: Tx, agentId: AgentId, at: Date): Promise<boolean> {
  const machine = await lockMachineOf(tx, agentId);
  if (machine === null || machine.endReason === INTERRUPTED) return false;
  const { id, state, revision } = machine;
  const detail = { interruptedAt: at.toISOString() };
  if (state === 'ready') {
    const moved = await transitionMachine(
      tx,
      { id, state, revision },
      { to: 'draining', actor: EC2, reason: INTERRUPTED, endReason: INTERRUPTED, cordon: true, detail },
    );
    if (moved) await tx.updateTable('machines').set({ deadline_at: at }).where('id', '=', id).execute();
    return moved;
  }
  if (state !== 'draining') return false;
  // Whoever began the drain, EC2 ends it.
  await tx
    .updateTable('machines')
    .set({ end_reason: INTERRUPTED, deadline_at: sql<Date>`least(deadline_at, ${at}::timestamptz)` })
    .where('id', '=', id)
    .execute();
  await writeMachineEvent(tx, { machineId: id, from: state, to: state, actor: EC2, reason: INTERRUPTED, detail });
  return true;
}

interface InterruptedMachine {
  readonly id: MachineId;
  readonly state: MachineState;
  readonly revision: number;
  readonly endReason: string | null;
}

/** Agents before machines, as everywhere. */
async function lockMachineOf(tx: Tx, agentId: AgentId): Promise<InterruptedMachine | null> {
  const agent = await tx
    .selectFrom('agents')
    .select('machine_id')
    .where('id', '=', agentId)
    .where('removed_at', 'is', null)
    .executeTakeFirst();
  const id = (agent?.machine_id ?? null) as MachineId | null;
  if (id === null) return null;
  await lockAgentsOf(tx, [id]);
  const row = await tx
    .selectFrom('machines')
    .select(['state', 'revision', 'end_reason'])
    .where('id', '=', id)
    .forUpdate()
    .executeTakeFirst();
  if (row === undefined) return null;
  return { id, state: row.state as MachineState, revision: row.revision, endReason: row.end_reason };
}
