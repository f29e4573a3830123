import type { DrainPolicy, WorkloadPolicy } from '../model/policy.ts';
import { HOUR_MS, MINUTE_MS, SECOND_MS } from '../model/time.ts';
import type { RegionSettings } from '../simulator/world.ts';
import { SIMULATED_IMAGES, SIMULATED_SECURITY_GROUP, SIMULATED_SUBNETS } from '../simulator/world.ts';
import type { StepTimings } from '../jobs/ports.ts';
import type { AgentTiming } from '../ports/agent-gateway.ts';
import type { LoopIntervals } from '../wiring/loops.ts';
import type { Chance } from './chance.ts';
import { HOOKS } from './letting-go.ts';
import { CALL_FAULTS, type FaultRates } from './sim.ts';

/** Everything about one seed that does not change while it runs. */
export interface Scenario {
  readonly policies: readonly [WorkloadPolicy, ...WorkloadPolicy[]];
  readonly region: Partial<RegionSettings>;
  /** Cores of each machine of the datacenter. */
  readonly localCpus: readonly number[];
  readonly leaseTtlMs: number;
  readonly agentTiming: AgentTiming;
  readonly stepTimings: StepTimings;
  readonly intervals: LoopIntervals;
  readonly connections: { readonly decider: number; readonly ingest: number; readonly reports: number };
  /** Of each process, added to true time. */
  readonly skewMs: readonly number[];
  /** Between two submissions, about. */
  readonly demandEveryMs: number;
  readonly tasksPerWaveMax: number;
  readonly taskSecondsMax: number;
  readonly replicas: number;
}

/** Kinds that a run may leave out whole, beside those of single calls. */
export const WORLD_FAULTS = [
  'serialization',
  'deadlock',
  'ring-lost',
  'ring-late',
  'ring-twice',
  'twice',
  'foreign-key',
  'never-opens',
  'join-fails',
  'agent-mute',
  'ec2-error',
  'no-capacity',
  'partial',
  'start-fails',
  'page-fails',
  'spot-taken',
  'notice-lost',
  'notice-late',
  'rebalance',
  'machine-ordered',
  'agent-ordered',
  'tag-protects',
  'health-fails',
  'host-dies',
  'struck-on-the-way',
  'queue-deaf',
  'agent-silent',
  'agent-restarts',
  'agent-lies',
  'agent-cloned',
  'all-silent',
  'queue-emptied',
  'clock-jumps',
  'failover',
  'restarted-in-lost-time',
  'foreign-instance',
  'policy-removed',
  'process-killed',
  'trap',
] as const;
export const FAULT_KINDS: readonly string[] = [...CALL_FAULTS, ...WORLD_FAULTS];

/** The third of all fault kinds that this seed does without: what is masked by one kind shows in the absence of it. */
export function chooseSwarm(chance: Chance): ReadonlySet<string> {
  return new Set(FAULT_KINDS.filter((kind) => chance.roll(`swarm:${kind}`).value < 1 / 3));
}

/** The circumstances of a seed: limits, intervals and delays far from the defaults included. */
export function chooseScenario(chance: Chance): Scenario {
  const between = (name: string, low: number, high: number): number => chance.integer(`knob:${name}`, low, high);
  const intervalS = between('heartbeat', 45, 120);
  const replicas = 2;
  const leaseTtlMs = between('lease', 120, 300) * SECOND_MS;
  const two = chance.roll('knob:workloads').value < 0.3;
  return {
    policies: two ? [choosePolicy(chance, 'render'), choosePolicy(chance, 'encode')] : [choosePolicy(chance, 'render')],
    region: {
      bootMs: between('boot', 3, 90) * SECOND_MS,
      pendingMs: between('pending', 1, 8) * SECOND_MS,
      terminateMs: between('terminate', 1, 60) * SECOND_MS,
      stopMs: between('stop', 1, 120) * SECOND_MS,
      listLagMs: chance.roll('knob:list-lag').value < 0.5 ? 0 : between('list-lag-ms', 1, 20) * SECOND_MS,
      stateLagMs: chance.roll('knob:state-lag').value < 0.5 ? 0 : between('state-lag-ms', 1, 10) * SECOND_MS,
      seed: `chaos-${between('prices', 1, 1_000)}`,
    },
    localCpus: Array.from({ length: between('locals', 1, 2) }, (_unused, index) => between(`cpus-${index}`, 1, 3)),
    leaseTtlMs,
    agentTiming: { intervalS, leaseS: intervalS * between('agent-lease', 4, 7) },
    stepTimings: {
      bootPollMs: between('boot-poll', 5, 20) * SECOND_MS,
      joinPollMs: between('join-poll', 5, 20) * SECOND_MS,
      drainPollMs: between('drain-poll', 5, 30) * SECOND_MS,
      terminatePollMs: between('terminate-poll', 10, 40) * SECOND_MS,
    },
    intervals: {
      lead: leaseTtlMs / 4,
      plan: between('plan', 60, 180) * SECOND_MS,
      sweep: between('sweep', 60, 200) * SECOND_MS,
      ring: between('ring', 60, 180) * SECOND_MS,
      assign: between('assign', 60, 150) * SECOND_MS,
      recover: between('recover', 90, 240) * SECOND_MS,
      account: between('account', 2, 10) * MINUTE_MS,
      prices: 15 * MINUTE_MS,
      learn: 20 * MINUTE_MS,
      retain: HOUR_MS,
    },
    connections: {
      decider: between('decider', 2, 8),
      ingest: between('ingest', 1, 6),
      reports: between('reports', 1, 4),
    },
    skewMs: Array.from({ length: replicas }, (_unused, index) => between(`skew-${index}`, -20, 20) * SECOND_MS),
    demandEveryMs: between('demand', 3, 15) * MINUTE_MS,
    tasksPerWaveMax: between('wave', 5, 20),
    taskSecondsMax: between('task', 60, 1500),
    replicas,
  };
}

