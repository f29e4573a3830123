import type { AgentId, MachineId } from '../../src/model/ids.ts';
import { ANYWHERE, type Constraints } from '../../src/model/constraints.ts';
import type { Offering } from '../../src/model/offering.ts';
import type {
  BurstLimits,
  DemandPolicy,
  DrainPolicy,
  InstanceRequirements,
  WarmPoolPolicy,
  WorkloadPolicy,
} from '../../src/model/policy.ts';
import type { Resources } from '../../src/model/resources.ts';
import { planAll } from '../../src/planner/plan.ts';
import type {
  AgentView,
  MachineView,
  PendingShape,
  PlanAction,
  PlannerInput,
  UtilizationView,
  WorkloadInput,
  WorkloadPlan,
} from '../../src/planner/types.ts';
import { aDrainPolicy } from '../support/drain-policy.ts';

export const NOW = Date.UTC(2026, 10, 22, 12);
export const GIB = 1024;

/** The policy's queue task: 2 vCPU with 2 GiB, so that a large of any family holds one. */
export const TASK: Resources = { cpuMilli: 2000, memoryMib: 2 * GIB, gpus: 0 };

export function cores(count: number, gib = count): Resources {
  return { cpuMilli: count * 1000, memoryMib: gib * GIB, gpus: 0 };
}

const SIZES: readonly [string, number][] = [
  ['large', 2],
  ['xlarge', 4],
  ['2xlarge', 8],
  ['4xlarge', 16],
  ['8xlarge', 32],
  ['16xlarge', 64],
];

const FAMILIES: readonly { name: string; gibPerCpu: number; usdPerCpu: number; arm?: boolean; burst?: boolean }[] = [
  { name: 'c6a', gibPerCpu: 2, usdPerCpu: 0.03825 },
  { name: 'c6g', gibPerCpu: 2, usdPerCpu: 0.034, arm: true },
  { name: 'm6a', gibPerCpu: 4, usdPerCpu: 0.0432 },
  { name: 'r6a', gibPerCpu: 8, usdPerCpu: 0.0567 },
  { name: 't3', gibPerCpu: 4, usdPerCpu: 0.01, burst: true },
];

export const ZONES = ['eu-central-1a', 'eu-central-1b'] as const;

/** Every type of a small region in both zones on both markets; spot costs 40 %. */
export function allOfferings(): Offering[] {
  const offerings: Offering[] = [];
  for (const family of FAMILIES) {
    for (const [size, vcpus] of SIZES) {
      for (const zone of ZONES) {
        for (const market of ['on-demand', 'spot'] as const) {
          offerings.push({
            instanceType: {
              name: `${family.name}.${size}`,
              family: family.name,
              resources: cores(vcpus, vcpus * family.gibPerCpu),
              architecture: family.arm === true ? 'arm64' : 'x86_64',
              burstable: family.burst === true,
            },
            zone,
            subnetId: `subnet-${zone}`,
            market,
            priceUsdPerHour: Math.round(vcpus * family.usdPerCpu * (market === 'spot' ? 0.4 : 1) * 1e6) / 1e6,
          });
        }
      }
    }
  }
  return offerings;
}

/** Types with GPUs, for those who ask for them: 8 vCPU and 32 GiB for each of 1, 4 or 8. */
export function gpuOfferings(): Offering[] {
  return [1, 4, 8].flatMap((gpus) =>
    ZONES.flatMap((zone) =>
      (['on-demand', 'spot'] as const).map((market) => ({
        instanceType: {
          name: `g5.${gpus}`,
          family: 'g5',
          resources: { ...cores(8 * gpus, 32 * gpus), gpus },
          architecture: 'x86_64' as const,
          burstable: false,
        },
        zone,
        subnetId: `subnet-${zone}`,
        market,
        priceUsdPerHour: gpus * (market === 'spot' ? 0.4 : 1),
      })),
    ),
  );
}

