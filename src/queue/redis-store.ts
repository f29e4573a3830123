import { createRedisBackend } from 'bullmq';
import { Redis, type RedisOptions } from 'ioredis';
import { AppError } from '../model/errors.ts';
import { errorListener, reaching, unreachable } from './queue-errors.ts';
import { BACKEND_OPTIONS, type QueueStore } from './queue-store.ts';
import type { Log } from '../ports/log.ts';

/** Keys are `spillway:<queue>:...`; bull-board and redis-cli need to know. */
const PREFIX = 'spillway';
/** BullMQ's Redis backend reads it; its type leaves it to the queue's options. */
const PREFIXED: object = { prefix: PREFIX };
const CONNECT_MS = 5_000;
const COMMAND_MS = 5_000;
/** Longer than any wait for a job (BullMQ waits 10 s at most): a connection silent for so long is dead. */
const SOCKET_MS = 30_000;
/** Redis 6.2 is the oldest whose commands BullMQ 6 relies on. */
const VERSION_MIN = { major: 6, minor: 2 };

/**
 * Connects to `redis://` or `rediss://` and checks that jobs are safe there.
 * @throws AppError QUEUE_UNREACHABLE within 5 s; CONFIG_INVALID for an eviction policy or a version that loses jobs.
 */
export async function openRedisStore(url: string, log: Log): Promise<QueueStore> {
  const onError = errorListener(log, 'redis');
  // Fails at once while there is no connection: whoever rings or takes can do without, and holds no request open.
  const client = openClient(url, { enableOfflineQueue: false, commandTimeout: COMMAND_MS });
  client.on('error', onError);
  await connect(client);
  // Its own connection, because waiting for a job is a command that takes as long as no job comes.
  const waitingClient = openClient(url, { socketTimeout: SOCKET_MS });
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

function openClient(url: string, options: ClientOptions): Redis {
  const settings: ClientOptions = {
    lazyConnect: true,
    connectTimeout: CONNECT_MS,
    // BullMQ wants no limit of retries; the time-outs above bound each wait instead.
    maxRetriesPerRequest: null,
    keepAlive: 10_000,
    retryStrategy: (attempt) => Math.min(attempt * 200, 2_000),
    ...options,
  };
  return new Redis(url, settings);
}

async function connect(client: Redis): Promise<void> {
  try {
    const info = await within(CONNECT_MS, async () => {
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

/** ioredis bounds the connection and each command by itself; together they can take three times as long. */
async function within<T>(deadlineMs: number, work: () => Promise<T>): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error(`no answer within ${deadlineMs} ms`)), deadlineMs);
  try {
    return await Promise.race([work(), late.promise]);
  } finally {
    clearTimeout(timer);
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
