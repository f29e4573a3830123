/**
 * Everything pending at once, nothing there yet: what the planner launches, in dollars an hour, to what nobody can go below, and
 * what Karpenter's rule launches. Costs are the same on any machine.
 */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { builtInTypes } from '../src/commands/backtest/types.ts';
import { readTextFile } from '../src/commands/backtest/files.ts';
import { valueOf, priceVertices } from '../src/backtest/prices.ts';
import { toResources } from '../src/backtest/production-view.ts';
import { FileProblems, readCsv } from '../src/backtest/records.ts';
import type { Amount, NodeType } from '../src/backtest/types.ts';
import { amountFits, amountKey } from '../src/backtest/types.ts';
import { ANYWHERE } from '../src/model/constraints.ts';
import { planAll } from '../src/planner/plan.ts';
import type { PendingShape, PlannerInput } from '../src/planner/types.ts';
import { isUsual } from './baselines/all.ts';
import { karpenter } from './baselines/karpenter.ts';
import { makeFigure, type Bench, type BenchContext, type Figure } from './support/bench.ts';
import { readCatalogueTypes, toOffering } from './support/catalogue.ts';
import { describeMachine } from './support/machine.ts';
import { stillView } from './support/peer-view.ts';
import { inputOf } from './support/planner-inputs.ts';
import { generatedTrace } from './support/trace.ts';

const RUNS = 9;
const PENDING_SINCE_MS = 1_000_000;

/** Equal tasks. */
interface Item {
  readonly need: Amount;
  readonly count: number;
}

interface Instance {
  readonly name: string;
  readonly items: readonly Item[];
  /** Null: only the bound that is computed here is known. */
  readonly configLp: ConfigLp | null;
}

/**
 * Least cost by whole machines and fractions of their number (the configuration LP, by column generation), at the prices of
 * 2026-07-20 in us-east-1 and for the types of `isUsual`. It takes a solver and minutes, and is therefore kept as a number.
 */
interface ConfigLp {
  readonly prefix: string;
  readonly usdPerHour: number;
  readonly note: string;
}

/** How many types there were: with another price list the bounds would be wrong. */
const CONFIG_LP_TYPES = 720;

const CONFIG_LPS: readonly ConfigLp[] = [
  { prefix: 'dlrm-2025', usdPerHour: 73_426.52, note: 'exact' },
  {
    prefix: 'openb-2023-last30d',
    usdPerHour: 5_903.83,
    note: 'after 133 rounds of column generation: its optimum may lie up to 4 % lower, $5,655.48 is proven',
  },
];

export const packing: Bench = {
  name: 'packing',
  about: 'the price of what the planner launches for all tasks of a log at once, beside bounds and Karpenter',
  async run(context) {
    const types = ((await readCatalogueTypes(context)) ?? builtInTypes()).filter(isUsual);
    const figures: Figure[] = [];
    for (const instance of await readInstances(context)) {
      context.signal.throwIfAborted();
      figures.push(...pack(instance, types));
    }
    return figures;
  },
};

function pack({ name, items, configLp }: Instance, types: readonly NodeType[]): Figure[] {
  const possible = items.filter(({ need }) => types.some(({ capacity }) => amountFits(need, capacity)));
  const tasks = possible.reduce((sum, { count }) => sum + count, 0);
  const about = `${tasks} tasks in ${possible.length} shapes, ${types.length} types`;
  const isListed = configLp !== null && types.length === CONFIG_LP_TYPES;
  const boundUsd = isListed ? configLp.usdPerHour : fractionalBound(possible, types);
  const bound = `$${boundUsd.toFixed(2)}/h, ${isListed ? `configuration LP, ${configLp.note}` : 'fractional: too low by a tenth and more'}`;
  const own = measure(() => planAll(inputFor(possible, types)).workloads[0]?.report.money.usdPerHourAfter ?? 0);
  const rule = karpenter({ types, emptyS: 0 });
  const peer = measure(() =>
    rule.decide(stillView(possible, [])).launch.reduce((sum, { type, count }) => sum + type.priceUsdPerHour * count, 0),
  );
  const figure = (who: string, { usd, cpuMs }: Packed, beside = ''): Figure[] => [
    makeFigure(
      'packing',
      `${name} ${who}`,
      usd / boundUsd,
      'x bound',
      `$${usd.toFixed(2)}/h${beside}; bound ${bound}; ${about}`,
    ),
    makeFigure(
      'packing',
      `${name} ${who}, time`,
      cpuMs,
      'ms of CPU',
      `${about}; median of ${RUNS}; ${describeMachine()}`,
    ),
  ];
  const share = ` (${(own.usd / peer.usd).toFixed(3)} of what Karpenter's rule costs)`;
  return [...figure('Spillway', own, share), ...figure("Karpenter's rule", peer)];
}

