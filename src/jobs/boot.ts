import type { MachineIn } from '../model/machine.ts';
import { waitMs } from '../model/waits.ts';
import type { MachineRecord } from '../ports/machines.ts';
import { again, type StepOutcome, type StepPorts } from './ports.ts';
import { startIfStopped } from './power.ts';
import { isPastDeadline, startTerminating } from './terminate.ts';

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
  if (policy === null || machine.privateIp === null) return again(ports.timings.bootPollMs);
  if (!(await ports.shell.isOpen(machine.privateIp, policy.join.ssh.port, waitMs('ssh.probe'))))
    return again(ports.timings.bootPollMs);
  await ports.machines.transition(machine, {
    to: 'joining',
    actor: 'machine-step',
    reason: 'ssh-open',
    deadlineMs: policy.join.ready.deadlineMs,
    detail: { address: machine.privateIp },
  });
  return again(0);
}
