import { clockTimes } from '../model/clock-times.ts';
import { AppError } from '../model/errors.ts';
import type { Machine, MachineIn } from '../model/machine.ts';
import { MINUTE_MS, SECOND_MS } from '../model/time.ts';
import { waitMs } from '../model/waits.ts';
import type { PowerOutcome } from '../ports/cloud.ts';
import type { MachineRecord } from '../ports/machines.ts';
import { again, type StepOutcome, type StepPorts } from './ports.ts';
import { holdOf, reactionTo } from './reactions.ts';
import { isPastDeadline, startTerminating } from './terminate.ts';

/** EC2 stops and starts within a minute or two; asked again after that, because accepted is not done. */
const ASK_AGAIN_MS = MINUTE_MS;
/** After an unknown outcome, a throttle, or an instance that is still on its way elsewhere. */
const RETRY_MS = 5 * SECOND_MS;
const LOOK_AGAIN_MS = MINUTE_MS;
/** Views of EC2 lag by seconds. */
const SEEN_RUNNING_AFTER_MS = MINUTE_MS;
/** Two words against it: EC2 calls it stopped, and its agent has been silent for so long since. */
const STOPPED_SILENCE_MS = MINUTE_MS;

/**
 * True when the instance was started after its row came to this state: somebody else did it, or the database has forgotten
 * that we did. Work may run on it, so it is joined anew and never stopped.
 */
function wasStartedSince({ run, machine }: MachineRecord): boolean {
  return run.launchedAtMs !== null && run.launchedAtMs > machine.stateSinceMs;
}

/** Has EC2 stop the instance, until a listing says that it has. A stop that never ends becomes a termination. */
export async function stepStopping(
  ports: StepPorts,
  record: MachineRecord,
  machine: MachineIn<'stopping'>,
): Promise<StepOutcome> {
  if (wasStartedSince(record)) return await takeBack(ports, machine);
  if (record.observed.state === 'stopped') return await becomeStopped(ports, record, machine);
  if (isPastDeadline(record)) return await startTerminating(ports, machine, machine.endReason, { stop: 'too slow' });
  if (!(await ports.machines.claimPowerCall(machine, ASK_AGAIN_MS))) return again(ports.timings.terminatePollMs);
  const outcome = await ask(ports, machine, async () => {
    return await ports.cloud.stopInstance(record.launch.body.region, machine.instanceId);
  });
  // EC2 will not stop it, as it will not a spot instance, or we have no right to: it must not run on for nothing.
  if (outcome.kind === 'refused') {
    return await startTerminating(ports, machine, machine.endReason, { stop: outcome.code });
  }
  return await waitAfter(ports, machine, outcome);
}

async function becomeStopped(
  ports: StepPorts,
  record: MachineRecord,
  machine: MachineIn<'stopping' | 'booting'>,
  why: { readonly reason: string; readonly detail?: Readonly<Record<string, unknown>> } = {
    reason: 'instance-stopped',
  },
): Promise<StepOutcome> {
  const policy = await ports.readPolicy(machine.workload);
  const maxAgeMs = policy?.burst.warmPool?.maxAgeMs ?? 0;
  const sinceMs = record.run.stoppedAtMs ?? record.nowMs;
  const keptMs = Math.max(0, sinceMs + maxAgeMs - record.nowMs);
  await ports.machines.transition(machine, {
    to: 'stopped',
    actor: 'machine-step',
    endReason: 'scale-down',
    deadlineMs: keptMs,
    ...why,
  });
  ports.wakePlanner();
  return again(0);
}

/** A stopped machine waits for the planner; it goes when it is too old, and comes back when somebody else started it. */
export async function stepStopped(
  ports: StepPorts,
  record: MachineRecord,
  machine: MachineIn<'stopped'>,
): Promise<StepOutcome> {
  if (isSeenRunning(record)) return await takeBack(ports, machine);
  return isPastDeadline(record) ? await startTerminating(ports, machine, 'pool-retired') : again(LOOK_AGAIN_MS);
}

/** A start whose answer was lost may be older than the row's word; then a look that is clearly younger has to say so. */
function isSeenRunning(record: MachineRecord): boolean {
  const { state, atMs } = record.observed;
  if ((state !== 'pending' && state !== 'running') || atMs === null) return false;
  return wasStartedSince(record) || atMs - record.machine.stateSinceMs >= SEEN_RUNNING_AFTER_MS;
}

/** From which a machine can come to work again, if it was stopped in between. */
const MAY_COME_BACK = ['ready', 'draining', 'leaving', 'stopping', 'stopped'] as const;
type MayComeBack = MachineIn<(typeof MAY_COME_BACK)[number]>;

