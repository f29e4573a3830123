/** Worlds for the planner, made with a fixed seed: the same on every machine and in every run. */
import { ANYWHERE } from '../../src/model/constraints.ts';
import type { InstanceType, Offering } from '../../src/model/offering.ts';
import type { WorkloadPolicy } from '../../src/model/policy.ts';
import type { Resources } from '../../src/model/resources.ts';
import type { AgentView, PendingShape, PlannerInput } from '../../src/planner/types.ts';

const NOW_MS = Date.UTC(2026, 10, 22, 12);
/** Karpenter's benchmark draws from these (its scheduling_benchmark_test.go). */
const KARPENTER_CPU_MILLI = [100, 250, 500, 1000, 1500];
const KARPENTER_MEMORY_MIB = [100, 256, 512, 1024, 2048, 4096];
const KARPENTER_TYPES = 400;

export interface Size {
  readonly agents: number;
  readonly tasks: number;
  readonly shapes: number;
}

/** Agents of 16, 32 and 64 cores, each more or less in use, and equally many tasks of each shape. */
export function mixedInput({ agents, tasks, shapes }: Size, offerings: readonly Offering[]): PlannerInput {
  const random = makeRandom(20_261_122);
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)]!;
  // Of 2,000 shapes few would be equal by chance; the step makes sure that none are.
  const pending = Array.from({ length: shapes }, (_, index) =>
    pendingOf(
      {
        cpuMilli: 250 * (1 + Math.floor(random() * 32)),
        memoryMib: 256 * (1 + Math.floor(random() * 64)) + (shapes > 512 ? index : 0),
        gpus: 0,
      },
      tasks / shapes,
      index,
    ),
  );
  return inputOf(
    pending,
    offerings,
    Array.from({ length: agents }, (_, index) => makeAgent(index, pick([16, 32, 64]), random)),
  );
}

/** Karpenter's own mix without its topology rules: no agents, tasks of 30 shapes. */
export function karpenterInput(tasks: number): PlannerInput {
  const random = makeRandom(20_261_122);
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)]!;
  const counts = new Map<string, { shape: Resources; count: number }>();
  for (let task = 0; task < tasks; task += 1) {
    const shape = { cpuMilli: pick(KARPENTER_CPU_MILLI), memoryMib: pick(KARPENTER_MEMORY_MIB), gpus: 0 };
    const key = `${shape.cpuMilli}/${shape.memoryMib}`;
    counts.set(key, { shape, count: (counts.get(key)?.count ?? 0) + 1 });
  }
  const pending = [...counts.values()].map(({ shape, count }, index) => pendingOf(shape, count, index));
  return inputOf(pending, karpenterOfferings(), []);
}

/** Ray's failing case: many agents with little room, and far more equal tasks of two cores than fit there. */
export function rayInput(offerings: readonly Offering[]): PlannerInput {
  const random = makeRandom(20_261_122);
  const agents = Array.from({ length: 1337 }, (_, index) => makeAgent(index, 16, random));
  return inputOf([pendingOf(resources(2, 4096), 13_315, 0)], offerings, agents);
}

function pendingOf(shape: Resources, count: number, index: number): PendingShape {
  const oldestPendingSinceMs = NOW_MS - index * 1000;
  return { shape, count, overdue: count, oldestPendingSinceMs, ...ANYWHERE, runTimeS: null };
}

/** One workload, to which all agents belong. */
export function inputOf(
  pending: readonly PendingShape[],
  offerings: readonly Offering[],
  agents: readonly AgentView[],
): PlannerInput {
  const nothingYet = { utilization: null, unavailableOfferings: 0, launchedLastHour: 0, lastLaunchAtMs: null };
  const workload = { policy: POLICY, pending, offerings, ...nothingYet, lastDrainAtMs: null, cloudViewFresh: true };
  return { nowMs: NOW_MS, workloads: [workload], agents, machines: [] };
}

function makeAgent(index: number, cpus: number, random: () => number): AgentView {
  const used = Math.floor(random() * cpus);
  return {
    id: `ag-${String(index).padStart(12, '0')}`,
    site: 'on-prem',
    labels: { pool: 'bench' },
    capacity: resources(cpus, cpus * 4096),
    allocated: resources(used, used * 3500),
    runningTasks: used,
    cordoned: false,
    lastSeenAtMs: NOW_MS - 1000,
    machineId: null,
  };
}

