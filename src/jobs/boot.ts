import { AppError } from '../model/errors.ts';
import type { MachineIn } from '../model/machine.ts';
import { waitMs } from '../model/waits.ts';
import type { MachineRecord } from '../ports/machines.ts';
import { afterSshError } from './join.ts';
import { again, type StepOutcome, type StepPorts } from './ports.ts';
import { shellRoute } from './ssh-target.ts';
import { isPastDeadline, startTerminating } from './terminate.ts';

/** Waits until the instance has an address and its SSH port answers. */
export async function stepBooting(
  ports: StepPorts,
  record: MachineRecord,
  machine: MachineIn<'booting'>,
): Promise<StepOutcome> {
  if (isPastDeadline(record)) return await startTerminating(ports, machine, 'boot-deadline');
  const policy = await ports.readPolicy(machine.workload);
  if (policy === null || machine.privateIp === null) return again(ports.timings.bootPollMs);
  const route = shellRoute(policy, machine.privateIp);
  try {
    const wait = route.jumps.length === 0 ? waitMs('ssh.probe') : waitMs('ssh.probe-through');
    if (!(await ports.shell.isOpen(route, wait))) return again(ports.timings.bootPollMs);
  } catch (error) {
    // Of a jump host: the machine itself was not spoken to.
    if (!(error instanceof AppError)) throw error;
    return await afterSshError(ports, machine, error);
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
