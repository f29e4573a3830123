/**
 * Consolidation: a machine that is little used takes no more work, and goes when its own is done. Tasks never move, so nothing is
 * gained at once; what is gained is that new tasks go where others run already, instead of keeping two machines alive by turns.
 * Nothing is launched for it: the room must be there, on machines that work, before anything is cordoned.
 */
import type { Constraints } from '../model/constraints.ts';
import { fits, subtractResources } from '../model/resources.ts';
import type { AfterLocal } from './coverage.ts';
import type { Demand } from './demand.ts';
import type { Planning } from './draft.ts';
import { EMPTY_DRAFT, nanoPerHour } from './draft.ts';
import { readAllowance } from './drain-budgets.ts';
import { dominantShare } from './fair-share.ts';
import type { Host } from './fleet.ts';
import { hostSlots, isAtWork, isProtected } from './fleet.ts';
import { AUTO_HOLD_MAX_MS, minimumLifeEndsMs } from './idle-hold.ts';
import { compareText, nanoOf } from './order.ts';
import { readyCapacity } from './scale-up.ts';
import type { Batch } from './slots.ts';
import { openTier, placeBatches } from './slots.ts';
import type { WorkloadInput } from './types.ts';

/** In no dimension more than half used: the threshold of Cluster Autoscaler. */
const USED_SHARE_MAX = 0.5;
/** Looked at in one plan: each costs a placement of all pending work. The next plan goes on. */
const CANDIDATES_MAX = 20;
/** Smaller savings are not worth a cordon: less than this share of what the workload's machines cost, and less than this an hour. */
const SAVING_SHARE_MIN = 0.01;
const SAVING_NANO_MIN = nanoOf(0.05);

export interface ConsolidationInput {
  readonly planning: Planning;
  readonly demand: Demand;
  readonly after: AfterLocal;
}

/** Machines to be cordoned until their work is done. */
export function pickUnderutilized({ planning, demand, after }: ConsolidationInput): Host[] {
  const { fleet, workload } = planning;
  if (!isSettled(planning)) return [];
  const working = fleet.cloud.filter(isAtWork);
  const { limits, market } = workload.policy.burst;
  const ready = fleet.machines.filter(({ state }) => state === 'ready');
  const { left: allowed } = readAllowance(planning, 'underutilized');
  const most = Math.min(ready.length - limits.min, limits.maxScaleDown, allowed);
  let aboveBase = ready.filter(({ market: of }) => of === 'on-demand').length - market.onDemandBase;
  let capacity = readyCapacity(fleet);
  const picked: Host[] = [];
  for (const host of listCandidates(planning, working)) {
    if (picked.length >= most) break;
    const isOnDemand = host.machine.market === 'on-demand';
    const without = subtractResources(capacity, host.capacity);
    const isWanted = demand.utilization.kind === 'known' && !fits(demand.utilization.total, without);
    if (isWanted || (isOnDemand && aboveBase <= 0) || !haveRoom(working, [...picked, host], after)) continue;
    picked.push(host);
    capacity = without;
    if (isOnDemand) aboveBase -= 1;
  }
  return picked;
}

/** Nothing on its way, and nothing launched lately: what was just bought has not filled yet. */
function isSettled({ fleet, workload, world }: Planning): boolean {
  const { consolidation, scaleDownUnneededMs } = workload.policy.drain;
  if (consolidation === 'whenEmpty' || fleet.inFlight.length > 0) return false;
  const settleMs = scaleDownUnneededMs ?? AUTO_HOLD_MAX_MS;
  return workload.lastLaunchAtMs === null || world.nowMs - workload.lastLaunchAtMs >= settleMs;
}

/** Little used and old enough, those first whose unused part costs most at the prices of now. */
function listCandidates({ fleet, workload, world }: Planning, working: readonly Host[]): Host[] {
  const worthNano = Math.min(SAVING_NANO_MIN, nanoPerHour(fleet, EMPTY_DRAFT) * SAVING_SHARE_MIN);
  const prices = presentPrices(workload);
  return working
    .filter((host) => !isProtected(host))
    .filter(({ machine }) => minimumLifeEndsMs(workload.policy.drain, machine) <= world.nowMs)
    .map((host) => ({ host, nano: nanoOf(prices(host)), used: usedShare(host) }))
    .filter(({ nano, used }) => used <= USED_SHARE_MAX && nano > worthNano)
    .sort((a, b) => b.nano * (1 - b.used) - a.nano * (1 - a.used) || compareText(a.host.machine.id, b.host.machine.id))
    .slice(0, CANDIDATES_MAX)
    .map(({ host }) => host);
}

/** What a machine costs per hour now; its price at launch where that is not known. */
function presentPrices({ offerings }: WorkloadInput): (host: Host) => number {
  const known = new Map(
    (offerings ?? []).map((offering) => [
      `${offering.instanceType.name}/${offering.zone}/${offering.market}`,
      offering.priceUsdPerHour,
    ]),
  );
  return ({ machine: { instanceType, zone, market, priceUsdPerHour } }) =>
    known.get(`${instanceType}/${zone}/${market}`) ?? priceUsdPerHour;
}

/** The fullest dimension decides. */
function usedShare({ capacity, free }: Host): number {
  return dominantShare(subtractResources(capacity, free), capacity);
}

/**
 * True when everything that waits, and once more all that runs on the machines that go, has room on the others that work. Machines
 * without work do not count: they are about to go themselves.
 */
function haveRoom(working: readonly Host[], going: readonly Host[], after: AfterLocal): boolean {
  const others = working.filter((host) => !going.includes(host));
  const waiting = [...after.urgent, ...after.patient, ...after.headroom].filter(
    ({ constraints }) => !constraints.localOnly,
  );
  const batches = [...waiting, ...going.map(workOf)];
  return placeBatches(openTier(hostSlots(others), batches), batches).length === 0;
}

/** What runs on a machine, as that many equal tasks; what they may ask of a machine is what they have. */
function workOf({ capacity, free, runningTasks, place }: Host): Batch {
  const count = Math.max(1, runningTasks);
  const used = subtractResources(capacity, free);
  const constraints: Constraints = { arch: place.arch, localOnly: false, spotOk: place.market === 'spot' };
  const shape = {
    cpuMilli: Math.ceil(used.cpuMilli / count),
    memoryMib: Math.ceil(used.memoryMib / count),
    gpus: Math.ceil(used.gpus / count),
  };
  return { shape, constraints, count, oldestMs: Infinity };
}
