import { STATE_DEADLINE_MS, type EndReason, type Machine, type MachineIn } from '../model/machine.ts';
import { HOUR_MS, SECOND_MS } from '../model/time.ts';
import type { MachineRecord } from '../ports/machines.ts';
import { again, type StepOutcome, type StepPorts } from './ports.ts';
import { terminateTogether } from './terminate-batch.ts';

const TERMINATE_DEADLINE_MS = STATE_DEADLINE_MS.terminating ?? HOUR_MS;
/**
 * Machines that end within this time share one call: one call a second at most, which the bucket of 2.5 a second bears,
 * however many machines go at once.
 */
const GATHER_MS = SECOND_MS;
/** A machine that may not be sent away now looks again after this long. */
export const HELD_AGAIN_MS = 10 * SECOND_MS;

export function isPastDeadline(record: MachineRecord): boolean {
  const { deadlineAtMs } = record.machine;
  // What the row says of its time may be hours old; deadlines are given anew when the memory is back.
  return !record.amnesia && deadlineAtMs !== null && record.nowMs >= deadlineAtMs;
}

/** Sends a machine on its way out; the next step calls EC2. */
export async function startTerminating(
  ports: StepPorts,
  machine: Machine,
  endReason: EndReason,
  detail: Readonly<Record<string, unknown>> = {},
): Promise<StepOutcome> {
  const moved = await ports.machines.transition(machine, {
    to: 'terminating',
    actor: 'machine-step',
    reason: endReason,
    endReason,
    detail,
  });
  if (moved) ports.log.info({ machineId: machine.id, endReason, ...detail }, 'machine is terminated');
  // Not moved without a new revision: the database has lost commits, and nothing goes.
  return again(moved ? 0 : HELD_AGAIN_MS);
}

/** Terminates by instance id, again and again until a listing shows the end (see `gone.ts`). */
export async function stepTerminating(
  ports: StepPorts,
  record: MachineRecord,
  machine: MachineIn<'terminating'>,
): Promise<StepOutcome> {
  const ageMs = record.nowMs - machine.stateSinceMs;
  if (ageMs < GATHER_MS) return again(GATHER_MS - ageMs);
  if (isPastDeadline(record)) {
    // Set anew, so that this is said once an hour and not with every look.
    await ports.machines.extendDeadline(machine, {
      ms: TERMINATE_DEADLINE_MS,
      reason: 'terminate-deadline-extended',
    });
    ports.log.error(
      { machineId: machine.id, instanceId: machine.instanceId },
      'machine will not terminate; look at it in EC2',
    );
  }
  // A listing that shows the end rings by itself; until then, many machines at once must not spend EC2's bucket of calls.
  const aheadMs = (record.terminateAgainAtMs ?? 0) - record.nowMs;
  return again(aheadMs > 0 ? aheadMs : await terminateTogether(ports, machine, record.launch.body.region));
}