function resources(cpus: number, memoryMib: number): Resources {
  return { cpuMilli: cpus * 1000, memoryMib, gpus: 0 };
}

/** Families of three ratios with the usual sizes, at plausible prices: 39 types for each generation, each in three zones. */
export function familyOfferings(generations: number): Offering[] {
  const sizes = [1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192];
  const ratios: readonly (readonly [string, number, number])[] = [
    ['c', 2048, 0.04],
    ['m', 4096, 0.046],
    ['r', 8192, 0.06],
  ];
  const types = ratios.flatMap(([letter, mibPerCpu, usdPerCpu]) =>
    Array.from({ length: generations }, (_, step) => `${letter}${5 + step}x`).flatMap((family, step) =>
      sizes.map((cpus) => ({
        type: makeType(family, cpus, cpus * mibPerCpu),
        usd: Math.round(cpus * usdPerCpu * (1 + step / 50) * 1e5) / 1e5,
      })),
    ),
  );
  return types.flatMap(({ type, usd }) => offeringsOf(type, usd));
}

/** Karpenter's fake types: i cores and 2 i GiB, at 0.1 a core and 0.1 a gigabyte. */
function karpenterOfferings(): Offering[] {
  return Array.from({ length: KARPENTER_TYPES }, (_, index) => index + 1).flatMap((cpus) =>
    offeringsOf(makeType('fake', cpus, cpus * 2048), Math.round(cpus * (0.1 + 0.1 * 2 * 1.073_741_824) * 1e6) / 1e6),
  );
}

/** One type in three zones. */
export function offeringsOf(instanceType: InstanceType, priceUsdPerHour: number): Offering[] {
  return ['a', 'b', 'c'].map((zone) => ({
    instanceType,
    zone: `us-east-1${zone}`,
    subnetId: `subnet-${zone}`,
    market: 'on-demand' as const,
    priceUsdPerHour,
  }));
}

function makeType(family: string, cpus: number, memoryMib: number): InstanceType {
  return {
    name: `${family}.${cpus}`,
    family,
    resources: resources(cpus, memoryMib),
    architecture: 'x86_64',
    burstable: false,
  };
}

/** A policy without a limit that binds. */
const POLICY: WorkloadPolicy = {
  name: 'bench',
  agents: { selector: { pool: 'bench' } },
  demand: {
    utilization: null,
    queue: { source: 'bullmq', task: resources(1, 2048), maxWaitMs: 0 },
    headroom: null,
    freshnessMs: 30_000,
  },
  burst: {
    region: 'us-east-1',
    subnets: ['subnet-a', 'subnet-b', 'subnet-c'],
    securityGroups: ['sg-1'],
    image: { x86_64: 'ami-1' },
    instanceProfile: null,
    volumeGib: 20,
    instances: { cpu: null, memoryMib: null, memoryMibPerCpu: null, families: [], exclude: [] },
    market: { spot: 0, onDemandBase: 0 },
    limits: {
      min: 0,
      max: 1_000_000,
      vcpus: null,
      launchesPerHour: 1_000_000,
      maxScaleUp: 1_000_000,
      maxScaleDown: 1_000_000,
    },
    budget: { hourlyUsd: null },
  },
  join: {
    ssh: { user: 'ubuntu', port: 22, identityFile: '/dev/null', hostKey: 'injected' },
    recipe: { script: null, env: {} },
    ready: { command: null, deadlineMs: 300_000 },
  },
  drain: {
    scaleDownUnneededMs: 300_000,
    minimumLifeMs: 0,
    churnPauseMs: 900_000,
    consolidation: 'whenEmpty',
    budgets: [],
    cooldown: { scaleUpMs: 0, scaleDownMs: 120_000 },
    deadlineMs: 1_800_000,
    onDeadline: 'wait',
    hooks: { beforeDrain: null, beforeTerminate: null },
  },
};

/** Park and Miller's generator: the same input on every machine and in every run. */
function makeRandom(seed: number): () => number {
  let state = seed % 2_147_483_647;
  return () => {
    state = (state * 48_271) % 2_147_483_647;
    return state / 2_147_483_647;
  };
}
