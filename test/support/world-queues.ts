import { TaskJobs } from '../../src/chaos/task-jobs.ts';
import type { TaskId } from '../../src/model/ids.ts';
import type { TaskLease, TaskQueues, WakeHandler, WakeJob, WakeQueue } from '../../src/ports/queue.ts';
import type { WorldTime } from './world-time.ts';

/** What the queue does to its next rings; a queue may do all of it at any time. */
export type RingFault = 'lose' | 'double' | 'delay';
const LATE_MS = 45_000;

/** The doorbell in memory: at least once, or later, or never, as it is told to. */
export class WorldWakeQueue implements WakeQueue {
  /** Applied to each ring, in order of the list, until it is empty. */
  readonly faults: RingFault[] = [];
  /** Loses everything until it is set back: a Redis that was emptied for good. */
  deaf = false;
  private readonly time: WorldTime;
  private readonly waiting = new Map<string, number>();
  private handler: WakeHandler | null = null;

  constructor(time: WorldTime) {
    this.time = time;
  }

  async ring(jobs: readonly WakeJob[]): Promise<void> {
    for (const job of jobs) {
      const fault = this.faults.shift();
      if (this.deaf || fault === 'lose') continue;
      this.deliverAfter(job, fault === 'delay' ? LATE_MS : 0);
      if (fault === 'double') this.time.at(0, async () => await this.deliver(job));
    }
  }

  async consume(handler: WakeHandler): Promise<{ stop(): Promise<void> }> {
    this.handler = handler;
    return {
      stop: async () => {
        this.handler = null;
      },
    };
  }

  async close(): Promise<void> {
    this.handler = null;
  }

  private deliverAfter(job: WakeJob, ms: number): void {
    const atMs = this.time.nowMs() + ms;
    if ((this.waiting.get(job.id) ?? Infinity) <= atMs) return;
    this.waiting.set(job.id, atMs);
    this.time.at(ms, async () => {
      // Brought forward or handled meanwhile.
      if (this.waiting.get(job.id) !== atMs) return;
      this.waiting.delete(job.id);
      await this.deliver(job);
    });
  }

  private async deliver(job: WakeJob): Promise<void> {
    const outcome = await this.handler?.(job);
    if (outcome?.kind === 'again' && !this.deaf) this.deliverAfter(job, outcome.afterMs);
  }
}

/** The engine's queues in memory. */
export class WorldTaskQueues implements TaskQueues {
  private readonly jobs: TaskJobs;

  constructor(time: WorldTime) {
    this.jobs = new TaskJobs(() => time.nowMs());
  }

  async add(queue: string, taskIds: readonly TaskId[]): Promise<void> {
    this.jobs.add(queue, taskIds);
  }

  async take(queue: string, count: number, leaseMs: number): Promise<readonly TaskLease[]> {
    return this.jobs.take(queue, count, leaseMs);
  }

  async renew(leases: readonly TaskLease[], leaseMs: number): Promise<readonly TaskId[]> {
    return this.jobs.renew(leases, leaseMs);
  }

  async complete(lease: TaskLease): Promise<boolean> {
    return this.jobs.complete(lease);
  }

  async release(lease: TaskLease): Promise<boolean> {
    return this.jobs.release(lease);
  }

  async recoverStalled(): Promise<void> {
    this.jobs.recoverStalled();
  }

  async close(): Promise<void> {
    this.jobs.empty();
  }
}
