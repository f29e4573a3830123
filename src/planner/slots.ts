/**
 * Places for tasks. Slots with the same room are handled as one group, so that a thousand equal agents and ten thousand
 * equal tasks cost one step, not ten million.
 */
import type { Resources } from '../model/resources.ts';
import { fits, multiplyResources, subtractResources, timesFitting } from '../model/resources.ts';
import { compareResources, compareText, sizeOf } from './order.ts';

/** Room on one agent or machine; shrinks as tasks are placed. */
export interface Slot {
  readonly id: string;
  /** Slots of a lower rank are filled before those of a higher one. */
  readonly rank: number;
  free: Resources;
  /** Tasks placed here by this plan. */
  taken: number;
}

interface SlotGroup {
  readonly rank: number;
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
  /** Since when the oldest of them waits; Infinity for tasks that do not exist yet. */
  readonly oldestMs: number;
}

/** Opens slots for batches that are going to be placed, in one call of `placeBatches` or several. */
export function openTier(slots: readonly Slot[], batches: readonly Batch[]): Tier {
  const least = leastNeed(batches);
  const sorted = slots
    .filter(({ free }) => fits(least, free))
    .sort((a, b) => a.rank - b.rank || compareResources(a.free, b.free) || compareText(a.id, b.id));
  const groups: { free: Resources; slots: Slot[]; rank: number }[] = [];
  for (const slot of sorted) {
    const last = groups.at(-1);
    if (last !== undefined && last.rank === slot.rank && isSame(last.free, slot.free)) last.slots.push(slot);
    else groups.push({ free: slot.free, slots: [slot], rank: slot.rank });
  }
  return { groups, least };
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

/** Biggest first: what is hard to place gets the choice. */
export function sortBatches(batches: readonly Batch[]): Batch[] {
  return [...batches].sort((a, b) => compareResources(b.shape, a.shape) || a.oldestMs - b.oldestMs);
}

export function countTasks(batches: readonly Batch[]): number {
  return batches.reduce((sum, batch) => sum + batch.count, 0);
}

export function sumTasks(batches: readonly Batch[]): Resources {
  let cpuMilli = 0;
  let memoryMib = 0;
  for (const { shape, count } of batches) {
    cpuMilli += shape.cpuMilli * count;
    memoryMib += shape.memoryMib * count;
  }
  return { cpuMilli, memoryMib };
}

function leastNeed(batches: readonly Batch[]): Resources {
  let cpuMilli = Infinity;
  let memoryMib = Infinity;
  for (const { shape } of batches) {
    cpuMilli = Math.min(cpuMilli, shape.cpuMilli);
    memoryMib = Math.min(memoryMib, shape.memoryMib);
  }
  return { cpuMilli, memoryMib };
}

/**
 * Indices of the groups that hold a task of the shape, in the order to fill them: by rank, then those that the tasks fill
 * with the least left over. That finds for each task the machine that was once chosen for it; simple tightest-first
 * left 8 % of such machines unused. With very many groups the tier's own order, tightest first, has to do.
 */
function fillOrder(tier: Tier, shape: Resources, count: number): readonly number[] {
  const fitting: { index: number; rank: number; leftOver: number }[] = [];
  const isSmall = tier.groups.length <= BEST_FIT_GROUPS_MAX;
  const size = sizeOf(shape);
  for (const [index, { free, rank }] of tier.groups.entries()) {
    const perSlot = Math.min(count, timesFitting(shape, free));
    if (perSlot > 0) fitting.push({ index, rank, leftOver: isSmall ? 1 - (perSlot * size) / sizeOf(free) : 0 });
  }
  if (isSmall) fitting.sort((a, b) => a.rank - b.rank || a.leftOver - b.leftOver || a.index - b.index);
  return fitting.map(({ index }) => index);
}

function placeShape(tier: Tier, { shape, count }: Batch): number {
  let left = count;
  const replacements: { index: number; groups: SlotGroup[] }[] = [];
  for (const index of fillOrder(tier, shape, count)) {
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
function take({ rank, free }: SlotGroup, slots: readonly Slot[], { shape, count }: TaskCount): SlotGroup {
  const left = subtractResources(free, multiplyResources(shape, count));
  for (const slot of slots) {
    slot.free = left;
    slot.taken += count;
  }
  return { rank, free: left, slots };
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

function isSame(a: Resources, b: Resources): boolean {
  return a.cpuMilli === b.cpuMilli && a.memoryMib === b.memoryMib;
}
