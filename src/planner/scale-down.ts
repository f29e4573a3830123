import type { Resources } from '../model/resources.ts';
import { fits, subtractResources } from '../model/resources.ts';
import { churnPause } from './churn.ts';
import { pickUnderutilized } from './consolidation.ts';
import type { AfterLocal, Coverage } from './coverage.ts';
import type { Demand } from './demand.ts';
import { utilizationDetail } from './demand.ts';
import type { Bounds, Planning } from './draft.ts';
import { noteBound } from './draft.ts';
import type { Allowance } from './drain-budgets.ts';
import { readAllowance } from './drain-budgets.ts';
import type { Host } from './fleet.ts';
import { isAtWork, isProtected } from './fleet.ts';
import { holdText, idleUntilMs, minimumLifeEndsMs } from './idle-hold.ts';
import { compareResources, compareText } from './order.ts';
import { countOf, minuteText, percent } from './text.ts';
import { readyCapacity } from './scale-up.ts';
import type { MachineView, PlanReason } from './types.ts';

export interface ScaleDown {
  readonly drained: readonly Host[];
  /** Why they go: all of a plan for the same reason. */
  readonly why: 'unneeded' | 'underutilized';
  /** Why machines without work stay. */
  readonly bounds: Bounds;
}

export interface ScaleDownInput extends Planning {
  readonly demand: Demand;
  readonly after: AfterLocal;
  readonly coverage: Coverage;
  /** Something is bought or taken back in this plan: then nothing goes, because it would have been the thing to use. */
  readonly isGrowing: boolean;
}

/**
 * Lets go of machines that have had no work for long enough and that nothing needs; when there are none, and the policy wants it, of
 * those whose work has room elsewhere. Unknown means hold.
 */
export function planScaleDown(planning: ScaleDownInput): ScaleDown {
  const { demand, coverage, isGrowing } = planning;
  const bounds: Bounds = new Map();
  const idle = planning.fleet.cloud.filter((host) => !isAtWork(host) && host.machine.idleSinceMs !== null);
  noteStaleness(planning, demand, idle.length > 0, bounds);
  const none: ScaleDown = { drained: [], why: 'unneeded', bounds };
  if (bounds.size > 0 || isGrowing) return none;
  const candidates = listCandidates(planning, coverage, idle, bounds);
  const hasEmpty = candidates.unneeded.length > 0;
  const underutilized = hasEmpty ? [] : pickUnderutilized({ planning, demand, after: planning.after });
  if (candidates.old.length === 0 && underutilized.length === 0) return none;
  const pause = readPause(planning);
  if (pause !== null) {
    noteBound(bounds, pause.code, pause.detail);
    return none;
  }
  if (hasEmpty) return { drained: pick(planning, demand, candidates, bounds), why: 'unneeded', bounds };
  return { drained: underutilized, why: 'underutilized', bounds };
}

