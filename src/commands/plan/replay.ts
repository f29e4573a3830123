import { AppError } from '../../model/errors.ts';
import type { WorkloadPolicy } from '../../model/policy.ts';
import type { Replay, WhatIf } from '../../planner/replay.ts';
import type { PlannerInput } from '../../planner/types.ts';
import type { PlanDocument } from '../../ports/explanations.ts';
import { EXIT_CHANGES } from '../exit-codes.ts';
import { readOnePolicy } from '../one-policy.ts';
import { terminalSafeLines } from '../output/terminal-text.ts';
import type { CommandContext, CommandSpec } from '../types.ts';
import { replaySentences, whatIfSentences, type ReplayedPlan, type WhatIfPlan } from './replay-sentences.ts';

export const planReplay: CommandSpec = {
  path: 'plan replay',
  summary: 'Make stored plans again from what they saw, and compare; or see what another policy would have decided',
  description:
    'The planner runs here, on the stored input. Without --policy it must say the same to the byte: if it does not, the difference is shown and the exit code is 1. A plan of another version of the planner may differ, and that is said.',
  arguments: [{ name: 'PLAN', summary: 'id of a plan, pl-..., or latest', variadic: true }],
  options: [
    {
      name: 'policy',
      value: 'FILE',
      summary: 'decide under the policy in this file instead of the one of its workload',
    },
    { name: 'detailed-exitcode', summary: 'exit 10 when another policy or version decides otherwise' },
  ],
  examples: [
    { command: 'spillway plan replay latest', summary: 'prints "same"' },
    { command: 'spillway plan replay pl-7f3ak2p9qx0z --policy policies/render.yaml', summary: 'what if' },
  ],
  output: 'object',
  exitCodes: [3, EXIT_CHANGES],
  seeAlso: ['explain plan', 'backtest'],
  async run(context) {
    const { options } = context;
    const file = options.text('policy');
    return file === null ? await replayAll(context) : await tryPolicy(context, await readOnePolicy(file));
  },
};

type ReadPlan = PlanDocument & { readonly input: PlannerInput };

async function readPlans({ args, client }: CommandContext): Promise<ReadPlan[]> {
  const service = await client();
  const plans: ReadPlan[] = [];
  for (const id of args) {
    plans.push(await service.get<ReadPlan>('StoredPlan', `/v1/plans/${encodeURIComponent(id)}`, { input: true }));
  }
  return plans;
}

async function replayAll(context: CommandContext): Promise<number> {
  const { output, options } = context;
  // Loaded here: the whole planner, which no other command needs.
  const { replayPlan } = await import('../../planner/replay.ts');
  const { PLANNER_VERSION } = await import('../../planner/version.generated.ts');
  const items = (await readPlans(context)).map((plan): ReplayedPlan => {
    const replay: Replay = replayPlan(plan.input, plan.outcome);
    return { planId: plan.id, decidedAt: plan.decidedAt, ...replay };
  });
  await output.object('PlanReplay', { plannerVersion: PLANNER_VERSION, items }, () => {
    output.line(terminalSafeLines(items.flatMap((item) => replaySentences(item, PLANNER_VERSION)).join('\n')));
  });
  if (items.some(({ result }) => result === 'differs')) return 1;
  return options.isSet('detailed-exitcode') && items.some(({ result }) => result !== 'same') ? EXIT_CHANGES : 0;
}

async function tryPolicy(context: CommandContext, policy: WorkloadPolicy): Promise<number> {
  const { output, options } = context;
  const { replayUnder } = await import('../../planner/replay.ts');
  const items = (await readPlans(context)).map((plan): WhatIfPlan => {
    const whatIf = replayUnder(plan.input, policy);
    if (whatIf === null) throw unknownWorkload(plan, policy);
    return { planId: plan.id, decidedAt: plan.decidedAt, workload: policy.name, ...changeOf(whatIf) };
  });
  await output.object('PlanWhatIf', { items }, () => {
    output.line(terminalSafeLines(items.flatMap(whatIfSentences).join('\n')));
  });
  return options.isSet('detailed-exitcode') && items.some(({ changed }) => changed.length > 0) ? EXIT_CHANGES : 0;
}

/** Workloads share local agents: another policy of one may change what another one gets. */
function changeOf({ before, after, notes }: WhatIf): Pick<WhatIfPlan, 'changed' | 'notes'> {
  const changed = before.workloads.flatMap((plan) => {
    const other = after.workloads.find(({ workload }) => workload === plan.workload);
    const isSame = JSON.stringify(decisionOf(plan)) === JSON.stringify(other === undefined ? null : decisionOf(other));
    return other === undefined || isSame ? [] : [{ before: plan, after: other }];
  });
  return { changed, notes };
}

function decisionOf({ actions, report }: WhatIf['before']['workloads'][number]): object {
  return { actions, verdict: report.verdict, reasons: report.reasons };
}

function unknownWorkload({ id, outcome }: PlanDocument, { name }: WorkloadPolicy): AppError {
  const known = outcome.workloads.map(({ workload }) => workload).join(', ');
  return new AppError('WORKLOAD_UNKNOWN', `plan ${id} did not plan for workload ${JSON.stringify(name)}`, {
    remedy: `give the policy the name of one of its workloads: ${known === '' ? '(it has none)' : known}`,
  });
}
