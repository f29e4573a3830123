import { describeTotals } from '../../planner/describe.ts';
import { explainWorkloadPlan } from '../../planner/explain.ts';
import type { PlanDocument, PlanLaunch } from '../../ports/explanations.ts';
import { humanAge } from '../output/format.ts';

/** A stored plan in sentences. */
export function planSentences(plan: PlanDocument, nowMs: number): string[] {
  const { outcome } = plan;
  const age = humanAge(plan.decidedAt, nowMs);
  const head = `Plan ${plan.id}, decided ${plan.decidedAt} (${age} ago) in epoch ${plan.epoch}, trace ${plan.traceId}`;
  if (plan.rebuilt)
    return [head, 'Nobody decided it: the plan was lost with commits of the database, its launches were found in EC2.'];
  return [
    head,
    madeBySentence(outcome.plannerVersion),
    ...outcome.workloads.flatMap((workload) => ['', ...explainWorkloadPlan(workload, outcome.decidedAtMs)]),
    ...section(
      'Without a policy, hence let go when their work is done',
      plan.withoutPolicy,
      ({ machineId, workload }) => {
        return `${machineId} of ${workload}`;
      },
    ),
    ...section('What came of its launches', plan.launches, launchSentence),
    '',
    describeTotals(outcome),
  ];
}

function madeBySentence(version: string | undefined): string {
  return version === undefined ? 'Made by a planner that did not say its version' : `Made by planner ${version}`;
}

function section<T>(title: string, items: readonly T[], say: (item: T) => string): string[] {
  return items.length === 0 ? [] : ['', `${title}:`, ...items.map((item) => `  ${say(item)}`)];
}

function launchSentence({
  id,
  workload,
  state,
  attempt,
  machines,
  instanceType,
  zone,
  market,
  errorCode,
}: PlanLaunch): string {
  const refused = errorCode === null ? '' : `, EC2 said ${errorCode}`;
  const tries = attempt === 1 ? 'at the first attempt' : `at attempt ${attempt}`;
  return `${id} of ${workload}: ${machines} x ${instanceType} ${market} ${zone}, ${state} ${tries}${refused}`;
}