/**
 * The database has lost commits, and by EC2's word the machine was started after what its row says of it: it may be at work, with an
 * agent that no row knows. Joined anew while the amnesia lasts, it keeps that work. Null = there is no sign of it.
 */
export async function takeBackForgotten(ports: StepPorts, record: MachineRecord): Promise<StepOutcome | null> {
  const { machine, observed, amnesia } = record;
  const isUp = observed.state === 'pending' || observed.state === 'running';
  return amnesia && isUp && mayComeBack(machine) && wasStartedSince(record) ? await takeBack(ports, machine) : null;
}

function mayComeBack(machine: Machine): machine is MayComeBack {
  return MAY_COME_BACK.some((state) => state === machine.state);
}

async function takeBack(ports: StepPorts, machine: MayComeBack): Promise<StepOutcome> {
  const moved = await ports.machines.transition(machine, {
    to: 'booting',
    actor: 'machine-step',
    reason: 'started-by-others',
  });
  if (moved) {
    const facts = { machineId: machine.id, instanceId: machine.instanceId };
    ports.log.warn(facts, 'an instance that was stopped runs again though nobody here started it; it is joined anew');
  }
  return again(0);
}

/**
 * Has EC2 start the instance of a machine that boots and that EC2 calls stopped. Null: there is nothing to start, or somebody
 * has just asked. A start that is refused puts the machine back, and the planner looks for other machines.
 */
export async function startIfStopped(
  ports: StepPorts,
  record: MachineRecord,
  machine: MachineIn<'booting'>,
): Promise<StepOutcome | null> {
  if (record.observed.state !== 'stopped' && record.observed.state !== 'stopping') return null;
  if (!(await ports.machines.claimPowerCall(machine, ASK_AGAIN_MS))) return null;
  const outcome = await ask(ports, machine, async () => {
    const signBefore = clockTimes(ports.clock, waitMs('aws.sign-launch'));
    return await ports.cloud.startInstance(record.launch.body.region, machine.instanceId, signBefore);
  });
  if (outcome.kind === 'accepted') return null;
  return outcome.kind === 'refused'
    ? await putBack(ports, record, { machine, outcome })
    : await waitAfter(ports, machine, outcome);
}

interface RefusedStart {
  readonly machine: MachineIn<'booting'>;
  readonly outcome: Extract<PowerOutcome, { readonly kind: 'refused' }>;
}

/** What the refusal says of offerings or rights is remembered as after a launch, so that the next plan does not start it again. */
async function putBack(
  ports: StepPorts,
  record: MachineRecord,
  { machine, outcome: { errorClass, code, message } }: RefusedStart,
): Promise<StepOutcome> {
  const { instanceType, zone, market, workload } = machine;
  const reaction = reactionTo(errorClass, code);
  const offering = { ...record.launch.body, instanceType, zone, market, workload };
  const hold = holdOf(reaction, offering, { code, detail: message });
  if (hold !== null) await ports.launches.hold(record.launch.id, hold);
  ports.log.warn({ machineId: machine.id, code, errorClass }, 'EC2 does not start a stopped machine; it stays stopped');
  return await becomeStopped(ports, record, machine, { reason: 'start-refused', detail: { code, errorClass } });
}

async function ask(ports: StepPorts, machine: Machine, call: () => Promise<PowerOutcome>): Promise<PowerOutcome> {
  try {
    return await call();
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    ports.log.warn({ machineId: machine.id, code: error.code, error: error.message }, 'EC2 could not be asked');
    return { kind: 'unknown', code: error.code, message: error.message };
  }
}

/** A call that came to nothing is due again soon; nothing that is not known to be refused is given up before its deadline. */
async function waitAfter(
  ports: StepPorts,
  machine: Machine,
  outcome: Exclude<PowerOutcome, { readonly kind: 'refused' }>,
): Promise<StepOutcome> {
  if (outcome.kind === 'accepted') return again(ports.timings.terminatePollMs);
  const named = outcome.kind === 'throttled' ? (outcome.retryAfterMs ?? RETRY_MS) : RETRY_MS;
  const afterMs = Math.round(named * (1 + ports.ids.random() / 2));
  await ports.machines.putOffPowerCall(machine, afterMs);
  return again(afterMs);
}

/** True when EC2 calls the instance stopped and its agent does not contradict: somebody stopped it, or its host failed. */
export function isStoppedBeneath({ observed, agent, nowMs, machine }: MachineRecord): boolean {
  if (observed.state !== 'stopped' || observed.atMs === null) return false;
  const lastWordMs = Math.max(agent?.lastSeenAtMs ?? 0, machine.stateSinceMs);
  return observed.atMs > lastWordMs && nowMs - lastWordMs >= STOPPED_SILENCE_MS;
}
