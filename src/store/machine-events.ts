import type { PlanId } from '../model/ids.ts';
import { dbNow, type Tx } from './database.ts';

export interface MachineEvent {
  readonly machineId: string;
  readonly from: string | null;
  readonly to: string;
  readonly actor: string;
  /** A code, e.g. `unneeded`; sentences are made from it when it is shown. */
  readonly reason: string;
  /** Default: the plan whose decision is carried out, i.e. that of the machine's event before. */
  readonly planId?: PlanId | undefined;
  readonly detail?: Readonly<Record<string, unknown>> | undefined;
}

/**
 * One line of a machine's history, in the transaction of the change it tells of and after it: the database adds the revision
 * and the trace, refuses an event that is not true, and refuses the commit of a change that has none.
 */
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
      ...(event.planId === undefined ? {} : { plan_id: event.planId }),
      detail: JSON.stringify(event.detail ?? {}),
    })
    .execute();
}
