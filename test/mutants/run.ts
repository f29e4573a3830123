/**
 * `npm run mutants [-- NAME...]`: plants each bug of `mutants.ts` in a copy of the source and lets the simulation look for it on the seed
 * that noticed it (`killed.json`). A mutant that is not noticed any more, or does not fit the source any more, fails the run; one that has no
 * seed yet is named. `--search [--seeds N]` looks for seeds from 1 to N (default 60), for those without one or those named.
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
const SEARCH_MS_MAX = 30 * 60_000;

interface Kill {
  readonly seed: number;
  readonly rule: string;
}

type Kills = Readonly<Record<string, Kill>>;

const words = process.argv.slice(2);
const seedsMax = words.includes('--seeds') ? Number(words[words.indexOf('--seeds') + 1]) : 60;
const named = words.filter((word) => MUTANTS.some(({ name }) => name === word));
const searching = words.includes('--search');
const known = JSON.parse(await readFile(KILLED_FILE, 'utf8')) as Kills;
const wanted = MUTANTS.filter(({ name }) => named.length === 0 || named.includes(name));
const chosen = wanted.filter(({ name }) => (searching && named.length > 0) || name in known !== searching);
const kills = new Map<string, Kill>();
const survivors: string[] = [];
const queue = [...chosen];
await Promise.all(Array.from({ length: availableParallelism() }, async (_unused, core) => await work(core)));
process.stdout.write(`${kills.size} of ${chosen.length} mutants killed\n`);
for (const name of survivors) process.stdout.write(`SURVIVED ${name}\n`);
for (const { name } of wanted) if (!searching && !(name in known)) process.stdout.write(`no seed yet: ${name}\n`);
process.exitCode = survivors.length === 0 ? 0 : 1;

async function work(core: number): Promise<void> {
  for (let mutant = queue.shift(); mutant !== undefined; mutant = queue.shift()) {
    const kill = await hunt(mutant, core);
    if (kill === null) survivors.push(mutant.name);
    else kills.set(mutant.name, kill);
    if (searching) await remember();
    const told = kill === null ? 'SURVIVED' : `killed at seed ${kill.seed} by ${kill.rule}`;
    process.stdout.write(`${mutant.name} (invariant ${mutant.invariant}): ${told}\n`);
  }
}

async function hunt(mutant: Mutant, core: number): Promise<Kill | null> {
  const copy = await mkdtemp(join(tmpdir(), 'spillway-mutant-'));
  try {
    for (const name of ['src', 'migrations', 'package.json', 'bin']) {
      await cp(join(ROOT, name), join(copy, name), { recursive: true });
    }
    await symlink(join(ROOT, 'node_modules'), join(copy, 'node_modules'));
    for (const edit of mutant.edits) await plant(copy, mutant, edit);
    const last = known[mutant.name];
    return await runSeeds(copy, searching || last === undefined ? `1..${seedsMax}` : `${last.seed}`, core);
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

/** The first kill among these seeds; null when all of them pass. @throws Error when the simulation breaks */
async function runSeeds(copy: string, seeds: string, core: number): Promise<Kill | null> {
  const words = ['simulate', 'chaos', '--seeds', seeds, '--hours', String(HOURS), '--shards', '1'];
  const command = [join(copy, 'src/cli.ts'), ...words, '--fail-fast', '--no-shrink', '-q', '-o', 'json'];
  // Each worker keeps to a core of its own, where there is a way to say so.
  const pinned = existsSync(TASKSET);
  const child = spawn(
    pinned ? TASKSET : process.execPath,
    pinned ? ['-c', String(core), process.execPath, ...command] : command,
    { cwd: copy, stdio: ['ignore', 'pipe', 'pipe'], timeout: SEARCH_MS_MAX },
  );
  const [out, told, [exitCode]] = await Promise.all([
    child.stdout.toArray(),
    child.stderr.toArray(),
    once(child, 'exit') as Promise<[number | null]>,
  ]);
  if (exitCode === 0) return null;
  const line =
    Buffer.concat(out as Buffer[])
      .toString()
      .trim()
      .split('\n')
      .at(-1) ?? '';
  // A planted bug may also make the product or its SQL throw where nothing may be thrown: that is a kill as well.
  if (line === '')
    return { seed: Number(seeds.split('..')[0]), rule: firstLine(Buffer.concat(told as Buffer[]).toString()) };
  const { failures } = JSON.parse(line) as { readonly failures: readonly Kill[] };
  const [first] = failures;
  if (first === undefined) throw new Error(`the simulation ended with ${exitCode} and without a failure`);
  return { seed: first.seed, rule: first.rule };
}

function firstLine(text: string): string {
  return /broke the simulation: (?:Error: )?([^\n]{0,80})/.exec(text)?.[1] ?? text.slice(0, 80);
}

async function remember(): Promise<void> {
  const all = { ...known, ...Object.fromEntries(kills) };
  const sorted = Object.fromEntries(Object.entries(all).sort(([a], [b]) => (a < b ? -1 : 1)));
  await writeFile(KILLED_FILE, `${JSON.stringify(sorted, null, 2)}\n`);
}
