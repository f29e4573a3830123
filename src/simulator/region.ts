/**
 * The simulated region's core: a deterministic state machine without I/O. Time comes from the clock, randomness from
 * the ids, and what an instance is follows from its launch and the time; so the same calls at the same times with the
 * same ids give the same answers, on a real clock as on a virtual one.
 */
import type { Bill } from './bill.ts';
import { writeBill } from './bill.ts';
import * as fleet from './describe-fleet.ts';
import * as market from './describe-market.ts';
import * as connect from './instance-connect.ts';
import * as power from './power.ts';
import { Ec2Error } from './ec2-error.ts';
import type { RegionEvent } from './events.ts';
import { billedThingOf } from './events.ts';
import { Faults } from './faults.ts';
import { parseIamPolicy } from './iam.ts';
import type { InstanceState, LifeStep, SimulatedInstance } from './life.ts';
import { endLife, insertStep, isAlive, lastStartMs, runAt, stateAt } from './life.ts';
import type { RegionState } from './region-state.ts';
import { runInstances } from './run-instances.ts';
import type { TokenDemand } from './throttle.ts';
import { Throttle } from './throttle.ts';
import type { RegionSettings } from './world.ts';
import { DEFAULT_SETTINGS, listImages, listSubnets } from './world.ts';
import type { Clock } from '../ports/clock.ts';
import type { Ids } from '../ports/ids.ts';
import type { EpochMs } from '../model/time.ts';
import type { Architecture, Market } from '../model/offering.ts';

const PAGED = ['Filters', 'MaxResults', 'NextToken'];

/**
 * Each action, what does it, and the members of its request that mean something here. A request with any other member
 * is refused: a simulation that ignores what it was told would prove things that are not so.
 */
const ACTIONS = {
  CreateTags: { perform: fleet.createTags, members: ['Resources', 'Tags'] },
  DescribeImages: { perform: market.describeImages, members: [...PAGED, 'ImageIds', 'Owners'] },
  DescribeInstances: { perform: fleet.describeInstances, members: [...PAGED, 'InstanceIds'] },
  DescribeInstanceStatus: {
    perform: fleet.describeInstanceStatus,
    members: [...PAGED, 'InstanceIds', 'IncludeAllInstances'],
  },
  DescribeInstanceTypeOfferings: { perform: market.describeInstanceTypeOfferings, members: [...PAGED, 'LocationType'] },
  DescribeInstanceTypes: { perform: market.describeInstanceTypes, members: [...PAGED, 'InstanceTypes'] },
  DescribeSpotInstanceRequests: {
    perform: fleet.describeSpotInstanceRequests,
    members: [...PAGED, 'SpotInstanceRequestIds'],
  },
  DescribeSpotPriceHistory: {
    perform: market.describeSpotPriceHistory,
    members: [...PAGED, 'InstanceTypes', 'AvailabilityZone', 'ProductDescriptions', 'StartTime', 'EndTime'],
  },
  DescribeSubnets: { perform: market.describeSubnets, members: [...PAGED, 'SubnetIds'] },
  GetConsoleOutput: { perform: fleet.getConsoleOutput, members: ['InstanceId', 'Latest'] },
  RunInstances: {
    perform: runInstances,
    members: [
      'BlockDeviceMappings',
      'ClientToken',
      'CreditSpecification',
      'IamInstanceProfile',
      'ImageId',
      'InstanceInitiatedShutdownBehavior',
      'InstanceMarketOptions',
      'InstanceType',
      'MaxCount',
      'MetadataOptions',
      'MinCount',
      'NetworkInterfaces',
      'SecurityGroupIds',
      'SubnetId',
      'TagSpecifications',
      'UserData',
    ],
  },
  SendSSHPublicKey: {
    perform: connect.sendSshPublicKey,
    members: ['AvailabilityZone', 'InstanceId', 'InstanceOSUser', 'SSHPublicKey'],
  },
  StartInstances: { perform: power.startInstances, members: ['InstanceIds'] },
  StopInstances: { perform: power.stopInstances, members: ['InstanceIds'] },
  TerminateInstances: { perform: fleet.terminateInstances, members: ['InstanceIds'] },
} as const;

export type Ec2Action = keyof typeof ACTIONS;
export type Ec2Input<A extends Ec2Action> = Parameters<(typeof ACTIONS)[A]['perform']>[1];
export type Ec2Output<A extends Ec2Action> = ReturnType<(typeof ACTIONS)[A]['perform']>;

export interface RegionOptions {
  readonly clock: Clock;
  readonly ids: Ids;
  /** What differs from {@link DEFAULT_SETTINGS}. */
  readonly settings?: Partial<RegionSettings>;
  /** A rendered IAM policy that every call must satisfy; null or left out = everything is allowed. */
  readonly iamPolicy?: string | null;
}

