/**
 * `npm run mutants [-- NAME...] [--seeds N] [--record] [--recorded]`: plants each bug of `mutants.ts` in a copy of the source and lets the simulation
 * look for it: first on the seed that noticed it last (`killed.json`), then on seeds 1 to N (default 60). A mutant that nobody
 * notices, or that does not fit the source any more, fails the run. `--record` writes the seeds down, `--recorded` leaves out and
 * names those that have none yet. Progress is told on stderr.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { cp, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { MUTANTS, type Mutant } from './mutants.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const KILLED_FILE = new URL('./killed.json', import.meta.url);
const TASKSET = '/usr/bin/taskset';
const HOURS = 3;
/** A search of sixty seeds; far beyond it something hangs. */
const SEARCH_MS_MAX = 60 * 60_000;

const TEST_MS_MAX = 5 * 60_000;

interface Kill {
  /** Null where a test noticed it. */
  readonly seed: number | null;
  readonly rule: string;
}

const words = process.argv.slice(2);
const seedsMax = words.includes('--seeds') ? Number(words[words.indexOf('--seeds') + 1]) : 60;
const named = words.filter((word) => MUTANTS.some(({ name }) => name === word));
const recording = words.includes('--record');
const known: Record<string, Kill> = JSON.parse(await readFile(KILLED_FILE, 'utf8')) as Record<string, Kill>;
const wanted = MUTANTS.filter(({ name }) => named.length === 0 || named.includes(name));
const unknown = words.includes('--recorded') ? wanted.filter(({ name }) => !(name in known)) : [];
const chosen = wanted.filter((mutant) => !unknown.includes(mutant));
const survivors: string[] = [];
const queue = [...chosen];
await Promise.all(Array.from({ length: availableParallelism() }, async (_unused, core) => await work(core)));
process.stdout.write(`${chosen.length - survivors.length} of ${chosen.length} mutants killed\n`);
for (const { name } of unknown) process.stdout.write(`nobody has noticed it yet: ${name}\n`);
for (const name of survivors) process.stdout.write(`SURVIVED ${name}\n`);
process.exitCode = survivors.length === 0 ? 0 : 1;

async function work(core: number): Promise<void> {
  for (let mutant = queue.shift(); mutant !== undefined; mutant = queue.shift()) {
    const startedMs = performance.now();
    const last = known[mutant.name];
    const kill = await hunt(mutant, core);
    const tookS = Math.round((performance.now() - startedMs) / 1000);
    if (kill === null) survivors.push(mutant.name);
    else if (recording) await remember(mutant, kill);
    const moved = last !== undefined && kill !== null && last.seed !== kill.seed ? `, no longer at ${last.seed}` : '';
    const where = kill?.seed === null ? '' : ` at seed ${kill?.seed}`;
    const told = kill === null ? 'SURVIVED' : `killed${where} by ${kill.rule}${moved}`;
    process.stderr.write(`${mutant.name} (promise ${mutant.invariant}): ${told}, ${tookS} s\n`);
  }
}

async function hunt(mutant: Mutant, core: number): Promise<Kill | null> {
  const copy = await mkdtemp(join(tmpdir(), 'spillway-mutant-'));
  try {
    for (const name of ['src', 'test', 'migrations', 'package.json', 'vitest.config.ts', 'tsconfig.json', 'bin']) {
      await cp(join(ROOT, name), join(copy, name), { recursive: true });
    }
    await symlink(join(ROOT, 'node_modules'), join(copy, 'node_modules'));
    for (const edit of mutant.edits) await plant(copy, mutant, edit);
    if (mutant.test !== undefined) return await runTest(copy, mutant.test);
    const seed = known[mutant.name]?.seed ?? null;
    const again = seed === null ? null : await runSeeds(copy, `${seed}`, core);
    return again ?? (await runSeeds(copy, `1..${seedsMax}`, core));
  } finally {
    await rm(copy, { recursive: true, force: true });
  }
}

async function plant(copy: string, { name }: Mutant, edit: Mutant['edits'][number]): Promise<void> {
  const file = join(copy, edit.file);
  const text = await readFile(file, 'utf8');
  const parts = text.split(edit.find);
  if (parts.length !== 2)
    throw new Error(`mutant ${name}: ${edit.file} has its text ${parts.length - 1} times, not once`);
  await writeFile(file, parts.join(edit.replace));
}

async function runTest(copy: string, file: string): Promise<Kill | null> {
  const vitest = join(copy, 'node_modules/vitest/vitest.mjs');
  const child = spawn(process.execPath, [vitest, 'run', file], { cwd: copy, stdio: 'ignore', timeout: TEST_MS_MAX });
  const [exitCode] = (await once(child, 'exit')) as [number | null];
  if (exitCode === null) throw new Error(`${file} did not end within ${TEST_MS_MAX / 1000} s`);
  return exitCode === 0 ? null : { seed: null, rule: file };
}

/** The first kill among these seeds; null when all of them pass. @throws Error when the simulation could not run */
async function runSeeds(copy: string, seeds: string, core: number): Promise<Kill | null> {
  const told = ['simulate', 'chaos', '--seeds', seeds, '--hours', String(HOURS), '--shards', '1'];
  const command = [join(copy, 'src/cli.ts'), ...told, '--fail-fast', '--no-shrink', '-o', 'json'];
  // Each worker keeps to a core of its own, where there is a way to say so.
  const pinned = existsSync(TASKSET);
  const child = spawn(
    pinned ? TASKSET : process.execPath,
    pinned ? ['-c', String(core), process.execPath, ...command] : command,
    { cwd: copy, stdio: ['ignore', 'pipe', 'pipe'], timeout: SEARCH_MS_MAX },
  );
  const [out, said, [exitCode]] = await Promise.all([
    child.stdout.toArray() as Promise<Buffer[]>,
    child.stderr.toArray() as Promise<Buffer[]>,
    once(child, 'exit') as Promise<[number | null]>,
  ]);
  if (exitCode === 0) return null;
  const line = Buffer.concat(out).toString().trim().split('\n').at(-1) ?? '';
  if (line === '') return readBroken(Buffer.concat(said).toString());
  const { failures } = JSON.parse(line) as { readonly failures: readonly Kill[] };
  const [first] = failures;
  if (first === undefined) throw new Error(`the simulation ended with ${exitCode} and without a failure`);
  return { seed: first.seed, rule: first.rule };
}

/** A planted bug may also make the product or its SQL throw where nothing may be thrown: that is a kill as well. */
function readBroken(said: string): Kill {
  const broken = /seed (?<seed>\d+) broke the simulation: (?:Error: )?(?<what>[^\\\n]{0,80})/.exec(said)?.groups;
  if (broken === undefined) throw new Error(`the simulation could not run: ${said.slice(0, 400)}`);
  return { seed: Number(broken['seed']), rule: `throws: ${broken['what']}` };
}

async function remember({ name }: Mutant, { seed, rule }: Kill): Promise<void> {
  known[name] = { seed, rule };
  const sorted = Object.fromEntries(Object.entries(known).sort(([a], [b]) => (a < b ? -1 : 1)));
  await writeFile(KILLED_FILE, `${JSON.stringify(sorted, null, 2)}\n`);
}
