import { waitMs } from '../model/waits.ts';
import type { PostgresPool, PostgresPoolClient } from 'kysely';
import { nameText } from './chance.ts';
import { type FaultRates, InjectedThrow, type Proc, type Sim } from './sim.ts';
import { connectionLost, type Rows, type Session, type SqlWorld } from './sql.ts';

/** As in the product's pools, but in virtual milliseconds. */
const CONNECT_MS = waitMs('postgres.connect');
const SQL_LATENCY_MS = 3;
/** SQLSTATEs with which Postgres asks for a transaction to be run again. */
const RERUN_STATES: Readonly<Record<string, string>> = { serialization: '40001', deadlock: '40P01' };

interface PoolOptions {
  readonly proc: Proc;
  readonly connectionsMax: number;
  /** Per statement; `serialization` and `deadlock` only befall statements of a transaction. */
  readonly rates: FaultRates;
}

/** A pool of connections of one process, as Kysely uses one; a new incarnation of the process has a new pool. */
export class SimPool implements PostgresPool {
  readonly options = {};
  private readonly sim: Sim;
  private readonly sql: SqlWorld;
  private readonly settings: PoolOptions;
  private readonly idle: Session[] = [];
  /** Names of the statement sent last, and of the first one in the open transaction of each session. */
  private last = '';
  private readonly firsts = new WeakMap<Session, string>();
  private open = 0;
  private queue: ((session: Session) => void)[] = [];

  constructor(sim: Sim, sql: SqlWorld, settings: PoolOptions) {
    this.sim = sim;
    this.sql = sql;
    this.settings = settings;
  }

  async connect(): Promise<PostgresPoolClient> {
    const session = await this.acquire();
    return {
      query: (async (text: string, values: readonly unknown[] = []) =>
        await this.query(session, text, values)) as never,
      release: () => this.release(session),
    };
  }

  async end(): Promise<void> {
    for (const session of this.idle.splice(0)) await this.sql.close(session);
  }

  private async acquire(): Promise<Session> {
    const idle = this.idle.pop();
    if (idle !== undefined) return idle;
    if (this.open < this.settings.connectionsMax) {
      this.open += 1;
      return await new Promise<Session>((resolve) => this.openFor(resolve));
    }
    const { proc } = this.settings;
    return await new Promise<Session>((resolve, reject) => {
      this.queue.push(resolve);
      const { incarnation } = proc;
      this.sim.at(CONNECT_MS, () =>
        this.sim.into(proc, incarnation, () => {
          if (!this.queue.includes(resolve)) return;
          this.queue = this.queue.filter((one) => one !== resolve);
          reject(Object.assign(new Error('timeout exceeded when trying to connect'), { code: 'ETIMEDOUT' }));
        }),
      );
    });
  }

  private openFor(resolve: (session: Session) => void): void {
    const { proc } = this.settings;
    const { incarnation } = proc;
    this.sim.at(SQL_LATENCY_MS, () => {
      if (proc.incarnation !== incarnation) return;
      const session = this.sql.open(proc);
      this.sim.into(proc, incarnation, () => resolve(session));
    });
  }

  private release(session: Session): void {
    if (session.broken) {
      this.open -= 1;
      this.sim.at(0, async () => await this.sql.close(session));
      this.refill();
      return;
    }
    const next = this.queue.shift();
    if (next === undefined) this.idle.push(session);
    else next(session);
  }

  /** Someone may wait for the place that a broken connection left. */
  private refill(): void {
    const next = this.queue.shift();
    if (next === undefined) return;
    this.open += 1;
    this.openFor(next);
  }

  /** Each statement is a place of its own; a transaction begins after something, and ends what it began with. */
  private placeOf(session: Session, text: string): string {
    const edge = EDGE.exec(text)?.groups?.['edge'];
    if (edge === undefined) {
      this.last = nameText(text);
      if (this.firsts.get(session) === '') this.firsts.set(session, this.last);
      return `sql.${this.last}`;
    }
    if (edge.toLowerCase() === 'commit') return `sql.commit.${this.firsts.get(session) ?? ''}`;
    this.firsts.set(session, '');
    return `sql.begin.${this.last}`;
  }

  private async query(session: Session, text: string, values: readonly unknown[]): Promise<Rows> {
    const isEnd = /^(?:commit|rollback)\b/i.test(text);
    const isWithin = session.inTransaction && !isEnd;
    try {
      return await this.callServer(session, { text, values, isWithin });
    } catch (error) {
      // Thrown where nobody expects it, a `rollback` may be what it kept from the server: nobody uses that connection again.
      if (error instanceof InjectedThrow) session.broken = true;
      throw error;
    }
  }

  private async callServer(
    session: Session,
    {
      text,
      values,
      isWithin,
    }: { readonly text: string; readonly values: readonly unknown[]; readonly isWithin: boolean },
  ): Promise<Rows> {
    return await this.sim.call<Rows>(this.settings.proc, {
      site: this.placeOf(session, text),
      rates: isWithin ? this.settings.rates : withoutRerun(this.settings.rates),
      latencyMs: SQL_LATENCY_MS,
      diesWithProcess: true,
      perform: async (deliver, fault) => {
        const state = RERUN_STATES[fault ?? ''];
        if (state === undefined) await this.sql.send(session, text, values, deliver);
        else await this.sql.send(session, 'select spillway.chaos_fail($1)', [state], deliver);
      },
      lost: () => {
        this.sim.at(0, async () => await this.sql.cut(session));
        session.broken = true;
        return connectionLost();
      },
    });
  }
}

/** One text for all transactions, so it takes its neighbour's name as well. */
const EDGE = /^(?<edge>begin|start transaction|commit)\b/i;

function withoutRerun(rates: FaultRates): FaultRates {
  return Object.fromEntries(Object.entries(rates).filter(([kind]) => RERUN_STATES[kind] === undefined));
}
