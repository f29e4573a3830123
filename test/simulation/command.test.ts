import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';

const BIN = fileURLToPath(new URL('../../bin/spillway', import.meta.url));
const LIMIT_MS = 240_000;

interface Run {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

async function chaos(...words: readonly string[]): Promise<Run> {
  try {
    const { stdout, stderr } = await promisify(execFile)(BIN, ['simulate', 'chaos', '--shards', '1', ...words], {
      timeout: LIMIT_MS,
    });
    return { exitCode: 0, stdout, stderr };
  } catch (error) {
    const { code, stdout, stderr } = error as { code: number; stdout: string; stderr: string };
    return { exitCode: code, stdout, stderr };
  }
}

test(
  'simulate chaos ends with one line for scripts, tells its progress, and finds the same again',
  { timeout: LIMIT_MS },
  async () => {
    const run = await chaos('--seeds', '1', '--hours', '1', '--repeat', '2', '-o', 'json');
    expect(run).toMatchObject({ exitCode: 0 });
    const lines = run.stdout.trim().split('\n');
    expect(lines).toHaveLength(1);
    const report = JSON.parse(lines[0] ?? '') as Record<string, unknown>;
    expect(Object.keys(report).slice(0, 6)).toEqual([
      'simulatedHours',
      'faultsInjected',
      'transitionsCovered',
      'transitionsTotal',
      'violations',
      'digest',
    ]);
    expect(report).toMatchObject({ violations: 0, seeds: 1, digest: expect.stringMatching(/^[0-9a-f]{16}$/) });
    expect(report['simulatedHours']).toBeGreaterThanOrEqual(1);
    expect(report['faultsInjected']).toBeGreaterThan(20);
    expect(run.stderr).toMatch(/1\/1 {2}seed 1 /);
  },
);

test('simulate chaos without a fault injects none', { timeout: LIMIT_MS }, async () => {
  const run = await chaos('--seeds', '1', '--hours', '1', '--faults', 'none', '-o', 'json');
  expect(JSON.parse(run.stdout)).toMatchObject({ faultsInjected: 0, violations: 0 });
});

test.each([['3..1'], ['x'], ['']])('simulate chaos refuses the seeds %j', async (seeds) => {
  const run = await chaos('--seeds', seeds);
  expect(run).toMatchObject({ exitCode: 2, stdout: '' });
  expect(run.stderr).toContain('--seeds');
});
