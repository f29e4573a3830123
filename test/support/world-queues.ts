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

interface TaskJob {
  readonly taskId: TaskId;
  token: string | null;
  lockedUntilMs: number;
}

/** The engine's queues in memory. */
export class WorldTaskQueues implements TaskQueues {
  private readonly time: WorldTime;
  private readonly queues = new Map<string, TaskJob[]>();
  private tokens = 0;

  constructor(time: WorldTime) {
    this.time = time;
  }

  async add(queue: string, taskIds: readonly TaskId[]): Promise<void> {
    const jobs = this.jobsOf(queue);
    for (const taskId of taskIds) {
      if (!jobs.some((job) => job.taskId === taskId)) jobs.push({ taskId, token: null, lockedUntilMs: 0 });
    }
  }

  async take(queue: string, count: number, leaseMs: number): Promise<readonly TaskLease[]> {
    const free = this.jobsOf(queue).filter(({ token }) => token === null);
    return free.slice(0, count).map((job) => {
      this.tokens += 1;
      job.token = `lock-${this.tokens}`;
      job.lockedUntilMs = this.time.nowMs() + leaseMs;
      return { queue, taskId: job.taskId, token: job.token };
    });
  }

  async renew(leases: readonly TaskLease[], leaseMs: number): Promise<readonly TaskId[]> {
    return leases.flatMap((lease) => {
      const job = this.find(lease);
      if (job === undefined) return [lease.taskId];
      job.lockedUntilMs = this.time.nowMs() + leaseMs;
      return [];
    });
  }

  async complete(lease: TaskLease): Promise<boolean> {
    const job = this.find(lease);
    if (job === undefined) return false;
    const jobs = this.jobsOf(lease.queue);
    jobs.splice(jobs.indexOf(job), 1);
    return true;
  }

  async release(lease: TaskLease): Promise<boolean> {
    const job = this.find(lease);
    if (job === undefined) return false;
    job.token = null;
    return true;
  }

  async recoverStalled(): Promise<void> {
    for (const job of [...this.queues.values()].flat()) {
      if (job.lockedUntilMs <= this.time.nowMs()) job.token = null;
    }
  }

  async close(): Promise<void> {
    this.queues.clear();
  }

  private jobsOf(queue: string): TaskJob[] {
    const jobs = this.queues.get(queue) ?? [];
    this.queues.set(queue, jobs);
    return jobs;
  }

  private find({ queue, taskId, token }: TaskLease): TaskJob | undefined {
    return this.jobsOf(queue).find((job) => job.taskId === taskId && job.token === token);
  }
}
