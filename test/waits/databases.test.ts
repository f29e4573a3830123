/** Goal: what is reached by Postgres' protocol is not waited for without end. Method: servers that stop in every way. */
import dns from 'node:dns';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished, vi } from 'vitest';
import { Pool } from 'pg';
import { waitMs } from '../../src/model/waits.ts';
import { createQueues, type QueuesOptions } from '../../src/queue/queues.ts';
import { queuePoolConfig } from '../../src/queue/postgres-store.ts';
import { QUEUE_WAITS } from '../../src/queue/queue-store.ts';
import { ensureCluster } from '../../src/store/embedded-cluster.ts';
import { startEmbeddedPostgres } from '../../src/store/embedded-postgres.ts';
import { findRunner, runToEnd } from '../../src/store/embedded-runner.ts';
import { migrate, MIGRATIONS_DIR } from '../../src/store/migrate.ts';
import { createPool, translateDatabaseError, type PoolOptions } from '../../src/store/pool.ts';
import { randomIds, realClock } from '../support/clock.ts';
import { test } from '../support/database.ts';
import { quietLog, recordingLog } from '../support/log.ts';
import { withClient } from '../support/postgres.ts';
import { redisProgram, startRedis } from '../support/redis.ts';
import { until } from '../support/wait.ts';
import { shows } from '../support/waits.ts';

async function failure(work: Promise<unknown>): Promise<unknown> {
  return await work.then(
    () => 'it succeeded',
    (error: unknown) => translateDatabaseError(error),
  );
}

function aPool(url: string, waits: Partial<PoolOptions>): Pool {
  const pool = createPool(url, { applicationName: 'spillway-test', max: 2, log: quietLog, ...waits });
  onTestFinished(async () => await pool.end());
  return pool;
}

function aFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'spillway-waits-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

describe('Postgres', () => {
  test(`a name server that never answers ${shows('dns.lookup')}`, async () => {
    const lookup = vi.spyOn(dns, 'lookup').mockImplementation(() => undefined);
    onTestFinished(() => lookup.mockRestore());
    const pool = aPool('postgres://nobody@database.example/none', { connectMs: 100 });
    expect(await failure(pool.query('select 1'))).toMatchObject({ code: 'DATABASE_UNREACHABLE' });
    expect(lookup).toHaveBeenCalled();
    expect(waitMs('dns.lookup')).toBe(waitMs('postgres.connect'));
  });

  test(`a server that does not even cancel ${shows('postgres.answer')}`, async ({ databaseUrl }) => {
    const pool = aPool(databaseUrl, { statementMs: 60_000, answerMs: 100 });
    expect(await failure(pool.query('select pg_sleep(2)'))).toMatchObject({ code: 'DATABASE_UNREACHABLE' });
  });

  test(`a connection that nobody uses ${shows('postgres.idle-connection')}`, async ({ databaseUrl }) => {
    const pool = aPool(databaseUrl, { idleConnectionMs: 50 });
    await pool.query('select 1');
    await until('it is closed', () => pool.totalCount === 0);
  });

  const migration = (statement: string): string => {
    const dir = aFolder();
    cpSync(MIGRATIONS_DIR, dir, { recursive: true });
    writeFileSync(join(dir, '9999_slow.sql'), `${statement};\n`);
    return dir;
  };

  test(`a statement of a migration that never ends ${shows('migrate.statement')}`, async ({ databaseUrl }) => {
    const dir = migration('select pg_sleep(30)');
    const work = migrate(databaseUrl, { dir, log: quietLog, waits: { statementMs: 100 } });
    expect(await failure(work)).toMatchObject({ code: 'TIMEOUT' });
  });

  test(`a table that somebody keeps locked ${shows('migrate.lock')}`, async ({ databaseUrl, pool }) => {
    const holder = await pool.connect();
    await holder.query('begin; lock table spillway.leases');
    const dir = migration('alter table spillway.leases add column slow text');
    const work = migrate(databaseUrl, { dir, log: quietLog, waits: { lockMs: 100 } });
    expect(await failure(work)).toMatchObject({ code: 'TIMEOUT' });
    holder.release(true);
  });
});

describe('the queue on Postgres', () => {
  const open = async (databaseUrl: string, waits: QueuesOptions['waits']) => {
    const base = { clock: realClock, ids: randomIds, log: recordingLog(), queueUrl: null };
    return await createQueues({ ...base, databaseUrl, waits: { ...QUEUE_WAITS, ...waits } });
  };

  const ends = [
    ['lock', { lockMs: 100 }],
    ['statement', { lockMs: 0, statementMs: 100 }],
    ['answer', { lockMs: 0, statementMs: 60_000, answerMs: 100 }],
  ] as const;
  test.for(ends)(
    `a table that somebody keeps locked ends by the %s ${shows(['queue.lock', 'queue.statement', 'queue.answer'])}`,
    async ([, waits], { databaseUrl, pool }) => {
      const queues = await open(databaseUrl, waits);
      const holder = await pool.connect();
      await holder.query('begin; lock table bullmq.job');
      const adding = queues.tasks.add('task-a-1c1m', [randomIds.next('tk')]);
      await expect(adding).rejects.toMatchObject({ code: 'QUEUE_UNREACHABLE' });
      holder.release(true);
      await queues.close();
    },
  );

  test(`a transaction that stands still, a connection nobody uses ${shows(['queue.idle-transaction', 'queue.idle-connection'])}`, async ({
    databaseUrl,
  }) => {
    const waits = { ...QUEUE_WAITS, idleInTransactionMs: 100, idleConnectionMs: 50 };
    const pool = new Pool(queuePoolConfig(databaseUrl, waits));
    pool.on('error', () => undefined);
    onTestFinished(async () => await pool.end());
    const client = await pool.connect();
    const lost = new Promise<unknown>((resolve) => client.once('error', resolve));
    await client.query('begin');
    expect(await lost).toMatchObject({ code: '25P03' });
    client.release(true);
    await pool.query('select 1');
    await until('it is closed', () => pool.totalCount === 0);
  });
});

