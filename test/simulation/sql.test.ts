/**
 * Goal: real sessions of a real Postgres, driven one statement at a time, with waits for locks, crashes and failovers as they are.
 * Method: a few scripted processes on a virtual clock; the server is one of our own, because its databases are dropped.
 */
import { rm, mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { ChaosServer } from '../../src/chaos/database.ts';
import { type Proc, Sim } from '../../src/chaos/sim.ts';
import { SimPool } from '../../src/chaos/sql-pool.ts';
import { SqlWorld } from '../../src/chaos/sql.ts';
import { type EmbeddedPostgres, startEmbeddedPostgres } from '../../src/store/embedded-postgres.ts';
import { randomIds, realClock } from '../support/clock.ts';
import { quietLog } from '../support/log.ts';

const START_MS = Date.UTC(2026, 6, 20);

let folder: string;
let postgres: EmbeddedPostgres;
let server: ChaosServer;
let sim: Sim;
let sql: SqlWorld;
let told: string[];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'spillway-sim-sql-'));
  const options = { dataDir: folder, log: quietLog, clock: realClock, ids: randomIds, durable: false };
  postgres = await startEmbeddedPostgres(options);
  server = await ChaosServer.prepare(postgres.url, quietLog);
});

afterAll(async () => {
  await server.close();
  await postgres.stop();
  await rm(folder, { recursive: true, force: true });
});

beforeEach(async () => {
  await server.renew();
  told = [];
  sim = new Sim({ seed: 1, only: new Set(), startMs: START_MS, without: new Set(), quietAfterMs: Infinity });
  sql = new SqlWorld(sim, server);
  await sql.query('create table spillway.things (id int primary key, word text)');
  await sql.query(`insert into spillway.things values (1, 'one'), (2, 'two')`);
});

afterEach(async () => await sql.end());

type Query = (text: string, values?: readonly unknown[]) => Promise<{ rows: readonly object[] }>;

/** A process that does one thing on one connection once it is started, and nothing when it starts again. */
function aProcess(name: string, work: (query: Query, proc: Proc) => Promise<void>): Proc {
  let started = false;
  const proc = sim.createProc(name, (self) => {
    if (started) return;
    started = true;
    const pool = new SimPool(sim, sql, { proc: self, connectionsMax: 2, rates: {} });
    void (async () => {
      const client = await pool.connect();
      const query: Query = async (text, values = []) => (await client.query(text, [...values])) as never;
      await work(query, self);
      client.release();
    })().catch((error: unknown) => told.push(`${name} failed: ${(error as { code?: string }).code ?? String(error)}`));
  });
  sim.start(proc);
  return proc;
}

async function pass(ms: number): Promise<void> {
  await sim.run(sim.nowMs + ms, () => false);
}

async function wordOf(id: number): Promise<string | undefined> {
  return (await sql.query<{ word: string }>('select word from spillway.things where id = $1', [id]))[0]?.word;
}

/** Holds the row of thing 1 for a while. */
function holder(heldMs: number): Proc {
  return aProcess('holder', async (query, proc) => {
    await query('begin');
    await query(`update spillway.things set word = 'held' where id = 1`);
    await sim.sleep(proc, heldMs);
    await query('commit');
    told.push('committed');
  });
}

function waiter(): Proc {
  return aProcess('waiter', async (query, proc) => {
    await sim.sleep(proc, 500);
    await query(`update spillway.things set word = word || ' and taken' where id = 1`);
    told.push('taken');
  });
}

