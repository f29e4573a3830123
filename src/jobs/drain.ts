import type { MachineIn } from '../model/machine.ts';
import type { WorkloadPolicy } from '../model/policy.ts';
import { MINUTE_MS } from '../model/time.ts';
import { waitMs } from '../model/waits.ts';
import type { MachineRecord } from '../ports/machines.ts';
import { again, type StepOutcome, type StepPorts } from './ports.ts';
import { isAgentLost } from './ready.ts';
import { isPastDeadline, startTerminating } from './terminate.ts';
import { runHook } from './hooks.ts';

/**
 * Waits until the work is gone, and only then lets the machine go: the cordon must be acknowledged, and the tasks must be
 * read from a report that is newer than that. No other order is safe (an idle agent may take a task between look and kill).
 */
export async function stepDraining(
  ports: StepPorts,
  record: MachineRecord,
  machine: MachineIn<'draining'>,
): Promise<StepOutcome> {
  if (isAgentLost(record)) return await startTerminating(ports, machine, 'agent-lost');
  const policy = await ports.readPolicy(machine.workload);
  if (policy !== null && policy.drain.hooks.beforeDrain !== null) {
    const hooked = await runBeforeDrain(ports, record, machine, policy);
    if (hooked !== null) return hooked;
  }
  if (isWorkGone(record)) {
    const moved = await ports.machines.transition(machine, {
      to: 'leaving',
      actor: 'machine-step',
      reason: 'work-gone',
    });
    if (moved) ports.meter.drained(record.nowMs - machine.stateSinceMs);
    return again(0);
  }
  return isPastDeadline(record) ? await passDeadline(ports, machine, policy) : again(ports.timings.drainPollMs);
}

/** Exported for its own table test: this is the condition that protects running work. */
export function isWorkGone({ agent }: Pick<MachineRecord, 'agent'>): boolean {
  if (agent === null || !agent.cordoned) return false;
  if (agent.cordonAckedAtMs === null || agent.lastSeenAtMs === null) return false;
  return agent.lastSeenAtMs >= agent.cordonAckedAtMs && agent.runningTasks === 0 && agent.heldTasks === 0;
}

async function passDeadline(
  ports: StepPorts,
  machine: MachineIn<'draining'>,
  policy: WorkloadPolicy | null,
): Promise<StepOutcome> {
  // EC2 ends it at this moment, whatever runs there.
  if (machine.endReason === 'spot-interrupted') return await startTerminating(ports, machine, 'spot-interrupted');
  if (policy?.drain.onDeadline === 'terminate') return await startTerminating(ports, machine, 'drain-deadline');
  // `wait` is the default: running work is worth more than an empty machine. Each extension is an event to be seen.
  await ports.machines.extendDeadline(machine, policy?.drain.deadlineMs ?? 30 * MINUTE_MS, 'drain-deadline-extended');
  ports.log.warn(
    { machineId: machine.id, workload: machine.workload },
    'drain passed its deadline and goes on waiting',
  );
  return again(ports.timings.drainPollMs);
}

/** Once per drain: from here on the drain cannot be called off, because the hook may have touched work. */
async function runBeforeDrain(
  ports: StepPorts,
  record: MachineRecord,
  machine: MachineIn<'draining'>,
  policy: WorkloadPolicy,
): Promise<StepOutcome | null> {
  if (record.drainIrrevocable) return null;
  if (!(await ports.machines.markDrainIrrevocable(machine))) return again(0);
  const { beforeDrain } = policy.drain.hooks;
  if (beforeDrain === null) return null;
  await runHook(ports, record, machine, {
    policy,
    command: beforeDrain,
    name: 'beforeDrain',
    deadlineMs: waitMs('ssh.hook'),
  });
  return null;
}

/** The work is gone: the last hook, then the end. A failing hook is told, but does not keep a paid machine for ever. */
export async function stepLeaving(
  ports: StepPorts,
  record: MachineRecord,
  machine: MachineIn<'leaving'>,
): Promise<StepOutcome> {
  const policy = await ports.readPolicy(machine.workload);
  const command = policy?.drain.hooks.beforeTerminate ?? null;
  if (policy !== null && command !== null && !isPastDeadline(record)) {
    const passed = await runHook(ports, record, machine, {
      policy,
      command,
      name: 'beforeTerminate',
      deadlineMs: waitMs('ssh.hook'),
    });
    if (!passed) return again(ports.timings.drainPollMs);
  }
  if (await keepStopped(ports, record, { machine, policy })) return again(0);
  return await startTerminating(ports, machine, machine.endReason);
}

interface Leaving {
  readonly machine: MachineIn<'leaving'>;
  readonly policy: WorkloadPolicy | null;
}

/** True when the machine is stopped instead: it was let go only because nothing needed it, and the pool has room. */
async function keepStopped(ports: StepPorts, record: MachineRecord, { machine, policy }: Leaving): Promise<boolean> {
  const pool = policy?.burst.warmPool;
  if (policy === null || pool === undefined) return false;
  // A one-time spot instance cannot be stopped. Past its deadline nobody knows what state it is in.
  const isKept = machine.endReason === 'scale-down' && machine.market === 'on-demand' && !isPastDeadline(record);
  const isOfPolicy = Object.values(policy.burst.image).includes(record.launch.body.imageId);
  return isKept && isOfPolicy && (await ports.machines.stopInPool(machine, pool.max));
}
