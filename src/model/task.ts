import { SECOND_MS } from './time.ts';

/** An agent fences itself after this share of a lease without an answer; its tasks are dead at most {@link KILL_GRACE_MS} later. */
export const FENCE_SHARE = 2 / 3;
const KILL_GRACE_MS = 5 * SECOND_MS;

/**
 * A task is given to an agent only while so much of its lease is left: the agent counts its fence from the report that the order
 * answers, so with less it would go on with a task that runs elsewhere already.
 */
export function orderLeaseMsMin(leaseMs: number): number {
  return leaseMs * FENCE_SHARE + Math.min(KILL_GRACE_MS, leaseMs / 6);
}

/** `leased`: promised to an agent that may not have started it yet. `failed`: it ran and exited non-zero. */
export type TaskState = 'pending' | 'leased' | 'running' | 'done' | 'failed' | 'cancelled';
