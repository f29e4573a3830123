import { execFile } from 'node:child_process';
import { mkdir, open, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Client } from 'pg';
import { EMBEDDED_USER, ensureCluster } from '../../src/store/embedded-cluster.ts';
import { findRunner, type EmbeddedRunner } from '../../src/store/embedded-runner.ts';
import { randomIds } from '../support/clock.ts';
import { withClient } from '../support/postgres.ts';
import { freePort } from '../support/server-program.ts';
import { until } from '../support/wait.ts';

const START_MS = 30_000;
/** What a standby can be made from; nothing here outlives the machine, so nothing waits for the disk. */
const SETTINGS = {
  listen_addresses: '127.0.0.1',
  unix_socket_directories: '',
  max_connections: '200',
  shared_buffers: '32MB',
  wal_level: 'replica',
  max_wal_senders: '4',
  wal_keep_size: '512MB',
  hot_standby: 'on',
  fsync: 'off',
  timezone: 'UTC',
} as const;

/** A Postgres as users run it beside the service: it goes and comes back, and it may have a standby that takes over. */
export class PostgresServer {
  readonly port: number;
  readonly #runner: EmbeddedRunner;
  readonly #password: string;
  readonly #folder: string;
  #data: string;
  #pid: number | null = null;
  #standby: { readonly data: string; readonly port: number; pid: number } | null = null;

  private constructor(options: {
    readonly port: number;
    readonly runner: EmbeddedRunner;
    readonly password: string;
    readonly folder: string;
    readonly data: string;
  }) {
    this.port = options.port;
    this.#runner = options.runner;
    this.#password = options.password;
    this.#folder = options.folder;
    this.#data = options.data;
  }

  static async start(folder: string): Promise<PostgresServer> {
    const runner = await findRunner();
    await mkdir(folder, { recursive: true, mode: 0o711 });
    const { path, password } = await ensureCluster(folder, runner, randomIds);
    const server = new PostgresServer({ port: await freePort(), runner, password, folder, data: path });
    server.#pid = await server.#launch(server.#data, server.port);
    return server;
  }

  get url(): string {
    return this.#urlAt(this.port);
  }

  /** Immediate shutdown, as a crash of the server, and a start that recovers. */
  async restart(): Promise<void> {
    await this.#end(this.#pid, 'SIGQUIT');
    this.#pid = null;
    this.#pid = await this.#launch(this.#data, this.port);
  }

