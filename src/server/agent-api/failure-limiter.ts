import type { Clock } from '../../ports/clock.ts';

export interface FailureLimits {
  /** Failures that one address may make at once. */
  readonly burst: number;
  /** How many it gets back per second. */
  readonly perSecond: number;
  /** Addresses remembered; the one that failed longest ago makes room. */
  readonly addressesMax: number;
}

/**
 * Counts failed credentials per address. Only unknown credentials ever ask it, so that a stranger behind the same
 * address cannot shut out an agent whose credential was seen to be good.
 */
export class FailureLimiter {
  readonly #limits: FailureLimits;
  readonly #clock: Clock;
  readonly #debts = new Map<string, { debt: number; atMs: number }>();

  constructor(limits: FailureLimits, clock: Clock) {
    this.#limits = limits;
    this.#clock = clock;
  }

  /** Whole seconds until this address may try again; 0 = now. */
  waitSeconds(address: string): number {
    const excess = this.#debtOf(address) + 1 - this.#limits.burst;
    return excess <= 0 ? 0 : Math.ceil(excess / this.#limits.perSecond);
  }

  recordFailure(address: string): void {
    const debt = this.#debtOf(address) + 1;
    // Deleted first, so that the map stays in the order of the last failure.
    this.#debts.delete(address);
    this.#debts.set(address, { debt, atMs: this.#clock.monotonicMs() });
    if (this.#debts.size > this.#limits.addressesMax) {
      for (const oldest of this.#debts.keys()) {
        this.#debts.delete(oldest);
        break;
      }
    }
  }

  #debtOf(address: string): number {
    const entry = this.#debts.get(address);
    if (entry === undefined) return 0;
    const paid = ((this.#clock.monotonicMs() - entry.atMs) / 1000) * this.#limits.perSecond;
    return Math.max(0, entry.debt - paid);
  }
}
