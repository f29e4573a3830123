import type { MachineIn } from '../model/machine.ts';
import type { WorkloadPolicy } from '../model/policy.ts';
import { SECOND_MS } from '../model/time.ts';
import { waitMs } from '../model/waits.ts';
import type { MachineRecord } from '../ports/machines.ts';
import { runHook } from './hooks.ts';
import type { StepPorts } from './ports.ts';

/** A cluster that heals does so in minutes; asked more often it would only be disturbed. */
const HEALTH_AGAIN_MS = 30 * SECOND_MS;

/**
 * What must be so before a machine is touched: that it is its turn, where machines of the workload go one at a time, and that the
 * hook `health` passes on it. Null = it may go on; a number = it waits and looks again after so many ms; `again` = the row moved.
 */
export async function passGates(
  ports: StepPorts,
  record: MachineRecord,
  machine: MachineIn<'draining'>,
  policy: WorkloadPolicy,
): Promise<number | 'again' | null> {
  // A drain that has begun to touch work goes on: waiting would leave it half done.
  if (record.drainIrrevocable) return null;
  const { oneAtATime = false, hooks } = policy.drain;
  if (oneAtATime && !record.drainDone.includes('turn') && !(await ports.machines.takeTurn(machine)))
    return ports.timings.drainPollMs;
  if (hooks.health === undefined || record.drainDone.includes('health')) return null;
  const deadlineMs = waitMs('ssh.hook');
  const passed = await runHook(ports, record, machine, { policy, command: hooks.health, name: 'health', deadlineMs });
  if (!passed) return HEALTH_AGAIN_MS;
  await ports.machines.markDrain(machine, 'health');
  // The hook took its time: what is next is decided on what is true now.
  return 'again';
}