describe('a statement that waits for a lock', () => {
  test('is put aside, and goes on when the lock is free', async () => {
    holder(2_000);
    waiter();
    await pass(5_000);
    expect(told.toSorted()).toEqual(['committed', 'taken']);
    expect(await wordOf(1)).toBe('held and taken');
  });

  test('ends with the lock deadline of the product, in virtual time', async () => {
    holder(40_000);
    waiter();
    await pass(20_000);
    expect(told).toEqual(['waiter failed: 55P03']);
  });

  test('goes on when the holder was killed, once the server has noticed', async () => {
    const proc = holder(60_000);
    waiter();
    await pass(1_000);
    sim.crash(proc);
    await pass(8_000);
    expect(told).toEqual(['taken']);
    expect(await wordOf(1)).toBe('one and taken');
  });

  test('outlasts a stopped holder, whose transaction the server ends', async () => {
    const proc = holder(1_000);
    waiter();
    await pass(800);
    sim.stop(proc);
    await pass(9_000);
    expect(told).toContain('taken');
    await pass(600_000);
    // It goes on as if nothing had been, and finds its connection gone.
    expect(told).toEqual(['taken', 'holder failed: ECONNRESET']);
    expect(await wordOf(1)).toBe('one and taken');
  });

  test('is told of a real deadlock', async () => {
    const crossing = (name: string, first: number, second: number): Proc =>
      aProcess(name, async (query, proc) => {
        await query('begin');
        await query('update spillway.things set word = $2 where id = $1', [first, name]);
        await sim.sleep(proc, 1_000);
        await query('update spillway.things set word = $2 where id = $1', [second, name]);
        await query('commit');
        told.push(name);
      });
    crossing('a', 1, 2);
    crossing('b', 2, 1);
    await pass(30_000);
    expect(told.filter((word) => word.endsWith('40P01'))).toHaveLength(1);
  });
});

describe('several statements that wait for one row', () => {
  /** Asks at its moment, in a transaction that lasts. */
  const inLine = (name: string, atMs: number): Proc =>
    aProcess(name, async (query, proc) => {
      await query('begin');
      await sim.sleep(proc, atMs);
      await query('update spillway.things set word = $1 where id = 1', [name]);
      told.push(name);
      await sim.sleep(proc, 300);
      await query('commit');
    });

  test('get it in the order in which they asked', async () => {
    holder(1_000);
    for (const [index, name] of ['a', 'b', 'c', 'd'].entries()) inLine(name, 200 + 50 * index);
    await pass(10_000);
    expect(told.filter((word) => word !== 'committed')).toEqual(['a', 'b', 'c', 'd']);
    expect(await wordOf(1)).toBe('d');
  });

  test('keep what their transactions did before, and nothing of what they were taken back from', async () => {
    const counting = (name: string, atMs: number): Proc =>
      aProcess(name, async (query, proc) => {
        await query('begin');
        await query('insert into spillway.things values ($1, $2)', [atMs, name]);
        await sim.sleep(proc, atMs);
        const { rows } = await query('update spillway.things set word = word || $1 where id <= 2 returning id', [name]);
        told.push(`${name} ${rows.length}`);
        await query('commit');
      });
    holder(1_000);
    for (const [index, name] of ['a', 'b', 'c'].entries()) counting(name, 200 + 50 * index);
    await pass(10_000);
    expect(told.filter((word) => word !== 'committed')).toEqual(['a 2', 'b 2', 'c 2']);
    expect([await wordOf(1), await wordOf(2)]).toEqual(['heldabc', 'twoabc']);
    expect(await wordOf(300)).toBe('c');
  });

  test('end one by one with the lock deadline, and their transactions with them', async () => {
    holder(60_000);
    for (const [index, name] of ['a', 'b'].entries()) inLine(name, 200 + 50 * index);
    await pass(20_000);
    expect(told).toEqual(['a failed: 55P03', 'b failed: 55P03']);
  });
});

describe('the clock of the database', () => {
  test('is the virtual one, in every statement', async () => {
    aProcess('reader', async (query, proc) => {
      await sim.sleep(proc, 3_600_000);
      const { rows } = await query('select spillway.now() as now');
      told.push(String((rows[0] as { now: Date }).now.getTime() - START_MS >= 3_600_000));
    });
    await pass(3_700_000);
    expect(told).toEqual(['true']);
  });
});

describe('a failover', () => {
  test('forgets what was committed after the copy, and breaks every connection', async () => {
    const proc = aProcess('writer', async (query, self) => {
      await sim.sleep(self, 1_000);
      await query(`update spillway.things set word = 'late' where id = 2`);
      await sim.sleep(self, 5_000);
      await query('select 1');
    });
    await pass(500);
    expect(sql.isQuiet()).toBe(true);
    await sql.keepCopy();
    await pass(2_000);
    expect(await wordOf(2)).toBe('late');
    await sql.fallBack();
    expect(await wordOf(2)).toBe('two');
    await pass(10_000);
    expect(told).toEqual(['writer failed: ECONNRESET']);
    expect(proc.up).toBe(true);
  });

  test('waits for a moment without open transactions to be copied', async () => {
    holder(2_000);
    await pass(1_000);
    expect(sql.isQuiet()).toBe(false);
    await pass(5_000);
    expect(sql.isQuiet()).toBe(true);
  });
});