export interface PolicyOptions {
  readonly name?: string;
  readonly demand?: Partial<DemandPolicy>;
  readonly limits?: Partial<BurstLimits>;
  readonly instances?: Partial<InstanceRequirements>;
  readonly market?: Partial<WorkloadPolicy['burst']['market']>;
  readonly hourlyUsd?: number | null;
  readonly cooldown?: Partial<WorkloadPolicy['drain']['cooldown']>;
  readonly drain?: Partial<DrainPolicy>;
  readonly selector?: Readonly<Record<string, string>>;
  readonly maxWaitMs?: number;
  readonly image?: WorkloadPolicy['burst']['image'];
  readonly warmPool?: WarmPoolPolicy;
}

export function policy(options: PolicyOptions = {}): WorkloadPolicy {
  return {
    name: options.name ?? 'ci',
    agents: { selector: options.selector ?? { pool: 'ci' } },
    demand: {
      utilization: null,
      queue: { source: 'bullmq', task: TASK, maxWaitMs: options.maxWaitMs ?? 0 },
      headroom: null,
      freshnessMs: 30_000,
      ...options.demand,
    },
    burst: {
      region: 'eu-central-1',
      subnets: ZONES.map((zone) => `subnet-${zone}`),
      securityGroups: ['sg-1'],
      image: options.image ?? { x86_64: 'ami-x86' },
      instanceProfile: null,
      volumeGib: 20,
      instances: {
        cpu: null,
        memoryMib: null,
        memoryMibPerCpu: null,
        families: [],
        exclude: [],
        ...options.instances,
      },
      market: { spot: 0, onDemandBase: 0, ...options.market },
      limits: {
        min: 0,
        max: 50,
        vcpus: null,
        launchesPerHour: 1000,
        maxScaleUp: 1000,
        maxScaleDown: 1000,
        ...options.limits,
      },
      budget: { hourlyUsd: options.hourlyUsd ?? null },
      ...(options.warmPool === undefined ? {} : { warmPool: options.warmPool }),
    },
    join: {
      ssh: { user: 'ubuntu', port: 22, identityFile: '/key', hostKey: 'injected' },
      recipe: { script: null, env: {} },
      ready: { command: null, deadlineMs: 300_000 },
    },
    drain: aDrainPolicy({ cooldown: { scaleUpMs: 0, scaleDownMs: 0, ...options.cooldown }, ...options.drain }),
  };
}

export function pending(
  shape: Resources,
  count: number,
  overdue = count,
  constraints: Partial<Constraints> = {},
): PendingShape {
  return { shape, ...ANYWHERE, ...constraints, count, overdue, oldestPendingSinceMs: NOW - 60_000, runTimeS: null };
}

export function workload(options: Partial<WorkloadInput> = {}): WorkloadInput {
  return {
    policy: policy(),
    pending: [],
    utilization: null,
    offerings: allOfferings(),
    unavailableOfferings: 0,
    launchedLastHour: 0,
    lastLaunchAtMs: null,
    lastDrainAtMs: null,
    cloudViewFresh: true,
    ...options,
  };
}

export function agentId(number: number): AgentId {
  return `ag-${String(number).padStart(12, '0')}`;
}

export function machineId(number: number): MachineId {
  return `mc-${String(number).padStart(12, '0')}`;
}

export function agent(number: number, options: Partial<AgentView> = {}): AgentView {
  return {
    id: agentId(number),
    site: 'on-prem',
    labels: { pool: 'ci' },
    capacity: cores(8),
    allocated: { cpuMilli: 0, memoryMib: 0, gpus: 0 },
    runningTasks: 0,
    cordoned: false,
    lastSeenAtMs: NOW - 1000,
    machineId: null,
    ...options,
  };
}

export function machine(number: number, options: Partial<MachineView> = {}): MachineView {
  return {
    id: machineId(number),
    workload: 'ci',
    state: 'ready',
    revision: 4,
    instanceType: 'm6a.xlarge',
    resources: cores(4, 16),
    zone: ZONES[0],
    market: 'on-demand',
    priceUsdPerHour: 0.1728,
    createdAtMs: NOW - 3_600_000,
    idleSinceMs: null,
    drainIrrevocable: false,
    agentId: null,
    ...options,
  };
}

