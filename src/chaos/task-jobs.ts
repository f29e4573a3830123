import type { TaskId } from '../model/ids.ts';
import type { TaskLease } from '../ports/queue.ts';

interface TaskJob {
  readonly taskId: TaskId;
  token: string | null;
  lockedUntilMs: number;
}

/** The engine's queues in memory: jobs that are given out under a lease and come back when it runs out. */
export class TaskJobs {
  private readonly nowMs: () => number;
  private readonly queues = new Map<string, TaskJob[]>();
  private tokens = 0;

  constructor(nowMs: () => number) {
    this.nowMs = nowMs;
  }

  empty(): void {
    this.queues.clear();
  }

  /** A task that is there already is not added again. */
  add(queue: string, taskIds: readonly TaskId[]): void {
    const jobs = this.jobsOf(queue);
    for (const taskId of taskIds) {
      if (!jobs.some((job) => job.taskId === taskId)) jobs.push({ taskId, token: null, lockedUntilMs: 0 });
    }
  }

  take(queue: string, count: number, leaseMs: number): readonly TaskLease[] {
    const free = this.jobsOf(queue).filter((job) => job.token === null);
    return free.slice(0, count).map((job) => {
      this.tokens += 1;
      job.token = `lock-${this.tokens}`;
      job.lockedUntilMs = this.nowMs() + leaseMs;
      return { queue, taskId: job.taskId, token: job.token };
    });
  }

  /** The tasks whose lease is not held any more. */
  renew(leases: readonly TaskLease[], leaseMs: number): readonly TaskId[] {
    const lost = leases.filter((lease) => {
      const job = this.find(lease);
      if (job !== undefined) job.lockedUntilMs = this.nowMs() + leaseMs;
      return job === undefined;
    });
    return lost.map(({ taskId }) => taskId);
  }

  /** False when the lease is not held any more. */
  complete(lease: TaskLease): boolean {
    const job = this.find(lease);
    if (job === undefined) return false;
    const jobs = this.jobsOf(lease.queue);
    jobs.splice(jobs.indexOf(job), 1);
    return true;
  }

  /** False when the lease is not held any more. */
  release(lease: TaskLease): boolean {
    const job = this.find(lease);
    if (job === undefined) return false;
    job.token = null;
    return true;
  }

  recoverStalled(): void {
    for (const job of [...this.queues.values()].flat()) {
      if (job.lockedUntilMs <= this.nowMs()) job.token = null;
    }
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
