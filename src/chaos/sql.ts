import { type Client, DatabaseError, type QueryResult } from 'pg';
import { waitMs } from '../model/waits.ts';
import type { ChaosServer } from './database.ts';
import type { Proc, Settled, Sim } from './sim.ts';

/** One connection of a process, on a real session of Postgres. */
export interface Session {
  readonly owner: Proc;
  readonly incarnation: number;
  client: Client;
  inTransaction: boolean;
  /** Cut off: the next statement fails as on a lost connection. */
  broken: boolean;
  /** Statements sent; tells whether anything happened since. */
  sent: number;
}

/** What a statement gave, as far as the product looks at it. */
export type Rows = Pick<QueryResult, 'command' | 'rowCount' | 'rows'>;
type Answer = Settled<Rows>;

interface Waiting {
  readonly session: Session;
  readonly text: string;
  readonly pid: number;
  answer: Answer | null;
  cancelled: boolean;
  /** Resolves when the server has answered. */
  asked: Promise<void>;
  readonly deliver: (answer: Answer) => void;
}

/** A statement that has not answered by then may wait for a lock; real milliseconds. */
const LOOK_AFTER_MS = 1.5;
/** A statement that neither answers nor waits for a lock for so long is a bug of the simulation; real milliseconds. */
const HANGS_MS = 60_000;
/** As in the product's pool, but in virtual milliseconds. */
const LOCK_MS = waitMs('postgres.lock');
const IDLE_IN_TRANSACTION_MS = waitMs('postgres.idle-transaction');
/** Until the server notices that the other end is gone: its locks stay for so long. Virtual milliseconds. */
const NOTICE_MS_MAX = 5_000;
/** Statements prepared per session; further ones are parsed each time. */
const PREPARED_MAX = 400;

/**
 * Real sessions of a real Postgres, one statement at a time. A statement that waits for a lock is put aside, and whoever
 * holds the lock goes on; after each later statement those put aside are looked at again. So every order of statements is
 * possible, and the seed chooses one.
 */
export class SqlWorld {
  private readonly sim: Sim;
  private readonly server: ChaosServer;
  private readonly sessions = new Set<Session>();
  private readonly spare: Client[] = [];
  /** Every connection there is, whoever has it. */
  private readonly clients = new Set<Client>();
  private readonly prepared = new Map<string, string>();
  private waiting: Waiting[] = [];
  private serverNowMs = 0;
  statements = 0;

  constructor(sim: Sim, server: ChaosServer) {
    this.sim = sim;
    this.server = server;
    sim.whenCrashed((proc) => this.abandonSessionsOf(proc));
    sim.whenStopped((proc) => this.watchIdle(proc));
  }

  async open(owner: Proc): Promise<Session> {
    const client = await this.connection();
    const session = { owner, incarnation: owner.incarnation, client, inTransaction: false, broken: false, sent: 0 };
    this.sessions.add(session);
    return session;
  }

  /** The connection is given up; what was open in it is rolled back at once. */
  async close(session: Session): Promise<void> {
    if (!this.sessions.delete(session)) return;
    await this.rollBack(session);
    if (!this.waiting.some((one) => one.session === session)) this.spare.push(session.client);
  }

  /** Sends one statement. Delivers its answer now, or when the lock it waits for is free. */
  async send(
    session: Session,
    text: string,
    values: readonly unknown[],
    deliver: (answer: Answer) => void,
  ): Promise<void> {
    session.sent += 1;
    if (session.broken || !this.sessions.has(session)) return deliver({ ok: false, error: connectionLost() });
    this.setServerClock();
    const pid = pidOf(session.client);
    const entry: Waiting = { session, text, pid, answer: null, cancelled: false, deliver, asked: Promise.resolve() };
    entry.asked = this.askFor(entry, text, values);
    await this.answeredOrBlocked(entry);
    if (entry.answer === null) {
      this.waiting.push(entry);
      this.sim.note(`lock-wait ${session.owner.name}`);
      this.sim.at(LOCK_MS, async () => await this.giveUp(entry));
    } else {
      this.track(session, text, entry.answer);
      deliver(entry.answer);
    }
    await this.lookAtWaiting();
  }

