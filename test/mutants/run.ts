/**
 * `npm run mutants [-- NAME...] [--seeds N] [--record]`: plants each bug of `mutants.ts` in a copy of the source and looks who
 * notices it: the test that the bug names, else the simulation, first on the seed that noticed it last (`killed.json`), then on
 * seeds 1 to N (default 8). A bug that nobody notices, or that does not fit the source any more, fails the run. `--record` writes
 * down who did. Progress is told on stderr; the checkout itself is never touched.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { hunt } from './hunt.ts';
import { type Kill, MUTANTS } from './mutants.ts';

const KILLED_FILE = new URL('./killed.json', import.meta.url);
const SEEDS_DEFAULT = 8;
const EXIT_INTERRUPTED = 130;

const words = process.argv.slice(2);
const seedsAt = words.indexOf('--seeds');
const seedsMax = seedsAt < 0 ? SEEDS_DEFAULT : Number(words[seedsAt + 1]);
const names = words.filter((word, at) => !word.startsWith('--') && (seedsAt < 0 || at !== seedsAt + 1));
const strange = [
  ...names.filter((word) => !MUTANTS.some(({ name }) => name === word)),
  ...words.filter((word) => word.startsWith('--') && word !== '--seeds' && word !== '--record'),
];
if (strange.length > 0 || !Number.isInteger(seedsMax)) {
  throw new Error(
    `usage: npm run mutants -- [NAME...] [--seeds N] [--record]; unknown: ${strange.join(', ') || words[seedsAt + 1]}`,
  );
}
const known = JSON.parse(await readFile(KILLED_FILE, 'utf8')) as Record<string, Kill>;
const chosen = MUTANTS.filter(({ name }) => names.length === 0 || names.includes(name));
const survivors: string[] = [];
const unwritten: string[] = [];
const queue = [...chosen];
const stop = new AbortController();
for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => stop.abort());
await Promise.all(Array.from({ length: availableParallelism() }, async (_unused, core) => await work(core)));
if (stop.signal.aborted) process.exit(EXIT_INTERRUPTED);
process.stdout.write(`${chosen.length - survivors.length} of ${chosen.length} mutants killed\n`);
if (unwritten.length > 0) process.stdout.write(`not on record yet, see --record: ${unwritten.join(', ')}\n`);
for (const name of survivors) process.stdout.write(`SURVIVED ${name}\n`);
process.exitCode = survivors.length === 0 ? 0 : 1;

async function work(core: number): Promise<void> {
  for (let mutant = queue.shift(); mutant !== undefined && !stop.signal.aborted; mutant = queue.shift()) {
    const { name, invariant } = mutant;
    const startedMs = performance.now();
    const last = known[name] ?? null;
    const kill = await hunt(mutant, { core, last, seedsMax, signal: stop.signal }).catch((error: unknown) => {
      // One that could not be looked for must not leave the others running alone.
      process.stderr.write(`${name}: ${String(error)}\n`);
      return null;
    });
    if (stop.signal.aborted) return;
    const tookS = Math.round((performance.now() - startedMs) / 1000);
    process.stderr.write(`${name} (promise ${invariant}): ${describe(kill, last)}, ${tookS} s\n`);
    if (kill === null) survivors.push(name);
    else if (words.includes('--record')) await remember(name, kill);
    else if (last?.seed !== kill.seed) unwritten.push(name);
  }
}

function describe(kill: Kill | null, last: Kill | null): string {
  if (kill === null) return 'SURVIVED';
  const where = kill.seed === null ? '' : ` at seed ${kill.seed}`;
  const moved = last !== null && last.seed !== kill.seed ? `, no longer at ${last.seed ?? last.rule}` : '';
  return `killed${where} by ${kill.rule}${moved}`;
}

async function remember(name: string, kill: Kill): Promise<void> {
  known[name] = kill;
  const kept = Object.entries(known).filter(([one]) => MUTANTS.some((mutant) => mutant.name === one));
  const sorted = Object.fromEntries(kept.sort(([a], [b]) => (a < b ? -1 : 1)));
  await writeFile(KILLED_FILE, `${JSON.stringify(sorted, null, 2)}\n`);
}
