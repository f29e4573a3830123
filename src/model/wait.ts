import type { ErrorCode } from './errors.ts';
import { SECOND_MS } from './time.ts';

/** One wait of the process: for whom, how long, and what then. */
export interface Wait {
  readonly ms: number;
  /** The variable or policy key that sets another number, or the wait that this one follows. */
  readonly setBy?: string;
  readonly waitsFor: string;
  /** What happens when the number is over. */
  readonly end: string;
  /** What callers get; none where the end is a value, a log line or a closed socket. */
  readonly code?: ErrorCode;
}

/** A stopped or cut-off leader is replaced after this long; what may outlive it, and what may not, follows from it. */
export const LEASE_TTL_MS = 15 * SECOND_MS;
