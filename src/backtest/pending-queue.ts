import type { PendingView } from './scaler.ts';
import type { Amount, TraceTask } from './types.ts';
import { amountFits, amountKey } from './types.ts';

/** Pending tasks of one shape in the order they came. */
export class PendingGroup implements PendingView {
  readonly need: Amount;
  readonly staysLocal: boolean;
  /** Found no room when it was last tried; only new room can change that. */
  isBlocked = false;
  readonly #tasks: readonly TraceTask[];
  /** Indices into the trace, from `#head` on. */
  #queue: number[] = [];
  #head = 0;

  constructor(tasks: readonly TraceTask[], first: TraceTask) {
    this.#tasks = tasks;
    this.need = first.need;
    this.staysLocal = first.staysLocal === true;
  }

  get count(): number {
    return this.#queue.length - this.#head;
  }

  get order(): number {
    return this.#queue[this.#head] ?? Infinity;
  }

  get oldestSubmitS(): number {
    return this.submitS(0);
  }

  submitS(position: number): number {
    return this.#tasks[this.#queue[this.#head + position] ?? -1]?.submitS ?? Infinity;
  }

  submittedBy(momentS: number): number {
    let low = this.#head;
    let high = this.#queue.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#tasks[this.#queue[middle] ?? -1]?.submitS ?? Infinity) <= momentS) low = middle + 1;
      else high = middle;
    }
    return low - this.#head;
  }

  push(index: number): void {
    this.#queue.push(index);
  }

  shift(): number {
    const index = this.order;
    this.#head += 1;
    if (this.#head > 1024 && this.#head * 2 > this.#queue.length) {
      this.#queue = this.#queue.slice(this.#head);
      this.#head = 0;
    }
    return index;
  }

  /** Indices of the tasks that wait. */
  indices(): readonly number[] {
    return this.#queue.slice(this.#head);
  }
}

/** Tasks that wait for a place, by shape: equal tasks are tried once, not each. */
export class PendingQueue {
  readonly #tasks: readonly TraceTask[];
  readonly #groups = new Map<string, PendingGroup>();
  readonly #keys = new Map<Amount, string>();

  constructor(tasks: readonly TraceTask[]) {
    this.#tasks = tasks;
  }

  get isEmpty(): boolean {
    return this.#groups.size === 0;
  }

  add(index: number): void {
    const task = this.#tasks[index];
    if (task === undefined) throw new Error(`bug: no task ${index}`);
    const key = this.#keyOf(task);
    let group = this.#groups.get(key);
    if (group === undefined) {
      group = new PendingGroup(this.#tasks, task);
      this.#groups.set(key, group);
    }
    group.push(index);
  }

  /** By the age of their oldest task. */
  groups(): readonly PendingGroup[] {
    return [...this.#groups.values()].sort((a, b) => a.order - b.order);
  }

  /**
   * Places what has room, first come first served, where a later task goes ahead when the earlier one does not fit. `place`
   * says whether a task was placed. Shapes that found no room before are tried only against the new room.
   */
  placeAll(newRoom: readonly Amount[], place: (index: number) => boolean): void {
    const candidates = new Set<PendingGroup>();
    for (const group of this.#groups.values()) {
      if (!group.isBlocked || newRoom.some((free) => amountFits(group.need, free))) candidates.add(group);
    }
    while (candidates.size > 0) {
      const group = oldest(candidates);
      group.isBlocked = !place(group.order);
      if (!group.isBlocked) group.shift();
      if (group.isBlocked || group.count === 0) candidates.delete(group);
      if (group.count === 0) this.#groups.delete(this.#keyOf(group));
    }
  }

  #keyOf({ need, staysLocal }: { readonly need: Amount; readonly staysLocal?: boolean }): string {
    let key = this.#keys.get(need);
    if (key === undefined) {
      key = amountKey(need);
      this.#keys.set(need, key);
    }
    return staysLocal === true ? `${key}!` : key;
  }
}

function oldest(groups: ReadonlySet<PendingGroup>): PendingGroup {
  let best: PendingGroup | null = null;
  for (const group of groups) if (best === null || group.order < best.order) best = group;
  if (best === null) throw new Error('bug: no group');
  return best;
}
