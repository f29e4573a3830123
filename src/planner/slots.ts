/**
 * Places for tasks. Slots with the same room are handled as one group, so that a thousand equal agents and ten thousand
 * equal tasks cost one step, not ten million.
 */
import type { Constraints } from '../model/constraints.ts';
import { constraintsKey, mayRunAt } from '../model/constraints.ts';
import type { Resources } from '../model/resources.ts';
import { fits, multiplyResources, subtractResources, timesFitting } from '../model/resources.ts';
import { compareResources, compareText, sizeOf } from './order.ts';
import type { SlotPlace } from './slot-place.ts';

/** Room on one agent or machine; shrinks as tasks are placed. */
export interface Slot {
  readonly id: string;
  /** More than 1: so many machines that nobody needs to tell apart. Then only the tier knows what was placed there. */
  readonly count: number;
  /** Slots of a lower rank are filled before those of a higher one. */
  readonly rank: number;
  readonly place: SlotPlace;
  free: Resources;
  /** Tasks placed here by this plan. */
  taken: number;
}

interface SlotGroup {
  readonly rank: number;
  readonly place: SlotPlace;
  readonly free: Resources;
  /** `sizeOf` its free room. */
  readonly size: number;
  readonly slots: readonly Slot[];
  /** Machines of all its slots. */
  readonly count: number;
}

/**
 * Groups that are ranked anew for every shape: the best one takes some 5 us to find, and all 512 are sorted in some 50 us when
 * that is not enough. More groups arise only when hundreds of agents all have different room.
 */
const BEST_FIT_GROUPS_MAX = 512;

/** Slots in the order they are filled: by rank, then the tightest first, so that large rooms stay whole for large tasks. */
export interface Tier {
  readonly groups: SlotGroup[];
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
  // Grouped before they are sorted: thousands of slots have a few dozen different rooms.
  const byRoom = new Map<number, SlotList[]>();
  const lists: SlotList[] = [];
  let last: SlotList | undefined;
  for (const slot of slots) {
    if (!fits(least, slot.free)) continue;
    if (last === undefined || !isAlike(last, slot)) {
      const key = slot.free.cpuMilli * MEMORY_KEYS + slot.free.memoryMib;
      const alike = byRoom.get(key);
      last = alike?.find((list) => isAlike(list, slot));
      if (last === undefined) {
        last = { free: slot.free, slots: [], count: 0, rank: slot.rank, place: slot.place, size: sizeOf(slot.free) };
        lists.push(last);
        if (alike === undefined) byRoom.set(key, [last]);
        else alike.push(last);
      }
    }
    last.slots.push(slot);
    last.count += slot.count;
  }
  for (const { slots: alike } of lists) sortById(alike);
  return { groups: lists.sort(compareGroups), least };
}

type Room = Pick<SlotGroup, 'rank' | 'place' | 'free'>;

/** More MiB than any machine has: a room's vCPUs and memory as one number. */
const MEMORY_KEYS = 2 ** 30;

type SlotList = Omit<SlotGroup, 'slots' | 'count'> & { readonly slots: Slot[]; count: number };

function compareGroups(a: SlotGroup, b: SlotGroup): number {
  return a.rank - b.rank || compareResources(a.free, b.free) || compareText(a.place.key, b.place.key);
}