  /** A streaming standby, made from a copy of the running server's files. */
  async startStandby(): Promise<void> {
    const data = join(this.#folder, 'standby');
    await withClient(this.url, async (client) => {
      await client.query(`select pg_backup_start('standby', true)`);
      // The server writes on: files may go between the listing and the copy, which the log makes good.
      await promisify(execFile)('sh', [
        '-c',
        'cp -a "$1" "$2" 2>/dev/null || [ -s "$2/global/pg_control" ]',
        'copy',
        this.#data,
        data,
      ]);
      const { rows } = await client.query<{ labelfile: string }>('select labelfile from pg_backup_stop(false)');
      await writeFile(join(data, 'backup_label'), rows[0]?.labelfile ?? '');
    });
    const conninfo = `host=127.0.0.1 port=${this.port} user=${EMBEDDED_USER} password=${this.#password}`;
    await writeFile(join(data, 'postgresql.auto.conf'), `primary_conninfo = '${conninfo}'\n`);
    await writeFile(join(data, 'standby.signal'), '');
    for (const name of ['postmaster.pid', 'postmaster.opts']) await rm(join(data, name), { force: true });
    for (const name of ['backup_label', 'postgresql.auto.conf', 'standby.signal'])
      await this.#runner.own(join(data, name));
    const port = await freePort();
    this.#standby = { data, port, pid: await this.#launch(data, port) };
    await until('the standby streams', async () => (await this.#senders()).length === 1, { deadlineMs: START_MS });
  }

  /** The standby knows all that is committed now. */
  async untilReplayed(): Promise<void> {
    await withClient(this.url, async (client) => {
      const { rows } = await client.query<{ lsn: string }>('select pg_current_wal_lsn()::text as lsn');
      const isThere = async (): Promise<boolean> => {
        const sent = await client.query<{ there: boolean }>(
          `select coalesce(bool_and(replay_lsn >= $1::pg_lsn), false) as there from pg_stat_replication`,
          [rows[0]?.lsn],
        );
        return sent.rows[0]?.there ?? false;
      };
      await until('the standby has replayed all of it', isThere, { deadlineMs: START_MS });
    });
  }

  /** From here on commits reach the primary only: the sender of its log stands still. */
  async holdBackCommits(): Promise<void> {
    for (const pid of await this.#senders()) process.kill(pid, 'SIGSTOP');
  }

  /** The primary is gone for good with what only it knew; the standby answers in its place. */
  async failOver(): Promise<void> {
    const standby = this.#standby;
    if (standby === null || this.#pid === null) throw new Error('there is no standby, or no primary');
    await this.#end(this.#pid, 'SIGKILL');
    await this.#end(standby.pid, 'SIGINT');
    this.#data = standby.data;
    this.#standby = null;
    this.#pid = await this.#launch(standby.data, this.port);
    await withClient(this.url, async (client) => client.query('select pg_promote()'));
  }

  async stop(): Promise<void> {
    if (this.#standby !== null) await this.#end(this.#standby.pid, 'SIGKILL');
    await this.#end(this.#pid, 'SIGKILL');
    this.#standby = null;
    this.#pid = null;
  }

  #urlAt(port: number): string {
    return `postgres://${EMBEDDED_USER}:${this.#password}@127.0.0.1:${port}/postgres`;
  }

  async #launch(data: string, port: number): Promise<number> {
    const log = await open(join(this.#folder, 'postgres.log'), 'a');
    const settings = Object.entries({ ...SETTINGS, port: String(port) }).flatMap(([name, value]) => [
      '-c',
      `${name}=${value}`,
    ]);
    const child = this.#runner.startServer(['-D', data, ...settings], log.fd);
    await log.close();
    const { pid } = child;
    if (pid === undefined) throw new Error('Postgres could not be started');
    let over = false;
    child.once('exit', () => (over = true));
    await until(
      'Postgres answers',
      async () => {
        if (over) throw new Error(`Postgres ended at its start; see ${this.#folder}/postgres.log`);
        return await this.#answers(port);
      },
      { deadlineMs: START_MS, everyMs: 25 },
    );
    return pid;
  }

  async #answers(port: number): Promise<boolean> {
    const client = new Client({ connectionString: this.#urlAt(port), connectionTimeoutMillis: 1_000 });
    try {
      await client.connect();
      await client.end();
      return true;
    } catch {
      // It starts or recovers: the next look tells.
      return false;
    }
  }

  async #senders(): Promise<readonly number[]> {
    return await withClient(this.url, async (client) => {
      const { rows } = await client.query<{ pid: number }>(
        `select pid from pg_stat_replication where state = 'streaming'`,
      );
      return rows.map(({ pid }) => pid);
    });
  }

  /** The server and all its processes: those that stand still would outlive it. */
  async #end(pid: number | null, signal: NodeJS.Signals): Promise<void> {
    if (pid === null) return;
    const family = [pid, ...(signal === 'SIGKILL' ? await childrenOf(pid) : [])];
    for (const member of family) send(member, signal);
    await until('Postgres is gone', async () => (await Promise.all(family.map(isGone))).every(Boolean), {
      deadlineMs: START_MS,
    });
  }
}

function send(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error;
  }
}

async function childrenOf(pid: number): Promise<readonly number[]> {
  const numbers = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const parents = await Promise.all(
    numbers.map(async (name) => ({ pid: Number(name), parent: (await readStat(name))?.[1] })),
  );
  return parents.filter(({ parent }) => parent === String(pid)).map((child) => child.pid);
}

/** A zombie has ended; whoever is to collect it may take its time. */
async function isGone(pid: number): Promise<boolean> {
  const state = (await readStat(String(pid)))?.[0];
  return state === undefined || state === 'Z';
}

/** State, parent and what follows in /proc/PID/stat. */
async function readStat(pid: string): Promise<readonly string[] | null> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => null);
  return stat === null ? null : stat.slice(stat.lastIndexOf(')') + 2).split(' ');
}
