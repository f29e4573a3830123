import assert from 'node:assert/strict';
import { DelayedError, type IQueueBackend, type Job, type JobProgress, Queue, Worker } from 'bullmq';
import { describeError } from '../model/errors.ts';
import { isId } from '../model/ids.ts';
import type { Clock } from '../ports/clock.ts';
import type { WakeHandler, WakeJob, WakeQueue } from '../ports/queue.ts';
import { listenToWorker } from './lock-renewals.ts';
import { errorListener, isLost, reaching } from './queue-errors.ts';
import { BACKEND_OPTIONS, OWN_CONNECTION, QUEUE_OPTIONS, type QueueStore } from './queue-store.ts';
import type { Log } from '../ports/log.ts';

/** Also the application name of the connection that waits on Postgres, so it begins like all of ours. */
const QUEUE_NAME = 'spillway-wake';
/** Bells rung at a time. */
const PARALLEL_MAX = 20;
/** `setTimeout` and BullMQ's delays are good up to here (24 days); no step waits an hour. */
const DELAY_MS_MAX = 2_147_483_647;
/** BullMQ takes the lowest number first, jobs of one number in the order of their coming. */
const FIRST_PRIORITY = 1;
const PRIORITY = 2;

export interface WakeOptions {
  readonly clock: Clock;
  readonly log: Log;
  /** A consumer that died is noticed after one to one and a half times this. Default 30,000 ms. */
  readonly lockMs?: number;
}

/** A ring that came while its row was in hand. */
type KeptRing = 'none' | 'ring' | 'first';

type Consumer = Worker<unknown, unknown, string, IQueueBackend, JobProgress, typeof OWN_CONNECTION>;
type Bells = Queue<unknown, unknown, string, unknown, unknown, string, IQueueBackend, typeof OWN_CONNECTION>;

/**
 * The doorbell: one BullMQ queue, one job per row that is to be looked at. An ended job is removed, so an old one never
 * blocks a new one; a job that waits is not doubled; a delayed one is brought forward.
 *
 * A ring for a row whose handler runs in this process is kept and rung when the handler is through. In another process it
 * is lost: BullMQ refuses a second job of that id. The loop that rings for rows whose time has come makes up for it.
 */
export class BullWakeQueue implements WakeQueue {
  readonly #store: QueueStore;
  readonly #options: WakeOptions;
  readonly #onError: (error: unknown) => void;
  readonly #bells: Bells;
  /** Jobs in hand here, and how the row was rung for meanwhile. */
  readonly #inHand = new Map<string, KeptRing>();
  /** Those of them whose handler has not answered yet. */
  readonly #working = new Set<string>();
  #consumer: Consumer | null = null;

  constructor(store: QueueStore, options: WakeOptions) {
    this.#store = store;
    this.#options = options;
    this.#onError = errorListener(options.log, 'wake queue');
    this.#bells = new Queue(QUEUE_NAME, { ...QUEUE_OPTIONS, connection: OWN_CONNECTION }, store.shared);
    this.#bells.on('error', this.#onError);
  }

