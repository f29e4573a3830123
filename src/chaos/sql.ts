import { DatabaseError, type QueryResult } from 'pg';
import { waitMs } from '../model/waits.ts';
import type { Backend } from './backend.ts';
import type { AwaitedLock, ChaosServer } from './database.ts';
import type { Proc, Settled, Sim } from './sim.ts';

/** One connection of a process, on a real session of Postgres. */
export interface Session {
  readonly owner: Proc;
  readonly incarnation: number;
  /** While a statement or a transaction of it is under way. */
  backend: Backend | null;
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
  readonly backend: Backend;
  readonly text: string;
  readonly values: readonly unknown[];
  answer: Answer | null;
  cancelled: boolean;
  /** Resolves when the server has answered. */
  asked: Promise<void>;
  /** What the server says that it waits for. */
  lock: AwaitedLock | null;
  /** How many locks its session had waited for and got when it was last seen to wait. */
  acquired: number;
  /** Taken back, and to be sent again when that one waits no more. */
  behind: Waiting | null;
  /** There is a savepoint right before it. */
  canTakeBack: boolean;
  readonly deliver: (answer: Answer) => void;
}

/** As in the product's pool, but in virtual milliseconds. */
const LOCK_MS = waitMs('postgres.lock');
const IDLE_IN_TRANSACTION_MS = waitMs('postgres.idle-transaction');
/** Until the server notices that the other end is gone: its locks stay for so long. Virtual milliseconds. */
const NOTICE_MS_MAX = 5_000;
/** SQLSTATE of a statement that waited for a lock too long. */
const LOCK_NOT_AVAILABLE = '55P03';
const SAVEPOINT = 'spillway_chaos';
/** Statements prepared per session; further ones are parsed each time. */
const PREPARED_MAX = 400;

/**
 * Real sessions of a real Postgres, one statement at a time. A statement that waits for a lock is put aside, and whoever
 * holds the lock goes on; after each later statement those put aside are looked at again. So every order of statements is
 * possible, and the seed chooses one.
 *
 * A session has a server process only while something of it is under way, as behind a pooler: the product keeps nothing in its sessions,
 * and few processes that know all statements are faster than many.
 *
 * Of several that one release would set free together the server's scheduler would choose. So only the first waits at the server;
 * the others are taken back, and sent again one after the other.
 */
export class SqlWorld {
  private readonly sim: Sim;
  private readonly server: ChaosServer;
  private readonly sessions = new Set<Session>();
  private readonly spare: Backend[] = [];
  /** Every connection there is, whoever has it. */
  private readonly backends = new Set<Backend>();
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

  open(owner: Proc): Session {
    const { incarnation } = owner;
    const session: Session = { owner, incarnation, backend: null, inTransaction: false, broken: false, sent: 0 };
    this.sessions.add(session);
    return session;
  }

  /** The connection is given up; what was open in it is rolled back at once. */
  async close(session: Session): Promise<void> {
    if (!this.sessions.delete(session)) return;
    await this.rollBack(session);
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
    session.backend ??= await this.connection();
    const { backend } = session;
    const none = { answer: null, cancelled: false, asked: Promise.resolve(), lock: null, acquired: 0, behind: null };
    const entry: Waiting = { session, backend, text, values, deliver, canTakeBack: false, ...none };
    if (this.waiting.length > 0) await this.prepareToTakeBack(entry);
    await this.askFor(entry);
    if (entry.answer === null) {
      this.waiting.push(entry);
      this.sim.note(`lock-wait ${session.owner.name}`);
      this.sim.at(LOCK_MS, async () => await this.giveUp(entry));
    } else {
      this.track(entry, entry.answer);
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
      session.backend = null;
    }
    for (const { deliver } of this.waiting.splice(0)) deliver({ ok: false, error: connectionLost() });
    await this.reconnecting(async () => await this.server.fallBack());
  }

  /** For checkers and set-up: a statement of nobody. */
  async query<Row extends object>(text: string, values: readonly unknown[] = []): Promise<Row[]> {
    this.setServerClock();
    const backend = await this.connection();
    try {
      return (await backend.client.query<Row>(text, [...values])).rows;
    } finally {
      this.spare.push(backend);
    }
  }

  async end(): Promise<void> {
    for (const { behind, backend } of this.waiting.splice(0)) {
      if (behind === null) await this.server.cancel(backend.pid);
    }
    this.sessions.clear();
    await this.disconnect();
  }

  private async connection(): Promise<Backend> {
    const spare = this.spare.pop();
    if (spare !== undefined) return spare;
    const backend = await this.server.connect();
    this.backends.add(backend);
    return backend;
  }

  private async disconnect(): Promise<void> {
    const backends = [...this.backends];
    this.backends.clear();
    this.spare.length = 0;
    await Promise.all(backends.map(async ({ client }) => await client.end()));
  }

