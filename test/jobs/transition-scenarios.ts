import type { MachineState, MachineTransition } from '../../src/model/machine.ts';
import type { Target } from '../support/world-faults.ts';
import type { WorkloadPolicy } from '../../src/model/policy.ts';
import { type PolicyChanges, worldPolicy } from '../support/world-policy.ts';
import { drainByHand, onlyInstanceId } from '../support/world-rows.ts';
import type { World } from '../support/world.ts';
import { FORGOTTEN } from './transition-forgotten.ts';

/** How one transition is made to happen in the world, and what of it can be struck. */
export interface Scenario {
  readonly policy: WorkloadPolicy;
  /** Up to where only the cause is missing. Calls up to here are left in peace. */
  readonly reach?: (world: World) => Promise<unknown>;
  /** The cause. */
  readonly provoke: (world: World) => unknown;
  /** Takes the cause away, so that the world can come to rest. */
  readonly calm?: (world: World) => unknown;
  /** The call whose commit is the transition. */
  readonly record: Target;
  /** The call to the outer world that the record waits for (`precedes`) or that follows from it; null = the record is all there is. */
  readonly effect: { readonly at: Target; readonly precedes: boolean } | null;
}

const MINUTE = 60_000;
const SCALE_DOWN_UNNEEDED_MS = 20_000;

function policyOf({ drain, ...changes }: PolicyChanges): WorkloadPolicy {
  return worldPolicy({ ...changes, drain: { scaleDownUnneededMs: SCALE_DOWN_UNNEEDED_MS, ...drain } });
}

const USUAL = policyOf({});
/** One machine at a time: another one would go the same way beside it. */
const ONE = policyOf({ limits: { max: 1 } });
const SAYS_GOODBYE = policyOf({
  limits: { max: 1 },
  drain: { hooks: { beforeDrain: null, beforeTerminate: 'say-goodbye' } },
});
/** What is let go stops; so long as this is the policy, it stays. */
const POOL = policyOf({ limits: { max: 1 }, burst: { warmPool: { max: 2, maxAgeMs: 24 * 60 * MINUTE } } });
const TASK_S = 10;
const LONG_TASK_S = 240;

const RUN_INSTANCES: Target = { site: 'cloud.runInstances' };
const LIST: Target = { site: 'cloud.listInstances' };
const TERMINATE: Target = { site: 'cloud.terminateInstances' };
const STOP: Target = { site: 'cloud.stopInstance' };
const START: Target = { site: 'cloud.startInstance' };
const RUN_SCRIPT: Target = { site: 'session.runScript' };

const precededBy = (at: Target): Scenario['effect'] => ({ at, precedes: true });
const followedBy = (at: Target): Scenario['effect'] => ({ at, precedes: false });
const ringFor = (kind: 'launch' | 'machine'): Target => ({
  site: 'wake.ring',
  matches: ([jobs]) => (jobs as readonly { readonly kind: string }[]).some((job) => job.kind === kind),
});

/** The step's own compare-and-set. */
const stepTo = (from: MachineState, to: MachineState): Target => ({
  site: 'machines.transition',
  matches: ([machine, transition]) =>
    (machine as { readonly state: string }).state === from && (transition as { readonly to: string }).to === to,
});
const planOf = (act: 'launches' | 'drains' | 'undrains' | 'starts' | 'retires'): Target => ({
  site: 'planning.commit',
  matches: ([commit]) => (commit as Readonly<Record<typeof act, readonly unknown[]>>)[act].length > 0,
});

const work = async (world: World): Promise<unknown> => await world.submit(1, TASK_S);
const longWork = async (world: World): Promise<unknown> => await world.submit(1, LONG_TASK_S);

async function until(world: World, state: MachineState): Promise<void> {
  await world.runUntil(`a machine is ${state}`, async () => (await world.count('machines', state)) > 0, 20 * MINUTE);
}

async function untilIdle(world: World): Promise<void> {
  await work(world);
  await world.runUntil('the work is done', async () => (await world.count('tasks', 'done')) === 1, 10 * MINUTE);
}

async function untilWorking(world: World): Promise<void> {
  await longWork(world);
  await world.runUntil('the task runs', async () => (await world.count('tasks', 'running')) === 1, 10 * MINUTE);
}

async function drainAtWork(world: World): Promise<void> {
  await untilWorking(world);
  await drainByHand(world, MINUTE);
}

async function endInstance(world: World): Promise<void> {
  if (!world.region.shutDownFromInside(await onlyInstanceId(world))) throw new Error('the instance does not run');
}

function setDeaf(world: World, deaf: boolean): void {
  world.wake.deaf = deaf;
}

