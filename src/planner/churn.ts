import { HOUR_MS } from '../model/time.ts';
import type { Planning } from './draft.ts';
import { countOf } from './text.ts';

/** So far back machines that were let go are looked at. */
export const CHURN_WINDOW_MS = HOUR_MS;
/** So many machines of the last hour must have been missed, and at least half of those let go: one miss is bad luck. */
const MISSED_MIN = 3;
const MISSED_SHARE_MIN = 0.5;

/**
 * Why nothing is let go for a while although nothing needs it: what was let go before was wanted again sooner than it saved what
 * the new start cost, time and again. Null: nothing says so. The pause ends by itself, because only what is let go can be
 * missed; one miss more within the hour begins it anew.
 */
export function churnPause({ world, workload }: Planning): string | null {
  const { churn } = workload;
  if (churn === undefined || churn.lastMissedAtMs === null) return null;
  const { letGo, missed, lastMissedAtMs } = churn;
  const leftMs = lastMissedAtMs + workload.policy.drain.churnPauseMs - world.nowMs;
  if (leftMs <= 0 || missed < MISSED_MIN || missed < letGo * MISSED_SHARE_MIN) return null;
  const of = `${missed} of ${countOf(letGo, 'machine')} let go within the hour`;
  return `${of} replaced at once, ${Math.ceil(leftMs / 1000)} s left`;
}