/** An instance as the region itself knows it: without lag, for tests, checkers and hosts. */
export interface InstanceView {
  readonly instanceId: string;
  readonly instanceType: string;
  readonly vcpus: number;
  readonly memoryMib: number;
  readonly gpus: number;
  readonly arch: Architecture;
  readonly zone: string;
  readonly market: Market;
  readonly state: InstanceState;
  readonly privateIp: string;
  readonly clientToken: string;
  readonly tags: Readonly<Record<string, string>>;
  /** base64, as it came with the launch. */
  readonly userData: string | null;
  readonly launchedAtMs: EpochMs;
  /** Of the last start; the launch is the first. This and what follows tell of the time since then. */
  readonly startedAtMs: EpochMs;
  readonly runningAtMs: EpochMs | null;
  readonly bootedAtMs: EpochMs | null;
  readonly endedAtMs: EpochMs | null;
  readonly terminatedAtMs: EpochMs | null;
}

export class Region {
  readonly settings: RegionSettings;
  readonly faults = new Faults();
  private readonly state: RegionState;
  private readonly throttle = new Throttle();

  constructor({ clock, ids, settings, iamPolicy }: RegionOptions) {
    this.settings = Object.freeze({ ...DEFAULT_SETTINGS, ...settings });
    this.state = {
      settings: this.settings,
      clock,
      ids,
      faults: this.faults,
      policy: iamPolicy === undefined || iamPolicy === null ? null : parseIamPolicy(iamPolicy),
      subnets: listSubnets(this.settings),
      images: listImages(),
      instances: new Map(),
      living: new Map(),
      describable: new Map(),
      terminated: [],
      addresses: new Set(),
      tokens: new Map(),
      events: [],
      pushedKeys: new Map(),
      nextAddress: new Map(),
    };
  }

  /**
   * Performs one EC2 call with the SDK's own request and answer shapes. Throws {@link Ec2Error} where EC2 answers with
   * an error; such a call has had no effect. Lost and late answers are up to whoever carries the call (`faults`).
   */
  perform<A extends Ec2Action>(action: A, input: Ec2Input<A>): Ec2Output<A> {
    const nowMs = this.state.clock.nowMs();
    this.advance(nowMs);
    if (this.settings.throttling) this.throttle.take(demandOf(action, input), nowMs);
    const injected = this.faults.takeError(action);
    if (injected !== null) throw injected;
    requireKnownMembers(action, input);
    const perform = ACTIONS[action].perform as (state: RegionState, input: Ec2Input<A>) => Ec2Output<A>;
    const output = perform(this.state, input);
    this.advance(nowMs);
    return output;
  }

  /** Writes the events of everything that has happened up to `nowMs` into the log. Calls do this by themselves. */
  advance(nowMs: EpochMs): void {
    const due: { step: LifeStep; instance: SimulatedInstance }[] = [];
    for (const instance of this.state.living.values()) {
      const { steps } = instance;
      for (
        let step = steps[instance.announced];
        step !== undefined && step.atMs <= nowMs;
        step = steps[instance.announced]
      ) {
        due.push({ step, instance });
        instance.announced += 1;
      }
    }
    due.sort((a, b) => a.step.atMs - b.step.atMs || a.instance.ordinal - b.instance.ordinal);
    for (const { step, instance } of due) {
      this.state.events.push({
        seq: this.state.events.length,
        ...step,
        instanceId: instance.instanceId,
        launched: step === instance.steps[0] ? billedThingOf(instance) : null,
      });
      if (step.kind === 'terminated') this.bury(instance, step.atMs);
    }
    this.forget(nowMs);
  }

  private bury({ instanceId, privateIp }: SimulatedInstance, atMs: EpochMs): void {
    this.state.living.delete(instanceId);
    this.state.addresses.delete(privateIp);
    this.state.terminated.push({ instanceId, atMs });
  }

  private forget(nowMs: EpochMs): void {
    const { terminated, describable } = this.state;
    const kept = terminated.findIndex(({ atMs }) => nowMs - atMs <= this.settings.terminatedVisibleMs);
    for (const { instanceId } of terminated.splice(0, kept < 0 ? terminated.length : kept))
      describable.delete(instanceId);
  }

  /** The next moment at which something happens by itself; null when nothing will. */
  nextChangeAtMs(): EpochMs | null {
    let next: EpochMs | null = null;
    for (const { steps, announced } of this.state.living.values()) {
      const atMs = steps[announced]?.atMs;
      if (atMs !== undefined && (next === null || atMs < next)) next = atMs;
    }
    return next;
  }

  /** The log from event number `seq` on, up to now. */
  eventsSince(seq: number): readonly RegionEvent[] {
    this.advance(this.state.clock.nowMs());
    return this.state.events.slice(seq);
  }

  bill(): Bill {
    const nowMs = this.state.clock.nowMs();
    this.advance(nowMs);
    return writeBill(this.state.events, nowMs, this.settings.seed);
  }

  instances(): InstanceView[] {
    const nowMs = this.state.clock.nowMs();
    return [...this.state.instances.values()].map((instance) => viewOf(instance, nowMs));
  }

  findInstance(instanceId: string): InstanceView | null {
    const instance = this.state.instances.get(instanceId);
    return instance === undefined ? null : viewOf(instance, this.state.clock.nowMs());
  }

