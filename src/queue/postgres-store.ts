import { createPostgresBackend, SchemaMigrationRequiredError, SchemaVersionMismatchError } from 'bullmq';
import { Pool, type PoolConfig } from 'pg';
import { AppError } from '../model/errors.ts';
import { errorListener, reaching } from './queue-errors.ts';
import { BACKEND_OPTIONS, type QueueStore, type QueueWaits } from './queue-store.ts';
import type { Log } from '../ports/log.ts';

type PostgresConnection = Parameters<typeof createPostgresBackend>[1]['connection'];

/** BullMQ's own tables are in this schema of the same database; `spillway migrate` makes them. */
const SCHEMA = 'bullmq';
/** One waits for notifications all the time; the others are for statements of a millisecond. */
const CONNECTIONS_MAX = 5;
/** How long a connection is silent before TCP asks whether the other side lives. */
const KEEP_ALIVE_MS = 10_000;

/**
 * The embedded default: BullMQ on Postgres. Needs a session of its own for LISTEN, so no transaction-mode pooler in between.
 * @throws AppError QUEUE_UNREACHABLE within 5 s; DATABASE_SCHEMA when BullMQ's tables are missing or too new.
 */
export async function openPostgresStore(url: string, log: Log, waits: QueueWaits): Promise<QueueStore> {
  const onError = errorListener(log, 'postgres');
  const pool = new Pool(queuePoolConfig(url, waits));
  pool.on('error', onError);
  // The pool hears only of idle connections; one lost in use would end this process.
  pool.on('connect', (client) => void client.on('error', onError));
  // BullMQ describes a pool in its own words, which TypeScript cannot match with pg's overloads.
  const connection = pool as unknown as PostgresConnection;
  const root = createPostgresBackend('spillway-root', { ...BACKEND_OPTIONS, connection });
  root.on('error', onError);
  try {
    await reaching(async () => root.waitUntilReady());
  } catch (error) {
    await pool.end();
    throw translateSchemaError(error);
  }
  return {
    kind: 'postgres',
    shared: (name) => root.forQueue(name),
    waiting: (name, options) =>
      createPostgresBackend(name, { ...options, connection }, { withBlockingConnection: true }),
    ping: async () => {
      await reaching(async () => pool.query('select 1'));
    },
    close: async () => {
      await root.close();
      await pool.end();
    },
  };
}

/** What the queue's connections are opened with; exported for the tests of its waits. */
export function queuePoolConfig(url: string, waits: QueueWaits): PoolConfig {
  return {
    connectionString: url,
    // Begins like every connection of ours: that is how an embedded server knows that it is still in use.
    application_name: 'spillway-queue',
    options: `-c search_path=${SCHEMA}`,
    max: CONNECTIONS_MAX,
    connectionTimeoutMillis: waits.connectMs,
    statement_timeout: waits.statementMs,
    query_timeout: waits.answerMs,
    lock_timeout: waits.lockMs,
    idle_in_transaction_session_timeout: waits.idleInTransactionMs,
    keepAlive: true,
    keepAliveInitialDelayMillis: KEEP_ALIVE_MS,
    idleTimeoutMillis: waits.idleConnectionMs,
  };
}

function translateSchemaError(error: unknown): unknown {
  if (error instanceof SchemaMigrationRequiredError) {
    return new AppError('DATABASE_SCHEMA', `The database does not have the queue's tables (schema ${SCHEMA})`, {
      remedy: 'Run `spillway migrate`.',
      cause: error,
    });
  }
  if (error instanceof SchemaVersionMismatchError) {
    return new AppError('DATABASE_SCHEMA', `The queue's tables in schema ${SCHEMA} were made by a newer version`, {
      remedy: 'Run the newer version of spillway; an older one cannot use this database.',
      cause: error,
    });
  }
  return error;
}
