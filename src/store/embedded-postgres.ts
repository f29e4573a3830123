import { resolve } from 'node:path';
import { describeError } from '../model/errors.ts';
import type { Clock } from '../ports/clock.ts';
import type { Ids } from '../ports/ids.ts';
import { type Cluster, ensureCluster } from './embedded-cluster.ts';
import { type EmbeddedRunner, embeddedError, findRunner } from './embedded-runner.ts';
import {
  adopt,
  DOOR_LOCK,
  choosePort,
  lastLogLine,
  launch,
  logPath,
  EMBEDDED_WAITS,
  type EmbeddedWaits,
  type Running,
  signal,
  urlOf,
  waitUntilGone,
} from './embedded-server.ts';
import type { Log } from '../ports/log.ts';

export interface EmbeddedOptions {
  /** The cluster lives in its subfolder `postgres`, next to nothing else of Postgres'. */
  readonly dataDir: string;
  readonly log: Log;
  readonly clock: Clock;
  readonly ids: Ids;
  /** False only where losing the data is fine (tests): no fsync, no full-page writes. Default true. */
  readonly durable?: boolean;
  /** Those left out come from `EMBEDDED_WAITS`. */
  readonly waits?: Partial<EmbeddedWaits>;
}

export interface EmbeddedPostgres {
  /** Holds the password: log it through `redactUrl` only. Database `postgres` on 127.0.0.1, the same port as last time if that is free. */
  readonly url: string;
  /** True when the server ran already: left by a process that was killed, or shared with one that lives. */
  readonly adopted: boolean;
  /** Close your pools first. The last one out stops the server; true when nothing runs any more. Safe to repeat. */
  stop(): Promise<boolean>;
}

/** Each loss of the race for a port or for the cluster costs one try. */
const START_TRIES_MAX = 5;
/** A server that died is started again: after 0.1, 0.2, 0.4 s and so on up to 5 s, and given up after an hour (720 times 5 s). */
const REVIVE_FIRST_MS = 100;
const REVIVE_MS_MAX = 5_000;
const REVIVE_TRIES_MAX = 720;

/**
 * Starts the Postgres that came with the package, or adopts the one that runs on this data already. The server is detached: it
 * survives a kill of this process, and the next start finds it. While it is in use each process holds one connection, which
 * is how the last one knows that it is the last. A server that dies is started again at the same address.
 * @throws AppError DATABASE_EMBEDDED with the remedy.
 */
export async function startEmbeddedPostgres(options: EmbeddedOptions): Promise<EmbeddedPostgres> {
  const runner = await findRunner();
  const cluster = await ensureCluster(resolve(options.dataDir), runner, options.ids);
  for (let tries = 0; tries < START_TRIES_MAX; tries += 1) {
    const found = await adoptOrLaunch(cluster, { runner, options, port: null });
    if (found === null) continue;
    const { running, adopted } = found;
    const embedded = new Embedded(cluster, { running, runner, options });
    return { url: urlOf(cluster, running.port), adopted, stop: () => embedded.stop() };
  }
  throw embeddedError(`The embedded Postgres in ${cluster.path} did not start: ${await lastLogLine(cluster)}`, {
    remedy: `Read ${logPath(cluster)}, or set DATABASE_URL to a Postgres server of your own.`,
    details: { path: cluster.path },
  });
}

interface Start {
  readonly runner: EmbeddedRunner;
  readonly options: EmbeddedOptions;
  /** Null = any free one. */
  readonly port: number | null;
}

async function adoptOrLaunch(
  cluster: Cluster,
  { runner, options, port }: Start,
): Promise<{ readonly running: Running; readonly adopted: boolean } | null> {
  const { clock, log, durable = true } = options;
  const waits = waitsOf(options);
  const deadlineMs = clock.monotonicMs() + waits.startMs;
  const found = await adopt(cluster, { clock, log, waits }, deadlineMs);
  if (found !== null) return { running: found, adopted: true };
  const chosen = port ?? (await choosePort(cluster));
  const running = await launch(cluster, { runner, clock, log, waits, durable, port: chosen, deadlineMs });
  if (running === null) return null;
  log.info({ port: chosen, path: cluster.path, mode: runner.mode }, 'embedded Postgres started');
  return { running, adopted: false };
}

