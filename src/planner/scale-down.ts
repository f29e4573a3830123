import type { Resources } from '../model/resources.ts';
import { fits, subtractResources } from '../model/resources.ts';
import type { Coverage } from './coverage.ts';
import type { Demand } from './demand.ts';
import { utilizationDetail } from './demand.ts';
import type { Bounds, Planning } from './draft.ts';
import { noteBound } from './draft.ts';
import type { Host } from './fleet.ts';
import { isAtWork } from './fleet.ts';
import { compareResources, compareText } from './order.ts';
import { countOf, percent } from './text.ts';
import { readyCapacity } from './scale-up.ts';

export interface ScaleDown {
  readonly drained: readonly Host[];
  /** Why machines without work stay. */
  readonly bounds: Bounds;
}

export interface ScaleDownInput extends Planning {
  readonly demand: Demand;
  readonly coverage: Coverage;
  /** Something is bought or taken back in this plan: then nothing goes, because it would have been the thing to use. */
  readonly isGrowing: boolean;
}

/** Lets go of machines that have had no work for long enough and that nothing needs. Unknown means hold. */
export function planScaleDown(planning: ScaleDownInput): ScaleDown {
  const { demand, coverage, isGrowing } = planning;
  const bounds: Bounds = new Map();
  const idle = planning.fleet.cloud.filter((host) => !isAtWork(host) && host.machine.idleSinceMs !== null);
  noteStaleness(planning, demand, idle.length > 0, bounds);
  if (bounds.size > 0 || isGrowing) return { drained: [], bounds };
  const candidates = listCandidates(planning, coverage, idle, bounds);
  if (candidates.length === 0) return { drained: [], bounds };
  const leftMs = cooldownLeftMs(planning);
  if (leftMs > 0) {
    noteBound(bounds, 'cooldown-scale-down', `${Math.ceil(leftMs / 1000)} s left`);
    return { drained: [], bounds };
  }
  return { drained: pick(planning, demand, candidates, bounds), bounds };
}

/** What is not known for sure; told whether or not a machine could go, because it also blinds the other decisions. */
function noteStaleness({ fleet, workload, world }: Planning, demand: Demand, hasIdle: boolean, bounds: Bounds): void {
  if (world.amnesia !== null) noteBound(bounds, 'amnesia', world.amnesia);
  const stale = fleet.staleLocal + fleet.staleCloud;
  if (stale > 0) {
    noteBound(
      bounds,
      'stale-samples',
      `${countOf(stale, 'agent')} silent for more than ${workload.policy.demand.freshnessMs / 1000} s`,
    );
  }
  const { utilization } = demand;
  if (utilization.kind === 'stale') noteBound(bounds, 'stale-samples', utilizationDetail(utilization));
  if (utilization.kind === 'implausible') noteBound(bounds, 'implausible-samples', utilizationDetail(utilization));
  if (utilization.kind === 'no-samples') noteBound(bounds, 'no-samples', utilizationDetail(utilization));
  if (!workload.cloudViewFresh && hasIdle)
    noteBound(bounds, 'cloud-view-stale', 'the last listing of EC2 is old or incomplete');
}

function listCandidates(
  { world, workload }: Planning,
  coverage: Coverage,
  idle: readonly Host[],
  bounds: Bounds,
): Host[] {
  const { scaleDownUnneededMs } = workload.policy.drain;
  const needed = idle.filter(({ machine }) => coverage.needed.has(machine.id));
  const unneeded = idle.filter(({ machine }) => !coverage.needed.has(machine.id));
  const old = unneeded.filter(
    ({ machine }) => world.nowMs - (machine.idleSinceMs ?? world.nowMs) >= scaleDownUnneededMs,
  );
  if (needed.length > 0)
    noteBound(bounds, 'needed', `${countOf(needed.length, 'machine')} without work, with work coming`);
  if (old.length < unneeded.length) {
    const detail = `${countOf(unneeded.length - old.length, 'machine')} without work for less than ${scaleDownUnneededMs / 1000} s`;
    noteBound(bounds, 'idle-not-long-enough', detail);
  }
  // The most expensive first; of equally dear ones that with the least to offer.
  return old.sort(
    (a, b) =>
      b.machine.priceUsdPerHour - a.machine.priceUsdPerHour ||
      compareResources(a.capacity, b.capacity) ||
      compareText(a.machine.id, b.machine.id),
  );
}

function cooldownLeftMs({ world, workload }: Planning): number {
  const { scaleDownMs } = workload.policy.drain.cooldown;
  return workload.lastDrainAtMs === null ? 0 : Math.max(0, workload.lastDrainAtMs + scaleDownMs - world.nowMs);
}

function pick({ fleet, workload }: Planning, demand: Demand, candidates: readonly Host[], bounds: Bounds): Host[] {
  const { limits } = workload.policy.burst;
  // Machines on their way may never arrive: they do not stand in for one that works.
  const spare = fleet.machines.filter(({ state }) => state === 'ready').length - limits.min;
  const drained: Host[] = [];
  let left: Resources = readyCapacity(fleet);
  for (const host of candidates) {
    if (drained.length >= spare) {
      noteBound(bounds, 'at-min', `at least ${countOf(limits.min, 'machine')} wanted`);
      break;
    }
    if (drained.length >= limits.maxScaleDown) {
      noteBound(bounds, 'at-max-scale-down', `at most ${countOf(limits.maxScaleDown, 'machine')} per plan`);
      break;
    }
    const without = subtractResources(left, host.capacity);
    if (demand.utilization.kind === 'known' && !fits(demand.utilization.total, without)) {
      noteBound(
        bounds,
        'needed',
        `without them utilization would be above its target of ${percent(demand.utilization.target)}`,
      );
      continue;
    }
    left = without;
    drained.push(host);
  }
  return drained;
}
