import { mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { sql } from 'kysely';
import { describe, expect } from 'vitest';
import type { Db } from '../../src/store/database.ts';
import { anAgent, aTask } from '../support/builders.ts';
import { test } from '../support/database.ts';
import { spillway, type Finished } from './spillway.ts';

const POLICY = fileURLToPath(new URL('../../examples/policies/backtest.yaml', import.meta.url));
const BEGIN = Date.parse('2026-11-01T08:00:00Z');
const MINUTE_MS = 60_000;

/** A finished task of four cores that came `atMs` after the begin and ran for half an hour. */
async function aPastTask(db: Db, workload: string, atMs: number): Promise<void> {
  const id = await aTask(db, { workload, shape: { cpuMilli: 4000, memoryMib: 8192, gpus: 0 } });
  const startedMs = BEGIN + atMs + 5 * MINUTE_MS;
  await sql`update tasks set state = 'done', agent_id = (select min(id) from agents), attempt = 1, exit_code = 0,
      submitted_at = ${new Date(BEGIN + atMs)}, started_at = ${new Date(startedMs)},
      finished_at = ${new Date(startedMs + 30 * MINUTE_MS)} where id = ${id}`.execute(db);
}

async function backtest(databaseUrl: string, ...args: string[]): Promise<Finished> {
  const folder = await mkdtemp(join(tmpdir(), 'spillway-history-'));
  const policy = (await readFile(POLICY, 'utf8'))
    .replace(/metadata: .*/, 'metadata: { name: render }')
    .replace('spec:\n', 'spec:\n  agents: { selector: { pool: local } }\n');
  await writeFile(join(folder, 'render.yaml'), policy);
  const env = { DATABASE_URL: databaseUrl, SPILLWAY_DATA_DIR: folder };
  return await spillway(['backtest', '--policy', 'render.yaml', ...args], { cwd: folder, env });
}

const SPAN = ['--from', '2026-11-01T08:00:00Z', '--to', '2026-11-02'];

describe('spillway backtest --from-database', () => {
  test('replays the ended tasks of the workload in that time on the agents that serve it', async ({
    db,
    databaseUrl,
  }) => {
    await anAgent(db, { labels: { pool: 'local' }, capacity: { cpuMilli: 8000, memoryMib: 16_384, gpus: 0 } });
    await anAgent(db, { labels: { pool: 'other' }, capacity: { cpuMilli: 64_000, memoryMib: 65_536, gpus: 0 } });
    for (let at = 0; at < 4; at += 1) await aPastTask(db, 'render', 10 * MINUTE_MS);
    await aPastTask(db, 'render', -MINUTE_MS);
    await aPastTask(db, 'encode', 10 * MINUTE_MS);
    const running = await aTask(db, { workload: 'render' });
    await sql`update tasks set submitted_at = ${new Date(BEGIN)} where id = ${running}`.execute(db);

    const { stdout, stderr, exitCode } = await backtest(databaseUrl, '--from-database', ...SPAN, '-o', 'json');

    expect({ stderr: stderr.replaceAll(/^[^\n]*(?:bound first|tasks done)[^\n]*\n/gm, ''), exitCode }).toEqual({
      stderr: '',
      exitCode: 0,
    });
    expect(JSON.parse(stdout)).toMatchObject({
      trace: { tasks: 4, skipped: 1, name: 'render from 2026-11-01T08:00Z to 2026-11-02T00:00Z' },
      agents: { count: 1, cores: 8 },
      tasksDone: 4,
      // The agent has room for two of the four.
      tasksInCloud: 2,
    });
  });

  test('says so when nothing of that time is remembered', async ({ databaseUrl }) => {
    const { stderr, exitCode } = await backtest(databaseUrl, '--from-database', ...SPAN);
    expect(stderr).toContain('render from 2026-11-01T08:00Z to 2026-11-02T00:00Z has no task that could be replayed');
    expect(exitCode).toBe(2);
  });

  test.for([
    [['--from-database', '--trace', 'x.csv'], '--trace and --from-database exclude each other'],
    [['--trace', 'x.csv', '--agents', '8c', '--from', '2026-11-01'], '--from is for --from-database'],
    [['--agents', '8c'], 'neither --trace nor --from-database is given'],
    [['--from-database', '--from', '2026-11-02', '--to', '2026-11-01'], '--from is not before --to'],
  ] as const)('refuses %j', async ([args, message], { databaseUrl }) => {
    const { stderr, exitCode } = await backtest(databaseUrl, ...args);
    expect(stderr).toContain(message);
    expect(exitCode).toBe(2);
  });
});