  /** The connection breaks: the server rolls back at once, or keeps the locks until it notices. */
  async cut(session: Session): Promise<void> {
    session.broken = true;
    const noticeMs = this.sim.chance.integer(`${session.owner.name}:notice`, 0, NOTICE_MS_MAX);
    if (!session.inTransaction) return;
    if (noticeMs < NOTICE_MS_MAX / 2) await this.rollBack(session);
    else this.sim.at(noticeMs, async () => await this.rollBack(session));
  }

  /** True when no transaction is open and nothing waits: the moment at which a database can be copied. */
  isQuiet(): boolean {
    return this.waiting.length === 0 && [...this.sessions].every(({ inTransaction }) => !inTransaction);
  }

  /** Copies the database as it is now; needs `isQuiet`. Nobody notices. */
  async keepCopy(): Promise<void> {
    await this.reconnecting(async () => await this.server.keep());
  }

  /** An old copy takes over: open transactions are lost, every connection breaks. */
  async fallBack(): Promise<void> {
    for (const session of this.sessions) {
      session.broken = true;
      session.inTransaction = false;
    }
    for (const { deliver } of this.waiting.splice(0)) deliver({ ok: false, error: connectionLost() });
    await this.reconnecting(async () => await this.server.fallBack());
  }

  /** For checkers and set-up: a statement of nobody. */
  async query<Row extends object>(text: string, values: readonly unknown[] = []): Promise<Row[]> {
    this.setServerClock();
    const client = await this.connection();
    try {
      return (await client.query<Row>(text, [...values])).rows;
    } finally {
      this.spare.push(client);
    }
  }

  async end(): Promise<void> {
    for (const { pid } of this.waiting.splice(0)) await this.server.cancel(pid);
    this.sessions.clear();
    await this.disconnect();
  }

  private async connection(): Promise<Client> {
    const spare = this.spare.pop();
    if (spare !== undefined) return spare;
    const client = await this.server.connect();
    this.clients.add(client);
    return client;
  }

  private async disconnect(): Promise<void> {
    const clients = [...this.clients];
    this.clients.clear();
    this.spare.length = 0;
    await Promise.all(clients.map(async (client) => await client.end()));
  }

  private async askFor(entry: Waiting, text: string, values: readonly unknown[]): Promise<void> {
    entry.answer = await this.ask(entry.session, text, values);
  }

  private async ask(session: Session, text: string, values: readonly unknown[]): Promise<Answer> {
    this.statements += 1;
    const query = { text, values: [...values], ...this.nameOf(text) };
    try {
      const { command, rowCount, rows } = await session.client.query(query);
      return { ok: true, value: { command, rowCount, rows } };
    } catch (error) {
      return { ok: false, error };
    }
  }

  private nameOf(text: string): { readonly name?: string } {
    const known = this.prepared.get(text);
    if (known !== undefined) return { name: known };
    if (this.prepared.size >= PREPARED_MAX) return {};
    const name = `s${this.prepared.size}`;
    this.prepared.set(text, name);
    return { name };
  }

  private async answeredOrBlocked(entry: Waiting): Promise<void> {
    const giveUpAt = performance.now() + HANGS_MS;
    for (let looks = 0; entry.answer === null;) {
      await raceWithTimer(entry.asked, LOOK_AFTER_MS);
      if (entry.answer !== null) return;
      looks = (await this.server.listBlocked([entry.pid])).has(entry.pid) ? looks + 1 : 0;
      // Seen twice: the server's search for a deadlock, which begins after 1 ms, is over.
      if (looks >= 2) return;
      if (performance.now() > giveUpAt) throw new Error('bug: a statement neither answers nor waits for a lock');
    }
  }

