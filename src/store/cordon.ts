import { sql } from 'kysely';

import type { Tx } from './database.ts';

/**
 * Locks the agents of machines before the machines themselves. Reports and leases lock an agent first and the idle clock of
 * its machine last; whoever moves a machine and then touches its agent must not come from the other end.
 */
export async function lockAgentsOf(tx: Tx, machineIds: readonly string[]): Promise<void> {
  if (machineIds.length === 0) return;
  await tx
    .selectFrom('agents')
    .select('id')
    .where('machine_id', 'in', [...machineIds])
    .where('removed_at', 'is', null)
    .orderBy('id')
    .forUpdate()
    .execute();
}

/**
 * Cordons or uncordons an agent. Each change gets a new generation, and only an acknowledgement of that very generation
 * counts: a late word about an earlier cordon says nothing about this one.
 */
export async function setCordon(tx: Tx, agentId: string, cordoned: boolean): Promise<void> {
  await tx
    .updateTable('agents')
    .set({ cordoned, cordon_generation: sql<number>`cordon_generation + 1`, cordon_acked_at: null })
    .where('id', '=', agentId)
    .where('cordoned', '<>', cordoned)
    .execute();
}
