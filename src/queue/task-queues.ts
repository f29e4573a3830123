import { type IQueueBackend, Job, type JobProgress, Queue, Worker } from 'bullmq';
import { describeError } from '../model/errors.ts';
import { isId, type TaskId } from '../model/ids.ts';
import type { Ids } from '../ports/ids.ts';
import type { TaskLease, TaskQueues } from '../ports/queue.ts';
import { errorListener, isLost, reaching } from './queue-errors.ts';
import { OWN_CONNECTION, QUEUE_OPTIONS, type QueueStore, SHARED_LOCK_MS } from './queue-store.ts';
import type { Log } from '../ports/log.ts';

/** Jobs added with one command. */
const ADD_BATCH = 500;
/** Queues kept open. One costs a few kilobytes and no connection; the least recently used goes first. */
const OPEN_QUEUES_MAX = 256;
/** Queues checked or renewed at a time. */
const PARALLEL_MAX = 8;

type OurQueue = Queue<unknown, unknown, string, unknown, unknown, string, IQueueBackend, typeof OWN_CONNECTION>;
type OurWorker = Worker<unknown, unknown, string, IQueueBackend, JobProgress, typeof OWN_CONNECTION>;

/** BullMQ's two halves of one queue, used by hand: nothing runs by itself. */
interface OpenQueue {
  readonly queue: OurQueue;
  readonly worker: OurWorker;
}

/**
 * Task queues over BullMQ in manual mode. A job's id is the task's id and there is nothing else in it, so adding is safe to
 * repeat and an emptied store is filled again by adding. A queue is in use from the first time this process names it.
 *
 * When a lease runs out, Redis forgets the lock at once and Postgres when `recoverStalled` puts the job back; until then
 * the holder can still renew and complete on Postgres, but not on Redis. Users must be ready for both.
 */
export class BullTaskQueues implements TaskQueues {
  readonly #store: QueueStore;
  readonly #ids: Ids;
  readonly #log: Log;
  readonly #onError: (error: unknown) => void;
  /** In order of use, the least recent first. */
  readonly #open = new Map<string, OpenQueue>();

  constructor(store: QueueStore, options: { readonly ids: Ids; readonly log: Log }) {
    this.#store = store;
    this.#ids = options.ids;
    this.#log = options.log;
    this.#onError = errorListener(options.log, 'task queues');
  }

  async add(queueName: string, taskIds: readonly TaskId[]): Promise<void> {
    const { queue } = this.#use(queueName);
    for (let start = 0; start < taskIds.length; start += ADD_BATCH) {
      const batch = taskIds.slice(start, start + ADD_BATCH);
      await reaching(async () =>
        queue.addBulk(batch.map((jobId) => ({ name: 'task', data: {}, opts: { ...KEEP_NONE, jobId } }))),
      );
    }
  }

