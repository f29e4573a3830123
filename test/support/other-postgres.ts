import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chownSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from 'pg';
import { freePort } from './server-program.ts';
import { until } from './wait.ts';

/** Where Debian and Ubuntu put each major version. */
const INSTALLED = '/usr/lib/postgresql';
/** The uid and gid of `nobody`: Postgres refuses root. */
const NOBODY = 65_534;
const OLDEST_MAJOR = 14;
const START_MS = 30_000;

/** Programs of a Postgres that is not the package's own. */
export interface OtherPostgres {
  readonly major: number;
  readonly folder: string;
}

/**
 * The oldest installed Postgres of another major version than `ours`. Null when there is none: the suites that need it are
 * skipped, and one line on stderr says so. Under CI=true it throws.
 */
export function findOtherPostgres(ours: number): OtherPostgres | null {
  const majors = existsSync(INSTALLED) ? readdirSync(INSTALLED).map(Number) : [];
  const found = majors
    .filter((major) => major >= OLDEST_MAJOR && major !== ours)
    .map((major) => ({ major, folder: join(INSTALLED, String(major), 'bin') }))
    .filter(({ folder }) => existsSync(join(folder, 'initdb')))
    .toSorted((a, b) => a.major - b.major);
  if (found[0] !== undefined) return found[0];
  const message = `no Postgres of another major version than ${ours} in ${INSTALLED} (Debian: apt-get install postgresql)`;
  if (process.env['CI'] === 'true') throw new Error(`${message}, and under CI=true no suite may be skipped`);
  process.stderr.write(`SKIPPED: every test that needs a second Postgres: ${message}\n`);
  return null;
}

/** A server of that version in a folder of its own, on one core where that can be arranged, as a shard's own server is. */
export async function startOtherPostgres(
  other: OtherPostgres,
): Promise<{ readonly url: string; stop(): Promise<void> }> {
  const identity = process.getuid?.() === 0 ? { uid: NOBODY, gid: NOBODY } : {};
  const folder = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'spillway-other-postgres-'));
  const data = join(folder, 'data');
  mkdirSync(data);
  if (identity.uid !== undefined) for (const path of [folder, data]) chownSync(path, identity.uid, identity.gid);
  const quiet = { ...identity, cwd: '/', env: { LC_ALL: 'C', PATH: '/usr/bin:/bin' } };
  const initdb = ['-D', data, '-U', 'postgres', '-A', 'trust', '--no-sync', '--encoding=UTF8', '--no-locale'];
  execFileSync(join(other.folder, 'initdb'), initdb, {
    ...quiet,
    stdio: ['ignore', 'ignore', 'pipe'],
    timeout: START_MS,
  });
  const port = await freePort();
  const settings = { listen_addresses: '127.0.0.1', unix_socket_directories: '', port: String(port), fsync: 'off' };
  const args = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
  const server = spawn(join(other.folder, 'postgres'), ['-D', data, ...args], { ...quiet, stdio: 'ignore' });
  // A test run that dies takes its server along.
  const kill = (): void => void server.kill('SIGQUIT');
  process.once('exit', kill);
  const url = `postgres://postgres@127.0.0.1:${port}/postgres`;
  await until('the other Postgres answers', async () => server.exitCode === null && (await answers(url)), {
    deadlineMs: START_MS,
  });
  return {
    url,
    async stop() {
      process.off('exit', kill);
      await end(server);
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

async function end(server: ChildProcess): Promise<void> {
  if (server.exitCode !== null || server.signalCode !== null) return;
  const exited = once(server, 'exit');
  server.kill('SIGQUIT');
  await exited;
}

async function answers(url: string): Promise<boolean> {
  const client = new Client({ connectionString: url, connectionTimeoutMillis: 1_000 });
  try {
    await client.connect();
    await client.end();
    return true;
  } catch {
    // It is still starting: the next look tells.
    return false;
  }
}
