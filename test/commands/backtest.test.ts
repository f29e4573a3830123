import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { spillway, startSpillway } from './spillway.ts';
import { until } from '../support/wait.ts';

const POLICY = fileURLToPath(new URL('../../examples/policies/backtest.yaml', import.meta.url));
const HEADER = 'submit_s,run_s,cores,mem_mb,gpus,queue';
/** Twice as many 4-core tasks as the one local agent holds, every hour for a day. */
const JOBS = Array.from({ length: 96 }, (_, at) => `${Math.floor(at / 4) * 3600},1800,4,-1,0,q`);

let folder = '';

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'spillway-backtest-'));
  const text = `${HEADER}\n${JOBS.join('\n')}\n`;
  await writeFile(join(folder, 'jobs.csv'), text);
  await writeFile(join(folder, 'jobs.csv.gz'), gzipSync(text));
  await writeFile(join(folder, 'broken.csv'), `${HEADER}\n0,x,4,-1,0,q\n`);
  await writeFile(join(folder, 'cut.csv.gz'), gzipSync(text).subarray(0, 60));
  await writeFile(join(folder, 'agents.csv'), 'cores,mem_mb,count\n8,16384,1\n');
  const longer = `${HEADER}\n${Array.from({ length: 400_000 }, (_, at) => `${at * 11},4000,2,-1,0,q`).join('\n')}\n`;
  await writeFile(join(folder, 'long.csv'), longer);
  const { readFile } = await import('node:fs/promises');
  const policy = await readFile(POLICY, 'utf8');
  await writeFile(
    join(folder, 'slow.yaml'),
    policy.replace('scaleDownUnneededTime: 60s', 'scaleDownUnneededTime: 30m'),
  );
});

afterAll(async () => rm(folder, { recursive: true, force: true }));

const base = (...rest: string[]): string[] => ['backtest', '--agents', '8c', '--policy', POLICY, ...rest];

async function json(...args: string[]): Promise<Record<string, unknown>> {
  const { stdout, exitCode } = await spillway([...args, '-o', 'json'], { cwd: folder });
  expect(exitCode).toBe(0);
  return JSON.parse(stdout) as Record<string, unknown>;
}

