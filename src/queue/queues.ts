import { AppError } from '../model/errors.ts';
import type { Clock } from '../ports/clock.ts';
import type { Ids } from '../ports/ids.ts';
import type { TaskQueues, WakeQueue } from '../ports/queue.ts';
import { openPostgresStore } from './postgres-store.ts';
import type { Log } from '../ports/log.ts';
import { QUEUE_WAITS, type QueueStore, type QueueWaits } from './queue-store.ts';
import { openRedisStore } from './redis-store.ts';
import { BullTaskQueues } from './task-queues.ts';
import { BullWakeQueue } from './wake-queue.ts';
import { within } from './within.ts';

export interface QueuesOptions {
  /** `redis://` or `rediss://`; null = BullMQ on Postgres, in schema `bullmq` of `databaseUrl`. */
  readonly queueUrl: string | null;
  readonly databaseUrl: string;
  readonly clock: Clock;
  readonly ids: Ids;
  readonly log: Log;
  /** See `WakeOptions`. Default 30,000 ms. */
  readonly wakeLockMs?: number;
  /** Those left out come from `QUEUE_WAITS`. */
  readonly waits?: Partial<QueueWaits>;
}

export interface Queues {
  readonly kind: 'redis' | 'postgres';
  readonly wake: WakeQueue;
  readonly tasks: TaskQueues;
  /** For readiness. @throws AppError QUEUE_UNREACHABLE within 10 s. */
  ping(): Promise<void>;
  /** Closes everything in `queue.close`; a consumer that still runs is not waited for (stop it first). */
  close(): Promise<void>;
}

/**
 * Opens the queues. A store that goes away later makes operations throw QUEUE_UNREACHABLE; they work again when it is back.
 * @throws AppError QUEUE_UNREACHABLE within 5 s, CONFIG_INVALID (eviction, version, scheme), DATABASE_SCHEMA.
 */
export async function createQueues(options: QueuesOptions): Promise<Queues> {
  const waits: QueueWaits = { ...QUEUE_WAITS, ...options.waits };
  const store = await openStore(options, waits);
  const { clock, ids, log, wakeLockMs } = options;
  const wake = new BullWakeQueue(store, { clock, log, ...(wakeLockMs === undefined ? {} : { lockMs: wakeLockMs }) });
  const tasks = new BullTaskQueues(store, { ids, log });
  return {
    kind: store.kind,
    wake,
    tasks,
    ping: async () => store.ping(),
    close: async () => {
      try {
        await within(waits.closeMs, async () => {
          await wake.close();
          await tasks.close();
        });
      } finally {
        // The connections last, and even when a worker does not end: what still waits on them fails then.
        await within(waits.closeMs, async () => await store.close());
      }
    },
  };
}

async function openStore({ queueUrl, databaseUrl, log }: QueuesOptions, waits: QueueWaits): Promise<QueueStore> {
  if (queueUrl === null) return openPostgresStore(databaseUrl, log, waits);
  const scheme = URL.canParse(queueUrl) ? new URL(queueUrl).protocol : '';
  if (scheme === 'redis:' || scheme === 'rediss:') return openRedisStore(queueUrl, log, waits);
  throw new AppError('CONFIG_INVALID', 'QUEUE_URL is not a redis:// or rediss:// address', {
    remedy: 'Set QUEUE_URL=redis://HOST:6379, or unset it to keep the queue in Postgres.',
  });
}