/** Why nothing goes now, whatever it is. */
function readPause(planning: Planning): PlanReason | null {
  const leftMs = cooldownLeftMs(planning);
  if (leftMs > 0) return { code: 'cooldown-scale-down', detail: `${Math.ceil(leftMs / 1000)} s left` };
  const churn = churnPause(planning);
  return churn === null ? null : { code: 'churn-breaker', detail: churn };
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

interface Candidates {
  /** Without work and not needed, whether or not for long enough. */
  readonly unneeded: readonly Host[];
  /** Those of them that may go now, in the order in which they go. */
  readonly old: readonly Host[];
}

function listCandidates(
  { world, workload }: Planning,
  coverage: Coverage,
  idle: readonly Host[],
  bounds: Bounds,
): Candidates {
  const { drain } = workload.policy;
  const needed = idle.filter(({ machine }) => coverage.needed.has(machine.id));
  const unneeded = withoutProtected(
    idle.filter(({ machine }) => !coverage.needed.has(machine.id)),
    bounds,
  );
  const idleEnough = unneeded.filter(({ machine }) => idleUntilMs(drain, machine) <= world.nowMs);
  const old = idleEnough.filter(({ machine }) => minimumLifeEndsMs(drain, machine) <= world.nowMs);
  if (needed.length > 0)
    noteBound(bounds, 'needed', `${countOf(needed.length, 'machine')} without work, with work coming`);
  if (idleEnough.length < unneeded.length) {
    const count = countOf(unneeded.length - idleEnough.length, 'machine');
    noteBound(bounds, 'idle-not-long-enough', `${count} without work for less than ${holdText(drain)}`);
  }
  if (old.length < idleEnough.length) {
    const count = countOf(idleEnough.length - old.length, 'machine');
    noteBound(bounds, 'minimum-life', `${count} younger than ${drain.minimumLifeMs / 1000} s`);
  }
  // The most expensive first; of equally dear ones that with the least to offer.
  const sorted = old.sort(
    (a, b) =>
      b.machine.priceUsdPerHour - a.machine.priceUsdPerHour ||
      compareResources(a.capacity, b.capacity) ||
      compareText(a.machine.id, b.machine.id),
  );
  return { unneeded, old: sorted };
}

/** More names make no sentence. */
const NAMES_MAX = 5;

/** Machines that may go, as far as nobody protects them; those that are protected are named. */
function withoutProtected(hosts: readonly Host[], bounds: Bounds): readonly Host[] {
  const [kept, free] = [hosts.filter(isProtected), hosts.filter((host) => !isProtected(host))];
  if (kept.length > 0) {
    const names = kept.slice(0, NAMES_MAX).map(({ machine }) => protectionText(machine));
    const more = kept.length > names.length ? ` and ${kept.length - names.length} more` : '';
    noteBound(bounds, 'protected', `${countOf(kept.length, 'machine')} without work: ${names.join(', ')}${more}`);
  }
  return free;
}

function protectionText({ id, protection }: MachineView): string {
  if (protection === undefined || protection.by === 'tag') return `${id} by its tag`;
  return protection.untilMs === null ? id : `${id} until ${minuteText(protection.untilMs)}`;
}

function cooldownLeftMs({ world, workload }: Planning): number {
  const { scaleDownMs } = workload.policy.drain.cooldown;
  return workload.lastDrainAtMs === null ? 0 : Math.max(0, workload.lastDrainAtMs + scaleDownMs - world.nowMs);
}

/** What is picked so far. */
interface Picking {
  readonly drained: Host[];
  /** So many may go at most before limits.min is touched. */
  readonly spare: number;
  readonly allowance: Allowance;
  /** Capacity of agents that would still take work. */
  left: Resources;
}

function pick(planning: Planning, demand: Demand, { unneeded, old }: Candidates, bounds: Bounds): Host[] {
  const { fleet, workload } = planning;
  const { onDemandBase } = workload.policy.burst.market;
  // Machines on their way may never arrive: they do not stand in for one that works.
  const ready = fleet.machines.filter(({ state }) => state === 'ready');
  const spare = ready.length - workload.policy.burst.limits.min;
  const allowance = readAllowance(planning, 'empty');
  const picking: Picking = { drained: [], spare, allowance, left: readyCapacity(fleet) };
  const base: Host[] = [];
  let aboveBase = ready.filter(({ market }) => market === 'on-demand').length - onDemandBase;
  for (const host of old) {
    const isOnDemand = host.machine.market === 'on-demand';
    if (isOnDemand && aboveBase <= 0) base.push(host);
    else if (admit(planning, demand, { picking, host, bounds }) && isOnDemand) aboveBase -= 1;
  }
  if (base.length === 0) return picking.drained;
  const idleSpot = unneeded.filter((host) => host.machine.market === 'spot' && !picking.drained.includes(host));
  if (idleSpot.length > 0) {
    const detail = `${countOf(base.length, 'on-demand machine')} of ${onDemandBase}, while ${countOf(idleSpot.length, 'spot machine')} without work can go`;
    noteBound(bounds, 'at-on-demand-base', detail);
  } else for (const host of base) admit(planning, demand, { picking, host, bounds });
  return picking.drained;
}

/** Lets one machine more go unless a limit keeps it; what kept it is noted. */
function admit(
  { workload }: Planning,
  demand: Demand,
  { picking, host, bounds }: { readonly picking: Picking; readonly host: Host; readonly bounds: Bounds },
): boolean {
  const { limits } = workload.policy.burst;
  if (picking.drained.length >= picking.spare) {
    noteBound(bounds, 'at-min', `at least ${countOf(limits.min, 'machine')} wanted`);
    return false;
  }
  if (picking.drained.length >= limits.maxScaleDown) {
    noteBound(bounds, 'at-max-scale-down', `at most ${countOf(limits.maxScaleDown, 'machine')} per plan`);
    return false;
  }
  if (picking.drained.length >= picking.allowance.left) {
    noteBound(bounds, 'at-drain-budget', picking.allowance.detail);
    return false;
  }
  const without = subtractResources(picking.left, host.capacity);
  if (demand.utilization.kind === 'known' && !fits(demand.utilization.total, without)) {
    const detail = `without them utilization would be above its target of ${percent(demand.utilization.target)}`;
    noteBound(bounds, 'needed', detail);
    return false;
  }
  picking.left = without;
  picking.drained.push(host);
  return true;
}
