import { SECOND_MS } from '../model/time.ts';

export interface Absence {
  /** For how long nobody has led; null = nobody ever did. */
  readonly silentMs: number | null;
  readonly heartbeatMs: number;
  /** How old a report may be, for each policy in force. */
  readonly freshnessMs: readonly number[];
}

/**
 * How long a service that starts must look before it decides. After an outage every agent looks silent, and all that is pending
 * would burst: so one heartbeat and a second. After a gap so short that no report can have gone stale in it (the gap, the
 * heartbeat before and the one after it) there is nothing to wait for, and a crashed service goes on at once.
 */
export function settlingMs({ silentMs, heartbeatMs, freshnessMs }: Absence): number {
  const staleSoonest = Math.min(...freshnessMs);
  if (silentMs !== null && silentMs + 2 * heartbeatMs <= staleSoonest) return 0;
  return heartbeatMs + SECOND_MS;
}
