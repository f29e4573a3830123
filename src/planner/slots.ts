/**
 * Places for tasks. Slots with the same room are handled as one group, so that a thousand equal agents and ten thousand
 * equal tasks cost one step, not ten million.
 */
import type { Constraints, Place } from '../model/constraints.ts';
import { constraintsKey, mayRunAt } from '../model/constraints.ts';
import type { Resources } from '../model/resources.ts';
import { fits, multiplyResources, subtractResources, timesFitting } from '../model/resources.ts';
import { compareResources, compareText, sizeOf } from './order.ts';

/** Room on one agent or machine; shrinks as tasks are placed. */
export interface Slot {
  readonly id: string;
  /** Slots of a lower rank are filled before those of a higher one. */
  readonly rank: number;
  readonly place: SlotPlace;
  free: Resources;
  /** Tasks placed here by this plan. */
  taken: number;
}

/** Where a slot is. */
export interface SlotPlace extends Place {
  /** It has GPUs, free or not: work that needs none goes elsewhere while it can. */
  readonly hasGpus: boolean;
  /** Equal for equal places. */
  readonly key: string;
}

export function slotPlace({ site, arch, market }: Place, hasGpus: boolean): SlotPlace {
  return { site, arch, market, hasGpus, key: `${hasGpus ? 'gpus' : ''}/${site}/${arch ?? ''}/${market ?? ''}` };
}

interface SlotGroup {
  readonly rank: number;
  readonly place: SlotPlace;
  readonly free: Resources;
  readonly slots: readonly Slot[];
}

/**
 * Groups that are ranked anew for every shape; sorting 512 takes some 50 us, so that 200 shapes stay within 10 ms. More
 * groups arise only when hundreds of agents all have different room.
 */
const BEST_FIT_GROUPS_MAX = 512;

/** Slots in the order they are filled: by rank, then the tightest first, so that large rooms stay whole for large tasks. */
export interface Tier {
  groups: SlotGroup[];
  /** A slot below this in any dimension can take none of the tasks the tier was opened for, and is left out. */
  readonly least: Resources;
}

interface TaskCount {
  readonly shape: Resources;
  readonly count: number;
}

/** A number of equal tasks. */
export interface Batch extends TaskCount {
  readonly constraints: Constraints;
  /** Since when the oldest of them waits; Infinity for tasks that do not exist yet. */
  readonly oldestMs: number;
}

/** Opens slots for batches that are going to be placed, in one call of `placeBatches` or several. */
export function openTier(slots: readonly Slot[], batches: readonly Batch[]): Tier {
  const least = leastNeed(batches);
  const sorted = slots.filter(({ free }) => fits(least, free)).sort(compareSlots);
  const groups: { free: Resources; slots: Slot[]; rank: number; place: SlotPlace }[] = [];
  for (const slot of sorted) {
    const last = groups.at(-1);
    if (last !== undefined && isAlike(last, slot)) last.slots.push(slot);
    else groups.push({ free: slot.free, slots: [slot], rank: slot.rank, place: slot.place });
  }
  return { groups, least };
}

function compareSlots(a: Slot, b: Slot): number {
  return (
    a.rank - b.rank ||
    compareResources(a.free, b.free) ||
    compareText(a.place.key, b.place.key) ||
    compareText(a.id, b.id)
  );
}

/** Places the batches, biggest tasks first, and returns what found no room. Changes the tier and its slots. */
export function placeBatches(tier: Tier, batches: readonly Batch[]): Batch[] {
  const left: Batch[] = [];
  for (const batch of sortBatches(batches)) {
    const count = batch.count - placeShape(tier, batch);
    if (count > 0) left.push({ ...batch, count });
  }
  return left;
}

/** Biggest first, of equal ones those with constraints: what is hard to place gets the choice. */
export function sortBatches(batches: readonly Batch[]): Batch[] {
  return [...batches].sort(
    (a, b) =>
      compareResources(b.shape, a.shape) ||
      compareText(constraintsKey(b.constraints), constraintsKey(a.constraints)) ||
      a.oldestMs - b.oldestMs,
  );
}

export function countTasks(batches: readonly Batch[]): number {
  return batches.reduce((sum, batch) => sum + batch.count, 0);
}

export function sumTasks(batches: readonly Batch[]): Resources {
  let cpuMilli = 0;
  let memoryMib = 0;
  let gpus = 0;
  for (const { shape, count } of batches) {
    cpuMilli += shape.cpuMilli * count;
    memoryMib += shape.memoryMib * count;
    gpus += shape.gpus * count;
  }
  return { cpuMilli, memoryMib, gpus };
}

