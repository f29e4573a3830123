/** What is going to happen: moments with a number that says what. Earliest first; equal moments in the order they were added. */
export class EventHeap {
  readonly #times: number[] = [];
  readonly #orders: number[] = [];
  readonly #payloads: number[] = [];
  #added = 0;

  /** Moment of the earliest event; Infinity when there is none. */
  get nextS(): number {
    return this.#times[0] ?? Infinity;
  }

  push(timeS: number, payload: number): void {
    let at = this.#times.length;
    const order = this.#added;
    this.#added += 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!this.#isBefore(timeS, order, parent)) break;
      this.#move(parent, at);
      at = parent;
    }
    this.#set(at, timeS, { order, payload });
  }

  /** Payload of the earliest event, which is taken out; only when there is one. */
  pop(): number {
    const first = this.#payloads[0];
    const timeS = this.#times.pop();
    const order = this.#orders.pop();
    const payload = this.#payloads.pop();
    if (first === undefined || timeS === undefined || order === undefined || payload === undefined) {
      throw new Error('bug: no event is left');
    }
    if (this.#times.length > 0) this.#sink(timeS, { order, payload });
    return first;
  }

  #sink(timeS: number, entry: { readonly order: number; readonly payload: number }): void {
    const { length } = this.#times;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= length) break;
      if (child + 1 < length && this.#isBefore(this.#time(child + 1), this.#order(child + 1), child)) child += 1;
      if (this.#isBefore(timeS, entry.order, child)) break;
      this.#move(child, at);
      at = child;
    }
    this.#set(at, timeS, entry);
  }

  #isBefore(timeS: number, order: number, other: number): boolean {
    const otherTime = this.#time(other);
    return timeS < otherTime || (timeS === otherTime && order < this.#order(other));
  }

  #time(at: number): number {
    return this.#times[at] ?? Infinity;
  }

  #order(at: number): number {
    return this.#orders[at] ?? Infinity;
  }

  #move(from: number, to: number): void {
    this.#set(to, this.#time(from), { order: this.#order(from), payload: this.#payloads[from] ?? -1 });
  }

  #set(at: number, timeS: number, { order, payload }: { readonly order: number; readonly payload: number }): void {
    this.#times[at] = timeS;
    this.#orders[at] = order;
    this.#payloads[at] = payload;
  }
}
