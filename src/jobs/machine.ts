import type { MachineId } from '../model/ids.ts';
import type { Machine, MachineIn, MachineState } from '../model/machine.ts';
import type { MachineRecord } from '../ports/machines.ts';
import { stepBooting } from './boot.ts';
import { stepDraining, stepLeaving } from './drain.ts';
import { endWithInstanceGone, isInstanceGone } from './gone.ts';
import { stepJoining } from './join.ts';
import { again, DONE, type StepOutcome, type StepPorts } from './ports.ts';
import { stepReady } from './ready.ts';
import { isStoppedBeneath, stepStopped, stepStopping, takeBackForgotten } from './power.ts';
import { HELD_AGAIN_MS, startTerminating, stepTerminating } from './terminate.ts';
import { stepWaitingForLaunch } from './wait-for-launch.ts';

/**
 * A machine passes at most this many states in one visit: a life without a stop has nine. The bound ends a loop that a bug would
 * otherwise turn for ever.
 */
const STEPS_MAX = 9;

/** Carries a machine as far as it can go now. The job holds only the id; the row is the truth. */
export async function stepMachine(ports: StepPorts, id: MachineId): Promise<StepOutcome> {
  let outcome: StepOutcome = DONE;
  for (let steps = 0; steps < STEPS_MAX; steps += 1) {
    const record = await ports.machines.read(id);
    if (record === null || record.machine.state === 'terminated') return DONE;
    const before = record.machine;
    outcome =
      (await takeBackForgotten(ports, record)) ??
      (isHeld(record) ? again(HELD_AGAIN_MS) : await stepOnce(ports, record));
    const after = await ports.machines.read(id);
    if (after === null || after.machine.state === 'terminated') return DONE;
    if (after.machine.revision === before.revision) break;
  }
  return outcome;
}

async function stepOnce(ports: StepPorts, record: MachineRecord): Promise<StepOutcome> {
  if (isInstanceGone(record)) return await endWithInstanceGone(ports, record);
  const { machine } = record;
  if (mayWork(machine) && isStoppedBeneath(record)) {
    return await startTerminating(ports, machine, 'instance-stopped', { observed: record.observed.state });
  }
  if (isAway(machine)) return await stepAway(ports, record, machine);
  switch (machine.state) {
    case 'requested':
    case 'launching':
      return await stepWaitingForLaunch(ports, record, machine);
    case 'booting':
      return await stepBooting(ports, record, machine);
    case 'joining':
      return await stepJoining(ports, record, machine);
    case 'ready':
      return await stepReady(ports, record, machine);
    case 'draining':
      return await stepDraining(ports, record, machine);
  }
}

const AWAY = ['leaving', 'stopping', 'stopped', 'terminating', 'terminated'] as const;
type Away = MachineIn<(typeof AWAY)[number]>;

function isAway(machine: Machine): machine is Away {
  return AWAY.some((state) => state === machine.state);
}

/** Of machines that no work is left on. */
async function stepAway(ports: StepPorts, record: MachineRecord, machine: Away): Promise<StepOutcome> {
  switch (machine.state) {
    case 'leaving':
      return await stepLeaving(ports, record, machine);
    case 'stopping':
      return await stepStopping(ports, record, machine);
    case 'stopped':
      return await stepStopped(ports, record, machine);
    case 'terminating':
      return await stepTerminating(ports, record, machine);
    case 'terminated':
      return DONE;
  }
}

/** What works, or is about to or has just done so, does not stop by itself. */
function mayWork(machine: Machine): machine is MachineIn<'joining' | 'ready' | 'draining'> {
  return machine.state === 'joining' || machine.state === 'ready' || machine.state === 'draining';
}

const HELD_STATES: ReadonlySet<MachineState> = new Set(['draining', 'leaving', 'stopping', 'stopped', 'terminating']);

/**
 * The database has lost commits, and a row on its way out may be older than what became of its machine: a drain that was called
 * off, work that it has again. Only EC2's word that the instance is gone ends it then.
 */
function isHeld(record: MachineRecord): boolean {
  const { state } = record.machine;
  const isOnItsWayOut = HELD_STATES.has(state);
  return record.amnesia && isOnItsWayOut && !isInstanceGone(record);
}
