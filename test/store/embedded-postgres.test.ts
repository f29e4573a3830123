import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test as base } from 'vitest';
import {
  type EmbeddedOptions,
  type EmbeddedPostgres,
  startEmbeddedPostgres,
} from '../../src/store/embedded-postgres.ts';
import { randomIds, realClock } from '../support/clock.ts';
import { quietLog } from '../support/log.ts';
import { withClient } from '../support/postgres.ts';
import { until } from '../support/wait.ts';

interface Fixtures {
  readonly dataDir: string;
  /** Like another process that starts the embedded Postgres; whatever still runs after the test is stopped. */
  readonly start: (options?: Partial<EmbeddedOptions>) => Promise<EmbeddedPostgres>;
}

const test = base.extend<Fixtures>({
  // oxlint-disable-next-line no-empty-pattern -- vitest reads the names of the fixtures a fixture needs from this pattern
  dataDir: async ({}, use) => {
    const dataDir = await mkdtemp(join(tmpdir(), 'spillway-embedded-'));
    await use(dataDir);
    await rm(dataDir, { recursive: true, force: true });
  },
  start: async ({ dataDir }, use) => {
    const started: EmbeddedPostgres[] = [];
    await use(async (options) => {
      const defaults = { dataDir, log: quietLog, clock: realClock, ids: randomIds, durable: false };
      const server = await startEmbeddedPostgres({ ...defaults, ...options });
      started.push(server);
      return server;
    });
    await Promise.all(started.map((server) => server.stop()));
  },
});

describe('startEmbeddedPostgres', () => {
  test('keeps the data over a stop and a start', async ({ start }) => {
    const first = await start();
    await withClient(first.url, (client) => client.query('create table kept as select 7 as value'));
    expect(await first.stop()).toBe(true);

    const second = await start();
    const { rows } = await withClient(second.url, (client) => client.query('select value from kept'));
    await second.stop();

    expect(second.adopted).toBe(false);
    expect(rows).toEqual([{ value: 7 }]);
  });

  test('starts one server for all that start at once, and the last one out stops it', async ({ start }) => {
    const all = await Promise.all([1, 2, 3].map(() => start()));

    expect(new Set(all.map((one) => one.url)).size).toBe(1);
    expect(all.filter((one) => !one.adopted)).toHaveLength(1);
    const stops = await Promise.all(all.map((one) => one.stop()));
    expect(stops.filter((last) => last)).toHaveLength(1);
    await expect(withClient(all[0]!.url, (client) => client.query('select 1'))).rejects.toMatchObject({
      code: 'ECONNREFUSED',
    });
  });

  test('leaves the server to a pool of another process that still uses it', async ({ start }) => {
    const server = await start();
    const url = `${server.url}?application_name=spillway-other`;

    await withClient(url, async (client) => {
      expect(await server.stop()).toBe(false);
      await client.query('select 1');
    });

    const last = await start();
    expect(last.adopted).toBe(true);
    expect(await last.stop()).toBe(true);
  });

  // The promise behind `kill -9 of the service at any moment`: what was committed is there for the next process.
  test('survives a kill -9 of the process that started it, which the next one adopts', async ({ dataDir, start }) => {
    const child = fork(new URL('./start-embedded.ts', import.meta.url), [dataDir], { serialization: 'json' });
    const [url] = (await once(child, 'message')) as [string];
    const exited = once(child, 'exit');
    child.kill('SIGKILL');
    await exited;

    const next = await start();
    const { rows } = await withClient(next.url, (client) => client.query('select value from written_before_the_kill'));

    expect(next.adopted).toBe(true);
    expect(next.url).toBe(url);
    expect(rows).toEqual([{ value: 1 }]);
    expect(await next.stop()).toBe(true);
  });

  test('starts a server that died again at the same address, for all who use it', async ({ dataDir, start }) => {
    const [one, other] = await Promise.all([start({ durable: true }), start({ durable: true })]);
    await withClient(one.url, (client) => client.query('create table kept as select 7 as value'));
    const postmaster = await readFile(join(dataDir, 'postgres', 'postmaster.pid'), 'utf8');
    process.kill(Number.parseInt(postmaster, 10), 'SIGQUIT');

    const keepers = `select from pg_stat_activity where application_name = 'spillway-keeper'`;
    await until('both are connected again', () =>
      withClient(other.url, async (client) => (await client.query(keepers)).rowCount === 2).catch(() => false),
    );
    const { rows } = await withClient(other.url, (client) => client.query('select value from kept'));
    expect(rows).toEqual([{ value: 7 }]);

    expect(await one.stop()).toBe(false);
    expect(await other.stop()).toBe(true);
  });

  test('takes its last port again when that is free', async ({ start }) => {
    const first = await start();
    await first.stop();
    const second = await start();
    await second.stop();

    expect(second.url).toBe(first.url);
  });

  test('refuses a folder of another Postgres version by name', async ({ dataDir, start }) => {
    const cluster = join(dataDir, 'postgres');
    await mkdir(cluster, { recursive: true });
    await writeFile(join(cluster, 'PG_VERSION'), '15\n');

    await expect(start()).rejects.toMatchObject({
      code: 'DATABASE_EMBEDDED',
      message: expect.stringContaining('made by Postgres 15'),
      remedy: expect.stringContaining('DATABASE_URL'),
    });
  });

  test('refuses a folder that holds something else and leaves it alone', async ({ dataDir, start }) => {
    const cluster = join(dataDir, 'postgres');
    await mkdir(cluster, { recursive: true });
    await writeFile(join(cluster, 'thesis.txt'), 'years of work');

    await expect(start()).rejects.toMatchObject({
      code: 'DATABASE_EMBEDDED',
      message: expect.stringContaining('holds other files'),
    });
  });
});
