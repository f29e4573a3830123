import type { MachineIn } from '../model/machine.ts';
import type { WorkloadPolicy } from '../model/policy.ts';
import { waitMs } from '../model/waits.ts';
import type { MachineRecord } from '../ports/machines.ts';
import { passDrainDeadline } from './drain-deadline.ts';
import { passGates } from './drain-gates.ts';
import { runHook } from './hooks.ts';
import { again, type StepOutcome, type StepPorts } from './ports.ts';
import { isAgentLost } from './ready.ts';
import { isPastDeadline, startTerminating } from './terminate.ts';

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
  if (mayStay(record, machine)) return await keep(ports, machine);
  const policy = await ports.readPolicy(machine.workload);
  const first = await prepare(ports, record, machine, policy);
  if (first !== null) return first;
  if (isWorkGone(record)) {
    const moved = await ports.machines.transition(machine, {
      to: 'leaving',
      actor: 'machine-step',
      reason: 'work-gone',
    });
    if (moved) ports.meter.drained(record.nowMs - machine.stateSinceMs);
    return again(0);
  }
  // EC2 ends it now, whatever runs there: its tasks run elsewhere from the moment it is gone.
  const { interruptedAtMs, nowMs } = record;
  if (interruptedAtMs !== null && nowMs >= interruptedAtMs) {
    return await startTerminating(ports, machine, 'spot-interrupted');
  }
  if (!isPastDeadline(record)) return again(ports.timings.drainPollMs);
  return await passDrainDeadline(ports, record, machine, policy);
}

/** What comes before its work is looked at: gates and hooks. Null = that is done, or there is none. */
async function prepare(
  ports: StepPorts,
  record: MachineRecord,
  machine: MachineIn<'draining'>,
  policy: WorkloadPolicy | null,
): Promise<StepOutcome | null> {
  if (policy === null) return null;
  if (record.interruptedAtMs !== null) {
    return await checkpoint(ports, record, machine, { policy, atMs: record.interruptedAtMs });
  }
  const held = await passGates(ports, record, machine, policy);
  if (held === 'again') return again(0);
  // What holds it back here is never overruled by a deadline.
  if (held !== null) return await holdBack(ports, { record, machine, policy, afterMs: held });
  return await runBeforeDrain(ports, record, machine, policy);
}

/** Exported for its own table test: this is the condition that protects running work. */
export function isWorkGone({ agent }: Pick<MachineRecord, 'agent'>): boolean {
  if (agent === null || !agent.cordoned) return false;
  if (agent.cordonAckedAtMs === null || agent.lastSeenAtMs === null) return false;
  return agent.lastSeenAtMs >= agent.cordonAckedAtMs && agent.runningTasks === 0 && agent.heldTasks === 0;
}

/** Protected since its drain began, by a tag or an order, when the drain was a choice of ours and touched nothing. */
function mayStay({ isProtected, drainIrrevocable }: MachineRecord, { endReason }: MachineIn<'draining'>): boolean {
  return isProtected && !drainIrrevocable && (endReason === 'scale-down' || endReason === 'policy-removed');
}

async function keep(ports: StepPorts, machine: MachineIn<'draining'>): Promise<StepOutcome> {
  const order = { to: 'ready', actor: 'machine-step', reason: 'protected', cordon: false } as const;
  await ports.machines.transition(machine, { ...order, deadlineMs: null });
  return again(0);
}

interface HeldBack {
  readonly record: MachineRecord;
  readonly machine: MachineIn<'draining'>;
  readonly policy: WorkloadPolicy;
  readonly afterMs: number;
}

async function holdBack(ports: StepPorts, { record, machine, policy, afterMs }: HeldBack): Promise<StepOutcome> {
  if (!isPastDeadline(record)) return again(afterMs);
  const patient = { ...policy, drain: { ...policy.drain, onDeadline: 'wait' as const } };
  return await passDrainDeadline(ports, record, machine, patient);
}

/** Once per drain: from here on the drain cannot be called off, because the hook may have touched work. */
async function runBeforeDrain(
  ports: StepPorts,
  record: MachineRecord,
  machine: MachineIn<'draining'>,
  policy: WorkloadPolicy,
): Promise<StepOutcome | null> {
  const { beforeDrain } = policy.drain.hooks;
  if (beforeDrain === null || record.drainIrrevocable) return null;
  if (!(await ports.machines.markDrainIrrevocable(machine))) return again(0);
  await runHook(ports, record, machine, {
    policy,
    command: beforeDrain,
    name: 'beforeDrain',
    deadlineMs: waitMs('ssh.hook'),
  });
  return null;
}

/** Once, within what EC2 leaves: the last chance of the work to save what it has. */
async function checkpoint(
  ports: StepPorts,
  record: MachineRecord,
  machine: MachineIn<'draining'>,
  { policy, atMs }: { readonly policy: WorkloadPolicy; readonly atMs: number },
): Promise<StepOutcome | null> {
  const command = policy.drain.hooks.checkpoint;
  const leftMs = atMs - record.nowMs;
  if (command === undefined || leftMs <= 0 || record.drainDone.includes('checkpoint')) return null;
  if (!(await ports.machines.markDrain(machine, 'checkpoint'))) return again(0);
  const deadlineMs = Math.min(leftMs, waitMs('ssh.hook'));
  await runHook(ports, record, machine, { policy, command, name: 'checkpoint', deadlineMs });
  // The hook took its time: what is next is decided on what is true now.
  return again(0);
}

/** The work is gone: the last hook, then the end. A failing hook is told, but does not keep a paid machine for ever. */
export async function stepLeaving(
  ports: StepPorts,
  record: MachineRecord,
  machine: MachineIn<'leaving'>,
): Promise<StepOutcome> {
  const policy = await ports.readPolicy(machine.workload);
  const command = policy?.drain.hooks.beforeTerminate ?? null;
  const leftMs = (record.interruptedAtMs ?? Infinity) - record.nowMs;
  if (policy !== null && command !== null && !isPastDeadline(record) && leftMs > 0) {
    const passed = await runHook(ports, record, machine, {
      policy,
      command,
      name: 'beforeTerminate',
      deadlineMs: Math.min(leftMs, waitMs('ssh.hook')),
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
