/**
 * Which pending tasks stay local when local agents cannot take them all: those that would be dearest in the cloud for the part of
 * the local agents that they need (the greedy rule of the knapsack problem). Planner and engine go by the same ranks.
 */
import { constraintsKey } from '../model/constraints.ts';
import { MINUTE_MS } from '../model/time.ts';
import type { Resources } from '../model/resources.ts';
import { shapeKey, timesFitting } from '../model/resources.ts';
import type { AfterPending } from './coverage.ts';
import type { Demand } from './demand.ts';
import { dominantShare } from './fair-share.ts';
import type { Catalogue, PricedType } from './offerings.ts';
import { needsOf, typesFor } from './offerings.ts';
import { nanoOf, usdOf } from './order.ts';
import type { Batch } from './slots.ts';
import { countTasks } from './slots.ts';
import type { KeepReport, RankedKind } from './types.ts';

/** Higher ranks first. */
export type RankOf = (batch: Pick<Batch, 'shape' | 'constraints'>) => number;

/** Nobody knows: biggest first, as ever. */
export const UNRANKED: RankOf = () => 0;

/** Kinds that are ranked at most: each is looked up in every type. */
export const KINDS_MAX = 50;
/** Two kinds whose worth differs by less have one rank: what fits better decides, not a hundredth of a cent. */
const STEP = 1.1;
/** Of what can run nowhere else. */
const RANK_MAX = 1000;

/**
 * So long beyond `queue.maxWait` tasks are passed over for dearer ones at most; then their age counts. Enough for a machine of
 * their own to join, twice over; it does not come where a limit forbids it.
 */
export const PASSED_OVER_MAX_MS = 10 * MINUTE_MS;

/** What kinds are worth; empty when there is nothing to choose, or too much to look up. */
export function rankKinds(
  { urgent, patient }: Pick<Demand, 'urgent' | 'patient'>,
  catalogue: Catalogue,
  local: Resources,
): RankedKind[] {
  const kinds = new Map([...urgent, ...patient].map((batch) => [kindKey(batch), batch]));
  if (kinds.size < 2 || kinds.size > KINDS_MAX) return [];
  return [...kinds]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([, { shape, constraints }]) => {
      const burstUsdPerHour = constraints.localOnly ? null : leastUsdPerHour(catalogue, { shape, constraints });
      const share = dominantShare(shape, local);
      const rank = burstUsdPerHour === null ? RANK_MAX : rankOfWorth(burstUsdPerHour, share);
      return { shape, constraints, burstUsdPerHour, rank };
    });
}

function rankOfWorth(usdPerHour: number, share: number): number {
  if (usdPerHour <= 0 || share <= 0) return -RANK_MAX;
  const rank = Math.round(Math.log(usdPerHour / share) / Math.log(STEP));
  return Math.max(-RANK_MAX, Math.min(RANK_MAX - 1, rank));
}

/** The ranks as a function; a kind that is not among them has that of nobody. */
export function rankOf(kinds: readonly RankedKind[]): RankOf {
  if (kinds.length === 0) return UNRANKED;
  const ranks = new Map(kinds.map((kind) => [kindKey(kind), kind.rank]));
  return (batch) => ranks.get(kindKey(batch)) ?? 0;
}

/** Names a kind of task within its workload, e.g. `2000c4096m-local`. */
export function kindKey({ shape, constraints }: Pick<Batch, 'shape' | 'constraints'>): string {
  return `${shapeKey(shape)}${constraintsKey(constraints)}`;
}

/** What one task of a batch would cost in the cloud: its share of the machine that is cheapest for it; null = no machine for it. */
export function leastUsdPerHour({ markets }: Catalogue, batch: Pick<Batch, 'shape' | 'constraints'>): number | null {
  const { spotOk } = batch.constraints;
  const types: readonly PricedType[] = [...markets['on-demand'].types, ...(spotOk ? markets.spot.types : [])];
  let least = Infinity;
  for (const { priceUsdPerHour, capacity } of typesFor(types, needsOf(batch))) {
    least = Math.min(least, priceUsdPerHour / timesFitting(batch.shape, capacity));
  }
  return least === Infinity ? null : least;
}

/** What stays and what goes, in money; null when nothing was chosen. */
export function reportKept(kinds: readonly RankedKind[], demand: Demand, after: AfterPending): KeepReport | null {
  if (kinds.length === 0) return null;
  const prices = new Map(kinds.map((kind) => [kindKey(kind), kind.burstUsdPerHour]));
  const sum = (batches: readonly Batch[]): { tasks: number; nano: number } =>
    batches.reduce(
      ({ tasks, nano }, batch) => ({
        tasks: tasks + batch.count,
        nano: nano + batch.count * nanoOf(prices.get(kindKey(batch)) ?? 0),
      }),
      { tasks: 0, nano: 0 },
    );
  const bursting = after.urgent.filter(({ constraints }) => !constraints.localOnly);
  const all = sum([...demand.urgent, ...demand.patient]);
  const gone = sum(bursting);
  return {
    keptTasks: all.tasks - gone.tasks - countTasks(after.urgent.filter(({ constraints }) => constraints.localOnly)),
    keptUsdPerHour: usdOf(all.nano - gone.nano),
    burstTasks: gone.tasks,
    burstUsdPerHour: usdOf(gone.nano),
    kinds,
  };
}
