import { sql } from 'kysely';

import type { Tx } from './database.ts';

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
