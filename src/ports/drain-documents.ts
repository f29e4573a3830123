import type { Timestamp } from './reports.ts';

/** A drain that is under way. */
export interface DrainDocument {
  /** How often its deadline was moved. */
  readonly extensions: number;
  /** When EC2 takes the instance back; null = it has not said so. */
  readonly interruptedAt: Timestamp | null;
  /** What keeps the machine; at most a hundred tasks are named. */
  readonly blockers: readonly DrainBlocker[];
}

export interface DrainBlocker {
  readonly kind: 'task' | 'cordon-unacknowledged' | 'agent-missing' | 'hook-running' | 'hook-failed' | 'other-machine';
  /** One clause, e.g. `task tk-7f3ak2p9qx0z of render runs on it`. */
  readonly says: string;
  /** Id of the task or machine, or the name of the hook; null where there is none. */
  readonly id: string | null;
  readonly workload: string | null;
  readonly since: Timestamp | null;
}

/** What keeps machines of a workload that drain. */
export interface DrainStatus {
  readonly workload: string;
  readonly machines: number;
  /** Past `drain.deadline`, and beyond the extensions that the policy expects. */
  readonly overdue: number;
  /** How long the deadline of the oldest of these has been over; null = none is overdue. */
  readonly oldestOverdueS: number | null;
  /** The hook `health` does not pass on them. */
  readonly heldByHealth: number;
  /** Another machine of the workload goes first (`drain.oneAtATime`). */
  readonly heldByTurn: number;
}
