import type { Market, Offering } from '../model/offering.ts';
import type { WorkloadPolicy } from '../model/policy.ts';
import { fits } from '../model/resources.ts';
import type { Bounds, Draft, NewMachine, Planning, Room } from './draft.ts';
import { countStaying, isAffordable, noteBound, noteBudgetBound, noteCountBounds, noteVcpuBound } from './draft.ts';
import { isSpent, probedBy, probingDetail } from './holds.ts';
import type { Catalogue, NodeNeeds, PricedType } from './offerings.ts';
import { cheapestHolding, typesFor } from './offerings.ts';
import { nanoOf } from './order.ts';
import type { NodeGroup } from './pack.ts';
import { needText } from './text.ts';

/** Machines of one packing, with what their tasks ask of them. */
export interface WantedGroup extends NodeGroup {
  readonly needs: NodeNeeds;
}

export interface LaunchContext {
  readonly planning: Planning;
  readonly catalogue: Catalogue;
  readonly draft: Draft;
  readonly room: Room;
  readonly bounds: Bounds;
}

/** What is left and what was taken while machines are made one by one. */
interface Tally {
  room: Room;
  readonly market: Record<Market, number>;
  readonly zones: Map<string, number>;
  /** Holds that a machine of this plan tries already. */
  readonly probed: Set<string>;
  /** Types for what tasks ask for: looked up for each machine, listed once. */
  readonly types: Map<NodeNeeds, Record<Market, readonly PricedType[]>>;
}

/** Turns groups into machines one by one, in the order given, until a limit on their number stops it. */
export function launchGroups(context: LaunchContext, groups: readonly WantedGroup[]): NewMachine[] {
  const machines: NewMachine[] = [];
  const tally = openTally(context);
  for (const group of groups) {
    for (let made = 0; made < group.count; made += 1) {
      if (noteCountBounds(context.planning, tally.room, context.bounds)) return machines;
      const machine = launchOne(context, tally, group);
      // What one machine of a group cannot have, the next one cannot either; a smaller group still may.
      if (machine === null) break;
      machines.push(machine);
    }
  }
  return machines;
}

function openTally({ planning, draft, room }: LaunchContext): Tally {
  const zones = new Map<string, number>();
  for (const { zone } of planning.fleet.machines) countZone(zones, zone);
  for (const { offering } of draft.launched) countZone(zones, offering.zone);
  return {
    room,
    market: countStaying(planning.fleet, draft),
    zones,
    probed: new Set(probedBy(draft.launched)),
    types: new Map(),
  };
}

function launchOne(context: LaunchContext, tally: Tally, { used, needs }: Wanted): NewMachine | null {
  const { planning, bounds } = context;
  const wanted = needs.spotOk ? nextMarket(planning.workload.policy, tally.market) : 'on-demand';
  let tooMuch: PricedType | null = null;
  // A machine that should be on-demand never becomes a spot one: the base is there to outlive the spot market.
  for (const market of wanted === 'spot' ? (['spot', 'on-demand'] as const) : (['on-demand'] as const)) {
    const picked = pickFrom(context, tally, { market, used, needs });
    if (picked === 'spent') return null;
    if (picked !== null) return picked;
    tooMuch ??= cheapestHolding(listTypes(context, tally, needs)[market], used);
  }
  if (tooMuch === null) {
    noteBound(bounds, 'no-offering-fits', `no ${wanted} offering holds ${needText(used, needs.arch)}`);
  } else if (tooMuch.vcpus > tally.room.vcpus) {
    noteVcpuBound(planning, tally.room, bounds);
  } else {
    noteBudgetBound(planning, tally.room, bounds);
  }
  return null;
}

type Wanted = Pick<WantedGroup, 'used' | 'needs'>;

/** `spent`: this round's one probe had it. The next round chooses sizes anew, without such types. */
function pickFrom(
  context: LaunchContext,
  tally: Tally,
  { market, used, needs }: Wanted & { readonly market: Market },
): NewMachine | 'spent' | null {
  const { catalogue, draft, bounds } = context;
  const { cheapest } = catalogue.markets[market];
  const before = probedBy(draft.launched);
  // Not simply the cheapest: under a limit on vCPUs a dearer type with fewer of them may be the one that is left.
  for (const type of listTypes(context, tally, needs)[market]) {
    const list = (cheapest.get(type.name) ?? []).filter((offering) => !isSpent(offering, before));
    if (list.length === 0 || !fits(used, type.capacity) || !isAffordable(type, tally.room)) continue;
    const offering = leastUsedZone(list, tally);
    if (offering !== null) {
      takeRoom(tally, type, offering);
      return { offering, capacity: type.capacity, used, needs };
    }
    noteBound(bounds, 'probing', probingDetail(tally.probed));
    return 'spent';
  }
  return null;
}

function listTypes(
  { catalogue: { markets } }: LaunchContext,
  { types }: Tally,
  needs: NodeNeeds,
): Record<Market, readonly PricedType[]> {
  const known = types.get(needs);
  if (known !== undefined) return known;
  const listed = {
    'on-demand': typesFor(markets['on-demand'].types, needs),
    spot: typesFor(markets.spot.types, needs),
  };
  types.set(needs, listed);
  return listed;
}

function takeRoom(tally: Tally, type: PricedType, offering: Offering): void {
  const { room } = tally;
  tally.room = {
    max: room.max - 1,
    perHour: room.perHour - 1,
    perPlan: room.perPlan - 1,
    vcpus: room.vcpus - type.vcpus,
    nanoUsdPerHour: room.nanoUsdPerHour - nanoOf(type.priceUsdPerHour),
  };
  tally.market[offering.market] += 1;
  countZone(tally.zones, offering.zone);
  for (const key of offering.probes ?? []) tally.probed.add(key);
}

/**
 * Market of the next machine, by the rule of EC2 Auto Scaling's mixed instances: a base of on-demand machines, above it
 * the given share on spot, rounded in favour of on-demand.
 */
export function nextMarket({ burst }: WorkloadPolicy, counts: Readonly<Record<Market, number>>): Market {
  const { spot, onDemandBase } = burst.market;
  const total = counts['on-demand'] + counts.spot + 1;
  const aboveBase = Math.max(0, total - onDemandBase);
  // The small number keeps 10 * (1 - 0.7) = 3.0000000000000004 from counting as four.
  const onDemandWanted = total - aboveBase + Math.ceil(aboveBase * (1 - spot) - 1e-9);
  return counts['on-demand'] < onDemandWanted ? 'on-demand' : 'spot';
}

/** Of offerings that are alike; the cheaper where a probe costs less. Each hold is tried by one machine only. */
function leastUsedZone(offerings: readonly Offering[], { zones, probed }: Tally): Offering | null {
  const used = ({ zone }: Offering): number => zones.get(zone) ?? 0;
  let best: Offering | null = null;
  for (const offering of offerings) {
    if (isSpent(offering, probed)) continue;
    const cheaper = offering.priceUsdPerHour - (best?.priceUsdPerHour ?? Infinity);
    if (best === null || cheaper < 0 || (cheaper === 0 && used(offering) < used(best))) best = offering;
  }
  return best;
}

function countZone(zones: Map<string, number>, zone: string): void {
  zones.set(zone, (zones.get(zone) ?? 0) + 1);
}
