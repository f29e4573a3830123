import { once } from 'node:events';
import { createServer, type AddressInfo, type Server } from 'node:net';
import { describe, expect } from 'vitest';
import { createPool, translateDatabaseError } from '../../src/store/pool.ts';
import { test } from '../support/database.ts';
import { quietLog, recordingLog } from '../support/log.ts';
import { until } from '../support/wait.ts';
import { shows } from '../support/waits.ts';

const caught = async (work: () => Promise<unknown>): Promise<unknown> => {
  try {
    return await work();
  } catch (error) {
    return translateDatabaseError(error);
  }
};

/** Takes connections and never says a word: a half-open socket, a dead proxy. */
async function blackHole(): Promise<{ server: Server; url: string }> {
  const server = createServer(() => undefined).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { server, url: `postgres://nobody@127.0.0.1:${(server.address() as AddressInfo).port}/none` };
}

describe('createPool', () => {
  test(`gives up on a server that takes the connection and never answers ${shows('postgres.connect')}`, async () => {
    const { server, url } = await blackHole();
    const pool = createPool(url, { applicationName: 'spillway-test', connectMs: 100, log: quietLog });

    expect(await caught(() => pool.query('select 1'))).toMatchObject({ code: 'DATABASE_UNREACHABLE' });

    await pool.end();
    server.close();
  });

  test('gives up waiting for a connection when all are taken', async ({ databaseUrl }) => {
    const pool = createPool(databaseUrl, { applicationName: 'spillway-test', max: 1, connectMs: 100, log: quietLog });
    const taken = await pool.connect();

    expect(await caught(() => pool.query('select 1'))).toMatchObject({ code: 'DATABASE_UNREACHABLE' });

    taken.release();
    await pool.end();
  });

  test(`ends a statement, a wait for a lock and a transaction that sleeps ${shows(['postgres.statement', 'postgres.lock', 'postgres.idle-transaction'])}`, async ({
    databaseUrl,
  }) => {
    const pool = createPool(databaseUrl, {
      applicationName: 'spillway-test',
      statementMs: 300,
      lockMs: 50,
      idleInTransactionMs: 100,
      log: quietLog,
    });
    expect(await caught(async () => await pool.query('select pg_sleep(5)'))).toMatchObject({
      code: 'TIMEOUT',
      details: { sqlState: '57014' },
    });

    const holder = await pool.connect();
    const lost = once(holder, 'error');
    await holder.query('begin; lock table spillway.leases');
    expect(await caught(async () => await pool.query('lock table spillway.leases; select 1'))).toMatchObject({
      code: 'TIMEOUT',
      details: { sqlState: '55P03' },
    });
    const [loss] = (await lost) as [unknown];
    expect(translateDatabaseError(loss)).toMatchObject({ code: 'DATABASE_UNREACHABLE', details: { reason: '25P03' } });

    holder.release(true);
    await pool.end();
  });

  test('goes on after the server cut its idle connections', async ({ databaseUrl, pool: other }) => {
    const log = recordingLog();
    const pool = createPool(databaseUrl, { applicationName: 'spillway-cut', log });
    await pool.query('select 1');

    await other.query(`select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'spillway-cut'`);
    await until('the loss is logged', () => log.lines.some((line) => line.level === 'warn'));

    expect((await pool.query('select 1 as one')).rows).toEqual([{ one: 1 }]);
    await pool.end();
  });

  test('reads bigint as a number, refuses one that a number cannot hold, and keeps numeric as text', async ({
    pool,
  }) => {
    const { rows } = await pool.query(`select 9007199254740991::bigint as big, 0.10::numeric(12, 6) as money`);

    expect(rows).toEqual([{ big: 9_007_199_254_740_991, money: '0.100000' }]);
    await expect(pool.query('select 9007199254740993::bigint')).rejects.toThrow('does not fit');
  });
});

test('a transaction of a process that stands still is ended by the server after the time in which that process would end itself', async ({
  pool,
}) => {
  const { rows } = await pool.query('show idle_in_transaction_session_timeout');
  expect(rows).toEqual([{ idle_in_transaction_session_timeout: '5s' }]);
});

describe('a pool whose server cuts a connection that is in use', () => {
  test('fails the work on it, goes on with another one, and ends no process', async ({ pool }) => {
    const used = await pool.connect();
    // Between two statements nobody waits for an answer: pg tells of the loss by an event alone.
    const ended = new Promise<void>((resolve) => used.once('end', resolve));
    await used.query('begin');
    const { rows } = await used.query<{ pid: number }>('select pg_backend_pid() as pid');
    await pool.query('select pg_terminate_backend($1)', [rows[0]?.pid]);
    await ended;

    await expect(used.query('select 1')).rejects.toThrow('not queryable');
    used.release(true);
    expect((await pool.query('select 1 as one')).rows).toEqual([{ one: 1 }]);
  });
});

describe('translateDatabaseError', () => {
  test('calls a connection that dies under a statement unreachable', async ({ pool }) => {
    expect(await caught(() => pool.query('select pg_terminate_backend(pg_backend_pid())'))).toMatchObject({
      code: 'DATABASE_UNREACHABLE',
      exitCode: 6,
    });
  });

  test('says that migrations are missing when a table is', async ({ pool }) => {
    expect(await caught(() => pool.query('select * from spillway.nothing'))).toMatchObject({
      code: 'DATABASE_SCHEMA',
      remedy: expect.stringContaining('spillway migrate'),
    });
  });

  test('leaves constraint violations and errors of ours as they are', async ({ pool }) => {
    expect(await caught(() => pool.query(`insert into spillway.leases values ('a', 'b', 0, now())`))).toMatchObject({
      code: '23514',
    });
    const ours = new Error('Connection terminated unexpectedly');
    expect(translateDatabaseError(ours)).toBe(ours);
  });
});
