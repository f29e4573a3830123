import { AppError } from '../model/errors.ts';
import type { TaskQueues, WakeHandler, WakeJob, WakeOutcome, WakeQueue } from '../ports/queue.ts';
import { type FaultRates, performing, type Proc, type Sim } from './sim.ts';
import { TaskJobs } from './task-jobs.ts';
import { runInside } from './tripwire.ts';

const LATENCY_MS = 4;
/** A job whose worker is gone or stopped comes back after this long, like BullMQ's stalled jobs; virtual milliseconds. */
const LOCK_MS = 3_000;
const LATE_MS = { low: 1_000, high: 45_000 } as const;

interface Consumer {
  readonly proc: Proc;
  readonly incarnation: number;
  readonly handler: WakeHandler;
}

/**
 * The doorbell as its contract allows it to be: at least once, any order, any delay, two at once, or never. Checked against BullMQ
 * by the suites of `test/queue/`; here it is as bad as it may be.
 */
export class ChaosWakeQueue {
  private readonly sim: Sim;
  private readonly rates: FaultRates;
  private readonly waiting = new Map<string, number>();
  private consumers: Consumer[] = [];
  private deafUntilMs = 0;

  constructor(sim: Sim, rates: FaultRates) {
    this.sim = sim;
    this.rates = rates;
  }

  /** Nothing that is rung for arrives for a while. */
  goDeaf(ms: number): void {
    this.deafUntilMs = this.sim.nowMs + ms;
    this.sim.note(`queue deaf ${ms}`);
  }

  /** Everything in it is gone. */
  empty(): void {
    this.waiting.clear();
    this.sim.note('queue emptied');
  }

  /** The queue as one process has it. */
  of(proc: Proc, rates: FaultRates): WakeQueue {
    const call = async (site: string, effect: () => void): Promise<void> =>
      await this.sim.call<void>(proc, {
        site: `queue.${site}`,
        rates,
        latencyMs: LATENCY_MS,
        perform: performing(effect),
        lost: queueAway,
      });
    return {
      ring: async (jobs) =>
        await call('ring', () => {
          for (const job of jobs) this.ring(job);
        }),
      consume: async (handler) => {
        const consumer: Consumer = { proc, incarnation: proc.incarnation, handler };
        this.consumers = [...this.consumers.filter((one) => one.proc !== proc), consumer];
        return {
          stop: async () => {
            this.consumers = this.consumers.filter((one) => one !== consumer);
          },
        };
      },
      close: async () => undefined,
    };
  }

  private ring(job: WakeJob): void {
    if (this.sim.nowMs < this.deafUntilMs) return;
    const fault = this.sim.strikesOneOf('queue', this.rates);
    if (fault === 'ring-lost') return;
    const lateMs = fault === 'ring-late' ? this.sim.chance.integer('queue:late', LATE_MS.low, LATE_MS.high) : 0;
    this.deliverAfter(job, lateMs);
    if (fault === 'ring-twice') this.sim.at(this.sim.chance.integer('queue:again', 0, 100), () => this.deliver(job));
  }

  private deliverAfter(job: WakeJob, ms: number): void {
    const atMs = this.sim.nowMs + ms;
    if ((this.waiting.get(job.id) ?? Infinity) <= atMs) return;
    this.waiting.set(job.id, atMs);
    this.sim.at(ms, () => {
      // Brought forward, handled or emptied meanwhile.
      if (this.waiting.get(job.id) !== atMs) return;
      this.waiting.delete(job.id);
      this.deliver(job);
    });
  }

  private deliver(job: WakeJob): void {
    // A worker takes its jobs itself: one that stands still takes none.
    const able = this.consumers.filter((consumer) => this.isAwake(consumer));
    const chosen = able[this.sim.chance.integer('queue:which', 0, Math.max(0, able.length - 1))];
    if (chosen === undefined) return this.deliverAfter(job, LOCK_MS);
    let over = false;
    const finish = (outcome: WakeOutcome): void => {
      if (over) return;
      over = true;
      if (outcome.kind === 'again') this.deliverAfter(job, outcome.afterMs);
    };
    // The lock is renewed while the worker lives; whoever is stopped past it loses the job, and goes on with it all the same.
    const watch = (): void => {
      if (over) return;
      if (this.isAwake(chosen)) return this.sim.at(LOCK_MS, watch);
      over = true;
      this.deliverAfter(job, 0);
    };
    this.sim.at(LOCK_MS, watch);
    this.sim.into(chosen.proc, chosen.incarnation, () => void runInside(async () => finish(await handle(chosen, job))));
  }

  private isAwake({ proc, incarnation }: Consumer): boolean {
    return proc.up && proc.incarnation === incarnation && proc.stoppedUntilMs <= this.sim.nowMs;
  }
}

/** As the product's consumer: a step that throws is told, and its row rings again by its own time. */
async function handle({ handler }: Consumer, job: WakeJob): Promise<WakeOutcome> {
  try {
    return await handler(job);
  } catch {
    return { kind: 'done' };
  }
}

/** The engine's queues, shared by all processes. */
export class ChaosTaskQueues {
  private readonly sim: Sim;
  private readonly jobs: TaskJobs;

  constructor(sim: Sim) {
    this.sim = sim;
    this.jobs = new TaskJobs(() => sim.nowMs);
  }

  empty(): void {
    this.jobs.empty();
  }

  of(proc: Proc, rates: FaultRates): TaskQueues {
    const call = async <T>(site: string, effect: () => T): Promise<T> =>
      await this.sim.call<T>(proc, {
        site: `tasks.${site}`,
        rates,
        latencyMs: LATENCY_MS,
        perform: performing(effect),
        lost: queueAway,
      });
    return {
      add: async (queue, taskIds) => await call('add', () => this.jobs.add(queue, taskIds)),
      take: async (queue, count, leaseMs) => await call('take', () => this.jobs.take(queue, count, leaseMs)),
      renew: async (leases, leaseMs) => await call('renew', () => this.jobs.renew(leases, leaseMs)),
      complete: async (lease) => await call('complete', () => this.jobs.complete(lease)),
      release: async (lease) => await call('release', () => this.jobs.release(lease)),
      recoverStalled: async () => await call('stalled', () => this.jobs.recoverStalled()),
      close: async () => undefined,
    };
  }
}

function queueAway(): AppError {
  return new AppError('QUEUE_UNREACHABLE', 'the queue does not answer', { remedy: 'none: it was injected' });
}