function leastNeed(batches: readonly Batch[]): Resources {
  let cpuMilli = Infinity;
  let memoryMib = Infinity;
  let gpus = Infinity;
  for (const { shape } of batches) {
    cpuMilli = Math.min(cpuMilli, shape.cpuMilli);
    memoryMib = Math.min(memoryMib, shape.memoryMib);
    gpus = Math.min(gpus, shape.gpus);
  }
  return { cpuMilli, memoryMib, gpus };
}

/**
 * Indices of the groups that hold a task of the batch, in the order to fill them: for tasks without GPU need those without GPUs
 * first, then by rank, then those that the tasks fill with the least left over. That finds for each task the machine that was once chosen for it; simple tightest-first
 * left 8 % of such machines unused. With very many groups the tier's own order, tightest first, has to do.
 */
function fillOrder(tier: Tier, { shape, constraints, count }: Batch): readonly number[] {
  const fitting: { index: number; last: number; rank: number; leftOver: number }[] = [];
  const isSmall = tier.groups.length <= BEST_FIT_GROUPS_MAX;
  const size = sizeOf(shape);
  for (const [index, { free, rank, place }] of tier.groups.entries()) {
    const perSlot = Math.min(count, timesFitting(shape, free));
    if (perSlot === 0 || !mayRunAt(constraints, place)) continue;
    const last = shape.gpus === 0 && place.hasGpus ? 1 : 0;
    fitting.push({ index, last, rank, leftOver: isSmall ? 1 - (perSlot * size) / sizeOf(free) : 0 });
  }
  if (isSmall)
    fitting.sort((a, b) => a.last - b.last || a.rank - b.rank || a.leftOver - b.leftOver || a.index - b.index);
  else fitting.sort((a, b) => a.last - b.last || a.index - b.index);
  return fitting.map(({ index }) => index);
}

function placeShape(tier: Tier, batch: Batch): number {
  const { shape, count } = batch;
  let left = count;
  const replacements: { index: number; groups: SlotGroup[] }[] = [];
  for (const index of fillOrder(tier, batch)) {
    const group = tier.groups[index];
    if (left === 0 || group === undefined) break;
    const perSlot = Math.min(left, timesFitting(shape, group.free));
    if (perSlot === 0) continue;
    const fullSlots = Math.min(group.slots.length, Math.floor(left / perSlot));
    const parts = [take(group, group.slots.slice(0, fullSlots), { shape, count: perSlot })];
    left -= fullSlots * perSlot;
    const next = group.slots[fullSlots];
    if (next !== undefined && left > 0) {
      // Fewer are left than one slot holds: the last of them share it.
      parts.push(take(group, [next], { shape, count: left }), { ...group, slots: group.slots.slice(fullSlots + 1) });
      left = 0;
    } else {
      parts.push({ ...group, slots: group.slots.slice(fullSlots) });
    }
    replacements.push({ index, groups: parts.filter(({ slots, free }) => slots.length > 0 && fits(tier.least, free)) });
  }
  replaceGroups(
    tier,
    replacements.sort((a, b) => a.index - b.index),
  );
  return count - left;
}

/** Puts so many tasks on each of a group's slots. */
function take({ rank, free, place }: SlotGroup, slots: readonly Slot[], { shape, count }: TaskCount): SlotGroup {
  const left = subtractResources(free, multiplyResources(shape, count));
  for (const slot of slots) {
    slot.free = left;
    slot.taken += count;
  }
  return { rank, free: left, place, slots };
}

function replaceGroups(tier: Tier, replacements: readonly { index: number; groups: readonly SlotGroup[] }[]): void {
  if (replacements.length === 0) return;
  const groups: SlotGroup[] = [];
  let from = 0;
  for (const replacement of replacements) {
    for (let index = from; index < replacement.index; index += 1) {
      const kept = tier.groups[index];
      if (kept !== undefined) groups.push(kept);
    }
    groups.push(...replacement.groups);
    from = replacement.index + 1;
  }
  tier.groups = groups.concat(tier.groups.slice(from));
}

function isAlike(a: Omit<SlotGroup, 'slots'>, b: Omit<SlotGroup, 'slots'>): boolean {
  const isSame =
    a.free.cpuMilli === b.free.cpuMilli && a.free.memoryMib === b.free.memoryMib && a.free.gpus === b.free.gpus;
  return a.rank === b.rank && isSame && a.place.key === b.place.key;
}
