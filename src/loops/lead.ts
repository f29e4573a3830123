import { clockTimes, lateBy, type ClockTimes } from '../model/clock-times.ts';
import { SECOND_MS } from '../model/time.ts';
import { waitMs } from '../model/waits.ts';
import type { Clock } from '../ports/clock.ts';
import type { Leadership, Lease } from '../ports/leadership.ts';
import type { Log } from '../ports/log.ts';

/** Clocks drift by milliseconds between two renewals; more than this and one of them was set or stood still. */
const CLOCK_JUMP_MAX_MS = 2 * SECOND_MS;
/** Shares of the lease: when its holder renews at the latest, and when it decides no more. */
const RENEWAL_SHARE = waitMs('leader.renewal') / waitMs('leader.lease');
const MANDATE_SHARE = waitMs('leader.mandate') / waitMs('leader.lease');

/** The right to decide, as one turn got it. It may end in the middle of the turn, and never comes back. */
export interface Mandate {
  readonly lease: Lease;
  /**
   * False once this process may have been deposed or was stopped: then nothing that was read since the mandate was taken
   * may be acted upon, even if the process leads again.
   */
  holds(): boolean;
  /** The moment by which an effect outside the database must have begun; in the past once the mandate has ended. */
  signBefore(): ClockTimes;
}

/** This process's part in the leadership. */
export interface Lead {
  /** Renews the lease when that is due; null = another process leads. @throws AppError DATABASE_* */
  take(): Promise<Mandate | null>;
  /** Renews the lease now. Called often enough, long turns keep their mandate. */
  renew(): Promise<void>;
  /** Gives the lease up, and with it every mandate. */
  release(): Promise<void>;
}

export interface LeadOptions {
  readonly leadership: Leadership;
  readonly clock: Pick<Clock, 'nowMs' | 'monotonicMs'>;
  readonly log: Log;
  /** Name of this process in the lease. */
  readonly holder: string;
  /** Default: `leader.lease` of the list of waits. */
  readonly ttlMs?: number;
}

interface Held {
  readonly lease: Lease;
  /** Mandates of another term have ended. */
  readonly term: number;
  /** Before the database was asked: the lease it gave began later, so counting from here is on the safe side. */
  readonly asked: ClockTimes;
  readonly decideUntil: ClockTimes;
}

/**
 * The lease row says who leads by the database's clock; this says by our own two clocks until when we may believe it.
 * A process that was stopped, suspended or cut off finds out here before it decides: its mandates are over.
 */
export function createLead(options: LeadOptions): Lead {
  return new LeaseHolder(options);
}

class LeaseHolder implements Lead {
  readonly #options: LeadOptions;
  readonly #ttlMs: number;
  #held: Held | null = null;
  #terms = 0;
  #renewing: Promise<void> | null = null;

  constructor(options: LeadOptions) {
    this.#options = options;
    this.#ttlMs = options.ttlMs ?? waitMs('leader.lease');
  }

  async take(): Promise<Mandate | null> {
    this.#dropIfOver();
    if (this.#held === null || lateBy(this.#options.clock, this.#held.asked) >= this.#ttlMs * RENEWAL_SHARE) {
      await this.renew();
    }
    return this.#held === null ? null : this.#mandateOf(this.#held);
  }

  async renew(): Promise<void> {
    this.#renewing ??= this.#ask().finally(() => {
      this.#renewing = null;
    });
    await this.#renewing;
  }

  async release(): Promise<void> {
    const held = this.#held;
    this.#held = null;
    if (held !== null) await this.#options.leadership.release(held.lease);
  }

  async #ask(): Promise<void> {
    const { leadership, clock, holder } = this.#options;
    this.#dropIfOver();
    const asked = clockTimes(clock);
    const lease = await leadership.acquire(holder, this.#ttlMs);
    // The answer may have waited for us while we stood still.
    this.#dropIfOver();
    if (lease === null) {
      this.#held = null;
      return;
    }
    const term = this.#held?.lease.epoch === lease.epoch ? this.#held.term : (this.#terms += 1);
    const mandateMs = this.#ttlMs * MANDATE_SHARE;
    const decideUntil = { wallMs: asked.wallMs + mandateMs, monotonicMs: asked.monotonicMs + mandateMs };
    this.#held = { lease, term, asked, decideUntil };
    this.#dropIfOver();
  }

  #mandateOf({ lease, term }: Held): Mandate {
    const current = (): Held | null => {
      this.#dropIfOver();
      return this.#held?.term === term ? this.#held : null;
    };
    return {
      lease,
      holds: () => current() !== null,
      signBefore: () => current()?.decideUntil ?? { wallMs: -Infinity, monotonicMs: -Infinity },
    };
  }

  /** Forgets a lease that can no longer be relied upon; whoever wants to decide has to ask the database anew. */
  #dropIfOver(): void {
    if (this.#held === null) return;
    const { clock, log } = this.#options;
    const { asked, decideUntil, lease } = this.#held;
    const jumpMs = clock.nowMs() - asked.wallMs - (clock.monotonicMs() - asked.monotonicMs);
    if (Math.abs(jumpMs) > CLOCK_JUMP_MAX_MS) {
      this.#held = null;
      log.warn({ epoch: lease.epoch, jumpMs }, 'the clocks moved apart: nothing read before is acted upon');
    } else if (lateBy(clock, decideUntil) >= 0) {
      this.#held = null;
      log.info({ epoch: lease.epoch }, 'the lease was not renewed in time: nothing read before is acted upon');
    }
  }
}
