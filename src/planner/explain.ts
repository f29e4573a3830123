/** A plan told to somebody who was not there: what was asked for, what was there, what was left out, and what it came to. */
import type { Resources } from '../model/resources.ts';
import { describeActions, describeReason } from './describe.ts';
import { isAnything } from './demand.ts';
import { countOf, needText } from './text.ts';
import type { CapacityReport, LimitReport, PlanOutcome, WorkloadPlan, WorkloadReport } from './types.ts';

/** What each count of left-out offerings means; a code that is not here is shown as it is. */
const REJECTION_TEXTS: Readonly<Record<string, string>> = {
  architecture: 'of an architecture without an image',
  family: 'of another family',
  burstable: 'burstable',
  excluded: 'excluded by the policy',
  cpu: 'with too few or too many vCPUs',
  memory: 'with too little or too much memory',
  'memory-per-cpu': 'with another share of memory per vCPU',
  market: 'on a market that the policy does not use',
  'no-price': 'without a price',
  unavailable: 'held back after EC2 refused them',
  dominated: 'no larger than a cheaper one',
};

/** One workload of a plan as lines: its verdict, then a fact each. */
export function explainWorkloadPlan(plan: WorkloadPlan, decidedAtMs: PlanOutcome['decidedAtMs']): string[] {
  const { report } = plan;
  const facts: readonly (readonly [string, string | null])[] = [
    ['demand', demandText(report, decidedAtMs)],
    ['local', agentsText(report.local, 'agent')],
    ['cloud', agentsText(report.cloud, 'machine')],
    ['on the way', report.inFlight.agents === 0 ? null : agentsText(report.inFlight, 'machine')],
    ['missing', gapText(report)],
    ['offerings', candidatesText(report.candidates)],
    ['limits', limitsText(report.limits)],
    ['money', moneyText(report)],
  ];
  const told = facts.flatMap(([name, text]) => (text === null ? [] : [`  ${name.padEnd(10)} ${text}`]));
  const because = report.reasons.map(
    (reason, index) => `  ${(index === 0 ? 'because' : 'and').padEnd(10)} ${describeReason(reason)}`,
  );
  return [`${plan.workload}: ${report.verdict.replace('-', ' ')}`, ...describeActions(plan), ...told, ...because];
}

/** What was pending: how much, for how long, and how much of it may not wait. */
export function demandText({ demand, placement, signals }: WorkloadReport, decidedAtMs: number): string {
  const tasks = countOf(demand?.tasks ?? placement.pendingTasks, 'pending task');
  const { utilization } = signals;
  const others = utilization === null ? '' : `; ${utilization.detail}`;
  if (demand === undefined || demand.tasks === 0) return `${tasks}${others}`;
  const since = demand.oldestPendingSinceMs;
  const oldest = since === null ? '' : `, the oldest for ${Math.max(0, Math.round((decidedAtMs - since) / 1000))} s`;
  return `${tasks}: ${needText(demand.resources, null)}${oldest}; ${demand.urgentTasks} may wait no longer${others}`;
}

function agentsText({ agents, staleAgents, capacity, free }: CapacityReport, noun: string): string {
  if (agents === 0) return `no ${noun}s`;
  const silent = staleAgents === 0 ? '' : `, ${staleAgents} silent`;
  return `${countOf(agents, noun)}${silent}: ${needText(capacity, null)}, of which free ${needText(free, null)}`;
}

/** Null: nothing is missing, or the planner of then did not say. */
export function gapText({ gap }: WorkloadReport): string | null {
  if (gap === undefined) return null;
  const amount = (what: string, resources: Resources): string[] =>
    isAnything(resources) ? [`${needText(resources, null)} ${what}`] : [];
  const parts = [
    ...(gap.tasks === 0 ? [] : [`room for ${countOf(gap.tasks, 'task')} (${needText(gap.resources, null)})`]),
    ...amount('of headroom', gap.headroom),
    ...amount('for the utilization target', gap.utilization),
    ...(gap.machinesBelowMin === 0 ? [] : [`${countOf(gap.machinesBelowMin, 'machine')} to limits.min`]),
  ];
  return parts.length === 0 ? 'nothing' : parts.join('; ');
}

/** How many offerings were looked at, and why which were left out; the most frequent first. */
export function candidatesText({ considered, rejected }: WorkloadReport['candidates']): string {
  const counts = Object.entries(rejected).sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1));
  const left = counts.map(([code, count]) => `${count} ${REJECTION_TEXTS[code] ?? code}`);
  return `${considered} considered${left.length === 0 ? '' : `; left out: ${left.join(', ')}`}`;
}

function limitsText(limits: readonly LimitReport[] = []): string | null {
  const bound = limits.filter((limit) => limit.bound).map(limitText);
  if (limits.length === 0) return null;
  return bound.length === 0 ? 'none stood in the way' : `in the way: ${bound.join('; ')}`;
}

/** A limit and how much of it is used: `limits.max 12 (12 before, 12 with this plan)`. */
export function limitText({ limit, value, before, after }: LimitReport): string {
  const amount = (number: number): string => (limit === 'budget.hourly' ? `$${number.toFixed(4)}/h` : String(number));
  return `${limit} ${amount(value)} (${amount(before)} before, ${amount(after)} with this plan)`;
}

function moneyText({ money }: WorkloadReport): string {
  return `$${money.usdPerHourBefore.toFixed(4)}/h before, $${money.usdPerHourAfter.toFixed(4)}/h after`;
}
