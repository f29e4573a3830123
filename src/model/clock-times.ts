import type { EpochMs } from './time.ts';

/**
 * One moment by both clocks of a process. Each alone can lie: the wall clock is set by others, the monotonic one stands
 * still while a virtual machine is suspended. A deadline has passed when either says so.
 */
export interface ClockTimes {
  readonly wallMs: EpochMs;
  readonly monotonicMs: number;
}

interface BothClocks {
  nowMs(): EpochMs;
  monotonicMs(): number;
}

/** Now, or `afterMs` from now. */
export function clockTimes(clock: BothClocks, afterMs = 0): ClockTimes {
  return { wallMs: clock.nowMs() + afterMs, monotonicMs: clock.monotonicMs() + afterMs };
}

/** Milliseconds past the moment by the clock that is further; negative or zero = it has not passed. */
export function lateBy(clock: BothClocks, moment: ClockTimes): number {
  return Math.max(clock.nowMs() - moment.wallMs, clock.monotonicMs() - moment.monotonicMs);
}
