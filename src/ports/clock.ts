import type { EpochMs } from '../model/time.ts';

/** Time as the core may see it. Production: the system clock; simulation: a virtual one. */
export interface Clock {
  /** Wall clock. For display, rows and deadlines; never for measuring how long something took. */
  nowMs(): EpochMs;
  /** Monotonic milliseconds from an arbitrary start: for durations and local deadlines. */
  monotonicMs(): number;
  /** Resolves after `ms`; rejects with the signal's reason when it aborts first. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}
