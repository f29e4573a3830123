import { createRedisBackend } from 'bullmq';
import { Redis, type RedisOptions } from 'ioredis';
import { AppError } from '../model/errors.ts';
import { errorListener, reaching, unreachable } from './queue-errors.ts';
import { within } from './within.ts';
import { BACKEND_OPTIONS, type QueueStore, type QueueWaits } from './queue-store.ts';
import type { Log } from '../ports/log.ts';

/** Keys are `spillway:<queue>:...`; bull-board and redis-cli need to know. */
const PREFIX = 'spillway';
/** BullMQ's Redis backend reads it; its type leaves it to the queue's options. */
const PREFIXED: object = { prefix: PREFIX };
/** How long a connection is silent before TCP asks whether the other side lives. */
const KEEP_ALIVE_MS = 10_000;
/** A lost connection is tried again after 0.2, 0.4 s and so on up to this. */
const RETRY_STEP_MS = 200;
const RETRY_MAX_MS = 2_000;
/** Redis 6.2 is the oldest whose commands BullMQ 6 relies on. */
const VERSION_MIN = { major: 6, minor: 2 };

/**
 * Connects to `redis://` or `rediss://` and checks that jobs are safe there.
 * @throws AppError QUEUE_UNREACHABLE within 5 s; CONFIG_INVALID for an eviction policy or a version that loses jobs.
 */
export async function openRedisStore(url: string, log: Log, waits: QueueWaits): Promise<QueueStore> {
  const onError = errorListener(log, 'redis');
  // Fails at once while there is no connection: whoever rings or takes can do without, and holds no request open.
  const client = openClient(url, waits, { enableOfflineQueue: false, commandTimeout: waits.commandMs });
  client.on('error', onError);
  await connect(client, waits.connectMs);
  // Its own connection, because waiting for a job is a command that takes as long as no job comes.
  const waitingClient = openClient(url, waits, { socketTimeout: waits.silenceMs });
  waitingClient.on('error', onError);
  const root = createRedisBackend(`${PREFIX}-root`, { ...BACKEND_OPTIONS, connection: client, ...PREFIXED });
  root.on('error', onError);
  await root.waitUntilReady();
  return {
    kind: 'redis',
    shared: (name) => root.forQueue(name),
    waiting: (name, options) =>
      createRedisBackend(
        name,
        { ...options, connection: waitingClient, ...PREFIXED },
        { withBlockingConnection: true },
      ),
    ping: async () => {
      await reaching(async () => client.ping());
    },
    close: async () => {
      await root.close(true);
      client.disconnect();
      waitingClient.disconnect();
    },
  };
}

/** `replyMapping` has another type in the constructor; nobody here sets it. */
type ClientOptions = Omit<RedisOptions, 'replyMapping'>;

function openClient(url: string, waits: QueueWaits, options: ClientOptions): Redis {
  const settings: ClientOptions = {
    lazyConnect: true,
    connectTimeout: waits.connectMs,
    // BullMQ wants no limit of retries; the time-outs above bound each wait instead.
    maxRetriesPerRequest: null,
    keepAlive: KEEP_ALIVE_MS,
    retryStrategy: (attempt) => Math.min(attempt * RETRY_STEP_MS, RETRY_MAX_MS),
    ...options,
  };
  return new Redis(url, settings);
}

async function connect(client: Redis, connectMs: number): Promise<void> {
  try {
    const info = await within(connectMs, async () => {
      await client.connect();
      return client.info();
    });
    requireVersion(infoField(info, 'redis_version'));
    requireNoEviction(infoField(info, 'maxmemory_policy'));
  } catch (error) {
    client.disconnect();
    if (error instanceof AppError) throw error;
    throw unreachable(`Redis at ${client.options.host}:${client.options.port} does not answer`, error);
  }
}

/** `CONFIG GET` would say the same, but managed Redis services forbid it; `INFO` they allow. */
function infoField(info: string, name: string): string | null {
  return new RegExp(`^${name}:(.*?)\\r?$`, 'm').exec(info)?.[1] ?? null;
}

function requireVersion(version: string | null): void {
  const [major = 0, minor = 0] = (version ?? '').split('.').map(Number);
  if (major > VERSION_MIN.major || (major === VERSION_MIN.major && minor >= VERSION_MIN.minor)) return;
  throw new AppError('CONFIG_INVALID', `Redis ${version ?? 'of an unknown version'} is too old for the queue`, {
    remedy: `Point QUEUE_URL at Redis ${VERSION_MIN.major}.${VERSION_MIN.minor} or newer, or unset it to keep the queue in Postgres.`,
    details: { version },
  });
}

function requireNoEviction(policy: string | null): void {
  // Valkey, KeyDB and Dragonfly may leave the field out; only a policy that says it evicts is refused.
  if (policy === null || policy === 'noeviction') return;
  throw new AppError(
    'CONFIG_INVALID',
    `Redis evicts keys when its memory is full (maxmemory-policy ${policy}), which loses jobs`,
    {
      remedy:
        'Set `maxmemory-policy noeviction` in redis.conf (or `redis-cli config set maxmemory-policy noeviction`).',
      details: { policy },
    },
  );
}
