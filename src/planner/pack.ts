/**
 * Chooses machines for tasks that fit nowhere. What decides the cost of work that cannot move is stranding: a large
 * machine stays as long as the longest of its tasks. So machines are the size of their tasks, and unlike tasks share one
 * only where that is cheaper than a machine of their own.
 */
import type { Resources } from '../model/resources.ts';
import { addResources, fits, multiplyResources, subtractResources, timesFitting } from '../model/resources.ts';
import type { PricedType } from './offerings.ts';
import { cheapestHolding } from './offerings.ts';
import { sortBatches } from './slots.ts';
import type { Batch } from './slots.ts';

/** A number of machines with equal contents that are to be launched. */
export interface NodeGroup {
  readonly type: PricedType;
  /** Sum of the tasks on each of them. */
  readonly used: Resources;
  readonly count: number;
  /** Since when the oldest task on them waits. */
  readonly oldestMs: number;
}

export interface Packing {
  readonly groups: readonly NodeGroup[];
  /** Tasks that no type holds. */
  readonly unplaced: readonly Batch[];
}

/**
 * A larger machine must be cheaper per task by more than this to be worth its risk of stranding. Large types are some
 * 5-8 % cheaper per usable GiB only because the system's fixed reserve weighs less on them.
 */
const RIGHT_SIZE_TOLERANCE = 0.1;

/** Machines opened last that a task may make grow; older ones are full for all practical purposes, and plans stay linear. */
const GROWTH_WINDOW = 32;

/**
 * Packs batches onto types that are undominated and ordered by price. `growToUsdPerHour` 0 = the smallest sensible
 * machines; higher = equal cost per task is enough to choose machines up to that price, which makes them fewer.
 */
export function packNodes(batches: readonly Batch[], types: readonly PricedType[], growToUsdPerHour: number): Packing {
  const groups: OpenGroup[] = [];
  const unplaced: Batch[] = [];
  for (const batch of sortBatches(batches)) {
    let left = batch.count - joinOpen(groups, batch);
    while (left > 0) {
      const own = chooseOwn(types, { shape: batch.shape, count: left }, growToUsdPerHour);
      if (own === null) {
        unplaced.push({ ...batch, count: left });
        break;
      }
      const count = Math.floor(left / own.perNode);
      const content = multiplyResources(batch.shape, own.perNode);
      if (
        count > 1 ||
        !growOne({ groups, types, own: own.type, content, oldestMs: batch.oldestMs, growToUsdPerHour })
      ) {
        groups.push(openGroup({ type: own.type, used: content, count, oldestMs: batch.oldestMs }));
      }
      left -= own.perNode * count;
    }
  }
  return { groups, unplaced };
}

/** With what is left on each machine: every later shape looks at it. */
interface OpenGroup extends NodeGroup {
  readonly room: Resources;
}

function openGroup(group: NodeGroup): OpenGroup {
  return { ...group, room: subtractResources(group.type.capacity, group.used) };
}

/** Fewest machines wanted: packs with machines as large as needed to stay within `nodesMax`, or the largest if none does. */
export function packWithin(batches: readonly Batch[], types: readonly PricedType[], nodesMax: number): Packing {
  const dearest = types.at(-1)?.priceUsdPerHour ?? 0;
  let packing = packNodes(batches, types, 0);
  // Doubling from the cheapest type: at most some 14 tries between a nano and the largest metal type.
  for (
    let growTo = 2 * Math.max(types[0]?.priceUsdPerHour ?? 0, dearest / 10_000);
    countNodes(packing.groups) > nodesMax && growTo < 2 * dearest;
    growTo *= 2
  ) {
    packing = packNodes(batches, types, growTo);
  }
  return packing;
}

export function countNodes(groups: readonly NodeGroup[]): number {
  return groups.reduce((sum, group) => sum + group.count, 0);
}

