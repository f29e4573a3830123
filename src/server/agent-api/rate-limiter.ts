import type { Clock } from '../../ports/clock.ts';

export interface RateLimits {
  /** So much one may do at once. */
  readonly burst: number;
  /** How much of it comes back per second. */
  readonly perSecond: number;
  /** So many are remembered; the one that was counted longest ago makes room. */
  readonly rememberedMax: number;
}

/** Counts what each of many does (an address that fails, an agent that asks) and says when it has to wait. */
export class RateLimiter {
  readonly #limits: RateLimits;
  readonly #clock: Clock;
  readonly #debts = new Map<string, { debt: number; atMs: number }>();

  constructor(limits: RateLimits, clock: Clock) {
    this.#limits = limits;
    this.#clock = clock;
  }

  /** Whole seconds until this one may try again; 0 = now. */
  waitSeconds(who: string): number {
    const excess = this.#debtOf(who) + 1 - this.#limits.burst;
    return excess <= 0 ? 0 : Math.ceil(excess / this.#limits.perSecond);
  }

  count(who: string): void {
    const debt = this.#debtOf(who) + 1;
    // Deleted first, so that the map stays in the order of the last count.
    this.#debts.delete(who);
    this.#debts.set(who, { debt, atMs: this.#clock.monotonicMs() });
    if (this.#debts.size > this.#limits.rememberedMax) {
      for (const oldest of this.#debts.keys()) {
        this.#debts.delete(oldest);
        break;
      }
    }
  }

  #debtOf(who: string): number {
    const entry = this.#debts.get(who);
    if (entry === undefined) return 0;
    const paid = ((this.#clock.monotonicMs() - entry.atMs) / 1000) * this.#limits.perSecond;
    return Math.max(0, entry.debt - paid);
  }
}
