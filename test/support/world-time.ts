import type pg from 'pg';
import type { Clock } from '../../src/ports/clock.ts';

interface Event {
  readonly atMs: number;
  readonly order: number;
  readonly run: () => unknown;
}

/**
 * The world's only clock: time passes when `run` lets it, from event to event, and the database's clock goes with it
 * (`spillway.now()` reads a row that is set before each event). Nothing waits, so a simulated hour takes as long as its statements.
 */
export class WorldTime implements Clock {
  private currentMs: number;
  private readonly pool: pg.Pool | null;
  private readonly events: Event[] = [];
  private nextOrder = 0;

  private constructor(pool: pg.Pool | null, startMs: number) {
    this.pool = pool;
    this.currentMs = startMs;
  }

  /** Replaces the body of `spillway.now()` in this database. */
  static async inDatabase(pool: pg.Pool, startMs = Date.UTC(2026, 6, 20, 12, 7)): Promise<WorldTime> {
    await pool.query('create schema world');
    await pool.query('create table world.clock (ms bigint not null)');
    await pool.query('insert into world.clock values ($1)', [startMs]);
    await pool.query(`create or replace function spillway.now() returns timestamptz language sql volatile as
      $$ select timestamptz 'epoch' + ms * interval '1 millisecond' from world.clock $$`);
    return new WorldTime(pool, startMs);
  }

  /** For what needs no database. */
  static alone(startMs = Date.UTC(2026, 6, 20, 12, 7)): WorldTime {
    return new WorldTime(null, startMs);
  }

  nowMs(): number {
    return this.currentMs;
  }

  monotonicMs(): number {
    return this.currentMs;
  }

  async sleep(ms: number, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    await new Promise<void>((resolve, reject) => {
      const event = this.schedule(ms, resolve);
      const abort = (): void => {
        // Taken out: a sleep that nobody waits for is no event, and would cost a statement when its time comes.
        const place = this.events.indexOf(event);
        if (place >= 0) this.events.splice(place, 1);
        reject(signal?.reason as Error);
      };
      signal?.addEventListener('abort', abort, { once: true });
    });
  }

  /** Does something later; events of one moment keep their order. */
  at(delayMs: number, run: () => unknown): void {
    this.schedule(delayMs, run);
  }

  private schedule(delayMs: number, run: () => unknown): Event {
    const event = { atMs: this.currentMs + Math.max(0, Math.round(delayMs)), order: this.nextOrder, run };
    this.nextOrder += 1;
    let place = this.events.length;
    while (place > 0 && (this.events[place - 1]?.atMs ?? 0) > event.atMs) place -= 1;
    this.events.splice(place, 0, event);
    return event;
  }

  /** Lets `ms` pass, or less when `until` says so after an event. One thing happens at a time. */
  async run(ms: number, until: () => boolean | Promise<boolean> = () => false): Promise<void> {
    const endMs = this.currentMs + ms;
    await settle();
    for (let next = this.events[0]; next !== undefined && next.atMs <= endMs; next = this.events[0]) {
      this.events.shift();
      await this.setTo(next.atMs);
      await next.run();
      // Whoever slept until now goes on before the next event.
      await settle();
      if (await until()) return;
    }
    await this.setTo(endMs);
  }

  private async setTo(ms: number): Promise<void> {
    if (ms === this.currentMs) return;
    this.currentMs = ms;
    if (this.pool !== null) await this.pool.query('update world.clock set ms = $1', [ms]);
  }
}

/** Lets everything that can go on without time passing go on. */
async function settle(): Promise<void> {
  await new Promise((resolve) => {
    setImmediate(resolve);
  });
}
