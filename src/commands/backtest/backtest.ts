import { addAmounts, NOTHING } from '../../backtest/types.ts';
import type { Condition } from '../../backtest/conditions.ts';
import type { Output } from '../output/output.ts';
import type { CommandSpec } from '../types.ts';
import type { BacktestInputs, InputSources } from './inputs.ts';
import type { BacktestReport, Difference, FailedCondition, PolicyResult, PolicyTimeline } from './report.ts';
import { describePast, differenceOf, FIGURE_KEYS, FIGURES, figureText } from './report.ts';
import type { BacktestHooks } from './run-policy.ts';

export const backtest: CommandSpec = {
  path: 'backtest',
  summary: 'Replay a job log on the planner, and show what a policy would have cost',
  description: [
    'Runs the planner of the service on a virtual clock: no service is asked and nothing is launched. The past comes from a job log, or from the database of the service (--from-database; tasks that have ended, as long as they are kept). A log is CSV with the columns submit_s, run_s, cores and, if known, mem_mb, gpus, queue (-1 = unknown; a core then has 2 GiB), or SWF; plain or gzip.',
    'Tasks neither move nor die; the queue is first come first served, where a later task may go ahead; local agents are filled first, then the tightest machine; machines take tasks after the boot time and are billed by the second from launch to end, for a minute at least; all their memory is for tasks. For a schedule of the policy a log begins on Saturday, 1 January 2000, 00:00 UTC; a forecast has no history here and does nothing.',
    'LOWER BOUND is what nobody could pay less than who starts every task at once, even knowing all tasks in advance; USEFUL is the least that the work done in the cloud could have cost; EFFICIENCY is USEFUL of COST.',
  ].join('\n\n'),
  options: [
    { name: 'trace', value: 'FILE', summary: 'the job log' },
    { name: 'from-database', summary: 'instead of a log: what the database remembers of the workload' },
    { name: 'from', value: 'DATE', summary: 'begin, as 2026-11-01 or RFC 3339; default 30 days before --to' },
    { name: 'to', value: 'DATE', summary: 'end, not included; default now' },
    {
      name: 'workload',
      short: 'w',
      value: 'WORKLOAD',
      names: 'workloads',
      summary: 'whose past; default that of the (first) policy',
    },
    {
      name: 'agents',
      value: 'SPEC',
      summary:
        'local agents: 60x16c64g, or 2x96c768g8gpu,1x32c256g, none, or a CSV file with cores,mem_mb,gpus,count; default with --from-database: those that serve the workload now',
    },
    {
      name: 'policy',
      value: 'FILE',
      summary: 'a policy; twice = compare the second with the first',
      required: true,
      repeatable: true,
    },
    { name: 'boot', value: 'DURATION', summary: 'from the launch until a machine takes tasks', default: '60s' },
    {
      name: 'catalogue',
      value: 'FILE',
      summary:
        'CSV with instance_type,vcpus,memory_mib,gpus,arch,on_demand_usd_per_hour,spot_usd_per_hour; else the built-in prices of us-east-1',
    },
    { name: 'until', value: 'DURATION', summary: 'end the replay this long after the first task' },
    {
      name: 'fail-if',
      value: 'CONDITION',
      summary: "exit 1 when it holds: 'costUsd > 100', 'difference.costUsd > 0'; any figure of -o json",
      repeatable: true,
    },
  ],
  examples: [
    {
      command: 'spillway backtest --trace jobs.csv.gz --agents 60x16c64g --policy policies/ci.yaml',
      summary: 'what the policy would have cost',
    },
    {
      command:
        'spillway backtest --trace jobs.swf --agents 60x16c --policy old.yaml --policy new.yaml -o html > report.html',
      summary: 'two policies, as a page with charts',
    },
    {
      command: 'spillway backtest --from-database --policy now.yaml --policy new.yaml',
      summary: 'the last 30 days under two policies',
    },
    {
      command: "spillway backtest --trace jobs.csv --agents agents.csv --policy ci.yaml --fail-if 'waitP95S > 120' -q",
      summary: 'a gate for CI',
    },
  ],
  output: 'report',
  seeAlso: ['policy validate', 'plan'],
  async run({ options, output, signal, nowMs, wiring }) {
    const { parseCondition } = await import('../../backtest/conditions.ts');
    const conditions = options.list('fail-if').map((text) => parseCondition(text, FIGURE_KEYS));
    const inputs = await readAll({ options, wiring, signal, nowMs });
    const hooks = { signal, nowMs, progress: (text: string) => output.hint(text) };
    const { results, timelines } = await runAll(inputs, hooks);
    const report = await makeReport(inputs, results, conditions);
    if (output.form === 'html') {
      const { renderReport } = await import('./html.ts');
      output.raw(renderReport(report, timelines));
    } else await output.object('Backtest', report, () => tell(output, report));
    for (const { condition, policy, actual } of report.failed) {
      output.warn(`failed: ${condition}: it is ${actual ?? 'not known'} (${policy})`);
    }
    return report.failed.length > 0 ? 1 : 0;
  },
};

