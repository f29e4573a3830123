import { open, rename, type FileHandle } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { Client } from 'pg';
import { describeError } from '../model/errors.ts';
import { waitMs } from '../model/waits.ts';
import type { Clock } from '../ports/clock.ts';
import { type Cluster, EMBEDDED_USER, errnoOf, readOptional } from './embedded-cluster.ts';
import type { EmbeddedRunner } from './embedded-runner.ts';
import type { Log } from '../ports/log.ts';
import { sqlStateOf } from './pool.ts';

/** Between two looks at a server that starts or stops. */
export const POLL_MS = 25;
/** Starters hold it shared for a moment, a stopper holds it alone: nobody adopts a server that is about to stop. */
export const DOOR_LOCK = 7_735_108_455; // any number that nobody else locks; BullMQ and node-pg-migrate use other ones

/** A server that takes connections, and one connection to it that is kept. */
export interface Running {
  readonly pid: number;
  readonly port: number;
  readonly keeper: Client;
}

/** How long we wait for an embedded server; see the list of waits. */
export interface EmbeddedWaits {
  readonly startMs: number;
  readonly connectMs: number;
  readonly answerMs: number;
  readonly stopMs: number;
  readonly quitMs: number;
}

export const EMBEDDED_WAITS: EmbeddedWaits = Object.freeze({
  startMs: waitMs('embedded.start'),
  connectMs: waitMs('embedded.connect'),
  answerMs: waitMs('embedded.answer'),
  stopMs: waitMs('embedded.stop'),
  quitMs: waitMs('embedded.quit'),
});

interface Context {
  readonly clock: Clock;
  readonly log: Log;
  readonly waits: EmbeddedWaits;
}

/** The server that `postmaster.pid` tells of, when it lives and knows our password; null when there is none. */
export async function adopt(cluster: Cluster, context: Context, deadlineMs: number): Promise<Running | null> {
  while (context.clock.monotonicMs() < deadlineMs) {
    const found = await readPidFile(cluster);
    if (found === null || !isAlive(found.pid)) return null;
    const knock = found.port === null ? 'wait' : await knockAt(cluster, found.port, context);
    if (knock === 'stranger') return null;
    if (knock !== 'wait') return { pid: found.pid, port: found.port ?? 0, keeper: knock };
    await context.clock.sleep(POLL_MS);
  }
  return null;
}

export interface Launch extends Context {
  readonly runner: EmbeddedRunner;
  readonly durable: boolean;
  readonly port: number;
  readonly deadlineMs: number;
}

/** Null when the server ended before it took connections: its port was taken, or another process started one first. */
export async function launch(cluster: Cluster, context: Launch): Promise<Running | null> {
  const { runner, clock, port } = context;
  const logFile = await openLog(cluster);
  try {
    const server = runner.startServer(serverArguments(cluster, port, context.durable), logFile.fd);
    const over = new AbortController();
    server.once('error', () => over.abort());
    server.once('exit', () => over.abort());
    while (!over.signal.aborted && clock.monotonicMs() < context.deadlineMs) {
      const knock = await knockAt(cluster, port, context);
      if (typeof knock !== 'string') {
        // Where the child is `unshare`, it becomes the server: the pid stays the same.
        return { pid: server.pid ?? 0, port, keeper: knock };
      }
      await clock.sleep(POLL_MS);
    }
    return null;
  } finally {
    await logFile.close();
  }
}

/**
 * Connects and stays, unless the server is on its way out.
 * `wait`: nobody answers yet, or it starts, recovers or stops; `stranger`: it is not our server (or not our password).
 */
async function knockAt(cluster: Cluster, port: number, { log, waits }: Context): Promise<Client | 'wait' | 'stranger'> {
  const keeper = new Client({
    connectionString: urlOf(cluster, port),
    application_name: 'spillway-keeper',
    connectionTimeoutMillis: waits.connectMs,
    query_timeout: waits.answerMs,
    keepAlive: true,
  });
  keeper.on('error', (error) =>
    log.info({ error: describeError(error) }, 'the embedded Postgres closed our connection'),
  );
  try {
    await keeper.connect();
    await keeper.query(`select pg_advisory_lock_shared(${DOOR_LOCK}), pg_advisory_unlock_shared(${DOOR_LOCK})`);
    return keeper;
  } catch (error) {
    await keeper
      .end()
      .catch((cause: unknown) => log.info({ error: describeError(cause) }, 'a refused connection was closed'));
    const state = sqlStateOf(error);
    // 28xxx: wrong password or role; 3D000: no such database. Whoever says so is complete, but not ours.
    return state !== null && (state.startsWith('28') || state === '3D000') ? 'stranger' : 'wait';
  }
}