/** A ready machine with its agent; without tasks and idle for `idleMs` unless said otherwise. */
export function readyMachine(
  number: number,
  options: { machine?: Partial<MachineView>; agent?: Partial<AgentView>; idleMs?: number } = {},
): { machine: MachineView; agent: AgentView } {
  return {
    machine: machine(number, {
      agentId: agentId(1000 + number),
      idleSinceMs: NOW - (options.idleMs ?? 3_600_000),
      ...options.machine,
    }),
    agent: agent(1000 + number, {
      site: 'aws',
      labels: {},
      capacity: cores(4, 15),
      machineId: machineId(number),
      ...options.agent,
    }),
  };
}

export function drainingMachine(
  number: number,
  options: Parameters<typeof readyMachine>[1] = {},
): { machine: MachineView; agent: AgentView } {
  return readyMachine(number, {
    ...options,
    machine: { state: 'draining', ...options.machine },
    agent: { cordoned: true, ...options.agent },
  });
}

/** A machine that was stopped a while ago and costs its volume only. */
export function stoppedMachine(number: number, options: Partial<MachineView> = {}): MachineView {
  return machine(number, {
    state: 'stopped',
    arch: 'x86_64',
    imageId: 'ami-x86',
    stoppedSinceMs: NOW - 600_000,
    endReason: 'scale-down',
    ...options,
  });
}

/** The machine as the commit of a plan leaves it that starts or retires it. */
export function movedFromStopped(view: MachineView, to: 'start' | 'retire'): MachineView {
  const { stoppedSinceMs: _since, imageId: _image, startHeld: _held, ...rest } = view;
  return to === 'start' ? { ...rest, state: 'booting', endReason: null } : { ...rest, state: 'terminating' };
}

export interface World {
  readonly workload?: Partial<WorkloadInput>;
  readonly agents?: readonly AgentView[];
  readonly machines?: readonly MachineView[];
  readonly pairs?: readonly { machine: MachineView; agent: AgentView }[];
}

export function input({ workload: options = {}, agents = [], machines = [], pairs = [] }: World): PlannerInput {
  return {
    nowMs: NOW,
    workloads: [workload(options)],
    agents: [...agents, ...pairs.map((pair) => pair.agent)],
    machines: [...machines, ...pairs.map((pair) => pair.machine)],
  };
}

/** The one workload's plan. */
export function plan(world: World): WorkloadPlan {
  const [only] = planAll(input(world)).workloads;
  if (only === undefined) throw new Error('no workload was planned');
  return only;
}

/** Actions in short: `launch 2 m6a.large on-demand`, `drain 3`, `undrain 4`. */
export function short(actions: readonly PlanAction[]): string[] {
  return actions.map((action) =>
    action.kind === 'launch'
      ? `launch ${action.count} ${action.offering.instanceType.name} ${action.offering.market}`
      : `${action.kind} ${Number(action.machineId.slice(3))}`,
  );
}

export function launchedMachines(actions: readonly PlanAction[]): number {
  return actions.reduce((sum, action) => sum + (action.kind === 'launch' ? action.count : 0), 0);
}

export function codes(result: WorkloadPlan): string[] {
  return result.report.reasons.map(({ code }) => code);
}

export const UTILIZED = { metric: 'cpu', target: 0.75, windowMs: 120_000 } as const;
export const utilizationOnly = { queue: null, utilization: UTILIZED };

/** Two minutes of fresh samples at a mean CPU share. */
export function samples(cpu: number, options: Partial<UtilizationView> = {}): UtilizationView {
  return { cpu, memory: 0.1, oldestSampleAtMs: NOW - 120_000, newestSampleAtMs: NOW - 1000, ...options };
}

/** A machine that EC2 was not asked for yet. */
export function requested(number: number, options: Partial<MachineView> = {}): MachineView {
  return machine(number, { state: 'requested', ...options });
}