  /** AWS takes a spot instance back: notice now, the end after the notice time. False when it is not there to take. */
  interrupt(instanceId: string): boolean {
    const nowMs = this.state.clock.nowMs();
    const instance = this.state.living.get(instanceId);
    const isNoticed = instance?.steps.some(({ kind }) => kind === 'interruption-notice') ?? false;
    if (instance === undefined || instance.market !== 'spot' || isNoticed || !isAlive(instance, nowMs)) return false;
    const { spotNoticeMs, terminateMs } = this.settings;
    endLife(instance, { atMs: nowMs + spotNoticeMs, takesMs: terminateMs, cause: 'spot', to: 'terminated' });
    insertStep(instance, { atMs: nowMs, kind: 'interruption-notice', cause: 'spot' });
    this.advance(nowMs);
    return true;
  }

  /** When a spot instance ends that was given notice; null = it was not. */
  interruptedAtMs(instanceId: string): EpochMs | null {
    const steps = this.state.instances.get(instanceId)?.steps ?? [];
    const noticed = steps.find(({ kind, cause }) => kind === 'interruption-notice' && cause === 'spot');
    return noticed === undefined ? null : noticed.atMs + this.settings.spotNoticeMs;
  }

  /** `shutdown` inside the instance: it stops or terminates, as it was launched to. False when it does not run. */
  shutDownFromInside(instanceId: string): boolean {
    const nowMs = this.state.clock.nowMs();
    const instance = this.state.living.get(instanceId);
    if (instance === undefined || stateAt(instance, nowMs) !== 'running') return false;
    const to = instance.shutdownBehavior === 'terminate' ? 'terminated' : 'stopped';
    endLife(instance, { atMs: nowMs, takesMs: this.settings.terminateMs, cause: 'guest', to });
    this.advance(nowMs);
    return true;
  }

  /** Public keys that a user of an instance may log in with now: an instance has no others that were not in its user-data. */
  pushedKeys(instanceId: string, user: string): readonly string[] {
    return connect.pushedKeysOf(this.state, instanceId, user);
  }

  /** Somebody changes a tag in the console of AWS; null = takes it away. */
  tagInstance(instanceId: string, key: string, value: string | null): void {
    const tags = this.state.instances.get(instanceId)?.tags;
    if (value === null) tags?.delete(key);
    else tags?.set(key, value);
  }

  /** Replaces what GetConsoleOutput shows; a host calls it when it has booted. EC2 keeps the last 64 KB. */
  writeConsole(instanceId: string, text: string): void {
    const instance = this.state.instances.get(instanceId);
    if (instance !== undefined) instance.consoleText = text.slice(-65_536);
  }
}

function viewOf(instance: SimulatedInstance, nowMs: EpochMs): InstanceView {
  const run = runAt(instance, nowMs);
  const timeOf = (...kinds: LifeStep['kind'][]) => run.find(({ kind }) => kinds.includes(kind))?.atMs ?? null;
  return {
    instanceId: instance.instanceId,
    instanceType: instance.type.name,
    vcpus: instance.type.vcpus,
    memoryMib: instance.type.memoryMib,
    gpus: instance.type.gpus,
    arch: instance.type.arch,
    zone: instance.subnet.zone,
    market: instance.market,
    state: stateAt(instance, nowMs),
    privateIp: instance.privateIp,
    clientToken: instance.clientToken,
    tags: Object.fromEntries(instance.tags),
    userData: instance.userData,
    launchedAtMs: instance.launchedAtMs,
    startedAtMs: lastStartMs(instance, nowMs),
    runningAtMs: timeOf('running'),
    bootedAtMs: timeOf('booted'),
    endedAtMs: timeOf('shutting-down', 'stopping', 'terminated'),
    terminatedAtMs: timeOf('terminated'),
  };
}

function requireKnownMembers(action: Ec2Action, input: object): void {
  const known: readonly string[] = ACTIONS[action].members;
  const unknown = Object.entries(input).find(
    ([key, value]) => value !== undefined && key !== 'DryRun' && !known.includes(key),
  );
  if (unknown !== undefined) {
    throw new Ec2Error('UnsupportedOperation', `The simulated region does not implement ${unknown[0]} of ${action}`);
  }
}

/** Calls about the fleet have a smaller bucket when they ask for everything at once. */
const FLEET_READS: readonly Ec2Action[] = [
  'DescribeInstances',
  'DescribeInstanceStatus',
  'DescribeSpotInstanceRequests',
];

function demandOf(action: Ec2Action, input: object): TokenDemand {
  const request = input as { MaxCount?: number; InstanceIds?: unknown[]; Filters?: unknown[]; MaxResults?: number };
  const { MaxCount: wanted = 0, InstanceIds: ids = [], Filters: filters = [], MaxResults: pageSize } = request;
  const isWhole = ids.length === 0 && filters.length === 0 && pageSize === undefined;
  return {
    action,
    resources: action === 'RunInstances' ? wanted : ids.length,
    unpaged: isWhole && FLEET_READS.includes(action),
  };
}
