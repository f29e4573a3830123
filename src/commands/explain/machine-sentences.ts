import { describeReason } from '../../planner/describe.ts';
import { candidatesText, demandText, gapText } from '../../planner/explain.ts';
import type { WorkloadPlan } from '../../planner/types.ts';
import type { HeldTasks, MachineExplanation, PlanPart } from '../../ports/explanations.ts';
import type { MachineEventDocument } from '../../ports/reports.ts';
import { protectionText } from '../machine/protection-text.ts';
import { humanAge, humanSeconds, humanUsd } from '../output/format.ts';

/** More names than this are a list; `-o json` has a hundred. */
const TASKS_SHOWN = 10;

/** Why a machine is there, what happened to it, what it waits for, and what it cost. */
export function machineSentences(explanation: MachineExplanation): string[] {
  const { machine } = explanation;
  return [
    `Machine ${machine.id} of ${machine.workload}: ${machine.state} since ${machine.stateSince}`,
    ...section('Why it was launched', [
      ...wantedBy(explanation),
      ...launchSentences(explanation),
      ...tagSentence(explanation),
    ]),
    ...section('Why it was let go', drainedBy(explanation)),
    ...section('What happened', machine.events.map(eventSentence)),
    ...section('Now', nowSentences(explanation)),
    ...section('Money', [moneySentence(explanation)]),
  ];
}

function section(title: string, lines: readonly string[]): string[] {
  return lines.length === 0 ? [] : ['', `${title}:`, ...lines.map((line) => `  ${line}`)];
}

function wantedBy({ launchedBy }: MachineExplanation): string[] {
  const { plan, decidedAt } = launchedBy;
  const lines = [planSentence(launchedBy)];
  if (plan === null)
    return [...lines, 'what that plan said is lost: the machine was found in EC2 and written down anew'];
  const missing = gapText(plan.report);
  return [
    ...lines,
    ...plan.report.reasons.slice(0, 1).map((reason) => `because ${describeReason(reason)}`),
    `demand then: ${demandText(plan.report, Date.parse(decidedAt))}`,
    ...(missing === null ? [] : [`missing then: ${missing}`]),
  ];
}

function planSentence({ planId, traceId, decidedAt }: PlanPart): string {
  return `plan ${planId} of ${decidedAt}, trace ${traceId}`;
}

function launchSentences({ machine, launch, launchedBy }: MachineExplanation): string[] {
  const { plan } = launchedBy;
  const price = `$${humanUsd(machine.priceUsdPerHour, 4)}/h`;
  const chosen = `chosen: ${machine.instanceType} ${machine.market} in ${machine.zone} at ${price}, by launch ${launch.id}`;
  const refused = launch.calls
    .filter(({ outcome }) => outcome === 'refused')
    .map(({ attempt, errorCode }) => {
      return `refused before: attempt ${attempt}, EC2 said ${errorCode ?? 'no'}`;
    });
  return [
    chosen,
    ...refused,
    ...(plan === null
      ? []
      : [`offerings: ${candidatesText(plan.report.candidates)}${ladderText(plan, machine.instanceType)}`]),
  ];
}

function tagSentence({ machine }: MachineExplanation): string[] {
  const { instanceId, traceId } = machine;
  return instanceId === null ? [] : [`instance: ${instanceId}, tagged spillway:trace=${traceId}`];
}

/** The plan's ladder for it, the cheapest first: what is tried next whenever EC2 refuses. */
function ladderText({ actions }: WorkloadPlan, instanceType: string): string {
  const ladders = actions.flatMap((action) =>
    action.kind === 'launch' ? [[action, ...action.ladder].map(({ offering }) => offering.instanceType.name)] : [],
  );
  const names = new Set(ladders.find((ladder) => ladder.includes(instanceType)));
  return names.size < 2 ? '' : `; to be tried in this order: ${[...names].join(', ')}`;
}

function drainedBy({ drainedBy: part, machine }: MachineExplanation): string[] {
  if (part === null) return [];
  // A workload without a policy has no part in the plan that lets its machines go.
  const reason = machine.events.findLast(
    ({ planId, toState }) => planId === part.planId && toState === 'draining',
  )?.reason;
  const [first] = part.plan?.report.reasons ?? [];
  const why = first === undefined ? reason : describeReason(first);
  return [planSentence(part), ...(why === undefined ? [] : [`because ${why}`])];
}

function eventSentence({ at, toState, actor, reason, planId }: MachineEventDocument): string {
  return `${at}  ${toState.padEnd(11)}  by ${actor}: ${reason}, for plan ${planId}`;
}

function nowSentences({ machine, blockers, tasks, at }: MachineExplanation): string[] {
  const { waiting, deadlineAt, stepFailures, stepError } = machine;
  if (waiting === null) {
    const detail = machine.endDetail === null ? '' : `: ${machine.endDetail}`;
    return [`it has ended (${machine.endReason ?? 'for a reason that is not known'}${detail}); it waits for nothing`];
  }
  return [
    `it ${waiting}`,
    ...(machine.waitsFor === null
      ? []
      : [`at the last visit it waited for ${machine.waitsFor.says}, since ${machine.waitsFor.since}`]),
    ...(deadlineAt === null ? [] : [deadlineSentence(deadlineAt, Date.parse(at))]),
    ...(stepFailures === 0
      ? []
      : [`its step failed ${stepFailures} times in a row: ${stepError ?? 'nothing was said'}`]),
    ...(machine.protection === null ? [] : [`it is protected ${protectionText(machine.protection)}`]),
    ...blockers.map((blocker) => `it cannot leave yet: ${blocker}`),
    ...(tasks.total === 0 ? [] : [`it runs ${tasksText(tasks, at)}`]),
  ];
}

function deadlineSentence(deadlineAt: string, nowMs: number): string {
  const leftS = (Date.parse(deadlineAt) - nowMs) / 1000;
  return leftS >= 0 ? `${humanSeconds(leftS)} are left` : `its time has been over for ${humanSeconds(-leftS)}`;
}

/** Tasks with how long they have run: `2 tasks: tk-1 (4m), tk-2 (10s)`. */
export function tasksText({ total, items }: HeldTasks, at: string): string {
  const names = items.slice(0, TASKS_SHOWN).map(({ id, startedAt }) => {
    return `${id} (${startedAt === null ? 'not started' : humanAge(startedAt, Date.parse(at))})`;
  });
  const more = total > names.length ? ` and ${total - names.length} more` : '';
  return `${total} ${total === 1 ? 'task' : 'tasks'}: ${names.join(', ')}${more}`;
}

function moneySentence({ machine, accruedUsd }: MachineExplanation): string {
  const through = machine.chargedThrough === null ? 'nothing charged yet' : `charged through ${machine.chargedThrough}`;
  const since = /^0\.0+$/.test(accruedUsd) ? '' : `, and about $${humanUsd(accruedUsd, 4)} that is not charged yet`;
  return `$${humanUsd(machine.costUsd, 4)} so far (${through})${since}; $${humanUsd(machine.priceUsdPerHour, 4)}/h at launch`;
}
