import { AppError } from '../model/errors.ts';
import type { LaunchId, MachineId } from '../model/ids.ts';
import type { MachineState } from '../model/machine.ts';
import type { MachineFacts, Transition } from '../ports/machines.ts';
import { isWorkGone } from './drain.ts';
import { isSeenGone } from './gone.ts';
import type { StepPorts } from './ports.ts';
import { isAgentLost } from './ready.ts';

/** What an operator is told of a step that never works; the detail of the event that ends its row. */
export interface GiveUp {
  readonly code: string;
  readonly error: string;
  readonly failures: number;
}

/** Where a machine can go whose own step does not work, or why it has to stay. */
type Exit =
  | { readonly to: 'draining' | 'leaving' | 'terminating' | 'terminated' }
  | { readonly to: null; readonly because: string };

/**
 * Sends a machine whose step never works on its way out. Running work is not killed for it: one that may work drains
 * first, and one that cannot be asked stays until it can. True when it moved.
 */
export async function giveUpMachine(ports: StepPorts, id: MachineId, why: GiveUp): Promise<boolean> {
  const facts = await ports.machines.readFacts(id);
  if (facts === null || facts.machine.state === 'terminated') return false;
  const exit = findExit(facts);
  if (exit.to === null) {
    if (facts.machine.state === 'terminating' && !facts.amnesia) await askToTerminate(ports, facts);
    ports.log.error({ machineId: id, state: facts.machine.state, ...why }, `a step never works; ${exit.because}`);
    return false;
  }
  const transition: Transition = {
    to: exit.to,
    actor: 'machine-step',
    reason: 'step-failed',
    endReason: 'step-failed',
    detail: { ...why },
    // Whatever the row lacks: the states it goes through now promise an agent.
    ...(facts.agent === null ? {} : { agentId: facts.agent.agentId }),
    ...(exit.to === 'draining' ? { cordon: true } : {}),
  };
  const moved = await ports.machines.transition(facts.machine, transition);
  if (moved) ports.log.error({ machineId: id, from: facts.machine.state, to: exit.to, ...why }, 'a step never works');
  return moved;
}

/** What the step would do, from the bare columns: a broken row or step must not keep a paid instance alive. */
async function askToTerminate(ports: StepPorts, { machine, instanceId, region }: MachineFacts): Promise<void> {
  if (instanceId === null || region === null) return;
  try {
    await ports.cloud.terminateInstances(region, [instanceId]);
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    ports.log.warn(
      { machineId: machine.id, code: error.code, error: error.message },
      'EC2 could not be asked to terminate',
    );
  }
}

/** Exported for its own table test: this is what a broken step may do to a machine, and what not. */
export function findExit(facts: MachineFacts): Exit {
  if (isSeenGone(facts.observed)) return { to: 'terminated' };
  if (facts.amnesia && facts.instanceId !== null) {
    return { to: null, because: 'the database has lost commits, and nothing is ended until its rows are rebuilt' };
  }
  return findExitByState(facts);
}

const WITHOUT_WORK = ['booting', 'joining', 'leaving', 'stopping', 'stopped'] as const;

/** No task is given to a machine before it is ready, and none is left when it leaves or has stopped. */
function isWithoutWork(state: MachineState): state is (typeof WITHOUT_WORK)[number] {
  return WITHOUT_WORK.some((one) => one === state);
}

function findExitByState(facts: MachineFacts): Exit {
  const { state } = facts.machine;
  if (isWithoutWork(state)) return { to: 'terminating' };
  switch (state) {
    case 'requested':
    case 'launching':
      return findExitOfUnborn(facts);
    case 'ready':
    case 'draining':
      return findExitOfWorker(facts);
    case 'terminating':
      return { to: null, because: 'it is tried for as long as EC2 shows its instance' };
    case 'terminated':
      return { to: null, because: 'it is over' };
  }
}

function findExitOfUnborn({ launchState }: MachineFacts): Exit {
  if (launchState !== 'open') return { to: 'terminated' };
  return { to: null, because: 'its launch is open and ends it by the deadline' };
}

/** The way out of a machine that may have work. */
function findExitOfWorker(facts: MachineFacts): Exit {
  if (isAgentLost(facts)) return { to: 'terminating' };
  if (facts.machine.state === 'ready') {
    return facts.agent === null
      ? { to: null, because: 'its agent cannot be asked whether it works' }
      : { to: 'draining' };
  }
  return isWorkGone(facts) ? { to: 'leaving' } : { to: null, because: 'its agent may still work' };
}

/**
 * Closes a launch whose step never works, when no call may still have an effect. Else it stays open and is tried on: the
 * repeated token settles the call, or the deadline of the launch ends it. True when it is closed.
 */
export async function giveUpLaunch(ports: StepPorts, id: LaunchId, why: GiveUp): Promise<boolean> {
  const detail = `its step failed ${why.failures} times: ${why.error}`;
  const closed = await ports.launches.close(id, 'refused', { reason: 'step-failed', code: why.code, detail });
  if (closed) {
    ports.log.error({ launchId: id, ...why }, 'the step of a launch never works; it is closed');
    ports.wakePlanner();
  } else {
    ports.log.error({ launchId: id, ...why }, 'the step of a launch never works; a call of it is not settled yet');
  }
  return closed;
}
