import type { Market, Offering } from '../model/offering.ts';
import { fits } from '../model/resources.ts';
import type { NewMachines } from './draft.ts';
import type { Catalogue, PricedType } from './offerings.ts';
import { serves } from './offerings.ts';
import { compareText } from './order.ts';

/**
 * Rungs of a ladder at most: with the first attempt nine calls, which EC2's bucket (5, then 2 a second) lets through in
 * seconds. What nine offerings do not have, the next plan seeks.
 */
export const LADDER_MAX = 8;
/** Places at the end of a spot launch's ladder that are on-demand: the work is to run, spot or not. */
const ON_DEMAND_PLACES = 2;
/** Subnets of one type at most, so that a shortage of the type does not use up the ladder. */
const PER_TYPE_MAX = 3;
/**
 * A rung costs at most so many times what the cheapest fitting type of its market costs. Beyond, fewer and larger machines
 * would serve the tasks better than as many dear ones: that is a new plan's matter.
 */
const DEARER_MAX = 2;

/** What a machine is launched for. */
type MachineTasks = Pick<NewMachines, 'used' | 'needs'>;

/**
 * Tells what else could serve the tasks of a machine, the next to be tried first: other zones and types of its market by price,
 * then, for spot, on-demand. A machine that is to be on-demand never becomes spot. Offerings that are to be probed are left
 * out: one launch of one machine does that. A plan has many launches, and sorts its catalogue for all of them once.
 */
export function ladderBuilder(catalogue: Catalogue): (first: Offering, tasks: MachineTasks) => Offering[] {
  const lists = new Map<Market, readonly Rung[]>();
  const rungsOf = (market: Market, tasks: MachineTasks): Offering[] => {
    const list = lists.get(market) ?? listRungs(catalogue, market);
    lists.set(market, list);
    return pickRungs(list, cheapestFor(catalogue, market, tasks), tasks);
  };
  return (first, tasks) => {
    const own = rungsOf(first.market, tasks).filter((offering) => !isSame(offering, first));
    if (first.market === 'on-demand') return own.slice(0, LADDER_MAX);
    const onDemand = rungsOf('on-demand', tasks).slice(0, ON_DEMAND_PLACES);
    return [...own.slice(0, LADDER_MAX - onDemand.length), ...onDemand];
  };
}

interface Rung {
  readonly offering: Offering;
  readonly type: PricedType;
}

/** Every offering of a market that may be a rung, cheapest first. */
function listRungs({ markets, allowed }: Catalogue, market: Market): Rung[] {
  const types = new Map(markets[market].types.map((type) => [type.name, type]));
  return allowed[market]
    .filter(({ probes }) => probes === undefined)
    .sort(compareOfferings)
    .flatMap((offering) => {
      const type = types.get(offering.instanceType.name);
      return type === undefined ? [] : [{ offering, type }];
    });
}

function cheapestFor({ markets }: Catalogue, market: Market, { used, needs }: MachineTasks): PricedType | null {
  return markets[market].types.find((type) => serves(type, needs) && fits(used, type.capacity)) ?? null;
}

/** The first of the list that serve the tasks and are not too dear; one more than fit on a ladder, as one may be the launch itself. */
function pickRungs(list: readonly Rung[], cheapest: PricedType | null, { used, needs }: MachineTasks): Offering[] {
  const rungs: Offering[] = [];
  const taken = new Map<string, number>();
  for (const { offering, type } of list) {
    const isTooDear = cheapest === null || offering.priceUsdPerHour > cheapest.priceUsdPerHour * DEARER_MAX;
    if (isTooDear || rungs.length > LADDER_MAX) break;
    if (!serves(type, needs) || !fits(used, type.capacity)) continue;
    const before = taken.get(type.name) ?? 0;
    taken.set(type.name, before + 1);
    if (before < PER_TYPE_MAX) rungs.push(offering);
  }
  return rungs;
}

function compareOfferings(a: Offering, b: Offering): number {
  return (
    a.priceUsdPerHour - b.priceUsdPerHour ||
    compareText(a.instanceType.name, b.instanceType.name) ||
    compareText(a.zone, b.zone) ||
    compareText(a.subnetId, b.subnetId)
  );
}

function isSame(a: Offering, b: Offering): boolean {
  return a.instanceType.name === b.instanceType.name && a.subnetId === b.subnetId && a.market === b.market;
}