describe.skipIf(redisProgram === null)('a Redis that is stopped', () => {
  const stopped = async (waits: QueuesOptions['waits']) => {
    const redis = await startRedis();
    const log = recordingLog();
    const options = { clock: realClock, ids: randomIds, log, databaseUrl: 'postgres://unused', queueUrl: redis.url };
    const queues = await createQueues({ ...options, waits: { closeMs: 500, ...waits } });
    const consumer = await queues.wake.consume(async () => ({ kind: 'done' }), { concurrency: 1 });
    redis.process.kill('SIGSTOP');
    onTestFinished(async () => {
      redis.process.kill('SIGCONT');
      await queues.close().catch(() => undefined);
      await redis.stop();
    });
    return { queues, consumer, log };
  };

  test(`ends each command ${shows('redis.command')}`, async () => {
    const { queues } = await stopped({ commandMs: 100 });
    await expect(queues.ping()).rejects.toMatchObject({ code: 'QUEUE_UNREACHABLE' });
  });

  test(`is noticed on the connection that waits for jobs ${shows('redis.silence')}`, async () => {
    const { log } = await stopped({ silenceMs: 200 });
    await until('it is told', () => log.lines.some(({ message }) => message === 'the queue reports an error'));
  });

  test(`does not keep the queue from closing ${shows('queue.close')}`, async () => {
    const { queues, consumer } = await stopped({ closeMs: 200 });
    await consumer.stop(50).catch(() => undefined);
    const closing = queues.close().then(
      () => 'closed',
      () => 'given up',
    );
    expect(await closing).toMatch(/closed|given up/);
  });
});

describe('embedded Postgres', () => {
  const options = (dataDir: string) => ({
    dataDir,
    log: recordingLog(),
    clock: realClock,
    ids: randomIds,
    durable: false,
  });

  test(`a program that never ends is killed ${shows('embedded.program')}`, async () => {
    const program = { file: 'sleep', argv: ['60'], identity: {} };
    expect(await runToEnd(program, 100)).toEqual({ exitCode: null, output: '' });
  });

  test(`an initdb that never ends is killed, and nothing is left of it ${shows('embedded.initdb')}`, async () => {
    const dataDir = aFolder();
    const given: number[] = [];
    const runner = {
      ...(await findRunner()),
      run: async (_program: string, _args: readonly string[], deadlineMs: number) => {
        given.push(deadlineMs);
        return await runToEnd({ file: 'sleep', argv: ['60'], identity: {} }, 100);
      },
    };
    const work = ensureCluster(dataDir, runner, randomIds);
    await expect(work).rejects.toMatchObject({ code: 'DATABASE_EMBEDDED' });
    expect(given).toEqual([waitMs('embedded.initdb')]);
  });

  test(
    `a server that is stopped in every part ${shows(['embedded.stop', 'embedded.quit', 'embedded.answer', 'embedded.start', 'embedded.connect'])}`,
    { timeout: 60_000 },
    async () => {
      const dataDir = aFolder();
      const waits = { stopMs: 200, quitMs: 200, answerMs: 500, startMs: 600, connectMs: 200 };
      const first = await startEmbeddedPostgres(options(dataDir));
      const pidFile = join(dataDir, 'postgres', 'postmaster.pid');
      const postmaster = Number(readFileSync(pidFile, 'utf8').split('\n')[0]);
      const second = await startEmbeddedPostgres({ ...options(dataDir), waits });
      await withClient(first.url, async (client) => {
        // Its keeper's backend stands still: the question whether it lives ends, and so does the look for another one.
        const { rows } = await client.query<{ pid: number }>(
          `select pid from pg_stat_activity where application_name = 'spillway-keeper' order by backend_start`,
        );
        const pids = rows.map(({ pid }) => pid);
        process.kill(postmaster, 'SIGSTOP');
        for (const pid of pids) process.kill(pid, 'SIGSTOP');
        try {
          // Nobody can be asked: the server counts as gone, and is not signalled.
          expect(await second.stop()).toBe(true);
          // A newcomer finds the file of a living process that takes no connection.
          await expect(startEmbeddedPostgres({ ...options(dataDir), waits })).rejects.toMatchObject({
            code: 'DATABASE_EMBEDDED',
          });
        } finally {
          for (const pid of pids) process.kill(pid, 'SIGCONT');
          process.kill(postmaster, 'SIGCONT');
        }
      });
      expect(await first.stop()).toBe(true);
      // Now only the postmaster stands still: its keeper answers, and neither SIGINT nor SIGQUIT is heard.
      const third = await startEmbeddedPostgres({
        ...options(dataDir),
        waits: { ...waits, startMs: 30_000, connectMs: 5000 },
      });
      const again = Number(readFileSync(pidFile, 'utf8').split('\n')[0]);
      process.kill(again, 'SIGSTOP');
      try {
        await expect(third.stop()).rejects.toMatchObject({ code: 'DATABASE_EMBEDDED', details: { pid: again } });
      } finally {
        process.kill(again, 'SIGCONT');
      }
      await until('it ends by the signals that waited', () => {
        try {
          process.kill(again, 0);
          return false;
        } catch {
          return true;
        }
      });
    },
  );
});
