import { existsSync } from 'node:fs';
import { mkdtemp, readdir, rm, statfs, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from 'pg';
import { readOptional } from '../../src/store/embedded-cluster.ts';
import { startEmbeddedPostgres } from '../../src/store/embedded-postgres.ts';
import { migrate } from '../../src/store/migrate.ts';
import { realClock, randomIds } from './clock.ts';
import { quietLog } from './log.ts';
import { until } from './wait.ts';

const PREFIX = 'spillway-test-';
const OWNER_FILE = 'owner.pid';
/** A database is 300 files: making them in memory takes 15 ms, on a disk up to 400 ms. */
const MEMORY = '/dev/shm';
/** The server takes 100 MB, its write-ahead log up to 256 MB, each database 10 MB. Containers have 64 MB there. */
const MEMORY_FREE_MIN = 2 * 2 ** 30;

/** A migrated database that nobody is connected to, so that it can be cloned. */
const TEMPLATE = 'spillway_template';

export interface TestPostgres {
  /** Database `postgres`, superuser. */
  readonly adminUrl: string;
  readonly templateUrl: string;
  stop(): Promise<void>;
}

/** The Postgres of the package in a folder of its own, without fsync, and a migrated template database in it. */
export async function startTestPostgres(): Promise<TestPostgres> {
  await sweepLeftovers();
  const dataDir = await mkdtemp(join(await chooseRoot(), PREFIX));
  await writeFile(join(dataDir, OWNER_FILE), String(process.pid));
  const server = await startEmbeddedPostgres({
    dataDir,
    log: quietLog,
    clock: realClock,
    ids: randomIds,
    durable: false,
  });
  const templateUrl = urlOfDatabase(server.url, TEMPLATE);
  await withClient(server.url, async (client) => client.query(`create database ${TEMPLATE}`));
  await migrate(templateUrl, { log: quietLog });
  return {
    adminUrl: server.url,
    templateUrl,
    stop: async () => {
      await server.stop();
      await rm(dataDir, { recursive: true, force: true });
    },
  };
}

async function chooseRoot(): Promise<string> {
  if (!existsSync(MEMORY)) return tmpdir();
  const disk = await statfs(MEMORY);
  return disk.bavail * disk.bsize >= MEMORY_FREE_MIN ? MEMORY : tmpdir();
}

/**
 * The server outlives its starter by design, so a test run that was killed leaves one behind: the next run removes it.
 * Only folders of ours whose run is over, and only a process that proves to serve that folder.
 */
async function sweepLeftovers(): Promise<void> {
  const folders: string[] = [];
  for (const root of new Set([MEMORY, tmpdir()].filter((path) => existsSync(path)))) {
    const found = await readdir(root, { withFileTypes: true });
    // Files of that prefix are locks of other helpers, not data of a run.
    const ours = found.filter((entry) => entry.isDirectory() && entry.name.startsWith(PREFIX));
    folders.push(...ours.map(({ name }) => join(root, name)));
  }
  for (const folder of folders) {
    const owner = Number.parseInt((await readOptional(join(folder, OWNER_FILE))) ?? '', 10);
    if (!Number.isInteger(owner) || existsSync(`/proc/${owner}`)) continue;
    const server = Number.parseInt((await readOptional(join(folder, 'postgres', 'postmaster.pid'))) ?? '', 10);
    const command = Number.isInteger(server) ? ((await readOptional(`/proc/${server}/cmdline`)) ?? '') : '';
    if (command.includes(folder)) {
      process.kill(server, 'SIGQUIT');
      await until('the leftover Postgres has ended', () => !existsSync(join(folder, 'postgres', 'postmaster.pid')));
    }
    await rm(folder, { recursive: true, force: true });
  }
}

/** The same server, another database. */
export function urlOfDatabase(url: string, name: string): string {
  return Object.assign(new URL(url), { pathname: `/${name}` }).href;
}

/** Connects, runs `use`, closes. For setting things up; tests take `pool` or `db` from `database.ts`. */
export async function withClient<T>(url: string, use: (client: Client) => Promise<T>): Promise<T> {
  const client = new Client({ connectionString: url, connectionTimeoutMillis: 5_000, query_timeout: 30_000 });
  await client.connect();
  try {
    return await use(client);
  } finally {
    await client.end();
  }
}

/** A clone of the template: files are copied, no log is written. */
export async function createTestDatabase(adminUrl: string, name: string): Promise<string> {
  await withClient(adminUrl, async (client) =>
    client.query(`create database ${name} template ${TEMPLATE} strategy file_copy`),
  );
  return urlOfDatabase(adminUrl, name);
}

/** Ends whatever is still connected to it first. */
export async function dropTestDatabase(adminUrl: string, name: string): Promise<void> {
  await withClient(adminUrl, async (client) => client.query(`drop database if exists ${name} with (force)`));
}