interface Packed {
  readonly usd: number;
  readonly cpuMs: number;
}

function measure(packOnce: () => number): Packed {
  const times: number[] = [];
  let usd = 0;
  for (let run = 0; run < RUNS; run += 1) {
    const before = process.cpuUsage();
    usd = packOnce();
    const { user, system } = process.cpuUsage(before);
    times.push((user + system) / 1000);
  }
  return { usd, cpuMs: times.sort((a, b) => a - b)[Math.floor(RUNS / 2)] ?? 0 };
}

/** The production planner's input: no agents, no limits that bind, and machines whose whole memory is for tasks, as peers have them. */
function inputFor(items: readonly Item[], types: readonly NodeType[]): PlannerInput {
  const pending = items.map(({ need, count }): PendingShape => ({
    shape: toResources(need),
    count,
    overdue: count,
    oldestPendingSinceMs: PENDING_SINCE_MS,
    ...ANYWHERE,
    runTimeS: null,
  }));
  const offerings = types.flatMap((type) => toOffering(type));
  return { ...inputOf(pending, offerings, []), reserve: { memoryMib: 0, memoryShare: 0 } };
}

/** What nobody goes below, because no type undercuts these prices of its parts. */
function fractionalBound(items: readonly Item[], types: readonly NodeType[]): number {
  const costs = priceVertices(types).map((prices) =>
    items.reduce((sum, { need, count }) => sum + valueOf(need, prices) * 3600 * count, 0),
  );
  return Math.max(0, ...costs);
}

/** Lists of tasks in the folder that `SPILLWAY_TRACES` names, of those whose configuration LP is known. */
async function readInstances({ progress }: BenchContext): Promise<readonly Instance[]> {
  const folder = process.env['SPILLWAY_TRACES'];
  if (folder === undefined || folder === '') {
    progress(
      '*** SPILLWAY_TRACES is not set: a small generated log is packed, which says nothing about real work. ***',
    );
    const { tasks, name } = generatedTrace();
    return [{ name, items: countItems(tasks.map(({ need }) => need)), configLp: null }];
  }
  const instances: Instance[] = [];
  for (const file of (await readdir(folder)).sort()) {
    const configLp = CONFIG_LPS.find(({ prefix }) => file.startsWith(prefix));
    if (configLp === undefined) continue;
    instances.push({ name: configLp.prefix, items: await readItems(join(folder, file), file), configLp });
  }
  if (instances.length === 0) {
    throw new Error(`none of ${CONFIG_LPS.map(({ prefix }) => prefix).join(', ')} is in ${folder}`);
  }
  return instances;
}

/** Reads what tasks need, and nothing else. */
async function readItems(path: string, name: string): Promise<readonly Item[]> {
  const problems = new FileProblems(name);
  const optional = [
    'submit_s',
    'run_s',
    'queue',
    'item',
    'app',
    'disk_gib',
    'max_per_node',
    'creation_s',
    'deletion_s',
  ];
  const needs: Amount[] = [];
  for (const row of readCsv(await readTextFile(path), { required: ['cores', 'mem_mb', 'gpus'], optional }, problems)) {
    needs.push({
      cpuMilli: Math.max(1, Math.round(Number(row.get('cores')) * 1000)),
      memoryMib: Math.ceil(Number(row.get('mem_mb'))),
      gpuMilli: Math.round(Number(row.get('gpus')) * 1000),
    });
  }
  problems.throwIfAny();
  return countItems(needs);
}

function countItems(needs: readonly Amount[]): readonly Item[] {
  const items = new Map<string, { readonly need: Amount; count: number }>();
  for (const need of needs) {
    const key = amountKey(need);
    const item = items.get(key) ?? { need, count: 0 };
    item.count += 1;
    items.set(key, item);
  }
  return [...items.values()];
}