/** Mostly they come in this order, and comparing neighbours is much cheaper than sorting. */
function sortById(slots: Slot[]): void {
  const byId = (a: Slot, b: Slot): number => compareText(a.id, b.id);
  if (slots.some((slot, at) => at > 0 && byId(slots[at - 1] ?? slot, slot) > 0)) slots.sort(byId);
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

/** The same, where batches of a higher rank take what they need before any of a lower one. */
export function placeByRank(tier: Tier, batches: readonly Batch[], rankOf: (batch: Batch) => number): Batch[] {
  const ranks = Map.groupBy(batches, rankOf);
  return [...ranks].sort(([a], [b]) => b - a).flatMap(([, alike]) => placeBatches(tier, alike));
}

/** What of the batches found room, given what {@link placeBatches} left of these very batches. */
export function placedOf(batches: readonly Batch[], left: readonly Batch[]): Batch[] {
  return batches.flatMap((batch) => {
    const stays = left.find(({ shape, constraints }) => shape === batch.shape && constraints === batch.constraints);
    const count = batch.count - (stays?.count ?? 0);
    return count > 0 ? [{ ...batch, count }] : [];
  });
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

/** A group that holds tasks of a batch, with what decides when it is filled. */
interface Candidate {
  readonly index: number;
  /** 1: it has GPUs, which the tasks do not need. */
  readonly last: number;
  readonly rank: number;
  /** Share of its room that is left when the tasks have taken what they can. */
  readonly leftOver: number;
}

/**
 * Indices of the groups that hold a task of the batch, in the order to fill them: for tasks without GPU need those without GPUs
 * first, then by rank, then those that the tasks fill with the least left over. That finds for each task the machine that was once chosen for it; simple tightest-first
 * left 8 % of such machines unused. With very many groups the tier's own order, tightest first, has to do.
 * Lazy, because mostly the first group or two take the whole batch.
 */
function* fillOrder(tier: Tier, batch: Batch): Generator<number> {
  if (tier.groups.length > BEST_FIT_GROUPS_MAX) {
    yield* inTierOrder(tier, batch);
    return;
  }
  const first = bestCandidate(tier, batch);
  if (first === null) return;
  yield first.index;
  for (const { index } of listCandidates(tier, batch).sort(compareCandidates)) if (index !== first.index) yield index;
}

function* inTierOrder({ groups }: Tier, { shape, constraints }: Batch): Generator<number> {
  const avoidsGpus = shape.gpus === 0;
  const last: number[] = [];
  for (
    let index = nextFitting(groups, shape, 0);
    index < groups.length;
    index = nextFitting(groups, shape, index + 1)
  ) {
    const group = groups[index];
    if (group === undefined || !mayRunAt(constraints, group.place)) continue;
    if (avoidsGpus && group.place.hasGpus) last.push(index);
    else yield index;
  }
  yield* last;
}

/** Index of the first group from there on that holds the shape; where there is none, how many groups there are. */
function nextFitting(groups: readonly SlotGroup[], { cpuMilli, memoryMib, gpus }: Resources, from: number): number {
  let index = from;
  for (; index < groups.length; index += 1) {
    const free = groups[index]?.free;
    if (free !== undefined && cpuMilli <= free.cpuMilli && memoryMib <= free.memoryMib && gpus <= free.gpus) break;
  }
  return index;
}

/** The first of the candidates as `compareCandidates` orders them, without listing the others. */
function bestCandidate({ groups }: Tier, batch: Batch): Candidate | null {
  let best: Candidate | null = null;
  const size = sizeOf(batch.shape);
  for (let index = 0; index < groups.length; index += 1) {
    const group = groups[index];
    if (group === undefined || !fits(batch.shape, group.free) || !mayRunAt(batch.constraints, group.place)) continue;
    const candidate = candidateOf(group, batch, { index, size });
    if (best === null || compareCandidates(candidate, best) < 0) best = candidate;
  }
  return best;
}

function listCandidates({ groups }: Tier, batch: Batch): Candidate[] {
  const candidates: Candidate[] = [];
  const size = sizeOf(batch.shape);
  for (const [index, group] of groups.entries()) {
    if (!fits(batch.shape, group.free) || !mayRunAt(batch.constraints, group.place)) continue;
    candidates.push(candidateOf(group, batch, { index, size }));
  }
  return candidates;
}

function candidateOf(
  group: SlotGroup,
  { shape, count }: Batch,
  { index, size }: { readonly index: number; readonly size: number },
): Candidate {
  const perSlot = Math.min(count, timesFitting(shape, group.free));
  const last = shape.gpus === 0 && group.place.hasGpus ? 1 : 0;
  return { index, last, rank: group.rank, leftOver: 1 - (perSlot * size) / group.size };
}

function compareCandidates(a: Candidate, b: Candidate): number {
  return a.last - b.last || a.rank - b.rank || a.leftOver - b.leftOver || a.index - b.index;
}

function placeShape(tier: Tier, batch: Batch): number {
  const { shape, count } = batch;
  let left = count;
  const replacements: { index: number; groups: SlotGroup[] }[] = [];
  for (const index of fillOrder(tier, batch)) {
    const group = tier.groups[index];
    if (group === undefined) break;
    const perSlot = Math.min(left, timesFitting(shape, group.free));
    const fullSlots = Math.min(group.count, Math.floor(left / perSlot));
    const [full, others] = splitGroup(group, fullSlots);
    const parts = [take(full, { shape, count: perSlot })];
    left -= fullSlots * perSlot;
    if (others.count > 0 && left > 0) {
      // Fewer are left than one slot holds: the last of them share it.
      const [next, rest] = splitGroup(others, 1);
      parts.push(take(next, { shape, count: left }), rest);
      left = 0;
    } else {
      parts.push(others);
    }
    replacements.push({ index, groups: parts.filter(({ count, free }) => count > 0 && fits(tier.least, free)) });
    if (left === 0) break;
  }
  replaceGroups(
    tier,
    replacements.sort((a, b) => a.index - b.index),
  );
  return count - left;
}

/** The first so many machines of a group, and the others. */
function splitGroup(group: SlotGroup, count: number): [SlotGroup, SlotGroup] {
  const { slots } = group;
  let at = 0;
  let missing = count;
  for (; missing > 0; at += 1) {
    const size = slots[at]?.count ?? missing;
    if (size > missing) break;
    missing -= size;
  }
  const first = slots.slice(0, at);
  const others = slots.slice(at);
  const [torn] = others;
  if (missing > 0 && torn !== undefined) {
    first.push({ ...torn, count: missing });
    others[0] = { ...torn, count: torn.count - missing };
  }
  return [
    { ...group, slots: first, count },
    { ...group, slots: others, count: group.count - count },
  ];
}

/** Puts so many tasks on each of a group's machines. */
function take(group: SlotGroup, { shape, count }: TaskCount): SlotGroup {
  const free = subtractResources(group.free, multiplyResources(shape, count));
  for (const slot of group.slots) {
    slot.free = free;
    slot.taken += count;
  }
  return { ...group, free, size: sizeOf(free) };
}

/** Up to so many replacements are made one by one, each of which moves what comes after it; more are made in one go. */
const SPLICES_MAX = 8;

/** `replacements` are ordered by index. */
function replaceGroups(
  { groups }: Tier,
  replacements: readonly { index: number; groups: readonly SlotGroup[] }[],
): void {
  if (replacements.length <= SPLICES_MAX) {
    for (const { index, groups: parts } of replacements.toReversed()) groups.splice(index, 1, ...parts);
    return;
  }
  const old = groups.splice(0);
  let from = 0;
  for (const replacement of replacements) {
    for (let index = from; index < replacement.index; index += 1) pushGroup(groups, old[index]);
    groups.push(...replacement.groups);
    from = replacement.index + 1;
  }
  for (let index = from; index < old.length; index += 1) pushGroup(groups, old[index]);
}

function pushGroup(groups: SlotGroup[], group: SlotGroup | undefined): void {
  if (group !== undefined) groups.push(group);
}

function isAlike(a: Room, b: Room): boolean {
  const isSame =
    a.free.cpuMilli === b.free.cpuMilli && a.free.memoryMib === b.free.memoryMib && a.free.gpus === b.free.gpus;
  return isSame && a.rank === b.rank && (a.place === b.place || a.place.key === b.place.key);
}