async function readAll(sources: InputSources): Promise<BacktestInputs> {
  const { readInputs } = await import('./inputs.ts');
  return await readInputs(sources);
}

async function runAll(
  inputs: BacktestInputs,
  hooks: BacktestHooks,
): Promise<{ readonly results: readonly PolicyResult[]; readonly timelines: readonly PolicyTimeline[] }> {
  const { trace, locals, policies, untilS } = inputs;
  const [{ lowerBounds, workPrices }, { runPolicy }] = await Promise.all([
    import('../../backtest/bounds.ts'),
    import('./run-policy.ts'),
  ]);
  const types = policies.flatMap(({ scaler }) => scaler.types);
  const tasks = untilS === null ? trace.tasks : cutTasks(trace.tasks, untilS);
  hooks.progress(`${trace.name}: ${tasks.length} tasks; the lower bound first`);
  const bounds = lowerBounds({ tasks, locals, types });
  const setup = { ...inputs, types, bounds, prices: workPrices(tasks, types) };
  const results: PolicyResult[] = [];
  const timelines: PolicyTimeline[] = [];
  for (const policy of policies) {
    const { result, timeline } = await runPolicy(setup, policy, hooks);
    results.push(result);
    timelines.push(timeline);
  }
  return { results, timelines };
}

/** The tasks as far as they can have run by then, so that the bound is about the same time as the cost. */
function cutTasks(tasks: BacktestInputs['trace']['tasks'], untilS: number): BacktestInputs['trace']['tasks'] {
  return tasks
    .filter(({ submitS }) => submitS <= untilS)
    .map((task) => ({ ...task, runS: Math.min(task.runS, untilS - task.submitS) }));
}

async function makeReport(
  { trace, locals, bootS, untilS, catalogue }: BacktestInputs,
  results: readonly PolicyResult[],
  conditions: readonly Condition[],
): Promise<BacktestReport> {
  const { isMet } = await import('../../backtest/conditions.ts');
  const [first, second] = results;
  if (first === undefined) throw new Error('bug: no policy was replayed');
  const difference = second === undefined ? null : differenceOf(first, second);
  const all = locals.reduce(addAmounts, NOTHING);
  const [from, to] = [trace.tasks[0]?.submitS ?? 0, trace.tasks.at(-1)?.submitS ?? 0];
  return {
    ...first,
    trace: {
      name: trace.name,
      tasks: trace.tasks.length,
      skipped: trace.skipped,
      days: Number(((to - from) / 86_400).toFixed(3)),
    },
    agents: {
      count: locals.length,
      cores: all.cpuMilli / 1000,
      memoryGib: Math.round(all.memoryMib / 1024),
      gpus: all.gpuMilli / 1000,
    },
    bootS,
    untilS,
    catalogue,
    policies: results,
    difference,
    failed: conditions
      .flatMap((condition) => actualsOf(condition, results, difference))
      .filter(({ met }) => met)
      .map(({ condition, policy, actual }) => ({ condition, policy, actual })),
  };

  function actualsOf(
    condition: Condition,
    policies: readonly PolicyResult[],
    less: Difference | null,
  ): (FailedCondition & { readonly met: boolean })[] {
    const key = FIGURE_KEYS.find((each) => each === condition.figure) ?? 'costUsd';
    const named: (readonly [string, number | null])[] = condition.isDifference
      ? [['difference', less?.[key] ?? null]]
      : policies.map((result) => [result.policy, result[key]] as const);
    return named.map(([policy, actual]) => ({
      condition: condition.text,
      policy,
      actual,
      met: isMet(condition, actual),
    }));
  }
}

function tell(output: Output, report: BacktestReport): void {
  const { trace, agents, policies, difference } = report;
  output.line(`${trace.name}: ${describePast(report)}`);
  output.line(`${agents.count} local agents: ${agents.cores} cores, ${agents.memoryGib} GiB, ${agents.gpus} GPUs`);
  output.line('');
  output.block(
    [
      { header: 'FIGURE', raw: ({ label }) => label },
      ...policies.map((result) => ({
        header: result.policy,
        align: 'right' as const,
        raw: ({ key, kind }: (typeof FIGURES)[number]) => figureText(kind, result[key]),
      })),
      ...(difference === null
        ? []
        : [
            {
              header: 'DIFFERENCE',
              align: 'right' as const,
              raw: ({ key, kind }: (typeof FIGURES)[number]) => figureText(kind, difference[key], true),
            },
          ]),
    ],
    FIGURES,
  );
}