function choosePolicy(chance: Chance, name: string): WorkloadPolicy {
  const between = (knob: string, low: number, high: number): number =>
    chance.integer(`knob:${name}:${knob}`, low, high);
  const onlyOnDemand = chance.roll(`knob:${name}:market`).value < 0.5;
  const hourlyUsd = onlyOnDemand && chance.roll(`knob:${name}:money`).value < 0.5 ? between('usd', 2, 8) / 10 : null;
  return {
    name,
    agents: { selector: { pool: 'local' } },
    demand: {
      utilization: null,
      queue: {
        source: 'bullmq',
        task: { cpuMilli: 1000, memoryMib: 1024, gpus: 0 },
        maxWaitMs: between('wait', 0, 60) * SECOND_MS,
      },
      headroom: chance.roll(`knob:${name}:headroom`).value < 0.2 ? { tasks: 1 } : null,
      freshnessMs: between('freshness', 280, 600) * SECOND_MS,
    },
    burst: {
      region: 'us-east-1',
      subnets: [SIMULATED_SUBNETS.a, SIMULATED_SUBNETS.b],
      securityGroups: [SIMULATED_SECURITY_GROUP],
      image: { x86_64: SIMULATED_IMAGES.x86_64 },
      instanceProfile: null,
      volumeGib: 20,
      instances: { cpu: null, memoryMib: null, memoryMibPerCpu: null, families: ['c5', 'm5'], exclude: [] },
      market: {
        spot: onlyOnDemand ? 0 : between('spot', 50, 100) / 100,
        onDemandBase: onlyOnDemand ? 0 : between('base', 0, 1),
      },
      limits: {
        min: 0,
        max: between('max', 2, 6),
        vcpus: null,
        launchesPerHour: between('launches', 20, 200),
        maxScaleUp: between('up', 1, 6),
        maxScaleDown: between('down', 1, 6),
      },
      budget: { hourlyUsd },
      ...(chance.roll(`knob:${name}:pool`).value < 0.5
        ? { warmPool: { max: between('pool-max', 1, 3), maxAgeMs: between('pool-age', 5, 40) * MINUTE_MS } }
        : {}),
    },
    join: {
      ssh: { user: 'ubuntu', port: 22, identityFile: '/nowhere/id_ed25519', hostKey: 'injected' },
      recipe: { script: null, env: {} },
      ready: { command: null, deadlineMs: between('ready', 120, 600) * SECOND_MS },
    },
    drain: {
      scaleDownUnneededMs: between('unneeded', 30, 600) * SECOND_MS,
      minimumLifeMs: 0,
      churnPauseMs: 15 * MINUTE_MS,
      consolidation: 'whenEmpty',
      budgets: [],
      cooldown: { scaleUpMs: 0, scaleDownMs: 0 },
      deadlineMs: between('drain', 10, 40) * MINUTE_MS,
      ...chooseDeadline(chance, name),
      oneAtATime: chance.roll(`knob:${name}:one-at-a-time`).value < 0.4,
      hooks: {
        beforeDrain: chance.roll(`knob:${name}:before-drain`).value < 0.3 ? HOOKS.beforeDrain : null,
        beforeTerminate: chance.roll(`knob:${name}:before-terminate`).value < 0.5 ? HOOKS.beforeTerminate : null,
        ...(chance.roll(`knob:${name}:checkpoint`).value < 0.5 ? { checkpoint: HOOKS.checkpoint } : {}),
        ...(chance.roll(`knob:${name}:health`).value < 0.3 ? { health: HOOKS.health } : {}),
      },
    },
  };
}

function chooseDeadline(chance: Chance, name: string): Pick<DrainPolicy, 'onDeadline' | 'extensions'> {
  const isExtended = chance.roll(`knob:${name}:on-deadline`).value < 0.3;
  return isExtended
    ? { onDeadline: 'extend', extensions: chance.integer(`knob:${name}:extensions`, 1, 3) }
    : { onDeadline: 'wait' };
}

const CRASHES = (rate: number): FaultRates => ({
  'crash-before': rate,
  'crash-after': rate,
  throw: rate / 2,
  'stop-before': rate / 2,
  'stop-after': rate / 2,
});

/** Per call. SQL is called ten times as often as everything else together, so each of its calls fails seldom. */
export const CALL_RATES = {
  sql: { ...CRASHES(6e-5), drop: 1e-4, lose: 1.5e-4, slow: 4e-5, serialization: 4e-4, deadlock: 1e-4 },
  cloud: { ...CRASHES(2.5e-3), drop: 6e-3, lose: 1e-2, slow: 3e-3 },
  decision: { 'crash-before': 1e-3, 'stop-before': 5e-3 },
  ssh: { ...CRASHES(4e-3), drop: 2e-2, lose: 2e-2, slow: 1e-2 },
  queue: { ...CRASHES(2e-4), drop: 2e-3, lose: 2e-3 },
  ring: { 'ring-lost': 2e-2, 'ring-late': 2e-2, 'ring-twice': 3e-2 },
  net: { drop: 3e-3, lose: 3e-3, slow: 1e-3, twice: 3e-3 },
  host: {
    foreignKey: 0.01,
    neverOpens: 0.02,
    joinFails: 0.02,
    agentMute: 0.02,
    healthFails: 0.15,
    noticeLost: 0.25,
    noticeLate: 0.25,
  },
} as const satisfies Record<string, FaultRates>;
