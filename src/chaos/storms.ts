import { Ec2Error, type Ec2ErrorCode } from '../simulator/ec2-error.ts';
import type { Ec2Output, Region } from '../simulator/region.ts';
import { SIMULATED_IMAGES, SIMULATED_SUBNETS } from '../simulator/world.ts';
import type { MachineState } from '../model/machine.ts';
import { AGENT_LOST_AFTER_MS } from '../model/state-waits.ts';
import type { Market } from '../model/offering.ts';
import { HOUR_MS, MINUTE_MS, SECOND_MS } from '../model/time.ts';
import type { ChaosAgent } from './agents.ts';
import type { ChaosTaskQueues, ChaosWakeQueue } from './queues.ts';
import type { ChaosHosts } from './hosts.ts';
import type { Operators } from './operators.ts';
import type { Replica } from './replica.ts';
import type { Sim } from './sim.ts';

/** What the storms can reach. */
export interface StormWorld {
  readonly sim: Sim;
  readonly region: Region;
  readonly replicas: readonly Replica[];
  readonly wake: ChaosWakeQueue;
  readonly tasks: ChaosTaskQueues;
  readonly owner: string;
  agents(): readonly ChaosAgent[];
  /** An instance of ours that runs, by the name of the choice; null when there is none. */
  someInstance(site: string, market?: Market): string | null;
  /** An instance whose machine is in this state by the rows; null when there is none. */
  instanceIn(state: MachineState): Promise<string | null>;
  /** Another machine of the datacenter takes the identity of this agent, if that is one of the datacenter. */
  clone(agent: ChaosAgent, isWhole: boolean): void;
  addForeign(instanceId: string): void;
  readonly hosts: Pick<ChaosHosts, 'giveNotice' | 'recommendRebalance'>;
  readonly operators: Operators;
  /** The database falls back to what it was a while ago. */
  failOver(): Promise<void>;
  /** The policy of one workload is away for a while. */
  removePolicy(ms: number): void;
  /** No agent is heard of for a while. */
  silence(ms: number): void;
}

/** Each storm looks once a virtual minute; the figure is its probability then. */
const STORMS: Readonly<Record<string, number>> = {
  'ec2-error': 0.05,
  'no-capacity': 0.02,
  partial: 0.02,
  'start-fails': 0.02,
  'page-fails': 0.04,
  'spot-taken': 0.02,
  rebalance: 0.01,
  'machine-ordered': 0.08,
  'agent-ordered': 0.015,
  'tag-protects': 0.015,
  'host-dies': 0.01,
  'struck-on-the-way': 0.03,
  'queue-deaf': 0.006,
  'agent-silent': 0.02,
  'agent-restarts': 0.01,
  'agent-lies': 0.005,
  'agent-cloned': 0.01,
  'all-silent': 0.004,
  'queue-emptied': 0.01,
  'clock-jumps': 0.01,
  failover: 0.004,
  'foreign-instance': 0.005,
  'policy-removed': 0.01,
  'process-killed': 0.03,
  trap: 0.3,
};

/** Codes of every class that EC2 answers launches with; what a token came to before, the region says by itself. */
const LAUNCH_ERRORS: readonly [Ec2ErrorCode, ...Ec2ErrorCode[]] = [
  'InsufficientInstanceCapacity',
  'InsufficientFreeAddressesInSubnet',
  'Unsupported',
  'VcpuLimitExceeded',
  'MaxSpotInstanceCountExceeded',
  'RequestLimitExceeded',
  'UnauthorizedOperation',
  'InvalidParameterValue',
  'InternalError',
  'ServiceUnavailable',
  'Unavailable',
  'RequestExpired',
];
const ANY_ERRORS: readonly [Ec2ErrorCode, ...Ec2ErrorCode[]] = [
  'RequestLimitExceeded',
  'InternalError',
  'ServiceUnavailable',
  'UnauthorizedOperation',
];
const ACTIONS: readonly [string, ...string[]] = [
  'RunInstances',
  'RunInstances',
  'RunInstances',
  'DescribeInstances',
  'TerminateInstances',
  'DescribeInstanceTypes',
  'DescribeSubnets',
  'StartInstances',
  'StopInstances',
];
const START_FAILURES: readonly [string, ...string[]] = [
  'Server.InsufficientInstanceCapacity',
  'Server.InternalError',
  'Client.InternalError',
  'Client.VolumeLimitExceeded',
];

