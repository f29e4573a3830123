import { readdir } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { Client } from 'pg';
import { AppError, describeError } from '../model/errors.ts';
import { SECOND_MS } from '../model/time.ts';
import { waitMs } from '../model/waits.ts';
import type { Log } from '../ports/log.ts';
import { clientConfig, sqlStateOf, translateDatabaseError } from './pool.ts';

export interface MigrateOptions {
  /** Default: the migrations that belong to this code. */
  readonly dir?: string;
  readonly log: Log;
  /** Default: `migrate.statement` and `migrate.lock` of the list of waits. */
  readonly waits?: { readonly statementMs?: number; readonly lockMs?: number };
}

/** Where the migrations and their dump are, from a checkout and from an installed package alike. */
export const MIGRATIONS_DIR = fileURLToPath(new URL('../../migrations/', import.meta.url));
/** Which migrations ran, in the schema `spillway`; the tool's own table, so it is in neither the dump nor the row types. */
export const MIGRATIONS_TABLE = 'migrations';
const MIGRATION_FILE = /^(\d{4}_[a-z0-9_]+)\.sql$/;
/** What is not a migration in that folder, as the runner wants it: anchored by itself, a match is left out. */
const IGNORE_PATTERN = String.raw`(?!\d{4}_[a-z0-9_]+\.sql$).*`;

/**
 * Applies what is missing, all of it or nothing, and BullMQ's own tables (schema `bullmq`). Several processes may do so at
 * once: an advisory lock lets one work and the others find it done. Needs a session of its own (no transaction-mode pooler).
 * @throws AppError DATABASE_SCHEMA when the database is newer than this code, DATABASE_UNREACHABLE, DATABASE_AUTH.
 */
export async function migrate(url: string, options: MigrateOptions): Promise<{ readonly applied: readonly string[] }> {
  const dir = options.dir ?? MIGRATIONS_DIR;
  const work = async (client: Client): Promise<{ readonly applied: readonly string[] }> => {
    await requireNotNewer(client, dir);
    const applied = await runOwnMigrations(client, dir, options.log);
    await runQueueMigrations(client);
    return { applied };
  };
  return withClient(url, work, options.waits);
}

/**
 * Names of the migrations that the database lacks, oldest first; empty = up to date.
 * @throws AppError DATABASE_SCHEMA when the database is newer than this code, DATABASE_UNREACHABLE, DATABASE_AUTH.
 */
export async function pendingMigrations(url: string, dir: string = MIGRATIONS_DIR): Promise<readonly string[]> {
  return withClient(url, async (client) => {
    await requireNotNewer(client, dir);
    const applied = new Set(await listApplied(client));
    return (await listFiles(dir)).filter((name) => !applied.has(name));
  });
}

async function withClient<T>(
  url: string,
  use: (client: Client) => Promise<T>,
  waits: NonNullable<MigrateOptions['waits']> = {},
): Promise<T> {
  const statementMs = waits.statementMs ?? waitMs('migrate.statement');
  const lockMs = waits.lockMs ?? waitMs('migrate.lock');
  // The server's word comes first, as everywhere; this one is for a server that cannot say it.
  const answerMs = statementMs + SECOND_MS;
  const client = new Client(clientConfig(url, { applicationName: 'spillway-migrate', statementMs, answerMs, lockMs }));
  // A connection that dies rejects the query that runs; the event alone would end the process.
  let lost: Error | null = null;
  client.on('error', (error) => (lost = error));
  try {
    await client.connect();
    return await use(client);
  } catch (error) {
    throw translateDatabaseError(lost ?? error);
  } finally {
    await client.end();
  }
}

async function runOwnMigrations(client: Client, dir: string, log: Log): Promise<readonly string[]> {
  // Loaded here: only migrating needs it, and the command line should start without.
  const { runner } = await import('node-pg-migrate');
  try {
    const applied = await runner({
      dbClient: client,
      dir,
      ignorePattern: IGNORE_PATTERN,
      direction: 'up',
      migrationsTable: MIGRATIONS_TABLE,
      migrationsSchema: 'spillway',
      createMigrationsSchema: true,
      singleTransaction: true,
      advisoryLockMode: 'wait',
      logger: {
        info: (line) => log.info({}, line),
        warn: (line) => log.warn({}, line),
        error: (line) => log.error({}, line),
      },
    });
    return applied.map((migration) => migration.name);
  } catch (cause) {
    if (translateDatabaseError(cause) !== cause && sqlStateOf(cause) !== '42P01') throw cause;
    throw new AppError('DATABASE_SCHEMA', `The migrations could not be applied: ${describeError(cause)}`, {
      remedy:
        'Nothing was changed. Undo what was changed in the schema spillway by hand, then run `spillway migrate` again.',
      cause,
    });
  }
}

/** BullMQ keeps its tables itself: its migrations hold a lock of their own and run in one transaction. */
async function runQueueMigrations(client: Client): Promise<void> {
  const bullmq = await import('bullmq');
  try {
    await bullmq.runMigrations(client);
  } catch (cause) {
    if (!(cause instanceof bullmq.SchemaVersionMismatchError)) throw cause;
    throw new AppError('DATABASE_SCHEMA', 'The queue tables in schema bullmq were made by a newer version', {
      remedy: 'Run the newer version of spillway; an older one cannot use this database.',
      cause,
    });
  }
}

async function requireNotNewer(client: Client, dir: string): Promise<void> {
  const known = new Set(await listFiles(dir));
  const unknown = (await listApplied(client)).filter((name) => !known.has(name));
  if (unknown.length === 0) return;
  throw new AppError(
    'DATABASE_SCHEMA',
    `The database is newer than this version of spillway: it has ${unknown.join(', ')}`,
    {
      remedy: 'Run the newer version of spillway; an older one cannot use this database.',
      details: { unknown },
    },
  );
}

async function listFiles(dir: string): Promise<readonly string[]> {
  const names = (await readdir(dir)).map((file) => MIGRATION_FILE.exec(file)?.[1]).filter((name) => name !== undefined);
  return names.sort();
}

async function listApplied(client: Client): Promise<readonly string[]> {
  const { rows: found } = await client.query<{ exists: boolean }>(
    `select to_regclass('spillway.${MIGRATIONS_TABLE}') is not null as exists`,
  );
  if (found[0]?.exists !== true) return [];
  const { rows } = await client.query<{ name: string }>(`select name from spillway.${MIGRATIONS_TABLE} order by id`);
  return rows.map((row) => row.name);
}