function setClosed(world: World, closed: boolean): void {
  world.hosts.manners.closed = closed;
}

function setSilent(world: World, silent: boolean): void {
  for (const agent of world.hosts.listAgents()) agent.silent = silent;
}

async function untilStopping(world: World): Promise<void> {
  await untilIdle(world);
  await until(world, 'stopping');
}

async function untilStopped(world: World): Promise<void> {
  await untilIdle(world);
  await until(world, 'stopped');
}

/** Without a pool nothing stays stopped. */
function dropPool(world: World): void {
  world.region.faults.clear();
  world.policies = [ONE];
}

/** An operator at the console of AWS. */
async function byHand(world: World, action: 'StartInstances' | 'TerminateInstances'): Promise<void> {
  world.region.perform(action, { InstanceIds: [await onlyInstanceId(world)] });
}

function failStops(world: World, code: 'InternalError' | 'UnsupportedOperation'): void {
  world.region.faults.failNext('StopInstances', { code, times: 100 });
}

/** An instance that ends by itself: a listing tells of it. */
const gone = (from: MachineState): Pick<Scenario, 'provoke' | 'record' | 'effect'> => ({
  provoke: endInstance,
  record: stepTo(from, 'terminated'),
  effect: precededBy(LIST),
});

/** One for each transition of the table; without one, nothing compiles. */
export const SCENARIOS: Readonly<Record<MachineTransition, Scenario>> = {
  '>requested': { policy: USUAL, provoke: work, record: planOf('launches'), effect: followedBy(ringFor('launch')) },
  'requested>launching': {
    policy: USUAL,
    provoke: work,
    record: { site: 'launches.beginCall' },
    effect: followedBy(RUN_INSTANCES),
  },
  'requested>terminated': {
    // Nobody hears of the launch until its deadline has passed.
    policy: ONE,
    async reach(world) {
      world.wake.deaf = true;
      await work(world);
      await until(world, 'requested');
      await world.run(10 * MINUTE);
    },
    provoke: (world) => setDeaf(world, false),
    record: { site: 'launches.close' },
    effect: null,
  },
  'launching>booting': {
    policy: USUAL,
    provoke: work,
    record: { site: 'launches.fulfil' },
    effect: precededBy(RUN_INSTANCES),
  },
  'launching>terminated': {
    policy: ONE,
    async provoke(world) {
      world.region.faults.setCapacity([{ instanceType: '*', zone: '*', market: '*', instancesMax: 0 }]);
      await work(world);
    },
    calm: (world) => world.region.faults.setCapacity([]),
    // The first refusal takes the launch to the other zone, the second finds nothing left.
    record: { site: 'launches.moveOn', matches: ([, attempt]) => attempt === 2 },
    effect: precededBy(RUN_INSTANCES),
  },
  'booting>joining': {
    policy: USUAL,
    provoke: work,
    record: stepTo('booting', 'joining'),
    effect: precededBy({ site: 'shell.isOpen' }),
  },
  'booting>terminating': {
    policy: ONE,
    async provoke(world) {
      world.hosts.manners.closed = true;
      await work(world);
    },
    calm: (world) => setClosed(world, false),
    record: stepTo('booting', 'terminating'),
    effect: followedBy(TERMINATE),
  },
  'booting>terminated': {
    policy: ONE,
    async reach(world) {
      setClosed(world, true);
      await work(world);
      await until(world, 'booting');
      await world.run(30_000);
    },
    ...gone('booting'),
    calm: (world) => setClosed(world, false),
  },
  'joining>ready': { policy: USUAL, provoke: work, record: stepTo('joining', 'ready'), effect: precededBy(RUN_SCRIPT) },
  'joining>terminating': {
    policy: ONE,
    async provoke(world) {
      world.hosts.manners.joinExit = 3;
      await work(world);
    },
    calm(world) {
      world.hosts.manners.joinExit = 0;
    },
    record: stepTo('joining', 'terminating'),
    effect: precededBy(RUN_SCRIPT),
  },
  'joining>terminated': {
    policy: ONE,
    async reach(world) {
      world.hosts.manners.agentMute = true;
      await work(world);
      await until(world, 'joining');
    },
    ...gone('joining'),
    calm(world) {
      world.hosts.manners.agentMute = false;
    },
  },
  'ready>draining': {
    policy: USUAL,
    reach: untilIdle,
    provoke: async () => undefined,
    record: planOf('drains'),
    effect: followedBy(ringFor('machine')),
  },
  'ready>terminating': {
    // A floor keeps the machine; only its agent is lost.
    policy: policyOf({ limits: { min: 1, max: 1 } }),
    reach: untilIdle,
    provoke: (world) => setSilent(world, true),
    calm: (world) => (world.policies = [ONE]),
    record: stepTo('ready', 'terminating'),
    effect: followedBy(TERMINATE),
  },
  'ready>terminated': { policy: ONE, reach: untilWorking, ...gone('ready') },
  'draining>ready': {
    policy: ONE,
    async reach(world) {
      await untilIdle(world);
      await until(world, 'draining');
      // Before the agent answers to the cordon: the drain lasts until work is there.
      setSilent(world, true);
    },
    provoke: work,
    calm: (world) => setSilent(world, false),
    record: planOf('undrains'),
    effect: followedBy(ringFor('machine')),
  },
  'draining>leaving': {
    policy: policyOf({ drain: { hooks: { beforeDrain: 'save-state', beforeTerminate: null } } }),
    reach: untilIdle,
    provoke: async () => undefined,
    record: stepTo('draining', 'leaving'),
    effect: precededBy(RUN_SCRIPT),
  },
  'draining>terminating': {
    policy: policyOf({ limits: { max: 1 }, drain: { deadlineMs: MINUTE, onDeadline: 'terminate' } }),
    async reach(world) {
      world.truth.killsAllowed = true;
      await drainAtWork(world);
    },
    provoke: async () => undefined,
    record: stepTo('draining', 'terminating'),
    effect: followedBy(TERMINATE),
  },
  'draining>terminated': { policy: ONE, reach: drainAtWork, ...gone('draining') },
  'leaving>terminating': {
    policy: SAYS_GOODBYE,
    reach: untilIdle,
    provoke: async () => undefined,
    record: stepTo('leaving', 'terminating'),
    effect: precededBy(RUN_SCRIPT),
  },
  'leaving>terminated': {
    policy: SAYS_GOODBYE,
    async reach(world) {
      world.hosts.manners.exits.set('say-goodbye', 1);
      await untilIdle(world);
      await until(world, 'leaving');
    },
    ...gone('leaving'),
    calm: (world) => world.hosts.manners.exits.clear(),
  },
  'leaving>stopping': {
    policy: POOL,
    reach: untilIdle,
    provoke: async () => undefined,
    calm: dropPool,
    record: { site: 'machines.stopInPool' },
    effect: followedBy(STOP),
  },
  'stopping>stopped': {
    policy: POOL,
    reach: untilIdle,
    provoke: async () => undefined,
    calm: dropPool,
    record: stepTo('stopping', 'stopped'),
    effect: precededBy(STOP),
  },
  'stopping>booting': {
    policy: POOL,
    async reach(world) {
      await untilStopping(world);
      setDeaf(world, true);
      await world.run(5000);
    },
    // Before the service hears that it has stopped.
    async provoke(world) {
      await byHand(world, 'StartInstances');
      setDeaf(world, false);
    },
    calm: dropPool,
    record: stepTo('stopping', 'booting'),
    effect: precededBy(LIST),
  },
  'stopping>terminating': {
    policy: POOL,
    reach: untilIdle,
    provoke: (world) => failStops(world, 'UnsupportedOperation'),
    calm: dropPool,
    record: stepTo('stopping', 'terminating'),
    effect: precededBy(STOP),
  },
  'stopping>terminated': {
    policy: POOL,
    async reach(world) {
      await untilIdle(world);
      failStops(world, 'InternalError');
      await until(world, 'stopping');
    },
    ...gone('stopping'),
    calm: dropPool,
  },
  'stopped>booting': {
    policy: POOL,
    reach: untilStopped,
    provoke: work,
    calm: dropPool,
    record: planOf('starts'),
    effect: followedBy(START),
  },
  'booting>stopped': {
    policy: POOL,
    reach: untilStopped,
    async provoke(world) {
      world.region.faults.setCapacity([{ instanceType: '*', zone: '*', market: '*', instancesMax: 0 }]);
      await work(world);
    },
    calm: dropPool,
    record: stepTo('booting', 'stopped'),
    effect: precededBy(START),
  },
  'stopped>terminating': {
    policy: POOL,
    reach: untilStopped,
    provoke: dropPool,
    record: planOf('retires'),
    effect: followedBy(TERMINATE),
  },
  'stopped>terminated': {
    policy: POOL,
    reach: untilStopped,
    provoke: async (world) => await byHand(world, 'TerminateInstances'),
    calm: dropPool,
    record: stepTo('stopped', 'terminated'),
    effect: precededBy(LIST),
  },
  ...FORGOTTEN,
  'terminating>terminated': {
    policy: USUAL,
    reach: untilIdle,
    provoke: async () => undefined,
    record: stepTo('terminating', 'terminated'),
    effect: precededBy(TERMINATE),
  },
};
