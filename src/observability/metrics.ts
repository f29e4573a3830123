import { Counter, Gauge, Histogram, Registry, type LabelValues } from '@prometheus-io/client';
import type { CloudMeter, StepMeter } from '../ports/meter.ts';
import type { DrainStatus } from '../ports/drain-documents.ts';
import type { StatusDocument } from '../ports/reports.ts';
import type { EpochMs } from '../model/time.ts';

/** What one planning pass did to one workload, for counting. */
export interface DecisionCount {
  readonly workload: string;
  /** e.g. `launch`, `drain`, `undrain`, `hold`. */
  readonly action: string;
  /** A ReasonCode of the planner. */
  readonly reason: string;
}

/** Everything there is to measure. Each method may be called from anywhere and never throws. */
export interface Metrics extends StepMeter, CloudMeter {
  planned(pass: {
    readonly atMs: EpochMs;
    readonly tookMs: number;
    readonly decisions: readonly DecisionCount[];
  }): void;
  orphansSeen(count: number): void;
  leading(isLeader: boolean): void;
  /** The fleet as the database tells it; null = could not be read, so that its gauges vanish instead of lying. */
  fleet(status: StatusDocument | null): void;
  /** The page that Prometheus reads. */
  render(): Promise<string>;
  readonly contentType: string;
}

/** Label values that come from outside are capped: a metric with a million series takes the service down with it. */
const SERIES_MAX = 1000;

// Passes take milliseconds, joins and drains take minutes, tasks may wait for hours.
const PASS_BUCKETS_S = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];
const JOIN_BUCKETS_S = [1, 2.5, 5, 10, 20, 40, 60, 90, 120, 180, 300, 600];
const LONG_BUCKETS_S = [1, 5, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14_400];

/** A gauge that is absent until it is set, because an unknown figure must not read as zero. */
class OptionalGauge<L extends string> {
  readonly #gauge: Gauge<L>;
  readonly #registry: Registry;
  readonly #name: string;

  constructor(registry: Registry, name: string, help: string, labelNames: readonly L[]) {
    this.#name = name;
    this.#registry = registry;
    this.#gauge = new Gauge<L>({ name, help, labelNames: [...labelNames], registers: [] });
  }

