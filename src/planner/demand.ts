import type { UtilizationSignal } from '../model/policy.ts';
import type { Resources } from '../model/resources.ts';
import { ANYWHERE, constraintsKey } from '../model/constraints.ts';
import { NO_RESOURCES, shapeKey, subtractResources } from '../model/resources.ts';
import { MINUTE_MS } from '../model/time.ts';
import { isImplausible } from './doubt.ts';
import { missingForForecast } from './forecast.ts';
import type { Fleet, World } from './fleet.ts';
import { sumCapacity } from './fleet.ts';
import { compareResources, compareText } from './order.ts';
import type { Batch } from './slots.ts';
import { countTasks } from './slots.ts';
import { percent } from './text.ts';
import type { MachineView, PendingShape, UtilizationView, WorkloadInput } from './types.ts';

/**
 * Shape of a task nobody has described: one core with 2 GiB, the ratio that batch traces without memory figures are
 * read with, and EC2's compute-optimized (`c`) ratio.
 */
export const DEFAULT_TASK: Resources = Object.freeze({ cpuMilli: 1000, memoryMib: 2048, gpus: 0 });

/** What a workload wants, before anybody asks where it could run. */
export interface Demand {
  /** Pending tasks that may not wait for a local place any longer. */
  readonly urgent: readonly Batch[];
  /** Pending tasks within `queue.maxWait`. */
  readonly patient: readonly Batch[];
  /** Tasks that do not exist yet and for which room is kept: those of headroom or of the forecast, whichever are more. */
  readonly headroom: readonly Batch[];
  /** The forecast wants more of them than headroom. */
  readonly isForecast: boolean;
  /** Shape of headroom and of machines wanted for their own sake. */
  readonly taskShape: Resources;
  readonly utilization: UtilizationDemand;
}

/** What the utilization signal wants; only `known` may ask for anything. */
export type UtilizationDemand =
  /** `total`: capacity at which the measured load would be exactly at the target; 0 in a dimension that is not steered. */
  | { readonly kind: 'known'; readonly total: Resources; readonly shares: UtilizationView; readonly target: number }
  | { readonly kind: 'not-configured' }
  | { readonly kind: 'no-samples' }
  | { readonly kind: 'stale'; readonly ageMs: number }
  | { readonly kind: 'implausible'; readonly shares: UtilizationView };

/** The workload's signals in one form. Stale samples become `stale`, never zero. */
export function readDemand(world: World, workload: WorkloadInput, fleet: Fleet): Demand {
  const { policy } = workload;
  const pending = mergeShapes(workload.pending);
  // Without a queue signal nobody has allowed the tasks to wait: work that fits nowhere must not starve behind a
  // utilization that never reaches its target (16-core tasks on 32-core agents stay at 50 % for ever).
  const maxWaitMs = policy.demand.queue?.maxWaitMs ?? 0;
  const taskShape = policy.demand.queue?.task ?? DEFAULT_TASK;
  const keptTasks = policy.demand.headroom?.tasks ?? 0;
  const expectedTasks = countTasks(asTasks(missingForForecast(workload, fleet), taskShape));
  const headroomTasks = Math.max(keptTasks, expectedTasks);
  const urgentCount = (shape: PendingShape): number =>
    maxWaitMs > 0 ? Math.min(shape.overdue, shape.count) : shape.count;
  return {
    urgent: pending.map((shape) => batchOf(shape, urgentCount(shape))).filter(({ count }) => count > 0),
    patient: pending.map((shape) => batchOf(shape, shape.count - urgentCount(shape))).filter(({ count }) => count > 0),
    headroom:
      headroomTasks > 0 ? [{ shape: taskShape, constraints: ANYWHERE, count: headroomTasks, oldestMs: Infinity }] : [],
    isForecast: expectedTasks > keptTasks,
    taskShape,
    utilization: readUtilization(world, workload, fleet),
  };
}

function batchOf(pending: PendingShape, count: number): Batch {
  const { shape, arch, localOnly, spotOk, oldestPendingSinceMs } = pending;
  return { shape, constraints: { arch, localOnly, spotOk }, count, oldestMs: oldestPendingSinceMs };
}

