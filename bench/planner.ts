/** How long one decision pass takes for a large datacenter, and how that grows. Pure computation; nothing is started. */
import { ANYWHERE } from '../src/model/constraints.ts';
import type { InstanceType, Offering } from '../src/model/offering.ts';
import type { WorkloadPolicy } from '../src/model/policy.ts';
import type { Resources } from '../src/model/resources.ts';
import { planAll } from '../src/planner/plan.ts';
import type { AgentView, PendingShape, PlannerInput } from '../src/planner/types.ts';
import { makeFigure, type Bench, type Figure } from './support/bench.ts';
import { describeMachine } from './support/machine.ts';
import { quantile } from './support/stats.ts';

const NOW_MS = Date.UTC(2026, 10, 22, 12);
/** The compiler is done with a pass after some ten of them. */
const WARM_UPS = 12;
const RUNS = 15;
const SHAPES = 200;

interface Size {
  readonly agents: number;
  readonly tasks: number;
}

export const planner: Bench = {
  name: 'planner',
  about: 'one decision pass over 1,000 agents and 10,000 pending tasks, and over ten times as much',
  async run({ progress }) {
    progress('1,000 agents, 10,000 pending tasks');
    const small = measure({ agents: 1000, tasks: 10_000 });
    progress('10,000 agents, 100,000 pending tasks');
    const large = measure({ agents: 10_000, tasks: 100_000 });
    const shapes = `pending tasks in ${SHAPES} shapes`;
    return [
      figure('pass-10k', small.medianMs, 'ms', `1,000 agents, 10,000 ${shapes}; ${small.detail}`),
      figure('pass-100k', large.medianMs, 'ms', `10,000 agents, 100,000 ${shapes}; ${large.detail}`),
      figure('growth', large.medianMs / small.medianMs, 'ratio', 'time of 100,000 tasks to time of 10,000'),
    ];
  },
};

function figure(name: string, value: number, unit: string, detail: string): Figure {
  return makeFigure('planner', name, value, unit, `${detail}; ${describeMachine()}`);
}

function measure(size: Size): { medianMs: number; detail: string } {
  const input = makeInput(size);
  const timesMs: number[] = [];
  let launches = 0;
  for (let run = 0; run < WARM_UPS + RUNS; run += 1) {
    const startedMs = performance.now();
    const outcome = planAll(input);
    const tookMs = performance.now() - startedMs;
    if (run >= WARM_UPS) timesMs.push(tookMs);
    launches = outcome.workloads
      .flatMap(({ actions }) => actions)
      .reduce((sum, action) => sum + (action.kind === 'launch' ? action.count : 0), 0);
  }
  return { medianMs: quantile(timesMs, 0.5), detail: `${launches} machines planned, median of ${RUNS}` };
}

function makeInput({ agents, tasks }: Size): PlannerInput {
  const random = makeRandom(20_261_122);
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)]!;
  const pending: PendingShape[] = Array.from({ length: SHAPES }, (_, index) => ({
    shape: {
      cpuMilli: 250 * (1 + Math.floor(random() * 32)),
      memoryMib: 256 * (1 + Math.floor(random() * 64)),
      gpus: 0,
    },
    count: tasks / SHAPES,
    overdue: tasks / SHAPES,
    oldestPendingSinceMs: NOW_MS - index * 1000,
    ...ANYWHERE,
    runTimeS: null,
  }));
  return {
    nowMs: NOW_MS,
    workloads: [
      {
        policy: POLICY,
        pending,
        utilization: null,
        offerings: makeOfferings(),
        unavailableOfferings: 0,
        launchedLastHour: 0,
        lastLaunchAtMs: null,
        lastDrainAtMs: null,
        cloudViewFresh: true,
      },
    ],
    agents: Array.from({ length: agents }, (_, index) => makeAgent(index, pick([16, 32, 64]), random)),
    machines: [],
  };
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

/** Some 400 types in three zones: families of three ratios with the usual sizes, at plausible prices. */
function makeOfferings(): Offering[] {
  const sizes = [1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192];
  const ratios: readonly (readonly [string, number, number])[] = [
    ['c', 2048, 0.04],
    ['m', 4096, 0.046],
    ['r', 8192, 0.06],
  ];
  const types = ratios.flatMap(([letter, mibPerCpu, usdPerCpu]) =>
    Array.from({ length: 10 }, (_, step) => `${letter}${5 + step}x`).flatMap((family, step) =>
      sizes.map((cpus) => ({
        type: makeType(family, cpus, cpus * mibPerCpu),
        usd: Math.round(cpus * usdPerCpu * (1 + step / 50) * 1e5) / 1e5,
      })),
    ),
  );
  return types.flatMap(({ type, usd }) =>
    ['a', 'b', 'c'].map((zone) => ({
      instanceType: type,
      zone: `us-east-1${zone}`,
      subnetId: `subnet-${zone}`,
      market: 'on-demand' as const,
      priceUsdPerHour: usd,
    })),
  );
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