/** True when the server of that pid has ended within `waitMs`. */
export async function waitUntilGone(
  cluster: Cluster,
  pid: number,
  options: { readonly clock: Clock; readonly waitMs: number },
): Promise<boolean> {
  const deadlineMs = options.clock.monotonicMs() + options.waitMs;
  while (options.clock.monotonicMs() < deadlineMs) {
    // The file goes last. A process alone proves less: a zombie that nobody reaps counts as alive.
    const found = await readPidFile(cluster);
    if (found?.pid !== pid || !isAlive(pid)) return true;
    await options.clock.sleep(POLL_MS);
  }
  return false;
}

function serverArguments(cluster: Cluster, port: number, durable: boolean): readonly string[] {
  const settings: Record<string, string | number> = {
    port,
    listen_addresses: '127.0.0.1',
    // A socket's path may have 107 bytes and checkouts are deep: TCP on loopback with a password works everywhere.
    unix_socket_directories: '',
    max_connections: 200,
    shared_buffers: '32MB',
    max_wal_size: '256MB',
    min_wal_size: '32MB',
    wal_level: 'minimal',
    max_wal_senders: 0,
    jit: 'off',
    timezone: 'UTC',
    log_timezone: 'UTC',
    log_line_prefix: '%m [%p] ',
    // Errors of statements are told to the client; in the file they would only pile up, with data in them.
    log_min_messages: 'log',
    log_min_error_statement: 'panic',
    log_checkpoints: 'off',
  };
  if (!durable) Object.assign(settings, { fsync: 'off', synchronous_commit: 'off', full_page_writes: 'off' });
  return ['-D', cluster.path, ...Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])];
}

/** Lines of `postmaster.pid`: 1 pid, 4 port (missing while it starts). */
async function readPidFile(cluster: Cluster): Promise<{ readonly pid: number; readonly port: number | null } | null> {
  const text = await readOptional(join(cluster.path, 'postmaster.pid'));
  const lines = text?.split('\n') ?? [];
  const pid = Number.parseInt(lines[0] ?? '', 10);
  const port = Number.parseInt(lines[3] ?? '', 10);
  return Number.isInteger(pid) && pid > 1 ? { pid, port: Number.isInteger(port) ? port : null } : null;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // EPERM: it lives and belongs to somebody else.
    return errnoOf(error) === 'EPERM';
  }
}

/** A process that has ended meanwhile is fine. */
export function signal(pid: number, name: 'SIGINT' | 'SIGQUIT'): void {
  try {
    process.kill(pid, name);
  } catch (error) {
    if (errnoOf(error) !== 'ESRCH') throw error;
  }
}

/** The port of the last start when it is free, so that what was pointed at it still fits; else any free one. */
export async function choosePort(cluster: Cluster): Promise<number> {
  const last = /"port=(\d+)"/.exec((await readOptional(join(cluster.path, 'postmaster.opts'))) ?? '')?.[1];
  const port = last === undefined ? null : await tryPort(Number(last));
  return port ?? (await tryPort(0)) ?? 0;
}

/** The port that listening on `port` of 127.0.0.1 gave (0 = any), closed again; null when it is taken. */
async function tryPort(port: number): Promise<number | null> {
  const { promise, resolve } = Promise.withResolvers<number | null>();
  const server = createServer();
  server.once('error', () => resolve(null));
  server.listen(port, '127.0.0.1', () => {
    const address = server.address();
    server.close(() => resolve(typeof address === 'object' ? (address?.port ?? null) : null));
  });
  return promise;
}

/** Database `postgres`, with the password. */
export function urlOf(cluster: Cluster, port: number): string {
  return `postgres://${EMBEDDED_USER}:${encodeURIComponent(cluster.password)}@127.0.0.1:${port}/postgres`;
}

/** What the server prints. */
export function logPath(cluster: Cluster): string {
  return join(cluster.path, 'server.log');
}

/** One file per start and the one before: what a server logs with these settings is a few lines. */
async function openLog(cluster: Cluster): Promise<FileHandle> {
  const path = logPath(cluster);
  await rename(path, `${path}.1`).catch((error: unknown) => {
    if (errnoOf(error) !== 'ENOENT') throw error;
  });
  return open(path, 'a', 0o600);
}

/** For an error message: why it ended. */
export async function lastLogLine(cluster: Cluster): Promise<string> {
  const text = (await readOptional(logPath(cluster))) ?? '';
  return text.split('\n').findLast((line) => line.trim() !== '') ?? 'it printed nothing';
}