  async take(queueName: string, count: number, leaseMs: number): Promise<readonly TaskLease[]> {
    const { worker } = this.#use(queueName);
    const leases: TaskLease[] = [];
    try {
      while (leases.length < count) {
        const token = this.#ids.hex(16);
        const job = await reaching(async () => worker.getNextJob(token, { block: false }));
        if (job === undefined) break;
        if (isId('tk', job.id ?? '')) leases.push({ queue: queueName, taskId: job.id as TaskId, token });
        else await this.#discard(job, token);
      }
      if (leaseMs === SHARED_LOCK_MS) return leases;
      const lost = new Set(await this.renew(leases, leaseMs));
      return leases.filter((lease) => !lost.has(lease.taskId));
    } catch (error) {
      if (leases.length === 0) throw error;
      // What was taken is locked: handing it out now beats waiting until the locks run out.
      this.#log.warn(
        { queue: queueName, taken: leases.length, error: describeError(error) },
        'taking tasks was cut short',
      );
      return leases;
    }
  }

  async renew(leases: readonly TaskLease[], leaseMs: number): Promise<readonly TaskId[]> {
    const groups = [...Map.groupBy(leases, (lease) => lease.queue)];
    const lost = await inParallel(groups, async ([name, group]) => {
      const { worker } = this.#use(name);
      const [taskIds, tokens] = [group.map((lease) => lease.taskId), group.map((lease) => lease.token)];
      return reaching(async () => worker.extendJobLocks(taskIds, tokens, leaseMs));
    });
    // BullMQ answers with the ids it was given.
    return lost.flat() as TaskId[];
  }

  async complete(lease: TaskLease): Promise<boolean> {
    const { queue } = this.#use(lease.queue);
    // A job made from its id alone: reading it first would only add a round trip, the token is checked where it lies.
    const job = new Job(queue, 'task', {}, KEEP_NONE, lease.taskId);
    return unlessLost(async () => job.moveToCompleted(null, lease.token, false));
  }

  async release(lease: TaskLease): Promise<boolean> {
    const backend = this.#use(lease.queue).worker.getBackend();
    // `lifo`: to the end of the queue from which jobs are taken. Plain "move to wait" is the front on Redis only.
    return unlessLost(async () => backend.retryJob(lease.taskId, true, lease.token));
  }

  async recoverStalled(): Promise<void> {
    // BullMQ puts a job back when a check finds it active for the second time and its lock gone, so the first check after a
    // job was taken only marks it. Callers check again and again; here it is the backend's own check, without its timer.
    await inParallel([...this.#open], async ([name, { worker }]) => {
      const recovered = await reaching(async () => worker.getBackend().moveStalledJobsToWait());
      if (recovered.length > 0)
        this.#log.info({ queue: name, taskIds: recovered }, 'leases ran out: tasks are back in their queue');
    });
  }

  async close(): Promise<void> {
    const open = [...this.#open.values()];
    this.#open.clear();
    await Promise.all(open.map(closeQueue));
  }

  #use(name: string): OpenQueue {
    const found = this.#open.get(name);
    const used = found ?? this.#openQueue(name);
    this.#open.delete(name);
    this.#open.set(name, used);
    if (this.#open.size > OPEN_QUEUES_MAX) this.#closeLeastUsed();
    return used;
  }

  #openQueue(name: string): OpenQueue {
    const queue: OurQueue = new Queue(name, { ...QUEUE_OPTIONS, connection: OWN_CONNECTION }, this.#store.shared);
    const worker: OurWorker = new Worker(
      name,
      null,
      { connection: OWN_CONNECTION, autorun: false },
      this.#store.shared,
    );
    queue.on('error', this.#onError);
    worker.on('error', this.#onError);
    return { queue, worker };
  }

  #closeLeastUsed(): void {
    for (const [name, oldest] of this.#open) {
      this.#open.delete(name);
      // Calls under way finish: the halves share the store's connection and closing them closes nothing but themselves.
      closeQueue(oldest).catch(this.#onError);
      return;
    }
  }

  /** A job that is no task of ours (another program uses the same queue): ended, so that it does not come up for ever. */
  async #discard(job: Job, token: string): Promise<void> {
    this.#log.warn({ queue: job.queueName, jobId: job.id }, 'discarded a job that is no task');
    await unlessLost(async () => job.moveToCompleted(null, token, false));
  }
}

/** An ended job is gone: one that stayed would keep its task from being added again. */
const KEEP_NONE = { removeOnComplete: true, removeOnFail: true } as const;

async function closeQueue(open: OpenQueue): Promise<void> {
  await open.worker.close(true);
  await open.queue.close();
}

async function unlessLost(work: () => Promise<unknown>): Promise<boolean> {
  try {
    await reaching(work);
    return true;
  } catch (error) {
    if (isLost(error)) return false;
    throw error;
  }
}

async function inParallel<T, R>(items: readonly T[], work: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  for (let start = 0; start < items.length; start += PARALLEL_MAX) {
    results.push(...(await Promise.all(items.slice(start, start + PARALLEL_MAX).map(work))));
  }
  return results;
}