  set(labels: LabelValues<L>, value: number): void {
    if (!Number.isFinite(value)) return;
    if (this.#registry.getSingleMetric(this.#name) === undefined) this.#registry.registerMetric(this.#gauge);
    this.#gauge.set(labels, value);
  }

  clear(): void {
    this.#gauge.reset();
    this.#registry.removeSingleMetric(this.#name);
  }
}

/** Remembers which label values exist; those above the cap become `other`. */
function capped(): (value: string) => string {
  const known = new Set<string>();
  return (value) => {
    if (known.has(value) || known.size < SERIES_MAX) {
      known.add(value);
      return value;
    }
    return 'other';
  };
}

/** All metrics on a registry of their own, so that two services in one process do not mix. */
export function createMetrics(version: string): Metrics {
  const registry = new Registry();
  const registers = [registry];
  new Gauge({
    name: 'spillway_build_info',
    help: 'Always 1; the version is a label',
    labelNames: ['version'],
    registers,
  }).set({ version }, 1);
  const fleet = createFleetGauges(registry);
  const counters = createCounters(registry);
  const gauge = <L extends string>(name: string, help: string, labels: readonly L[]): OptionalGauge<L> =>
    new OptionalGauge(registry, `spillway_${name}`, help, labels);
  const lastTick = gauge<string>('planner_last_tick_timestamp_seconds', 'When the last planning pass ended', []);
  const orphans = gauge<string>(
    'reaper_orphans',
    'Instances of ours without a live row in the last complete listing',
    [],
  );
  const leader = gauge<string>('leader', '1 while this process decides', []);
  return {
    ...counters,
    ...createCloudCounters(registry),
    planned({ atMs, tookMs, decisions }) {
      lastTick.set({}, atMs / 1000);
      counters.pass(tookMs, decisions);
    },
    orphansSeen: (count) => orphans.set({}, count),
    leading: (isLeader) => leader.set({}, isLeader ? 1 : 0),
    fleet,
    render: async () => registry.metrics(),
    contentType: registry.contentType,
  };
}

type Counters = StepMeter & {
  pass(tookMs: number, decisions: readonly DecisionCount[]): void;
};

function createCounters(registry: Registry): Counters {
  const registers = [registry];
  const workloadName = capped();
  const passSeconds = new Histogram({
    name: 'spillway_planner_tick_duration_seconds',
    help: 'How long a planning pass took',
    buckets: PASS_BUCKETS_S,
    registers,
  });
  const decisions = new Counter({
    name: 'spillway_decisions_total',
    help: 'Decisions by what and why',
    labelNames: ['workload', 'action', 'reason'],
    registers,
  });
  const launches = new Counter({
    name: 'spillway_launch_attempts_total',
    help: 'Attempts at RunInstances by what became of them; `throttled` may be by our own budget',
    labelNames: ['outcome', 'error_class'],
    registers,
  });
  const stepFailures = new Counter({
    name: 'spillway_step_failures_total',
    help: 'Steps of launches and machines that threw, by the code of the error',
    labelNames: ['kind', 'code'],
    registers,
  });
  const joinSeconds = new Histogram({
    name: 'spillway_join_duration_seconds',
    help: 'From the launch intent to a ready machine',
    buckets: JOIN_BUCKETS_S,
    registers,
  });
  const drainSeconds = new Histogram({
    name: 'spillway_drain_duration_seconds',
    help: 'From the cordon to a machine without work',
    buckets: LONG_BUCKETS_S,
    registers,
  });
  return {
    pass(tookMs, made) {
      passSeconds.observe(tookMs / 1000);
      made.forEach(({ workload, action, reason }) =>
        decisions.inc({ workload: workloadName(workload), action, reason }),
      );
    },
    launchAttempted: ({ outcome, errorClass }) => launches.inc({ outcome, error_class: errorClass }),
    stepFailed: ({ kind, code }) => stepFailures.inc({ kind, code }),
    joined: (tookMs) => joinSeconds.observe(tookMs / 1000),
    drained: (tookMs) => drainSeconds.observe(tookMs / 1000),
  };
}

function createCloudCounters(registry: Registry): CloudMeter {
  const counter = (name: string, help: string): ((action: string) => void) => {
    const counted = new Counter({ name: `spillway_ec2_${name}`, help, labelNames: ['action'], registers: [registry] });
    return (action) => counted.inc({ action });
  };
  return {
    ec2Called: counter('calls_total', 'Calls to EC2, each page and each try'),
    ec2Throttled: counter('throttles_total', 'Calls that EC2 throttled; all replicas slow down with each'),
    ec2PutOff: counter(
      'put_off_total',
      'Times that a call found no token in our own bucket and waited or came back later',
    ),
  };
}

/** What the database tells is read when Prometheus asks, so that no loop has to keep figures warm. */
function createFleetGauges(registry: Registry): (status: StatusDocument | null) => void {
  const machines = new OptionalGauge(registry, 'spillway_machines', 'Live machines', ['workload', 'state', 'market']);
  const capacity = new OptionalGauge(registry, 'spillway_capacity_cores', 'Cores of agents that report', [
    'layer',
    'state',
  ]);
  const gpus = new OptionalGauge(registry, 'spillway_capacity_gpus', 'GPUs of agents that report', ['layer', 'state']);
  const agents = new OptionalGauge(registry, 'spillway_agents', 'Registered agents', ['layer', 'state']);
  const pending = new OptionalGauge(registry, 'spillway_pending_tasks', 'Tasks that wait for a place', ['workload']);
  const hourly = new OptionalGauge<string>(
    registry,
    'spillway_spend_usd_per_hour',
    'What the living machines cost per hour, by their price at launch',
    [],
  );
  const monthly = new OptionalGauge<string>(
    registry,
    'spillway_spend_month_usd',
    'Charged since the first of the month, UTC',
    [],
  );
  const amnesia = new OptionalGauge<string>(
    registry,
    'spillway_amnesia',
    '1 while the database has lost commits and its rows are rebuilt; nothing is launched or ended',
    [],
  );
  const drains = createDrainGauges(registry);
  return (status) => {
    // Cleared first: a state that no machine is in any more must not keep its last count.
    for (const gauge of [machines, capacity, gpus, agents, pending, hourly, monthly, amnesia]) gauge.clear();
    drains(status?.drains ?? []);
    if (status === null) return;
    status.machines.forEach(({ count, workload, state, market }) => machines.set({ workload, state, market }, count));
    status.waiting.forEach(({ workload, tasks }) => pending.set({ workload }, tasks));
    for (const { layer, ready, stale, draining, free, allocated } of status.layers) {
      capacity.set({ layer, state: 'free' }, free.cpuMilli / 1000);
      capacity.set({ layer, state: 'allocated' }, allocated.cpuMilli / 1000);
      gpus.set({ layer, state: 'free' }, free.gpus);
      gpus.set({ layer, state: 'allocated' }, allocated.gpus);
      agents.set({ layer, state: 'ready' }, ready);
      agents.set({ layer, state: 'stale' }, stale);
      agents.set({ layer, state: 'draining' }, draining);
    }
    amnesia.set({}, status.amnesia === null ? 0 : 1);
    hourly.set({}, Number(status.usdPerHour));
    monthly.set({}, Number(status.spend.monthUsd));
  };
}

/** Of workloads that have machines that drain. */
function createDrainGauges(registry: Registry): (drains: readonly DrainStatus[]) => void {
  const overdue = new OptionalGauge(registry, 'spillway_drains_overdue', 'Machines whose drain is past its deadline', [
    'workload',
  ]);
  const oldest = new OptionalGauge(
    registry,
    'spillway_drain_oldest_overdue_seconds',
    'For how long the deadline of the oldest overdue drain has been over; 0 when none is',
    ['workload'],
  );
  const held = new OptionalGauge(
    registry,
    'spillway_drains_held',
    'Machines whose drain may not begin yet: the hook health does not pass, or it is the turn of another one',
    ['workload', 'by'],
  );
  return (drains) => {
    for (const gauge of [overdue, oldest, held]) gauge.clear();
    for (const { workload, ...drain } of drains) {
      overdue.set({ workload }, drain.overdue);
      oldest.set({ workload }, drain.oldestOverdueS ?? 0);
      held.set({ workload, by: 'health' }, drain.heldByHealth);
      held.set({ workload, by: 'turn' }, drain.heldByTurn);
    }
  };
}
