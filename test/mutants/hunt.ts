import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { cp, mkdtemp, readFile, realpath, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Edit, type Kill, type Mutant, plant, type WitnessTest } from './mutants.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const COPIED = [
  'src',
  'test',
  'migrations',
  'policies',
  'docs',
  'package.json',
  'vitest.config.ts',
  'tsconfig.json',
  'bin',
];
const TASKSET = '/usr/bin/taskset';
const HOURS = 3;
/** A search of sixty seeds; far beyond it something hangs. */
const SEARCH_MS_MAX = 60 * 60_000;
const TEST_MS_MAX = 5 * 60_000;
const SAID_MAX = 400;

export interface HuntOptions {
  /** Each worker keeps to a core of its own, where there is a way to say so. */
  readonly core: number;
  /** Who noticed it last. */
  readonly last: Kill | null;
  readonly seedsMax: number;
  /** Ends what runs, and takes the copy away. */
  readonly signal: AbortSignal;
}

/** Who notices this planted bug; null = nobody. @throws Error when it does not fit the source, or nobody could look */
export async function hunt(mutant: Mutant, options: HuntOptions): Promise<Kill | null> {
  const copy = await mkdtemp(join(tmpdir(), 'spillway-mutant-'));
  try {
    for (const name of COPIED) await cp(join(ROOT, name), join(copy, name), { recursive: true });
    await symlink(await realpath(join(ROOT, 'node_modules')), join(copy, 'node_modules'));
    for (const edit of mutant.edits) await plantInto(copy, mutant.name, edit);
    if (mutant.test !== undefined) return await runTest(copy, mutant.test, options);
    const seed = options.last?.seed ?? null;
    const again = seed === null ? null : await runSeeds(copy, `${seed}`, options);
    if (again !== null || options.signal.aborted) return again;
    return await runSeeds(copy, `1..${options.seedsMax}`, options);
  } finally {
    await rm(copy, { recursive: true, force: true });
  }
}

async function plantInto(copy: string, name: string, edit: Edit): Promise<void> {
  const file = join(copy, edit.file);
  const planted = plant(await readFile(file, 'utf8'), edit);
  if (planted === null) throw new Error(`mutant ${name}: ${edit.file} has its text not exactly once`);
  await writeFile(file, planted);
}

interface Ended {
  readonly exitCode: number | null;
  readonly out: string;
  readonly said: string;
}

async function run(copy: string, command: readonly string[], timeoutMs: number, options: HuntOptions): Promise<Ended> {
  const pinned = existsSync(TASKSET);
  const child = spawn(
    pinned ? TASKSET : process.execPath,
    pinned ? ['-c', String(options.core), process.execPath, ...command] : command,
    { cwd: copy, stdio: ['ignore', 'pipe', 'pipe'], timeout: timeoutMs },
  );
  // It stops its servers itself, and its end is waited for.
  const end = (): void => void child.kill('SIGTERM');
  options.signal.addEventListener('abort', end);
  const [out, said, [exitCode]] = await Promise.all([
    child.stdout.toArray() as Promise<Buffer[]>,
    child.stderr.toArray() as Promise<Buffer[]>,
    once(child, 'exit') as Promise<[number | null]>,
  ]);
  options.signal.removeEventListener('abort', end);
  return { exitCode, out: Buffer.concat(out).toString(), said: Buffer.concat(said).toString() };
}

/** The part of vitest's JSON report that is looked at. */
interface TestReport {
  readonly testResults: readonly {
    readonly assertionResults: readonly {
      readonly status: string;
      readonly failureMessages?: readonly string[] | null;
    }[];
  }[];
}

/** Only a failed expectation is a kill: a file that does not load, or a test that was too slow, has noticed nothing. */
async function runTest(copy: string, { file, title }: WitnessTest, options: HuntOptions): Promise<Kill | null> {
  const reportFile = join(copy, 'report.json');
  const pattern = title.replaceAll(/[\\^$.*+?()[\]{}|]/g, String.raw`\$&`);
  const command = [join(copy, 'node_modules/vitest/vitest.mjs'), 'run', file, '-t', pattern, '--maxWorkers', '1'];
  const ended = await run(copy, [...command, '--reporter=json', `--outputFile=${reportFile}`], TEST_MS_MAX, options);
  if (options.signal.aborted) return null;
  if (!existsSync(reportFile)) throw new Error(`${file} could not run: ${ended.said.slice(0, SAID_MAX)}`);
  const { testResults } = JSON.parse(await readFile(reportFile, 'utf8')) as TestReport;
  const results = testResults
    .flatMap(({ assertionResults }) => assertionResults)
    .filter(({ status }) => status === 'passed' || status === 'failed');
  if (results.length === 0) throw new Error(`${file} has no test that is called ‘${title}’, or does not load`);
  const failures = results.flatMap(({ failureMessages }) => failureMessages ?? []);
  const isNoticed = failures.some((message) => !message.includes('Test timed out'));
  return isNoticed ? { seed: null, rule: file } : null;
}

/** The first kill among these seeds; null when all of them pass. @throws Error when the simulation could not run */
async function runSeeds(copy: string, seeds: string, options: HuntOptions): Promise<Kill | null> {
  const told = ['simulate', 'chaos', '--seeds', seeds, '--hours', String(HOURS), '--shards', '1'];
  const command = [join(copy, 'src/cli.ts'), ...told, '--fail-fast', '--no-shrink', '-o', 'json'];
  const { exitCode, out, said } = await run(copy, command, SEARCH_MS_MAX, options);
  if (exitCode === 0 || options.signal.aborted) return null;
  const line = out.trim().split('\n').at(-1) ?? '';
  if (line === '') return readBroken(said);
  const { failures } = JSON.parse(line) as { readonly failures: readonly Kill[] };
  const [first] = failures;
  if (first === undefined) throw new Error(`the simulation ended with ${exitCode} and without a failure`);
  return { seed: first.seed, rule: first.rule };
}

/** A planted bug may also make the product or its SQL throw where nothing may be thrown: that is a kill as well. */
function readBroken(said: string): Kill {
  const broken = /seed (?<seed>\d+) broke the simulation: (?:Error: )?(?<what>[^\\\n]{0,80})/.exec(said)?.groups;
  if (broken === undefined) throw new Error(`the simulation could not run: ${said.slice(0, SAID_MAX)}`);
  return { seed: Number(broken['seed']), rule: `throws: ${broken['what']}` };
}
