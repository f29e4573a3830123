import type { ProductionOptions, ProductionScaler } from '../../backtest/production.ts';
import type { Amount, NodeType, Trace } from '../../backtest/types.ts';
import type { WorkloadPolicy } from '../../model/policy.ts';
import { parseDuration } from '../../model/units.ts';
import type { Options } from '../options.ts';
import { parseUnit, usage } from '../options.ts';
import { readTextFile } from './files.ts';

const POLICIES_MAX = 2;
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

/** Reads everything the command line names. @throws AppError for whatever is wrong with it */
export async function readInputs(options: Options): Promise<BacktestInputs> {
  const files = options.list('policy');
  if (files.length > POLICIES_MAX) throw usage('--policy is given more than twice', 'compare two policies at a time');
  const [{ readTrace }, { productionScaler }] = await Promise.all([
    import('../../backtest/trace.ts'),
    import('../../backtest/production.ts'),
  ]);
  const bootS = secondsOf('boot', options.text('boot') ?? '60s');
  const until = options.text('until');
  const traceFile = options.requiredText('trace');
  const trace = readTrace(await readTextFile(traceFile), traceFile);
  if (trace.tasks.length === 0) throw usage(`${traceFile} has no task that could be replayed`, 'name another job log');
  const { types, name: catalogue } = await readTypes(options.text('catalogue'));
  const policies = await Promise.all(
    files.map(async (file) => ({
      name: file,
      scaler: productionScaler(await productionOptions(file, types)),
    })),
  );
  return {
    trace,
    locals: await readLocals(options.requiredText('agents')),
    catalogue,
    policies,
    bootS,
    untilS: until === null ? null : (trace.tasks[0]?.submitS ?? 0) + secondsOf('until', until),
  };
}

async function productionOptions(file: string, types: readonly NodeType[]): Promise<ProductionOptions> {
  const policy = await readPolicyFile(file);
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

async function readPolicyFile(file: string): Promise<WorkloadPolicy> {
  const [{ loadPolicies }, { policyInvalidError }] = await Promise.all([
    import('../../policy/load.ts'),
    import('../../policy/format.ts'),
  ]);
  const result = await loadPolicies([file], { checkFiles: false });
  if (!result.ok) throw policyInvalidError(result.issues);
  const [loaded, second] = result.policies;
  if (loaded === undefined || second !== undefined) {
    throw usage(`--policy ${file} must name one policy file`, 'name a *.yaml file, once for each policy');
  }
  return loaded.policy;
}
