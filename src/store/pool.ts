import { type ClientConfig, DatabaseError, Pool, types } from 'pg';
import { AppError, describeError } from '../model/errors.ts';
import { waitMs } from '../model/waits.ts';
import type { Log } from '../ports/log.ts';

export interface PoolOptions {
  /** Begins with `spillway`: that is how the embedded server knows who still uses it. Seen in pg_stat_activity. */
  readonly applicationName: `spillway${string}`;
  /** Connections at most. Default 10. Callers beyond wait `connectMs`. */
  readonly max?: number;
  /** For a connection, from the pool or the network. Default: `postgres.connect` of the list of waits; below likewise. */
  readonly connectMs?: number;
  /** For one statement, ended by the server. */
  readonly statementMs?: number;
  /** For a server that does not even end the statement: the client gives up. */
  readonly answerMs?: number;
  /** For one lock. */
  readonly lockMs?: number;
  /** A transaction that does nothing for so long is ended by the server. */
  readonly idleInTransactionMs?: number;
  /** A connection that nobody uses for so long is closed. */
  readonly idleConnectionMs?: number;
  /** Put first in every connection's search path; `public` stays out. Default: the server's. */
  readonly schema?: string;
  readonly log: Log;
}

/** Where Postgres gives a type as text though a number says it all. */
const INT8 = 20;

/**
 * A pool in which every wait has a number: pg's own defaults wait for ever (connection, statement, lock, half-open socket).
 * `bigint` columns come as numbers, and a value beyond 2^53 is an error instead of a wrong digit; `numeric` stays text (money).
 * Losing an idle connection is logged; the next query opens another one.
 */
export function createPool(url: string, options: PoolOptions): Pool {
  const idleTimeoutMillis = options.idleConnectionMs ?? waitMs('postgres.idle-connection');
  const pool = new Pool({ ...clientConfig(url, options), max: options.max ?? 10, idleTimeoutMillis });
  // Without listeners, a server restart would end this process: pg emits `error` for every connection it loses, and the pool
  // hears it only of those that are idle. Of one in use the work on it fails as well, and tells what that means.
  pool.on('error', (error) => options.log.warn({ error: describeError(error) }, 'lost an idle database connection'));
  pool.on('connect', (client) => {
    client.on('error', (error) => options.log.debug({ error: describeError(error) }, 'lost a database connection'));
  });
  return pool;
}

/** How long a connection is silent before TCP asks whether the other side lives. */
const KEEP_ALIVE_MS = 10_000;

/** The same numbers for a single connection (migrations, tests, LISTEN). */
export function clientConfig(url: string, options: Omit<PoolOptions, 'max' | 'log'>): ClientConfig {
  return {
    connectionString: url,
    application_name: options.applicationName,
    connectionTimeoutMillis: options.connectMs ?? waitMs('postgres.connect'),
    statement_timeout: options.statementMs ?? waitMs('postgres.statement'),
    // The server's answer to the time-out should win; this one is for a server that cannot answer any more.
    query_timeout: options.answerMs ?? waitMs('postgres.answer'),
    lock_timeout: options.lockMs ?? waitMs('postgres.lock'),
    idle_in_transaction_session_timeout: options.idleInTransactionMs ?? waitMs('postgres.idle-transaction'),
    keepAlive: true,
    keepAliveInitialDelayMillis: KEEP_ALIVE_MS,
    types: { getTypeParser },
    ...(options.schema === undefined ? {} : { options: `-c search_path=${options.schema}` }),
  };
}

const getTypeParser: typeof types.getTypeParser = (oid: number, format?: 'text' | 'binary') =>
  oid === INT8 && format !== 'binary' ? parseInt8 : types.getTypeParser(oid, format);

function parseInt8(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value)) throw new RangeError(`bigint ${text} does not fit a number exactly`);
  return value;
}

/** The SQLSTATE of an error that Postgres answered with, e.g. `23505`; null for any other error. */
export function sqlStateOf(error: unknown): string | null {
  return error instanceof DatabaseError && error.code !== undefined && /^[0-9A-Z]{5}$/.test(error.code)
    ? error.code
    : null;
}

