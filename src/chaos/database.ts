import { chmodSync, closeSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from 'pg';
import type { Log } from '../ports/log.ts';
import { migrate } from '../store/migrate.ts';
import { clientConfig } from '../store/pool.ts';
import { Backend } from './backend.ts';

const TEMPLATE = 'spillway_chaos_template';
const LIVE = 'spillway_chaos';
const SNAPSHOT = 'spillway_chaos_snapshot';

/** A lock that a statement waits for. */
export interface AwaitedLock {
  /** The same for everybody who waits for it. */
  readonly name: string;
  /** True for the place behind the first who waits for a row. */
  readonly isQueue: boolean;
  /** Server processes that have it, or are to have it before. */
  readonly heldBy: readonly number[];
}

/** A failover's worth of databases on one server: the migrated template, the live one, and what a standby had. */
export class ChaosServer {
  private readonly admin: Client;
  private readonly adminUrl: string;
  private readonly clockFolder: string;
  private readonly clockFile: number;

  private constructor(admin: Client, adminUrl: string, clockFolder: string) {
    this.admin = admin;
    this.adminUrl = adminUrl;
    this.clockFolder = clockFolder;
    this.clockFile = openSync(join(clockFolder, 'now'), 'w', 0o644);
    // The server may run as another user.
    chmodSync(clockFolder, 0o755);
  }

  /**
   * Prepares a server for simulation. @param adminUrl a superuser on a server that is used for nothing else: its databases
   * of ours are dropped, and what would make two runs differ (autovacuum) is switched off in it.
   */
  static async prepare(adminUrl: string, log: Log): Promise<ChaosServer> {
    const admin = new Client(sessionConfig(adminUrl));
    await admin.connect();
    const server = new ChaosServer(admin, adminUrl, mkdtempSync(join(tmpdir(), 'spillway-chaos-')));
    server.setNow(0);
    await admin.query('alter system set autovacuum = off');
    await admin.query('select pg_reload_conf()');
    for (const name of [LIVE, SNAPSHOT, TEMPLATE]) await server.drop(name);
    await admin.query(`create database ${TEMPLATE}`);
    await migrate(server.urlOf(TEMPLATE), { log });
    await server.makeBoring();
    return server;
  }

  /** A fresh live database; the one before is gone. Nobody may be connected to it. */
  async renew(): Promise<void> {
    await this.drop(LIVE);
    await this.drop(SNAPSHOT);
    await this.admin.query(`create database ${LIVE} template ${TEMPLATE} strategy file_copy`);
  }

  /** Keeps the live database as it is now. Nobody may be connected to it. */
  async keep(): Promise<void> {
    await this.drop(SNAPSHOT);
    await this.admin.query(`create database ${SNAPSHOT} template ${LIVE} strategy file_copy`);
  }

  /** What was committed since `keep` is forgotten: an asynchronous standby was promoted. */
  async fallBack(): Promise<void> {
    await this.drop(LIVE);
    await this.admin.query(`alter database ${SNAPSHOT} rename to ${LIVE}`);
  }

  async connect(): Promise<Backend> {
    const client = new Client(sessionConfig(this.urlOf(LIVE)));
    // A connection that is cut on purpose says so to its query; the event would only end the process.
    client.on('error', () => undefined);
    await client.connect();
    return await Backend.of(client);
  }

  /** What a server process waits for, by the lock table, where a grant shows before the waker's answer; null = for no lock. */
  async findAwaitedLock(pid: number): Promise<AwaitedLock | null> {
    const { rows } = await this.admin.query<AwaitedLock>(
      `select concat_ws('/', locktype, database, relation, page, tuple, transactionid, virtualxid, classid, objid, objsubid) as name,
         locktype = 'tuple' as "isQueue", pg_blocking_pids(pid) as "heldBy"
       from pg_locks where not granted and pid = $1`,
      [pid],
    );
    return rows[0] ?? null;
  }

  /** Ends the statement that a server process waits in. */
  async cancel(pid: number): Promise<void> {
    await this.admin.query('select pg_cancel_backend($1)', [pid]);
  }

  /** The time of every `spillway.now()` from here on. Thirteen digits until the year 2286: the file is never cut. */
  setNow(ms: number): void {
    writeSync(this.clockFile, String(ms).padStart(13, '0'), 0);
  }

  async close(): Promise<void> {
    for (const name of [LIVE, SNAPSHOT, TEMPLATE]) await this.drop(name);
    await this.admin.end();
    closeSync(this.clockFile);
    rmSync(this.clockFolder, { recursive: true, force: true });
  }

  private async drop(name: string): Promise<void> {
    await this.admin.query(`drop database if exists ${name} with (force)`);
  }

  private urlOf(name: string): string {
    return Object.assign(new URL(this.adminUrl), { pathname: `/${name}` }).href;
  }

  /** The database's clock and its errors on demand. */
  private async makeBoring(): Promise<void> {
    const client = new Client(sessionConfig(this.urlOf(TEMPLATE)));
    await client.connect();
    await client.query(`create or replace function spillway.now() returns timestamptz language sql volatile as
      $$ select timestamptz 'epoch' + pg_read_file('${join(this.clockFolder, 'now')}')::bigint * interval '1 millisecond' $$`);
    // Two servers differ in their identity and in nothing else.
    await client.query(`create schema ${DISGUISE}`);
    await client.query(
      `create function ${DISGUISE}.pg_control_system(out system_identifier bigint) language sql as 'select 1::bigint'`,
    );
    await client.query(
      `create function ${DISGUISE}.pg_control_checkpoint(out timeline_id int) language sql as 'select 1'`,
    );
    await client.query(`create function spillway.chaos_fail(state text) returns void language plpgsql as
      $$ begin raise exception 'injected' using errcode = state; end $$`);
    await client.query(WATCH_DECIDERS);
    await client.end();
  }
}

/** At the very moment of a commit, whose lease it is: a plan of another epoch is noted for the checker `one-decider`. */
const WATCH_DECIDERS = `
  create table spillway.chaos_late_plans (plan_id text, epoch integer, newest integer);
  create function spillway.chaos_watch_decider() returns trigger language plpgsql volatile as $$ begin
    insert into spillway.chaos_late_plans
      select new.id, new.epoch, l.epoch from spillway.leases l where l.name = 'leader' and l.epoch <> new.epoch;
    return null;
  end $$;
  create constraint trigger chaos_watch_decider after insert on spillway.plans
    deferrable initially deferred for each row execute function spillway.chaos_watch_decider()`;

/** Shadows what Postgres says of the server. */
const DISGUISE = 'spillway_chaos';

/** Nothing that depends on load, core count or the machine's own time may choose how a statement is carried out. */
const BORING: Readonly<Record<string, string>> = {
  jit: 'off',
  max_parallel_workers_per_gather: '0',
  synchronize_seqscans: 'off',
  deadlock_timeout: '1ms',
  // Says to the client, in these words, that its statement waits for a lock.
  log_lock_waits: 'on',
  client_min_messages: 'log',
  lc_messages: 'C',
  log_min_messages: 'fatal',
  search_path: `${DISGUISE},pg_catalog,public`,
  // Planning takes longer than carrying out, on tables of a few hundred rows.
  plan_cache_mode: 'force_generic_plan',
  timezone: 'UTC',
};

/** As the product connects, but without the server's own deadlines: here they pass in virtual time. */
function sessionConfig(url: string): ConstructorParameters<typeof Client>[0] {
  const { query_timeout: _unused, ...config } = clientConfig(url, { applicationName: 'spillway-chaos' });
  const options = Object.entries(BORING).map(([name, value]) => `-c ${name}=${value}`);
  return {
    ...config,
    options: options.join(' '),
    statement_timeout: 0,
    lock_timeout: 0,
    idle_in_transaction_session_timeout: 0,
  };
}
