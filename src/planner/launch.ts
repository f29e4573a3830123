import type { Market, Offering } from '../model/offering.ts';
import type { WorkloadPolicy } from '../model/policy.ts';
import { fits } from '../model/resources.ts';
import type { Bounds, Draft, NewMachines, Planning, Room } from './draft.ts';
import { countStaying, isAffordable, noteBound, noteBudgetBound, noteCountBounds, noteVcpuBound } from './draft.ts';
import { isSpent, probedBy, probingDetail } from './holds.ts';
import type { Catalogue, NodeNeeds, PricedType } from './offerings.ts';
import { typesFor } from './offerings.ts';
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
  readonly room: { -readonly [Limit in keyof Room]: Room[Limit] };
  readonly market: Record<Market, number>;
  readonly zones: Map<string, number>;
  /** Holds that a machine of this plan tries already. */
  readonly probed: Set<string>;
  /** Those that rounds before this one try. */
  readonly probedBefore: ReadonlySet<string>;
  /** Types for what tasks ask for: looked up for each group, listed once. */
  readonly types: Map<NodeNeeds, Wanted>;
}

/** Turns groups into machines one by one, in the order given, until a limit on their number stops it. */
export function launchGroups(context: LaunchContext, groups: readonly WantedGroup[]): NewMachines[] {
  const machines: NewMachines[] = [];
  const tally = openTally(context);
  for (const group of groups) {
    const counts = new Map<Offering, { readonly type: PricedType; count: number }>();
    const wanted = listWanted(context, tally, group);
    const isStopped = launchGroup(context, tally, { group, wanted, counts });
    const { used, needs } = group;
    for (const [offering, { type, count }] of counts)
      machines.push({ offering, count, capacity: type.capacity, used, needs });
    if (isStopped) break;
  }
  return machines;
}

/** Types by price, with the offerings of each that this round may take. */
type Wanted = Readonly<Record<Market, readonly WantedType[]>>;

interface WantedType {
  readonly type: PricedType;
  readonly offerings: readonly Offering[];
}

function listWanted(context: LaunchContext, tally: Tally, { used, needs }: WantedGroup): Wanted {
  const all = tally.types.get(needs) ?? listTypes(context, tally, needs);
  tally.types.set(needs, all);
  const list = (market: Market): WantedType[] => all[market].filter(({ type }) => fits(used, type.capacity));
  return { 'on-demand': list('on-demand'), spot: list('spot') };
}

function listTypes({ catalogue: { markets } }: LaunchContext, tally: Tally, needs: NodeNeeds): Wanted {
  const list = (market: Market): WantedType[] =>
    typesFor(markets[market].types, needs).map((type) => {
      const cheapest = markets[market].cheapest.get(type.name) ?? [];
      return { type, offerings: cheapest.filter((offering) => !isSpent(offering, tally.probedBefore)) };
    });
  return { 'on-demand': list('on-demand'), spot: list('spot') };
}

interface GroupLaunch {
  readonly group: WantedGroup;
  readonly wanted: Wanted;
  readonly counts: Map<Offering, { readonly type: PricedType; count: number }>;
}

/** True when a limit on the number of machines stops the whole plan. */
function launchGroup(context: LaunchContext, tally: Tally, { group, wanted, counts }: GroupLaunch): boolean {
  for (let made = 0; made < group.count; made += 1) {
    if (noteCountBounds(context.planning, tally.room, context.bounds)) return true;
    const machine = launchOne(context, tally, { ...group, wanted });
    // What one machine of a group cannot have, the next one cannot either; a smaller group still may.
    if (machine === null) return false;
    const known = counts.get(machine.offering);
    if (known === undefined) counts.set(machine.offering, { type: machine.type, count: 1 });
    else known.count += 1;
  }
  return false;
}

function openTally({ planning, draft, room }: LaunchContext): Tally {
  const zones = new Map<string, number>();
  for (const { zone } of planning.fleet.machines) countZone(zones, zone);
  for (const { machine } of draft.started) countZone(zones, machine.zone);
  for (const { offering, count } of draft.launched) countZone(zones, offering.zone, count);
  const probedBefore = probedBy(draft.launched);
  return {
    room: { ...room },
    market: countStaying(planning.fleet, draft),
    zones,
    probed: new Set(probedBefore),
    probedBefore,
    types: new Map(),
  };
}

interface OneMachine {
  readonly type: PricedType;
  readonly offering: Offering;
}

function launchOne(
  { planning, bounds }: LaunchContext,
  tally: Tally,
  { used, needs, wanted }: Pick<WantedGroup, 'used' | 'needs'> & { readonly wanted: Wanted },
): OneMachine | null {
  const first = needs.spotOk ? nextMarket(planning.workload.policy, tally.market) : 'on-demand';
  let tooMuch: PricedType | null = null;
  // A machine that should be on-demand never becomes a spot one: the base is there to outlive the spot market.
  for (const market of first === 'spot' ? MARKETS_OF_SPOT : MARKETS_OF_ON_DEMAND) {
    const picked = pickFrom(wanted[market], tally, bounds);
    if (picked === 'spent') return null;
    if (picked !== null) return picked;
    tooMuch ??= wanted[market][0]?.type ?? null;
  }
  if (tooMuch === null) {
    noteBound(bounds, 'no-offering-fits', `no ${first} offering holds ${needText(used, needs.arch)}`);
  } else if (tooMuch.vcpus > tally.room.vcpus) {
    noteVcpuBound(planning, tally.room, bounds);
  } else {
    noteBudgetBound(planning, tally.room, bounds);
  }
  return null;
}

const MARKETS_OF_SPOT: readonly Market[] = ['spot', 'on-demand'];
const MARKETS_OF_ON_DEMAND: readonly Market[] = ['on-demand'];

/** `spent`: this round's one probe had it. The next round chooses sizes anew, without such types. */
function pickFrom(wanted: readonly WantedType[], tally: Tally, bounds: Bounds): OneMachine | 'spent' | null {
  // Not simply the cheapest: under a limit on vCPUs a dearer type with fewer of them may be the one that is left.
  for (const { type, offerings } of wanted) {
    if (offerings.length === 0 || !isAffordable(type, tally.room)) continue;
    const offering = leastUsedZone(offerings, tally);
    if (offering !== null) {
      takeRoom(tally, type, offering);
      return { type, offering };
    }
    noteBound(bounds, 'probing', probingDetail(tally.probed));
    return 'spent';
  }
  return null;
}

function takeRoom({ room, market, zones, probed }: Tally, type: PricedType, offering: Offering): void {
  room.max -= 1;
  room.perHour -= 1;
  room.perPlan -= 1;
  room.vcpus -= type.vcpus;
  room.nanoUsdPerHour -= nanoOf(type.priceUsdPerHour);
  market[offering.market] += 1;
  countZone(zones, offering.zone);
  for (const key of offering.probes ?? []) probed.add(key);
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
  let best: Offering | null = null;
  let bestUsed = 0;
  for (const offering of offerings) {
    if (isSpent(offering, probed)) continue;
    const used = zones.get(offering.zone) ?? 0;
    const cheaper = offering.priceUsdPerHour - (best?.priceUsdPerHour ?? Infinity);
    if (best === null || cheaper < 0 || (cheaper === 0 && used < bestUsed)) {
      best = offering;
      bestUsed = used;
    }
  }
  return best;
}

function countZone(zones: Map<string, number>, zone: string, count = 1): void {
  zones.set(zone, (zones.get(zone) ?? 0) + count);
}