/** Errno names with which a server cannot be reached; pg adds none for a connection cut mid-query. */
const UNREACHABLE_ERRNO: ReadonlySet<string> = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'ECONNABORTED',
  'EPIPE',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENOTFOUND',
  'EAI_AGAIN',
  'ENOENT',
]);

/**
 * Turns what pg throws into what an operator can act on, by SQLSTATE and errno, never by text. Errors that are neither
 * about reaching the server nor about its state (a constraint, a syntax error) come back as they are.
 */
export function translateDatabaseError(error: unknown): unknown {
  if (error instanceof AppError) return error;
  const state = sqlStateOf(error);
  if (state !== null) return translateSqlState(state, error);
  const errno = firstErrno(error);
  if (errno === null || !UNREACHABLE_ERRNO.has(errno))
    return isConnectionLoss(error) ? unreachable('lost', error) : error;
  return unreachable(errno, error);
}

/** 28: wrong password or role; 42501: no permission; 3D000: no such database. */
const AUTH_STATE = /^(?:28|42501$|3D000$)/;
/** A schema, a table, a column or a function is missing. */
const SCHEMA_STATE = /^(?:3F000|42P01|42703|42883)$/;
/**
 * 08: connection; 53: out of disk, memory or connections; 57P: shutting down or starting; 25006: a read-only replica;
 * 25P03, 25P04: our transaction stood still and its connection was ended.
 */
const UNREACHABLE_STATE = /^(?:08|53|57P|25006$|25P0[34]$)/;
/** 57014: the statement's time-out; 55P03: the lock's; 40001, 40P01: in each other's way, every time it was run again. */
const LATE_STATE = /^(?:57014|55P03|40001|40P01)$/;

function translateSqlState(state: string, cause: unknown): unknown {
  if (AUTH_STATE.test(state)) {
    return new AppError('DATABASE_AUTH', 'Postgres refused the user, the password or the database', {
      remedy: 'Check user, password and database name in DATABASE_URL, and that the user owns the schema spillway.',
      cause,
      details: { sqlState: state },
    });
  }
  if (SCHEMA_STATE.test(state)) {
    return new AppError('DATABASE_SCHEMA', 'The database does not have the tables that this version needs', {
      remedy: 'Run `spillway migrate`.',
      cause,
      details: { sqlState: state },
    });
  }
  if (LATE_STATE.test(state)) {
    return new AppError('TIMEOUT', 'Postgres did not finish a statement in its time', {
      remedy: 'Look for long statements and locks in pg_stat_activity; it is tried again.',
      cause,
      details: { sqlState: state },
    });
  }
  return UNREACHABLE_STATE.test(state) ? unreachable(state, cause) : cause;
}

function unreachable(reason: string, cause: unknown): AppError {
  return new AppError('DATABASE_UNREACHABLE', 'Postgres does not answer', {
    remedy:
      'Check that the server of DATABASE_URL runs, accepts connections and has free disk and connections; a service that was up goes on by itself.',
    cause,
    details: { reason },
  });
}

/** Node wraps the attempts of one connect (IPv4 and IPv6) in an AggregateError without a message. */
function firstErrno(error: unknown): string | null {
  const errors: unknown[] = error instanceof AggregateError ? [error, ...error.errors] : [error];
  for (const candidate of errors) {
    const code = candidate instanceof Error ? (candidate as NodeJS.ErrnoException).code : undefined;
    if (typeof code === 'string') return code;
  }
  return null;
}

/**
 * pg tells a lost connection and its own time-outs with plain errors: no code, no class, no errno. So what counts is that the
 * error was made inside pg. (Its words are not looked at; a plain error of ours, thrown in a transaction, is made elsewhere.)
 */
function isConnectionLoss(error: unknown): boolean {
  if (!(error instanceof Error) || error.constructor !== Error) return false;
  const madeAt = error.stack?.split('\n').find((line) => line.startsWith('    at ')) ?? '';
  return /[\\/]node_modules[\\/]pg(?:-pool)?[\\/]/.test(madeAt);
}
