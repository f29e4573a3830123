import type { Market, Offering } from '../model/offering.ts';
import { fits } from '../model/resources.ts';
import type { NewMachines } from './draft.ts';
import type { Catalogue } from './offerings.ts';
import { cheapestHolding, typesFor } from './offerings.ts';
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
 * What else could serve the tasks of a machine, the next to be tried first: other zones and types of its market by price,
 * then, for spot, on-demand. A machine that is to be on-demand never becomes spot. Offerings that are to be probed are left
 * out: one launch of one machine does that.
 */
export function buildLadder(catalogue: Catalogue, first: Offering, tasks: MachineTasks): Offering[] {
  const own = rungsOf(catalogue, first.market, tasks).filter((offering) => !isSame(offering, first));
  if (first.market === 'on-demand') return own.slice(0, LADDER_MAX);
  const onDemand = rungsOf(catalogue, 'on-demand', tasks).slice(0, ON_DEMAND_PLACES);
  return [...own.slice(0, LADDER_MAX - onDemand.length), ...onDemand];
}

function rungsOf({ markets, allowed }: Catalogue, market: Market, { used, needs }: MachineTasks): Offering[] {
  const types = typesFor(markets[market].types, needs);
  const cheapest = cheapestHolding(types, used);
  if (cheapest === null) return [];
  const holding = new Set(types.filter(({ capacity }) => fits(used, capacity)).map(({ name }) => name));
  const taken = new Map<string, number>();
  return allowed[market]
    .filter(({ instanceType, probes }) => probes === undefined && holding.has(instanceType.name))
    .filter(({ priceUsdPerHour }) => priceUsdPerHour <= cheapest.priceUsdPerHour * DEARER_MAX)
    .sort(compareOfferings)
    .filter(({ instanceType: { name } }) => {
      taken.set(name, (taken.get(name) ?? 0) + 1);
      return (taken.get(name) ?? 0) <= PER_TYPE_MAX;
    });
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