function waitsOf(options: EmbeddedOptions): EmbeddedWaits {
  return { ...EMBEDDED_WAITS, ...options.waits };
}

/** One process's share in the server: keeps a connection, sees to it that the server lives, and leaves. */
class Embedded {
  readonly #cluster: Cluster;
  readonly #runner: EmbeddedRunner;
  readonly #options: EmbeddedOptions;
  readonly #leaving = new AbortController();
  #running: Running;
  #reviving: Promise<void> | null = null;
  #stopping: Promise<boolean> | null = null;

  constructor(
    cluster: Cluster,
    context: { readonly running: Running; readonly runner: EmbeddedRunner; readonly options: EmbeddedOptions },
  ) {
    this.#cluster = cluster;
    this.#runner = context.runner;
    this.#options = context.options;
    this.#running = context.running;
    this.#watch();
  }

  stop(): Promise<boolean> {
    return (this.#stopping ??= this.#leave());
  }

  #watch(): void {
    this.#running.keeper.once('end', () => {
      if (this.#leaving.signal.aborted) return;
      this.#options.log.warn({ pid: this.#running.pid }, 'the embedded Postgres is gone or was reset');
      this.#reviving = this.#revive().catch((error: unknown) => {
        if (this.#leaving.signal.aborted) return;
        this.#options.log.error({ error: describeError(error) }, 'the embedded Postgres could not be started again');
      });
    });
  }

  /** At the same port, because pools everywhere know it; whichever process is first starts it, the others adopt it. */
  async #revive(): Promise<void> {
    const { clock } = this.#options;
    const { port } = this.#running;
    for (let tries = 0; tries < REVIVE_TRIES_MAX && !this.#leaving.signal.aborted; tries += 1) {
      const found = await adoptOrLaunch(this.#cluster, { runner: this.#runner, options: this.#options, port });
      if (found !== null) {
        this.#running = found.running;
        this.#watch();
        return;
      }
      await clock.sleep(Math.min(REVIVE_FIRST_MS * 2 ** tries, REVIVE_MS_MAX), this.#leaving.signal);
    }
  }

  async #leave(): Promise<boolean> {
    this.#leaving.abort();
    await this.#reviving;
    const running = await this.#knownAlive();
    if (running === null) return true;
    const { keeper, pid } = running;
    if (await this.#othersInside(running)) {
      await keeper.end();
      return false;
    }
    const { clock } = this.#options;
    const waits = waitsOf(this.#options);
    signal(pid, 'SIGINT');
    let gone = await waitUntilGone(this.#cluster, pid, { clock, waitMs: waits.stopMs });
    if (!gone) {
      signal(pid, 'SIGQUIT');
      gone = await waitUntilGone(this.#cluster, pid, { clock, waitMs: waits.quitMs });
    }
    await keeper.end();
    if (gone) return true;
    throw embeddedError(`The embedded Postgres (process ${pid}) does not stop`, {
      remedy: `Look at it with \`ps -p ${pid}\` and read ${logPath(this.#cluster)}; \`kill -QUIT ${pid}\` ends it without losing committed data.`,
      details: { pid },
    });
  }

  /** A server that does not answer is not signalled: its pid may be another process by now. */
  async #knownAlive(): Promise<Running | null> {
    const { keeper } = this.#running;
    try {
      await keeper.query('select 1');
      return this.#running;
    } catch (error) {
      this.#options.log.info(
        { error: describeError(error) },
        'the embedded Postgres did not answer when it was to stop',
      );
      await keeper.end();
      const { clock, log } = this.#options;
      const waits = waitsOf(this.#options);
      return adopt(this.#cluster, { clock, log, waits }, clock.monotonicMs() + waits.stopMs);
    }
  }

  async #othersInside({ keeper }: Running): Promise<boolean> {
    // Held until this connection ends when we are the last, so that whoever knocks now waits, is cut off and starts anew.
    await keeper.query(`select pg_advisory_lock(${DOOR_LOCK})`);
    const { rows } = await keeper.query<{ others: boolean }>(
      `select exists (select from pg_stat_activity where application_name like 'spillway%' and pid <> pg_backend_pid()) as others`,
    );
    const others = rows[0]?.others ?? false;
    // Whoever counts after us must not count a connection that is about to close.
    if (others) await keeper.query(`set application_name = 'leaving'`);
    return others;
  }
}
