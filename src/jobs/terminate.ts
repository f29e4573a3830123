import { AppError } from '../model/errors.ts';
import type { EndReason, Machine, MachineIn } from '../model/machine.ts';
import { MINUTE_MS, SECOND_MS } from '../model/time.ts';
import type { MachineRecord } from '../ports/machines.ts';
import { again, type StepOutcome, type StepPorts } from './ports.ts';

/** EC2 ends an instance within a minute or two; asked again after that, because accepted is not done. */
const ASK_AGAIN_MS = MINUTE_MS;
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
  const asked = record.observed.state === 'shutting-down' && record.nowMs - machine.stateSinceMs < ASK_AGAIN_MS;
  if (asked) return again(ports.timings.terminatePollMs);
  const region = record.launch.body.region;
  try {
    const outcome = await ports.cloud.terminateInstances(region, [machine.instanceId]);
    if (outcome.kind === 'not-found') {
      // Not a proof of absence by itself: the listings that do not show it will be (see `gone.ts`).
      ports.log.warn(
        { machineId: machine.id, instanceId: machine.instanceId },
        'EC2 does not know the instance to terminate',
      );
    }
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    ports.log.warn(
      { machineId: machine.id, code: error.code, error: error.message },
      'EC2 could not be asked to terminate',
    );
  }
  if (isPastDeadline(record)) {
    ports.log.error(
      { machineId: machine.id, instanceId: machine.instanceId },
      'machine will not terminate; look at it in EC2',
    );
  }
  // A listing that shows the end rings by itself; until then, many machines at once must not spend EC2's bucket of calls.
  return again(record.observed.state === 'shutting-down' ? ASK_AGAIN_MS : ports.timings.terminatePollMs);
}
