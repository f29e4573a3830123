import type { BackendFactory, IQueueBackend } from 'bullmq';
import { waitMs } from '../model/waits.ts';

/** The factories ignore BullMQ's `connection` option: they have their own. It must be there, though. */
export const OWN_CONNECTION = {};
export type StoreFactory = BackendFactory<IQueueBackend, typeof OWN_CONNECTION>;

/** Where BullMQ keeps its jobs: Redis or Postgres, connected and checked. */
export interface QueueStore {
  readonly kind: 'redis' | 'postgres';
  /** All queues and manual workers over one connection (Redis) or pool (Postgres): a queue costs memory only. */
  readonly shared: StoreFactory;
  /** For a worker that waits for jobs: with a connection of its own to wait on. */
  readonly waiting: StoreFactory;
  /** Resolves when the store answers. @throws AppError QUEUE_UNREACHABLE */
  ping(): Promise<void>;
  close(): Promise<void>;
}

/** How long the queue waits for its store; see the list of waits. */
export interface QueueWaits {
  readonly connectMs: number;
  readonly commandMs: number;
  readonly silenceMs: number;
  readonly statementMs: number;
  readonly answerMs: number;
  readonly lockMs: number;
  readonly idleInTransactionMs: number;
  readonly idleConnectionMs: number;
  readonly closeMs: number;
}

export const QUEUE_WAITS: QueueWaits = Object.freeze({
  connectMs: waitMs('queue.connect'),
  commandMs: waitMs('redis.command'),
  silenceMs: waitMs('redis.silence'),
  statementMs: waitMs('queue.statement'),
  answerMs: waitMs('queue.answer'),
  lockMs: waitMs('queue.lock'),
  idleInTransactionMs: waitMs('queue.idle-transaction'),
  idleConnectionMs: waitMs('queue.idle-connection'),
  closeMs: waitMs('queue.close'),
});

/** Locks of the shared factory's queues when they are taken; a lease of another length is set right after. */
export const SHARED_LOCK_MS = 30_000;

/** What each backend is told. A task or a row is never given up by the queue, so no count of stalls is too high. */
export const BACKEND_OPTIONS = {
  lockDuration: SHARED_LOCK_MS,
  maxStalledCount: 2_147_483_647, // the largest int4: Postgres stores the count as one
  // How often to check is the caller's decision; BullMQ would leave out checks that come sooner than this.
  stalledInterval: 1,
} as const;

/** BullMQ writes an event for each step of each job; nobody reads them here, so only a few are kept. */
export const QUEUE_OPTIONS = { streams: { events: { maxLen: 100 } } } as const;
