import type { ProductionOptions, ProductionScaler } from '../../backtest/production.ts';
import type { Amount, NodeType, Trace } from '../../backtest/types.ts';
import type { WorkloadPolicy } from '../../model/policy.ts';
import { parseDuration } from '../../model/units.ts';
import { DAY_MS } from '../../model/time.ts';
import { readOnePolicy } from '../one-policy.ts';
import { parseMoment, parseUnit, usage } from '../options.ts';
import type { CommandContext } from '../types.ts';
import { readTextFile } from './files.ts';

const POLICIES_MAX = 2;
const DEFAULT_PAST_MS = 30 * DAY_MS;
/** What a spec of agents looks like: everything else is a file. */
const SPEC_BEGIN = /^(?:none$|(?:\d+x)?[\d.]+c)/;

export interface BacktestInputs {
  readonly trace: Trace;
  readonly locals: readonly Amount[];
  readonly catalogue: string;
  readonly policies: readonly { readonly name: string; readonly scaler: ProductionScaler }[];
  readonly bootS: number;
  readonly untilS: number | null;
}

/** Where inputs come from: what the command line names, and the database that the configuration names. */
export type InputSources = Pick<CommandContext, 'options' | 'wiring' | 'signal' | 'nowMs'>;

/** Reads everything the command line names. @throws AppError for whatever is wrong with it */
export async function readInputs(sources: InputSources): Promise<BacktestInputs> {
  const { options } = sources;
  const files = options.list('policy');
  if (files.length > POLICIES_MAX) throw usage('--policy is given more than twice', 'compare two policies at a time');
  const bootS = secondsOf('boot', options.text('boot') ?? '60s');
  const until = options.text('until');
  const read = await Promise.all(files.map(async (file) => ({ name: file, policy: await readOnePolicy(file) })));
  const { trace, locals } = await readPast(sources, read[0]?.policy ?? null);
  if (trace.tasks.length === 0) throw usage(`${trace.name} has no task that could be replayed`, 'name another past');
  const { types, name: catalogue } = await readTypes(options.text('catalogue'));
  const { productionScaler } = await import('../../backtest/production.ts');
  return {
    trace,
    locals,
    catalogue,
    policies: await Promise.all(
      read.map(async ({ name, policy }) => ({
        name,
        scaler: productionScaler(await productionOptions(policy, types)),
      })),
    ),
    bootS,
    untilS: until === null ? null : (trace.tasks[0]?.submitS ?? 0) + secondsOf('until', until),
  };
}

type Past = Pick<BacktestInputs, 'trace' | 'locals'>;

async function readPast(sources: InputSources, policy: WorkloadPolicy | null): Promise<Past> {
  const { options } = sources;
  const file = options.text('trace');
  if (options.isSet('from-database')) {
    if (file !== null) throw usage('--trace and --from-database exclude each other', 'give one or the other');
    if (policy === null) throw usage('--policy is required', 'add --policy');
    return await readPastOf(sources, policy);
  }
  const without = ['from', 'to', 'workload'].find((flag) => options.text(flag) !== null);
  if (without !== undefined) throw usage(`--${without} is for --from-database`, `leave --${without} out`);
  if (file === null) throw usage('neither --trace nor --from-database is given', 'say which past is to be replayed');
  const { readTrace } = await import('../../backtest/trace.ts');
  return {
    trace: readTrace(await readTextFile(file), file),
    locals: await readLocals(options.requiredText('agents')),
  };
}

async function readPastOf({ options, wiring, signal, nowMs }: InputSources, policy: WorkloadPolicy): Promise<Past> {
  const [from, to, agents] = [options.text('from'), options.text('to'), options.text('agents')];
  const toMs = to === null ? nowMs() : Date.parse(parseMoment('to', to));
  const fromMs = from === null ? toMs - DEFAULT_PAST_MS : Date.parse(parseMoment('from', from));
  if (fromMs >= toMs) throw usage('--from is not before --to', 'let --to be later than --from');
  const workload = options.text('workload') ?? policy.name;
  const config = await wiring.readConfig();
  const request = { workload, fromMs, toMs, selector: policy.agents.selector };
  const [history, { traceOf, amountOf }] = await Promise.all([
    wiring.readHistory(config, request, signal),
    import('./history.ts'),
  ]);
  const [first, last] = [fromMs, toMs].map((ms) => `${new Date(ms).toISOString().slice(0, 16)}Z`);
  return {
    trace: traceOf(history, { name: `${workload} from ${first} to ${last}`, fromMs }),
    locals: agents === null ? history.agents.map(amountOf) : await readLocals(agents),
  };
}

async function productionOptions(policy: WorkloadPolicy, types: readonly NodeType[]): Promise<ProductionOptions> {
  const { schedule = [] } = policy.demand;
  if (schedule.length === 0) return { policy, types };
  const { openWindows } = await import('../../policy/schedule.ts');
  return { policy, types, windowsAt: (nowMs) => openWindows(schedule, nowMs) };
}

function secondsOf(flag: string, text: string): number {
  return parseUnit(flag, text, parseDuration) / 1000;
}

async function readTypes(file: string | null): Promise<{ readonly types: readonly NodeType[]; readonly name: string }> {
  if (file === null) {
    const { builtInTypes } = await import('./types.ts');
    return { types: builtInTypes(), name: 'built-in, us-east-1' };
  }
  const { readCatalogueCsv } = await import('../../backtest/catalogue.ts');
  return { types: readCatalogueCsv(await readTextFile(file), file), name: file };
}

async function readLocals(agents: string): Promise<readonly Amount[]> {
  const { parseAgentsSpec, readAgentsFile } = await import('../../backtest/agents-spec.ts');
  return SPEC_BEGIN.test(agents) ? parseAgentsSpec(agents) : readAgentsFile(await readTextFile(agents), agents);
}
