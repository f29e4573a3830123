import type { Tx } from './database.ts';
import { dbNow } from './database.ts';

export interface MachineEvent {
  readonly machineId: string;
  readonly from: string | null;
  readonly to: string;
  readonly actor: string;
  /** A code, e.g. `unneeded`; sentences are made from it when it is shown. */
  readonly reason: string;
  readonly planId?: string;
  readonly detail?: Readonly<Record<string, unknown>>;
}

/** One line of a machine's history; always in the transaction of the change it tells of. */
export async function writeMachineEvent(tx: Tx, event: MachineEvent): Promise<void> {
  await tx
    .insertInto('machine_events')
    .values({
      machine_id: event.machineId,
      at: dbNow(),
      from_state: event.from,
      to_state: event.to,
      actor: event.actor,
      reason: event.reason,
      plan_id: event.planId ?? null,
      detail: JSON.stringify(event.detail ?? {}),
    })
    .execute();
}