  async ring(jobs: readonly WakeJob[], place?: 'first'): Promise<void> {
    for (let start = 0; start < jobs.length; start += PARALLEL_MAX) {
      await Promise.all(jobs.slice(start, start + PARALLEL_MAX).map(async (job) => this.#ringOne(job, place)));
    }
  }

  async consume(
    handler: WakeHandler,
    options: { readonly concurrency: number },
  ): Promise<{ stop(deadlineMs: number): Promise<void> }> {
    assert(this.#consumer === null, 'a wake queue has one consumer per process');
    const lockMs = this.#options.lockMs ?? BACKEND_OPTIONS.lockDuration;
    const consumer: Consumer = new Worker(
      QUEUE_NAME,
      async (job, token) => this.#handle(handler, job, token),
      {
        connection: OWN_CONNECTION,
        concurrency: options.concurrency,
        lockDuration: lockMs,
        stalledInterval: lockMs / 2,
        maxStalledCount: BACKEND_OPTIONS.maxStalledCount,
        ...KEEP_NONE_WORKER,
      },
      this.#store.waiting,
    );
    this.#consumer = consumer;
    listenToWorker(consumer, {
      isWorking: (jobId) => this.#working.has(jobId),
      log: this.#options.log,
      onError: this.#onError,
    });
    consumer.on('stalled', (jobId) =>
      this.#options.log.info({ jobId }, 'a consumer died: its job is back in the queue'),
    );
    // Only now is the job removed and its id free for another ring.
    consumer.on('completed', (job) => this.#letGo(job));
    consumer.on('failed', (job) => job !== undefined && this.#letGo(job));
    await reaching(async () => consumer.waitUntilReady());
    return { stop: async (deadlineMs) => this.#stop(consumer, deadlineMs) };
  }

  async close(): Promise<void> {
    if (this.#consumer !== null) await this.#stop(this.#consumer, 0);
    await this.#bells.close();
  }

  async #ringOne(job: WakeJob, place?: 'first'): Promise<void> {
    const jobId = `${job.kind}-${job.id}`;
    const kept = this.#inHand.get(jobId);
    if (kept !== undefined && kept !== 'first') this.#inHand.set(jobId, place ?? 'ring');
    const priority = place === 'first' ? FIRST_PRIORITY : PRIORITY;
    await reaching(async () => this.#bells.add(job.kind, job, { jobId, priority, ...KEEP_NONE }));
    const backend = this.#bells.getBackend();
    // Not delayed: it waits (just added, or before), it is in hand, or it ended meanwhile. All are as they should be.
    await unlessLost(async () => backend.promote(jobId));
    // One that was there already has the place of its first ring.
    if (place === 'first') await unlessLost(async () => backend.changePriority(jobId, FIRST_PRIORITY));
  }

  /** Returns = the job ends and is removed. A handler that throws is logged; its row rings again by its own `wake_at`. */
  async #handle(handler: WakeHandler, job: Job, token: string | undefined): Promise<void> {
    const { log } = this.#options;
    const wake = parseWakeJob(job.data);
    if (wake === null || job.id === undefined) {
      log.warn({ jobId: job.id }, 'dropped a job that names no row');
      return;
    }
    this.#inHand.set(job.id, 'none');
    this.#working.add(job.id);
    let afterMs: number | null = null;
    try {
      const outcome = await handler(wake);
      if (outcome.kind === 'again') afterMs = outcome.afterMs;
    } catch (error) {
      log.error({ kind: wake.kind, id: wake.id, error: describeError(error) }, 'a step failed');
    } finally {
      this.#working.delete(job.id);
    }
    if (afterMs === null) return;
    // It was first for once: when it looks again by itself, it is one of many.
    const { id } = job;
    if (job.priority !== PRIORITY) await unlessLost(async () => this.#bells.getBackend().changePriority(id, PRIORITY));
    await this.#delay(job, token, afterMs);
    this.#letGo(job);
    // BullMQ's sign that the job was moved by hand and is not to be ended.
    throw new DelayedError();
  }

  async #delay(job: Job, token: string | undefined, afterMs: number): Promise<void> {
    const atMs = this.#options.clock.nowMs() + Math.min(Math.max(afterMs, 0), DELAY_MS_MAX);
    try {
      await job.moveToDelayed(atMs, token);
    } catch (error) {
      // The lock was lost (a pause longer than the lock) or the store was emptied: whoever has the job now goes on.
      if (!isLost(error)) throw error;
      this.#options.log.info({ jobId: job.id }, 'the job was lost while it was handled');
    }
  }

  #letGo(job: Job): void {
    const jobId = job.id ?? '';
    const kept = this.#inHand.get(jobId) ?? 'none';
    this.#inHand.delete(jobId);
    const wake = kept === 'none' ? null : parseWakeJob(job.data);
    if (wake !== null) this.#ringOne(wake, kept === 'first' ? kept : undefined).catch(this.#onError);
  }

  async #stop(consumer: Consumer, deadlineMs: number): Promise<void> {
    const { clock, log } = this.#options;
    if (this.#consumer === consumer) this.#consumer = null;
    const cancel = new AbortController();
    const closed = consumer.close().then(() => true);
    const late = clock.sleep(deadlineMs, cancel.signal).then(() => false);
    // Whichever loses the race may still reject, and nobody would hear it.
    late.catch(() => undefined);
    closed.catch(this.#onError);
    const inTime = await Promise.race([closed, late]);
    cancel.abort();
    if (inTime) return;
    log.warn({ deadlineMs, inHand: this.#inHand.size }, 'handlers were still running when the wake queue stopped');
    await consumer.disconnect();
  }
}

/** Reaches the store for a job that may be gone, or in another state, by then. */
async function unlessLost(work: () => Promise<unknown>): Promise<void> {
  try {
    await reaching(work);
  } catch (error) {
    if (!isLost(error)) throw error;
  }
}

const KEEP_NONE = { removeOnComplete: true, removeOnFail: true } as const;
const KEEP_NONE_WORKER = { removeOnComplete: { count: 0 }, removeOnFail: { count: 0 } } as const;

/** Jobs come from a store that others can write to: anything but a kind and an id of that kind is no job. */
function parseWakeJob(data: unknown): WakeJob | null {
  if (typeof data !== 'object' || data === null || !('kind' in data) || !('id' in data) || typeof data.id !== 'string')
    return null;
  if (data.kind === 'launch' && isId('ln', data.id)) return { kind: 'launch', id: data.id };
  if (data.kind === 'machine' && isId('mc', data.id)) return { kind: 'machine', id: data.id };
  return null;
}
