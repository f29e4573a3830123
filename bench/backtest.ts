/**
 * Spillway's planner, peers' scaling rules and a naive one on real job logs, in the frame of `src/backtest/frame.ts`. Dollars and waits are simulated:
 * the same logs give the same figures on any machine.
 */
import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { lowerBounds, workPrices } from '../src/backtest/bounds.ts';
import { readCatalogueCsv } from '../src/backtest/catalogue.ts';
import type { BacktestFigures } from '../src/backtest/figures.ts';
import { makeFigures } from '../src/backtest/figures.ts';
import { replay } from '../src/backtest/frame.ts';
import { productionScaler } from '../src/backtest/production.ts';
import { readTrace } from '../src/backtest/trace.ts';
import type { NodeType, Trace } from '../src/backtest/types.ts';
import type { WorkloadPolicy } from '../src/model/policy.ts';
import { loadPolicies } from '../src/policy/load.ts';
import { readTextFile } from '../src/commands/backtest/files.ts';
import { builtInTypes } from '../src/commands/backtest/types.ts';
import { allBaselines, isUsual } from './baselines/all.ts';
import { settingsFor } from './baselines/settings.ts';
import { makeFigure, type Bench, type BenchContext, type Figure } from './support/bench.ts';
import { generatedTrace } from './support/trace.ts';

const BOOT_S = 60;
const OWN_POLICY = fileURLToPath(new URL('../examples/policies/backtest.yaml', import.meta.url));
const TRACE_FILE = /\.(?:csv|swf)(?:\.gz)?$/;

export const backtest: Bench = {
  name: 'backtest',
  about:
    "Spillway's planner and peers' scaling rules on the job logs of the folder SPILLWAY_TRACES: dollars, waits, launches",
  async run(context) {
    const folder = process.env['SPILLWAY_TRACES'];
    if (folder === undefined || folder === '') {
      warnLoudly(context);
      return await runTrace(context, {
        trace: generatedTrace(),
        types: builtInTypes().filter(isUsual),
        origin: 'generated',
      });
    }
    const types = (await readTypes(context)).filter(isUsual);
    const figures: Figure[] = [];
    for (const { trace, origin } of await readTraces(folder, context)) {
      context.signal.throwIfAborted();
      figures.push(...(await runTrace(context, { trace, types, origin })));
    }
    return figures;
  },
};

function warnLoudly({ progress }: BenchContext): void {
  progress('*** SPILLWAY_TRACES is not set: no real job log is replayed, only a small generated one. ***');
  progress('*** These figures say nothing about real work. Name a folder with *.csv, *.csv.gz or *.swf logs. ***');
}

/** The file that `SPILLWAY_CATALOGUE` names, or the built-in table. */
async function readTypes({ progress }: BenchContext): Promise<readonly NodeType[]> {
  const file = process.env['SPILLWAY_CATALOGUE'];
  if (file === undefined || file === '') {
    progress('SPILLWAY_CATALOGUE is not set: the built-in price table is used, which has fewer types');
    return builtInTypes();
  }
  return readCatalogueCsv(await readTextFile(file), file);
}

interface NamedTrace {
  readonly trace: Trace;
  readonly origin: string;
}

/** Every log of the folder; what is no list of tasks, such as a list of nodes, is left out with a word. */
async function readTraces(folder: string, { progress }: BenchContext): Promise<readonly NamedTrace[]> {
  const files = (await readdir(folder)).filter((file) => TRACE_FILE.test(file)).sort();
  const traces: NamedTrace[] = [];
  for (const file of files) {
    const path = join(folder, file);
    const text = await readTextFile(path);
    const hash = createHash('sha256')
      .update(await readFile(path))
      .digest('hex')
      .slice(0, 12);
    try {
      traces.push({ trace: readTrace(text, file), origin: `sha256 ${hash}` });
    } catch (error) {
      progress(`${file} is left out: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  if (traces.length === 0) throw new Error(`no job log in ${folder}`);
  return traces;
}

interface TraceRun {
  readonly trace: Trace;
  readonly types: readonly NodeType[];
  readonly origin: string;
}

async function runTrace(context: BenchContext, { trace, types, origin }: TraceRun): Promise<readonly Figure[]> {
  const { progress, signal } = context;
  const settings = settingsFor(trace.name, types);
  progress(`${trace.name}: ${trace.tasks.length} tasks on ${settings.localsSpec}; the lower bound first`);
  const bounds = lowerBounds({ tasks: trace.tasks, locals: settings.locals, types, bucketS: settings.bucketS });
  const prices = workPrices(trace.tasks, types);
  progress(`${trace.name}: nobody pays less than $${bounds.lowerBoundUsd.toFixed(2)}`);
  progress(`${'policy'.padEnd(32)}${HEADERS.map((header) => header.padStart(9)).join('')}`);
  const figures: Figure[] = [];
  const own = productionScaler({ policy: await ownPolicy(), types });
  for (const scaler of [own, ...allBaselines(types, settings)]) {
    signal.throwIfAborted();
    const startedMs = performance.now();
    const outcome = replay({ tasks: trace.tasks, locals: settings.locals, types, scaler, bootS: BOOT_S });
    const tookMs = performance.now() - startedMs;
    const result = makeFigures(outcome, bounds, prices.leastUsd);
    progress(
      `${scaler.name.padEnd(32)}${row(result, tookMs)
        .map((cell) => cell.padStart(9))
        .join('')}`,
    );
    const detail = `${trace.name} (${origin}) on ${settings.localsSpec}, boot ${BOOT_S} s; bound $${bounds.lowerBoundUsd.toFixed(2)}; ${JSON.stringify(result)}`;
    figures.push(makeFigure('backtest', `${trace.name} ${scaler.name}`, result.costUsd, 'USD', detail));
    // Ctrl-C is heard between replays only.
    await new Promise((resolve) => setImmediate(resolve));
  }
  return figures;
}

/** Spillway's planner, with everything allowed that peers may use. */
async function ownPolicy(): Promise<WorkloadPolicy> {
  const result = await loadPolicies([OWN_POLICY], { checkFiles: false });
  const policy = result.ok ? result.policies[0]?.policy : undefined;
  if (policy === undefined) throw new Error(`${OWN_POLICY} holds no valid policy`);
  return { ...policy, name: 'Spillway' };
}

const HEADERS = ['cost $', 'x bound', 'effic.', 'p95 s', 'max s', 'launches', 'done', 'ms'];

function row(figures: BacktestFigures, tookMs: number): string[] {
  return [
    figures.costUsd.toFixed(2),
    figures.ratioToLowerBound?.toFixed(2) ?? '-',
    figures.efficiency?.toFixed(2) ?? '-',
    figures.waitP95S.toFixed(0),
    figures.waitMaxS.toFixed(0),
    String(figures.launches),
    String(figures.tasksDone),
    tookMs.toFixed(0),
  ];
}
