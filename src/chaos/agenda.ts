interface Entry {
  readonly atMs: number;
  /** Breaks ties between things of one moment: any order of them is possible, one of them is this run's. */
  readonly tie: number;
  readonly order: number;
  readonly run: () => unknown;
}

/** What is still to happen, soonest first: a binary heap. */
export class Agenda {
  private readonly heap: Entry[] = [];
  private order = 0;

  add(atMs: number, tie: number, run: () => unknown): void {
    const { heap } = this;
    this.order += 1;
    heap.push({ atMs, tie, order: this.order, run });
    let child = heap.length - 1;
    while (child > 0) {
      const parent = (child - 1) >> 1;
      if (!this.isBefore(child, parent)) return;
      this.swap(child, parent);
      child = parent;
    }
  }

  /** The soonest entry if it is due by `untilMs`, taken out. */
  take(untilMs: number): Entry | null {
    const { heap } = this;
    const [first] = heap;
    if (first === undefined || first.atMs > untilMs) return null;
    const last = heap.pop();
    if (last !== undefined && heap.length > 0) {
      heap[0] = last;
      this.sink();
    }
    return first;
  }

  private sink(): void {
    let parent = 0;
    for (;;) {
      let least = parent;
      for (const child of [2 * parent + 1, 2 * parent + 2]) {
        if (child < this.heap.length && this.isBefore(child, least)) least = child;
      }
      if (least === parent) return;
      this.swap(least, parent);
      parent = least;
    }
  }

  private isBefore(a: number, b: number): boolean {
    const [left, right] = [this.heap[a], this.heap[b]];
    if (left === undefined || right === undefined) return false;
    if (left.atMs !== right.atMs) return left.atMs < right.atMs;
    return left.tie === right.tie ? left.order < right.order : left.tie < right.tie;
  }

  private swap(a: number, b: number): void {
    const [left, right] = [this.heap[a], this.heap[b]];
    if (left === undefined || right === undefined) return;
    this.heap[a] = right;
    this.heap[b] = left;
  }
}