/** Room on machines that are opened already costs nothing: it is used first, the oldest machine first. */
function joinOpen(groups: OpenGroup[], { shape, count, oldestMs }: Batch): number {
  let left = count;
  for (let index = 0; index < groups.length && left > 0; index += 1) {
    const group = groups[index];
    if (group === undefined || !fits(shape, group.room)) continue;
    const { type } = group;
    const perNode = Math.min(left, timesFitting(shape, group.room));
    const nodes = Math.min(group.count, Math.floor(left / perNode));
    const used = addResources(group.used, multiplyResources(shape, perNode));
    const parts = [openGroup({ type, used, count: nodes, oldestMs: Math.min(group.oldestMs, oldestMs) })];
    if (nodes < group.count) parts.push({ ...group, count: group.count - nodes });
    groups.splice(index, 1, ...parts);
    left -= nodes * perNode;
  }
  return count - left;
}

interface OwnNode {
  readonly type: PricedType;
  readonly perNode: number;
}

/**
 * The machine for tasks of one shape: full ones of the right size first, then the cheapest that holds the rest. So fewer
 * tasks never ask for more or dearer machines.
 */
function chooseOwn(
  types: readonly PricedType[],
  { shape, count }: Pick<Batch, 'shape' | 'count'>,
  growToUsdPerHour: number,
): OwnNode | null {
  const full = rightSize(types, shape, growToUsdPerHour);
  if (full === null || full.perNode <= count) return full;
  const type = cheapestHolding(types, multiplyResources(shape, count));
  return type === null ? null : { type, perNode: count };
}

function rightSize(types: readonly PricedType[], shape: Resources, growToUsdPerHour: number): OwnNode | null {
  const options = types
    .filter((type) => fits(shape, type.capacity))
    .map((type) => ({ type, perNode: timesFitting(shape, type.capacity) }));
  const perTask = ({ type, perNode }: OwnNode): number => type.priceUsdPerHour / perNode;
  const least = Math.min(...options.map(perTask));
  let best: OwnNode | null = null;
  // Types come by price: the first that is cheap enough per task is the smallest; growing means taking later ones.
  for (const option of options) {
    if (perTask(option) > least * (1 + RIGHT_SIZE_TOLERANCE)) continue;
    const mayGrow = option.type.priceUsdPerHour <= growToUsdPerHour;
    if (best === null || (mayGrow && option.perNode > best.perNode)) best = option;
  }
  return best;
}

interface Growth {
  readonly groups: OpenGroup[];
  readonly types: readonly PricedType[];
  readonly own: PricedType;
  readonly content: Resources;
  readonly oldestMs: number;
  readonly growToUsdPerHour: number;
}

/** Lets one open machine become a larger type where that costs less than the tasks' own machine; false = nowhere. */
function growOne(growth: Growth): boolean {
  const { groups, content, oldestMs } = growth;
  let best: { index: number; group: OpenGroup; type: PricedType; marginal: number } | null = null;
  for (let index = Math.max(0, groups.length - GROWTH_WINDOW); index < groups.length; index += 1) {
    const group = groups[index];
    const type = group === undefined ? null : cheapestHolding(growth.types, addResources(group.used, content));
    if (group === undefined || type === null) continue;
    const marginal = type.priceUsdPerHour - group.type.priceUsdPerHour;
    if (!isGrowthWorthIt(growth, type, marginal)) continue;
    if (best === null || marginal < best.marginal) best = { index, group, type, marginal };
  }
  if (best === null) return false;
  const { group, type } = best;
  const used = addResources(group.used, content);
  const grown = openGroup({ type, used, count: 1, oldestMs: Math.min(group.oldestMs, oldestMs) });
  groups.splice(best.index, 1, grown, ...(group.count > 1 ? [{ ...group, count: group.count - 1 }] : []));
  return true;
}

function isGrowthWorthIt({ own, growToUsdPerHour }: Growth, type: PricedType, marginal: number): boolean {
  if (marginal < own.priceUsdPerHour * (1 - RIGHT_SIZE_TOLERANCE)) return true;
  return type.priceUsdPerHour <= growToUsdPerHour && marginal <= own.priceUsdPerHour * (1 + RIGHT_SIZE_TOLERANCE);
}

/** True when some type holds a task of this shape. */
export function holdsShape(types: readonly PricedType[], shape: Resources): boolean {
  return types.some((type) => fits(shape, type.capacity));
}
