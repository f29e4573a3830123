/**
 * `npm test [-- VITEST ARGUMENTS]`: runs vitest with the Node that runs this (the project's own, which npm puts first) and
 * ends with one line, `N passed, N failed, N skipped`. Exit code 0 only when nothing failed. With `--unless-passed` (as
 * `npm run check` calls it) nothing is run when the whole suite has passed on exactly these files already.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { hasPassed, rememberPass } from './passed.ts';

interface Counts {
  passed: number;
  failed: number;
  skipped: number;
}

/** The part of vitest's JSON report that is counted. */
interface Report {
  readonly testResults: readonly {
    readonly status: string;
    readonly assertionResults: readonly { readonly status: string }[];
  }[];
}

const vitest = fileURLToPath(new URL('../../node_modules/vitest/vitest.mjs', import.meta.url));
const root = fileURLToPath(new URL('../../', import.meta.url));
const words = process.argv.slice(2).filter((word) => word !== '--unless-passed');
if (process.argv.includes('--unless-passed') && hasPassed(root)) {
  process.stdout.write('all tests passed on exactly these files before; they are not run again\n');
  process.exit(0);
}
const folder = await mkdtemp(join(tmpdir(), 'spillway-report-'));
try {
  const reportFile = join(folder, 'report.json');
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${reportFile}`];
  const child = spawn(process.execPath, [vitest, 'run', ...reporters, ...words], {
    cwd: root,
    stdio: 'inherit',
  });
  // Ctrl-C reaches vitest too (same group): it stops its servers, and its end is ours.
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.on(name, () => void child.kill(name));
  const [exitCode] = (await once(child, 'exit')) as [number | null];
  const counts = count(await readReport(reportFile));
  // An error outside of any test (an unhandled rejection, a broken setup) fails the run as well.
  if (exitCode !== 0 && counts.failed === 0) counts.failed = 1;
  process.exitCode = counts.failed === 0 ? 0 : 1;
  if (counts.failed === 0 && words.length === 0) rememberPass(root);
  process.stdout.write(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped\n`);
} finally {
  await rm(folder, { recursive: true, force: true });
}

async function readReport(file: string): Promise<Report> {
  try {
    return JSON.parse(await readFile(file, 'utf8')) as Report;
  } catch (error) {
    process.stderr.write(`vitest left no report: ${String(error)}\n`);
    return { testResults: [] };
  }
}

function count(report: Report): Counts {
  const counts: Counts = { passed: 0, failed: 0, skipped: 0 };
  for (const file of report.testResults) {
    for (const test of file.assertionResults) {
      if (test.status === 'passed') counts.passed += 1;
      else if (test.status === 'failed') counts.failed += 1;
      else counts.skipped += 1;
    }
    // A file that cannot even be loaded reports no test.
    if (file.status === 'failed' && !file.assertionResults.some((test) => test.status === 'failed')) counts.failed += 1;
  }
  return counts;
}
