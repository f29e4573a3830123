/**
 * `npm run mutants [-- NAME...] [--search]`: plants each bug of `mutants.ts` in a copy of the source and lets the simulation look
 * for it. Each is first tried on the seed that killed it last (`killed.json`), then on seeds 1 to 60. A survivor, or a mutant
 * that does not fit the source any more, fails the run. `--search` looks again from seed 1 and rewrites `killed.json`.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { MUTANTS, type Mutant } from './mutants.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const KILLED_FILE = new URL('./killed.json', import.meta.url);
const SEEDS_MAX = 60;
const HOURS = 4;
/** A search of sixty seeds; far beyond it something hangs. */
const SEARCH_MS_MAX = 30 * 60_000;

interface Kill {
  readonly seed: number;
  readonly rule: string;
}

type Kills = Readonly<Record<string, Kill>>;

const named = process.argv.slice(2).filter((word) => !word.startsWith('--'));
const searching = process.argv.includes('--search');
const known = JSON.parse(await readFile(KILLED_FILE, 'utf8')) as Kills;
const chosen = MUTANTS.filter(({ name }) => named.length === 0 || named.includes(name));
const kills = new Map<string, Kill>();
const survivors: string[] = [];
const queue = [...chosen];
await Promise.all(Array.from({ length: availableParallelism() }, async () => await work()));
process.stdout.write(`${kills.size} of ${chosen.length} mutants killed\n`);
for (const name of survivors) process.stdout.write(`SURVIVED ${name}\n`);
if (searching) await remember();
process.exitCode = survivors.length === 0 ? 0 : 1;

async function work(): Promise<void> {
  for (let mutant = queue.shift(); mutant !== undefined; mutant = queue.shift()) {
    const kill = await hunt(mutant);
    if (kill === null) survivors.push(mutant.name);
    else kills.set(mutant.name, kill);
    const told = kill === null ? 'SURVIVED' : `killed at seed ${kill.seed} by ${kill.rule}`;
    process.stdout.write(`${mutant.name} (invariant ${mutant.invariant}): ${told}\n`);
  }
}

async function hunt(mutant: Mutant): Promise<Kill | null> {
  const copy = await mkdtemp(join(tmpdir(), 'spillway-mutant-'));
  try {
    for (const name of ['src', 'migrations', 'package.json', 'bin']) {
      await cp(join(ROOT, name), join(copy, name), { recursive: true });
    }
    await symlink(join(ROOT, 'node_modules'), join(copy, 'node_modules'));
    for (const edit of mutant.edits) await plant(copy, mutant, edit);
    const last = known[mutant.name];
    const again = searching || last === undefined ? null : await runSeeds(copy, `${last.seed}`);
    return again ?? (await runSeeds(copy, `1..${SEEDS_MAX}`));
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
async function runSeeds(copy: string, seeds: string): Promise<Kill | null> {
  const words = ['simulate', 'chaos', '--seeds', seeds, '--hours', String(HOURS), '--shards', '1'];
  const child = spawn(
    process.execPath,
    [join(copy, 'src/cli.ts'), ...words, '--fail-fast', '--no-shrink', '-q', '-o', 'json'],
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
  const all = { ...(named.length === 0 ? {} : known), ...Object.fromEntries(kills) };
  const sorted = Object.fromEntries(Object.entries(all).sort(([a], [b]) => (a < b ? -1 : 1)));
  await writeFile(KILLED_FILE, `${JSON.stringify(sorted, null, 2)}\n`);
}
