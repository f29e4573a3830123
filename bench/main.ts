/**
 * `npm run bench -- [NAME...]`: runs benchmarks, all of them by default. Standard output carries one JSON line per figure,
 * standard error what is going on. Exit codes: 0, 1 a bench failed, 2 wrong usage, 130 Ctrl-C.
 */
import { parseArgs } from 'node:util';
import { nearestWord } from '../src/model/units.ts';
import { agent } from './agent.ts';
import { backtest } from './backtest.ts';
import { ec2Calls } from './ec2-calls.ts';
import { heartbeatsHttp } from './heartbeats-http.ts';
import { heartbeats } from './heartbeats.ts';
import { joins } from './joins.ts';
import { packing } from './packing.ts';
import { planBlock } from './plan-block.ts';
import { planner } from './planner.ts';
import type { Bench } from './support/bench.ts';
import { reaction } from './reaction.ts';
import { restart } from './restart.ts';
import { survive } from './survive.ts';
import { timeToReady } from './time-to-ready.ts';

const BENCHES: readonly Bench[] = [
  planner,
  packing,
  planBlock,
  heartbeats,
  heartbeatsHttp,
  agent,
  timeToReady,
  joins,
  reaction,
  restart,
  survive,
  ec2Calls,
  backtest,
];
const USAGE = 'usage: npm run bench -- [--list] [NAME...]';

const interrupted = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => interrupted.abort(new Error('interrupted')));
}
process.exitCode = await main(process.argv.slice(2));

async function main(words: readonly string[]): Promise<number> {
  const parsed = parse(words);
  if (parsed === null) return 2;
  if (parsed.list) {
    for (const { name, about } of BENCHES) process.stdout.write(`${name.padEnd(18)}${about}\n`);
    return 0;
  }
  let failed = false;
  for (const bench of parsed.benches) {
    if (interrupted.signal.aborted) break;
    failed = !(await run(bench)) || failed;
  }
  if (interrupted.signal.aborted) return 130;
  return failed ? 1 : 0;
}

function parse(words: readonly string[]): { readonly list: boolean; readonly benches: readonly Bench[] } | null {
  try {
    const { values, positionals } = parseArgs({
      args: [...words],
      options: { list: { type: 'boolean', default: false } },
      allowPositionals: true,
    });
    const benches = positionals.map((name) => BENCHES.find((bench) => bench.name === name) ?? name);
    const unknown = benches.filter((bench) => typeof bench === 'string');
    for (const name of unknown) say(`error: there is no benchmark ${JSON.stringify(name)}; ${hintFor(name)}`);
    if (unknown.length > 0) return null;
    const known = benches.filter((bench) => typeof bench !== 'string');
    return { list: values.list, benches: known.length === 0 ? BENCHES : known };
  } catch (error) {
    say(`error: ${error instanceof Error ? error.message : String(error)}\n${USAGE}`);
    return null;
  }
}

function hintFor(name: string): string {
  const names = BENCHES.map((bench) => bench.name);
  const meant = nearestWord(name, names);
  return meant === null ? `there are ${names.join(', ')}` : `did you mean ${meant}?`;
}

/** False when it failed. A bench that is interrupted stops what it started before this returns. */
async function run(bench: Bench): Promise<boolean> {
  const startedMs = performance.now();
  say(`${bench.name}: ${bench.about}`);
  try {
    const figures = await bench.run({
      signal: interrupted.signal,
      progress: (text) => say(`${bench.name}: ${text}`),
    });
    for (const figure of figures) process.stdout.write(`${JSON.stringify(figure)}\n`);
    say(`${bench.name}: done in ${((performance.now() - startedMs) / 1000).toFixed(1)} s`);
    return true;
  } catch (error) {
    if (interrupted.signal.aborted) say(`${bench.name}: interrupted; everything it started is stopped`);
    else say(`error: ${bench.name}: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
    return false;
  }
}

function say(text: string): void {
  process.stderr.write(`${text}\n`);
}
