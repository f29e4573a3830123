import type { Clock } from '../ports/clock.ts';

export interface BatcherOptions<Item, Result> {
  readonly clock: Clock;
  /** One result for each item, in their order. */
  readonly carryOut: (items: readonly Item[]) => Promise<readonly Result[]>;
  /** At most one item of a key is in a batch: the second must see what the first one did. */
  readonly keyOf: (item: Item) => string;
}

interface Waiting<Item, Result> {
  readonly item: Item;
  readonly resolve: (result: Result) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Before each statement, so that it carries many. At 3,125 reports per second that costs less than half the CPU of
 * writing whatever came in during the last statement (`npm run bench -- heartbeats`), and an agent notices none of it.
 */
const GATHER_MS = 10;
/** Items in one statement; more wait for the next. */
const BATCH_MAX = 500;

/** Gathers what many ask for in a moment and does it together; each caller gets its own result when it is done. */
export class Batcher<Item, Result> {
  private readonly options: BatcherOptions<Item, Result>;
  private queue: Waiting<Item, Result>[] = [];
  private working = false;

  constructor(options: BatcherOptions<Item, Result>) {
    this.options = options;
  }

  /** Resolves once it is done. @throws what `carryOut` throws, to all of the batch */
  async add(item: Item): Promise<Result> {
    return await new Promise((resolve, reject) => {
      this.queue.push({ item, resolve, reject });
      if (!this.working) void this.drain();
    });
  }

  private async drain(): Promise<void> {
    this.working = true;
    try {
      while (this.queue.length > 0) {
        if (this.queue.length < BATCH_MAX) await this.options.clock.sleep(GATHER_MS);
        await this.carryOut(this.takeBatch());
      }
    } finally {
      this.working = false;
    }
  }

  private takeBatch(): readonly Waiting<Item, Result>[] {
    const batch = new Map<string, Waiting<Item, Result>>();
    const rest: Waiting<Item, Result>[] = [];
    for (const waiting of this.queue) {
      const key = this.options.keyOf(waiting.item);
      if (batch.size < BATCH_MAX && !batch.has(key)) batch.set(key, waiting);
      else rest.push(waiting);
    }
    this.queue = rest;
    return [...batch.values()];
  }

  private async carryOut(batch: readonly Waiting<Item, Result>[]): Promise<void> {
    try {
      const results = await this.options.carryOut(batch.map(({ item }) => item));
      for (const [index, waiting] of batch.entries()) {
        const result = results[index];
        if (result === undefined) waiting.reject(new Error('bug: an item of a batch has no result'));
        else waiting.resolve(result);
      }
    } catch (error) {
      for (const waiting of batch) waiting.reject(error);
    }
  }
}