/** Sets the weather going: what happens to the world by itself, whoever is calling. */
export function startStorms(world: StormWorld): void {
  const { sim } = world;
  sim.every(MINUTE_MS, async () => {
    for (const [kind, rate] of Object.entries(STORMS)) {
      if (sim.strikes('storm', kind, rate)) await STRIKE[kind]?.(world);
    }
  });
}

const pickAgent = ({ sim, agents }: StormWorld): ChaosAgent | undefined => {
  const alive = agents().filter((agent) => agent.isAlive());
  return alive[sim.chance.integer('storm:agent', 0, Math.max(0, alive.length - 1))];
};

const pickReplica = ({ sim, replicas }: StormWorld): Replica | undefined =>
  replicas[sim.chance.integer('storm:replica', 0, replicas.length - 1)];

const STRIKE: Readonly<Record<string, (world: StormWorld) => void | Promise<void>>> = {
  'ec2-error': ({ sim, region }) => {
    const action = sim.chance.pick('storm:action', ACTIONS);
    const codes = action === 'RunInstances' || action === 'StartInstances' ? LAUNCH_ERRORS : ANY_ERRORS;
    // The worst order: the first call has its effect and nobody hears of it, and whoever asks again is refused.
    const isHeard = sim.chance.roll('storm:heard').value < 0.5;
    if (!isHeard) region.faults.loseReply(action, 1);
    region.faults.failNext(action, {
      code: sim.chance.pick('storm:code', codes),
      times: sim.chance.integer('storm:times', 1, 4),
      after: isHeard ? 0 : 1,
    });
  },
  'no-capacity': ({ sim, region }) => {
    region.faults.setCapacity([
      {
        instanceType: sim.chance.pick('storm:type', ['c5.*', 'm5.*', '*.large', '*']),
        zone: '*',
        market: '*',
        instancesMax: 0,
        fromMs: sim.nowMs,
        untilMs: sim.nowMs + sim.chance.integer('storm:for', 1, 20) * MINUTE_MS,
      },
    ]);
  },
  partial: ({ region }) => region.faults.fulfilPartially(1),
  'start-fails': ({ sim, region }) => region.faults.failStart(sim.chance.pick('storm:reason', START_FAILURES)),
  'page-fails': ({ sim, region }) =>
    region.faults.failNext('DescribeInstances', {
      code: 'InternalError',
      times: sim.chance.integer('storm:pages', 1, 6),
      after: sim.chance.integer('storm:after', 0, 2),
    }),
  'spot-taken': (world) => {
    const instanceId = world.someInstance('storm:spot', 'spot');
    if (instanceId !== null && world.region.interrupt(instanceId)) world.hosts.giveNotice(instanceId);
  },
  rebalance: (world) => {
    const instanceId = world.someInstance('storm:rebalance', 'spot');
    if (instanceId !== null) world.hosts.recommendRebalance(instanceId);
  },
  'machine-ordered': async ({ operators }) => await operators.orderMachine(),
  'agent-ordered': async ({ operators }) => await operators.orderAgent(),
  'tag-protects': (world) => {
    const instanceId = world.someInstance('storm:tag');
    if (instanceId !== null) world.operators.protectByTag(instanceId);
  },
  'host-dies': (world) => {
    const instanceId = world.someInstance('storm:host');
    if (instanceId !== null) world.region.shutDownFromInside(instanceId);
  },
  'struck-on-the-way': (world) => {
    const state = world.sim.chance.pick('storm:state', PASSING);
    lieInWait(world, state, world.sim.nowMs + LIE_IN_WAIT_MS);
  },
  'queue-deaf': ({ sim, wake }) => wake.goDeaf(sim.chance.integer('storm:deaf', 3, 25) * MINUTE_MS),
  'agent-silent': (world) => {
    const agent = pickAgent(world);
    if (agent !== undefined) {
      agent.fallSilent(world.sim.chance.integer('storm:silent', 10, 900) * SECOND_MS);
    }
  },
  'agent-restarts': (world) => pickAgent(world)?.restart(),
  'agent-cloned': (world) => {
    const agent = pickAgent(world);
    if (agent !== undefined) world.clone(agent, world.sim.chance.roll('storm:whole').value < 0.5);
  },
  'agent-lies': (world) => {
    const agent = pickAgent(world);
    if (agent !== undefined) agent.lies = !agent.lies;
  },
  'all-silent': (world) => world.silence(world.sim.chance.integer('storm:all-silent', 1, 15) * MINUTE_MS),
  'queue-emptied': ({ wake, tasks }) => {
    wake.empty();
    tasks.empty();
  },
  'clock-jumps': (world) => {
    const replica = pickReplica(world);
    if (replica !== undefined) replica.skewMs += world.sim.chance.integer('storm:jump', -60, 60) * MINUTE_MS;
  },
  failover: async (world) => await world.failOver(),
  'foreign-instance': ({ region, owner, addForeign }) => {
    const { Instances = [] } = launchForeign(region, owner);
    for (const { InstanceId } of Instances) if (InstanceId !== undefined) addForeign(InstanceId);
  },
  'policy-removed': (world) => world.removePolicy(world.sim.chance.integer('storm:policy', 2, 20) * MINUTE_MS),
  trap: ({ sim }) => sim.setTrap(),
  'process-killed': (world) => {
    const replica = pickReplica(world);
    if (replica !== undefined) world.sim.crash(replica.proc);
  },
};

