import type { MachineIn } from '../model/machine.ts';
import { SECOND_MS } from '../model/time.ts';
import { waitMs } from '../model/waits.ts';
import type { MachineRecord } from '../ports/machines.ts';
import { again, type StepOutcome, type StepPorts } from './ports.ts';
import { startIfStopped } from './power.ts';
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
  if (policy === null || machine.privateIp === null) return again(pauseMs);
  if (!(await ports.shell.isOpen(machine.privateIp, policy.join.ssh.port, waitMs('ssh.probe')))) return again(pauseMs);
  await ports.machines.transition(machine, {
    to: 'joining',
    actor: 'machine-step',
    reason: 'ssh-open',
    deadlineMs: policy.join.ready.deadlineMs,
    detail: { address: machine.privateIp },
  });
  return again(0);
}
