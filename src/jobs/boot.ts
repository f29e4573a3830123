import { AppError } from '../model/errors.ts';
import type { MachineIn } from '../model/machine.ts';
import { SECOND_MS } from '../model/time.ts';
import { waitMs } from '../model/waits.ts';
import type { MachineRecord } from '../ports/machines.ts';
import { afterSshError } from './join.ts';
import { again, NO_POLICY, type StepOutcome, type StepPorts } from './ports.ts';
import { startIfStopped } from './power.ts';
import { shellRoute } from './ssh-target.ts';
import { isPastDeadline, startTerminating } from './terminate.ts';

/** Part of the time a boot has taken so far that one more pause may add to it. */
const PAUSE_SHARE = 1 / 60;
const PAUSE_MAX_MS = 10 * SECOND_MS;

/** Often while most boots end, and seldom for the one that takes minutes: hundreds of those would ask for nothing all the time. */
function bootPauseMs(ageMs: number, leastMs: number): number {
  return Math.max(leastMs, Math.min(PAUSE_MAX_MS, Math.round(ageMs * PAUSE_SHARE)));
}

/** Starts the instance if it is stopped, and waits until it has an address and its SSH port answers. */
export async function stepBooting(
  ports: StepPorts,
  record: MachineRecord,
  machine: MachineIn<'booting'>,
): Promise<StepOutcome> {
  if (isPastDeadline(record)) return await startTerminating(ports, machine, 'boot-deadline');
  const refused = await startIfStopped(ports, record, machine);
  if (refused !== null) return refused;
  const policy = await ports.readPolicy(machine.workload);
  const pauseMs = bootPauseMs(record.nowMs - machine.stateSinceMs, ports.timings.bootPollMs);
  if (policy === null) return again(pauseMs, NO_POLICY);
  if (machine.privateIp === null) return again(pauseMs, 'EC2 to tell its address');
  const route = shellRoute(policy, machine.privateIp);
  try {
    const wait = route.jumps.length === 0 ? waitMs('ssh.probe') : waitMs('ssh.probe-through');
    if (!(await ports.shell.isOpen(route, wait))) {
      return again(pauseMs, `port ${route.port} of ${route.host} to open, which is its SSH port`);
    }
  } catch (error) {
    // Of a jump host: the machine itself was not spoken to.
    if (!(error instanceof AppError)) throw error;
    return await afterSshError(ports, record, machine, error);
  }
  await ports.machines.transition(machine, {
    to: 'joining',
    actor: 'machine-step',
    reason: 'ssh-open',
    deadlineMs: policy.join.ready.deadlineMs,
    detail: { address: machine.privateIp },
  });
  return again(0);
}