describe('spillway backtest', () => {
  test('gives scripts the figures they are promised, from a plain log, a gzip one and a file of agents alike', async () => {
    const plain = await json(...base('--trace', 'jobs.csv'));
    expect(plain).toMatchObject({
      kind: 'Backtest',
      tasks: 96,
      tasksDone: 96,
      tasksInCloud: 48,
      waitMaxS: 60,
      waitP50S: 0,
    });
    // Two tasks of half an hour, each hour: nobody pays less than their cores, and a machine also boots and idles.
    expect(plain['lowerBoundUsd']).toBeCloseTo(48 * 0.5 * 4 * 0.03825, 2);
    expect(plain['ratioToLowerBound']).toBeGreaterThan(1);
    expect(plain['ratioToLowerBound']).toBeLessThan(1.1);
    const keys = ['costUsd', 'waitMeanS', 'waitP95S', 'launches', 'machineHours', 'usefulUsd', 'efficiency'];
    expect(keys.filter((key) => typeof plain[key] !== 'number')).toEqual([]);
    const gzip = await json('backtest', '--agents', 'agents.csv', '--policy', POLICY, '--trace', 'jobs.csv.gz');
    expect({ ...gzip, trace: null }).toEqual({ ...plain, trace: null });
  });

  test('boots slower and ends earlier when told so', async () => {
    const slow = await json(...base('--trace', 'jobs.csv', '--boot', '5m'));
    expect(slow['waitMaxS']).toBe(300);
    const short = await json(...base('--trace', 'jobs.csv', '--until', '2h'));
    expect(short).toMatchObject({ tasks: 12, tasksDone: 8 });
  });

  test('shows people a table, and what goes on elsewhere', async () => {
    const { stdout, stderr, exitCode } = await spillway(base('--trace', 'jobs.csv'), { cwd: folder });
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(/^jobs\.csv: 96 tasks in 0\.958 days\n1 local agents: 8 cores, 16 GiB, 0 GPUs\n/);
    expect(stdout).toMatch(/^COST +\$\d\.\d\d$/m);
    expect(stderr).toBe('jobs.csv: 96 tasks; the lower bound first\n');
  });

  test('says how far it is, and Ctrl-C ends it', async () => {
    const running = startSpillway(base('--trace', 'long.csv', '--agents', 'none'), { cwd: folder });
    await until('progress is shown', () => / of 400000 tasks done/.test(running.output().stderr));
    running.child.kill('SIGINT');
    expect((await running.finished).exitCode).toBe(130);
  });

  test('compares two policies: the second less the first', async () => {
    const report = await json(...base('--trace', 'jobs.csv', '--policy', 'slow.yaml'));
    const [first, second] = report['policies'] as { costUsd: number }[];
    expect(second!.costUsd).toBeGreaterThan(first!.costUsd);
    expect(report['costUsd']).toBe(first!.costUsd);
    const difference = report['difference'] as { costUsd: number; tasks: number };
    expect(difference.costUsd).toBeCloseTo(second!.costUsd - first!.costUsd, 5);
    expect(difference.tasks).toBe(0);
  });

  test('is a gate: 1 when a condition holds, 0 when none does', async () => {
    const held = ['--fail-if', 'waitMaxS > 59', '--fail-if', 'costUsd > 1000'];
    const failed = await spillway(base('--trace', 'jobs.csv', '-q', ...held), { cwd: folder });
    expect([failed.exitCode, failed.stderr]).toEqual([1, `failed: waitMaxS > 59: it is 60 (${POLICY})\n`]);
    const passed = await spillway(base('--trace', 'jobs.csv', '-q', '--fail-if', 'waitMaxS > 60'), { cwd: folder });
    expect([passed.exitCode, passed.stderr]).toEqual([0, '']);
    const dearer = base('--trace', 'jobs.csv', '-q', '--policy', 'slow.yaml', '--fail-if', 'difference.costUsd > 0');
    expect((await spillway(dearer, { cwd: folder })).exitCode).toBe(1);
  });

  test('writes a page that needs nothing else, with charts of demand, local agents, cloud and money', async () => {
    const name = '<b>&.csv';
    await writeFile(join(folder, name), `${HEADER}\n${JOBS.join('\n')}\n`);
    const { stdout, exitCode } = await spillway(base('--trace', name, '-o', 'html'), { cwd: folder });
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(/^<!doctype html>[\s\S]*<\/html>\n$/);
    expect(stdout.match(/<svg /g)).toHaveLength(3);
    expect(stdout).not.toMatch(/<script|<link|<img|https?:|url\(|<b>/);
    for (const text of ['Demand and local agents', 'Cloud', 'Money']) expect(stdout).toContain(text);
    expect(stdout).not.toMatch(/NaN|Infinity|undefined/);
  });

  test.for<[string[], number, string]>([
    [['--trace', 'broken.csv'], 2, 'broken.csv, line 2: run_s "x" is not a number'],
    [['--trace', 'cut.csv.gz'], 2, 'Cannot read cut.csv.gz'],
    [['--trace', 'none.csv'], 2, 'Cannot read none.csv'],
    [['--trace', 'jobs.csv', '--fail-if', 'cost > 1'], 2, 'there is no figure "cost"'],
    [['--trace', 'jobs.csv', '--boot', '60'], 2, '--boot: "60" has no unit'],
    [['--trace', 'jobs.csv', '--policy', POLICY, '--policy', POLICY], 2, '--policy is given more than twice'],
    [['--trace', 'jobs.csv', '-o', 'csv'], 2, '-o csv is for lists'],
  ])('ends with the table of exit codes: %j', async ([args, exitCode, message]) => {
    const run = await spillway(base(...args), { cwd: folder });
    expect([run.exitCode, run.stdout]).toEqual([exitCode, '']);
    expect(run.stderr).toContain(message);
  });

  test('is the only command with -o html', async () => {
    const run = await spillway(['policy', 'validate', POLICY, '-o', 'html']);
    expect([run.exitCode, run.stderr]).toEqual([2, expect.stringContaining('-o html is for reports')]);
  });
});