  private async lookAtWaiting(): Promise<void> {
    for (const entry of this.waiting.slice()) {
      if (!this.waiting.includes(entry)) continue;
      await this.settleOrKeep(entry);
    }
  }

  private async settleOrKeep(entry: Waiting): Promise<void> {
    while (entry.answer === null) {
      if ((await this.server.listBlocked([entry.pid])).has(entry.pid)) return;
      await raceWithTimer(entry.asked, LOOK_AFTER_MS);
    }
    this.waiting = this.waiting.filter((one) => one !== entry);
    this.track(entry.session, entry.text, entry.answer);
    entry.deliver(
      entry.cancelled && !entry.answer.ok ? { ok: false, error: lockTimeout(entry.answer.error) } : entry.answer,
    );
  }

  private async giveUp(entry: Waiting): Promise<void> {
    if (!this.waiting.includes(entry)) return;
    entry.cancelled = true;
    await this.server.cancel(entry.pid);
    await entry.asked;
    await this.lookAtWaiting();
  }

  private track(session: Session, text: string, answer: Answer): void {
    if (/^(?:begin|start transaction)/i.test(text)) session.inTransaction = answer.ok;
    else if (/^(?:commit|rollback)\b(?! to)/i.test(text)) session.inTransaction = false;
  }

  private async rollBack(session: Session): Promise<void> {
    if (!session.inTransaction) return;
    session.inTransaction = false;
    const blocked = this.waiting.find((one) => one.session === session);
    if (blocked !== undefined) {
      // It waits itself: end the wait first, as the server does when it notices the lost client.
      this.waiting = this.waiting.filter((one) => one !== blocked);
      await this.server.cancel(blocked.pid);
      await blocked.asked;
    }
    await session.client.query('rollback');
    await this.lookAtWaiting();
  }

  private abandonSessionsOf(proc: Proc): void {
    for (const session of this.sessions) {
      if (session.owner !== proc || session.incarnation === proc.incarnation) continue;
      session.broken = true;
      const noticeMs = this.sim.chance.integer(`${proc.name}:notice`, 0, NOTICE_MS_MAX);
      this.sim.at(session.inTransaction ? noticeMs : 0, async () => await this.close(session));
    }
  }

  /** The server ends a transaction in which nothing happens; a stopped process finds its connection gone. */
  private watchIdle(proc: Proc): void {
    for (const session of this.sessions) {
      if (session.owner !== proc || !session.inTransaction) continue;
      const { sent } = session;
      this.sim.at(IDLE_IN_TRANSACTION_MS, async () => {
        if (session.sent !== sent || !session.inTransaction) return;
        if (this.waiting.some((one) => one.session === session)) return;
        session.broken = true;
        await this.rollBack(session);
      });
    }
  }

  private async reconnecting(work: () => Promise<void>): Promise<void> {
    await this.disconnect();
    await work();
    for (const session of this.sessions) session.client = await this.connection();
  }

  private setServerClock(): void {
    if (this.serverNowMs === this.sim.nowMs) return;
    this.serverNowMs = this.sim.nowMs;
    this.server.setNow(this.sim.nowMs);
  }
}

/** What a lost connection looks like; the errno is what the product knows it by. */
export function connectionLost(): Error {
  return Object.assign(new Error('Connection terminated unexpectedly'), { code: 'ECONNRESET' });
}

function lockTimeout(error: unknown): Error {
  const timeout = new DatabaseError('canceling statement due to lock timeout', 0, 'error');
  return Object.assign(timeout, { code: '55P03', cause: error });
}

function pidOf(client: Client): number {
  return (client as unknown as { readonly processID: number }).processID;
}

async function raceWithTimer(work: Promise<void>, ms: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms);
  });
  await Promise.race([work, late]);
  clearTimeout(timer);
}