function mergeShapes(pending: readonly PendingShape[]): PendingShape[] {
  const merged = new Map<string, PendingShape>();
  for (const shape of pending) {
    if (shape.count <= 0) continue;
    const key = `${shapeKey(shape.shape)}${constraintsKey(shape)}`;
    const known = merged.get(key);
    merged.set(
      key,
      known === undefined
        ? shape
        : {
            ...known,
            count: known.count + shape.count,
            overdue: known.overdue + shape.overdue,
            oldestPendingSinceMs: Math.min(known.oldestPendingSinceMs, shape.oldestPendingSinceMs),
          },
    );
  }
  return [...merged.values()].sort(
    (a, b) => compareResources(a.shape, b.shape) || compareText(constraintsKey(a), constraintsKey(b)),
  );
}

/**
 * Capacity wanted so that utilization u comes down (or may go up) to the target: capacity * u / target, the rule of
 * Kubernetes' HorizontalPodAutoscaler (desired = current * metric / target) in resources instead of replicas. What is
 * missing is capacity * (u / target - 1), less what is on its way.
 */
function readUtilization(world: World, { policy, utilization }: WorkloadInput, fleet: Fleet): UtilizationDemand {
  const signal = policy.demand.utilization;
  if (signal === null) return { kind: 'not-configured' };
  if (utilization === null) return { kind: 'no-samples' };
  const ageMs = world.nowMs - utilization.newestSampleAtMs;
  if (ageMs > policy.demand.freshnessMs) return { kind: 'stale', ageMs };
  if (isImplausible(utilization)) return { kind: 'implausible', shares: utilization };
  const measured = utilization.capacity ?? measuredCapacity(fleet, utilization);
  return {
    kind: 'known',
    total: wantedTotal(signal, utilization, measured),
    shares: utilization,
    target: signal.target,
  };
}

/**
 * When a machine began to dilute the load. Counting it earlier would make the old, high utilization look like a load on the
 * new, larger fleet, and buy a second time. Not told: the warm-up that EC2's target tracking has by default.
 */
function readySince({ readySinceMs, createdAtMs }: MachineView): number {
  return readySinceMs ?? createdAtMs + 5 * MINUTE_MS;
}

function measuredCapacity(fleet: Fleet, { oldestSampleAtMs }: UtilizationView): Resources {
  const seen = fleet.reporting.filter(({ machine }) => machine === null || readySince(machine) <= oldestSampleAtMs);
  return sumCapacity(seen.map(({ agent }) => agent));
}

function wantedTotal({ metric, target }: UtilizationSignal, shares: UtilizationView, measured: Resources): Resources {
  const scale = (capacity: number, share: number): number => Math.ceil((capacity * Math.max(0, share)) / target);
  return {
    cpuMilli: metric === 'memory' ? 0 : scale(measured.cpuMilli, shares.cpu),
    memoryMib: metric === 'cpu' ? 0 : scale(measured.memoryMib, shares.memory),
    gpus: 0,
  };
}

/** Capacity that is missing for the utilization target, given what the workload has. */
export function missingForTarget(demand: UtilizationDemand, have: Resources): Resources {
  return demand.kind === 'known' ? subtractResources(demand.total, have) : NO_RESOURCES;
}

/** The missing capacity as that many tasks of a shape, so that machines are chosen for it in the one usual way. */
export function asTasks(missing: Resources, shape: Resources): Batch[] {
  const byCpu = shape.cpuMilli === 0 ? 0 : Math.ceil(missing.cpuMilli / shape.cpuMilli);
  const byMemory = shape.memoryMib === 0 ? 0 : Math.ceil(missing.memoryMib / shape.memoryMib);
  const count = Math.max(byCpu, byMemory);
  return count === 0 ? [] : [{ shape, constraints: ANYWHERE, count, oldestMs: Infinity }];
}

export function isAnything(resources: Resources): boolean {
  return resources.cpuMilli > 0 || resources.memoryMib > 0 || resources.gpus > 0;
}

/** The utilization signal in figures. */
export function utilizationDetail(demand: UtilizationDemand): string {
  switch (demand.kind) {
    case 'known': {
      const { shares, target } = demand;
      return `cpu ${percent(shares.cpu)}, memory ${percent(shares.memory)}, target ${percent(target)}`;
    }
    case 'stale':
      return `newest utilization sample is ${Math.round(demand.ageMs / 1000)} s old`;
    case 'implausible':
      return `cpu ${percent(demand.shares.cpu)}, memory ${percent(demand.shares.memory)} of what the agents have`;
    case 'no-samples':
      return 'no utilization sample in the window';
    case 'not-configured':
      return 'utilization is not a signal of this workload';
  }
}