/** States that last for seconds or a few minutes: a storm that only looks once a minute would hardly ever find one. */
const PASSING: readonly [MachineState, ...MachineState[]] = ['booting', 'joining', 'draining', 'leaving'];
const LIE_IN_WAIT_MS = HOUR_MS;
const LOOK_EVERY_MS = 2 * SECOND_MS;
const LONG_MS = 15 * MINUTE_MS;
/** Well beyond the silence after which an agent is called lost. */
const LOST_MS = AGENT_LOST_AFTER_MS + 10 * MINUTE_MS;

/** Strikes the next machine that is found in this state. */
function lieInWait(world: StormWorld, state: MachineState, untilMs: number): void {
  const { sim } = world;
  sim.at(LOOK_EVERY_MS, async () => {
    if (!sim.isStormy() || sim.nowMs > untilMs) return;
    const instanceId = await world.instanceIn(state);
    if (instanceId !== null && strikeOnTheWay(world, instanceId)) sim.note(`struck while ${state}`);
    else lieInWait(world, state, untilMs);
  });
}

/** Its host dies, which the service hears of at once or only by a listing; or its agent falls silent. False when it does not run. */
function strikeOnTheWay({ sim, region, wake, agents }: StormWorld, instanceId: string): boolean {
  const how = sim.chance.pick('storm:how', ['dies', 'dies-unheard', 'silent', 'silent']);
  if (how !== 'silent') {
    if (how === 'dies-unheard') wake.goDeaf(LONG_MS);
    return region.shutDownFromInside(instanceId);
  }
  const agent = agents().find(({ name }) => name === `agent-on-${instanceId}`);
  agent?.fallSilent(LOST_MS);
  return agent !== undefined;
}

/** Somebody else's machine under our tag; they meet the same troubles with EC2 as we do. */
function launchForeign(region: Region, owner: string): Ec2Output<'RunInstances'> {
  try {
    return region.perform('RunInstances', {
      ImageId: SIMULATED_IMAGES.x86_64,
      InstanceType: 'm5.large',
      SubnetId: SIMULATED_SUBNETS.a,
      MinCount: 1,
      MaxCount: 1,
      TagSpecifications: [{ ResourceType: 'instance', Tags: [{ Key: 'spillway:owner', Value: owner }] }],
    });
  } catch (error) {
    if (error instanceof Ec2Error) return {};
    throw error;
  }
}