  /** Only a statement of a transaction needs it: any other one is undone whole. */
  private async prepareToTakeBack(entry: Waiting): Promise<void> {
    const { session, backend, text } = entry;
    if (!session.inTransaction || /^(?:commit|rollback)\b/i.test(text)) return;
    entry.canTakeBack = (await this.ask(backend, `savepoint ${SAVEPOINT}`, [])).ok;
  }

  /** Sends it. Resolves when it has an answer, waits for a lock, or was taken back to wait behind another one. */
  private async askFor(entry: Waiting): Promise<void> {
    const { backend, text, values } = entry;
    backend.beginStatement();
    entry.asked = (async () => {
      entry.answer = await this.ask(backend, text, values);
    })();
    await this.answeredOrBlocked(entry, backend.acquired);
    if (entry.answer === null) await this.takeBackBehindAnother(entry);
    else if (entry.canTakeBack && entry.answer.ok) await this.ask(backend, `release savepoint ${SAVEPOINT}`, []);
  }

  private async ask(backend: Backend, text: string, values: readonly unknown[]): Promise<Answer> {
    this.statements += 1;
    const query = { text, values: [...values], ...this.nameOf(text) };
    try {
      const { command, rowCount, rows } = await backend.client.query(query);
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

  private async answeredOrBlocked(entry: Waiting, acquired: number): Promise<void> {
    const { backend } = entry;
    await backend.overOrWaiting(entry.asked, acquired);
    entry.acquired = backend.acquired;
    entry.lock = entry.answer === null ? await this.server.findAwaitedLock(backend.pid) : null;
  }

  private async takeBackBehindAnother(entry: Waiting): Promise<void> {
    const { lock, backend } = entry;
    const first = this.waiting.find(
      (other) =>
        other !== entry &&
        other.lock !== null &&
        (other.lock.name === lock?.name || (lock?.isQueue === true && lock.heldBy.includes(other.backend.pid))),
    );
    if (first === undefined) return;
    await this.server.cancel(backend.pid);
    await entry.asked;
    if (entry.canTakeBack) await this.ask(backend, `rollback to savepoint ${SAVEPOINT}`, []);
    entry.answer = null;
    entry.lock = null;
    entry.behind = first;
  }

  /** Until nothing changes: an answer may be the end of a transaction that others wait for. */
  private async lookAtWaiting(): Promise<void> {
    for (let changed = true; changed;) {
      changed = false;
      for (const entry of this.waiting.slice()) {
        if (!this.waiting.includes(entry)) continue;
        if (await this.settleOrKeep(entry)) changed = true;
      }
    }
  }

  /** True when it waits no more. */
  private async settleOrKeep(entry: Waiting): Promise<boolean> {
    if (entry.answer === null && entry.behind !== null) {
      if (this.waiting.includes(entry.behind)) return false;
      entry.behind = null;
      await this.askFor(entry);
    }
    if (entry.answer === null && entry.lock !== null) {
      const lock = await this.server.findAwaitedLock(entry.backend.pid);
      if (lock?.name === entry.lock.name) return false;
      // It got that one: it goes on until its end or the next one.
      await this.answeredOrBlocked(entry, entry.acquired + 1);
    }
    if (entry.answer === null) return false;
    this.waiting = this.waiting.filter((one) => one !== entry);
    this.track(entry, entry.answer);
    entry.deliver(
      entry.cancelled && !entry.answer.ok ? { ok: false, error: lockTimeout(entry.answer.error) } : entry.answer,
    );
    return true;
  }

  private async giveUp(entry: Waiting): Promise<void> {
    if (!this.waiting.includes(entry)) return;
    entry.cancelled = true;
    await this.endWait(entry);
    await this.lookAtWaiting();
  }

  /** With an error at the server, too: a transaction is no good any more. */
  private async endWait(entry: Waiting): Promise<void> {
    const { backend, behind } = entry;
    if (behind === null) {
      await this.server.cancel(backend.pid);
      await entry.asked;
    } else {
      entry.answer = await this.ask(backend, 'select spillway.chaos_fail($1)', [LOCK_NOT_AVAILABLE]);
    }
  }

  private track({ session, text }: Waiting, answer: Answer): void {
    if (/^(?:begin|start transaction)/i.test(text)) session.inTransaction = answer.ok;
    else if (/^(?:commit|rollback)\b(?! to)/i.test(text)) session.inTransaction = false;
    if (!session.inTransaction) this.giveBack(session);
  }

  private giveBack(session: Session): void {
    if (session.backend !== null) this.spare.push(session.backend);
    session.backend = null;
  }

  private async rollBack(session: Session): Promise<void> {
    if (!session.inTransaction) return;
    session.inTransaction = false;
    const blocked = this.waiting.find((one) => one.session === session);
    if (blocked !== undefined) {
      // It waits itself: end the wait first, as the server does when it notices the lost client.
      this.waiting = this.waiting.filter((one) => one !== blocked);
      await this.endWait(blocked);
    }
    await session.backend?.client.query('rollback');
    this.giveBack(session);
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
  return Object.assign(timeout, { code: LOCK_NOT_AVAILABLE, cause: error });
}
