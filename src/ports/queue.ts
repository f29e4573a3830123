import type { LaunchId, MachineId, TaskId } from '../model/ids.ts';

/** A doorbell for one row. It carries an id and nothing else: the row is the state. */
export type WakeJob =
  | { readonly kind: 'launch'; readonly id: LaunchId }
  | { readonly kind: 'machine'; readonly id: MachineId };

/** What a handler says when it is through with a row for now. */
export type WakeOutcome = { readonly kind: 'done' } | { readonly kind: 'again'; readonly afterMs: number };

export type WakeHandler = (job: WakeJob) => Promise<WakeOutcome>;

/**
 * At least once, in any order, with any delay, sometimes never: every user must live with that
 * (a loop rings again for each live row whose time has come).
 */
export interface WakeQueue {
  /**
   * Rings for a row; rings that wait already are not doubled, a waiting later one is brought forward. `first`: somebody waits
   * for what this row does next, so it goes ahead of all that only look again.
   */
  ring(jobs: readonly WakeJob[], place?: 'first'): Promise<void>;
  /** Starts handling; `stop` waits for running handlers at most `deadlineMs`. */
  consume(
    handler: WakeHandler,
    options: { readonly concurrency: number },
  ): Promise<{ stop(deadlineMs: number): Promise<void> }>;
  close(): Promise<void>;
}

/** A task's job taken from its queue: whoever holds `token` may renew, complete or give it back. */
export interface TaskLease {
  readonly queue: string;
  readonly taskId: TaskId;
  readonly token: string;
}

/** The queues of the built-in engine: one per workload and task shape, jobs carry the task's id. */
export interface TaskQueues {
  /** Adds the tasks that are not in the queue yet; safe to repeat. */
  add(queue: string, taskIds: readonly TaskId[]): Promise<void>;
  /** Takes up to `count` jobs in order of arrival and locks each under a token of its own for `leaseMs`. */
  take(queue: string, count: number, leaseMs: number): Promise<readonly TaskLease[]>;
  /** Renews; returns the ids of the tasks whose lease is lost. */
  renew(leases: readonly TaskLease[], leaseMs: number): Promise<readonly TaskId[]>;
  /** Ends the job; false when the lease was lost before. */
  complete(lease: TaskLease): Promise<boolean>;
  /** Gives the job back to the front of its queue; false when the lease was lost before. */
  release(lease: TaskLease): Promise<boolean>;
  /** Puts jobs whose lock ran out back into their queues (BullMQ's stalled check), for all queues in use. */
  recoverStalled(): Promise<void>;
  close(): Promise<void>;
}
