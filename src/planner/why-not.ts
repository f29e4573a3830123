/** Why nothing (more) is launched or let go: the reasons of a plan in the order in which they bind, each with its remedy. */
import { describeReason, reasonText } from './describe.ts';
import { countOf } from './text.ts';
import type { LimitReport, PlanReason, ReasonCode, WorkloadPlan } from './types.ts';

/** What binds, the first before the others: while everything holds, no limit matters, and so on. */
export const BINDINGS = ['hold', 'limit', 'budget', 'capacity', 'cooldown', 'room', 'wait'] as const;
export type Binding = (typeof BINDINGS)[number];

/** Codes beyond those of reasons tell of what no plan says, because there was nothing to decide. */
export type FindingCode =
  | ReasonCode
  | 'planner-failing'
  | 'growing'
  | 'at-work'
  | 'on-the-way'
  | 'leaving'
  | 'no-machines';

export interface Finding {
  readonly code: FindingCode;
  readonly binding: Binding;
  /** What it means, without figures. */
  readonly says: string;
  readonly detail: string;
  /** What to do about it, or that nothing is to be done. */
  readonly remedy: string;
}

export interface Direction {
  /** Machines that the next plan launches or takes back, or lets go. */
  readonly machines: number;
  /** What asks for more; clauses. Always empty for letting go. */
  readonly wanted: readonly string[];
  /** In the order in which they bind. */
  readonly findings: readonly Finding[];
}

export interface WhyNot {
  readonly workload: string;
  readonly scaleUp: Direction;
  readonly scaleDown: Direction;
  readonly limits: readonly LimitReport[];
}

export interface WhyNotFacts {
  /** Of the plan that the next tick would make. */
  readonly plan: WorkloadPlan;
  /** Machines of the workload by state, those that ended left out. */
  readonly machines: Readonly<Record<string, number>>;
  /** Present: the planner does not get to decide. */
  readonly trouble: string | null;
}

interface Rule {
  /** It asks for machines. */
  readonly wants?: true;
  readonly up?: Binding;
  readonly down?: Binding;
  readonly remedy: string;
}

const BY_ITSELF = 'nothing to do: it ends by itself';

/** Every code; one that is missing here does not compile. */
const RULES: Readonly<Record<ReasonCode, Rule>> = {
  amnesia: { up: 'hold', down: 'hold', remedy: 'wait; `spillway status` says what the rebuilding waits for' },
  'offerings-unknown': { up: 'hold', remedy: '`curl localhost:7777/healthz?verbose` says whether EC2 answers' },
  'held-auth': {
    up: 'hold',
    remedy: 'correct credentials or rights (infra/iam-policy.json); it is tried again every few minutes',
  },
  'held-config': { up: 'hold', remedy: 'correct the policy as the log says; a changed policy is tried at once' },
  'held-idempotency': { up: 'hold', remedy: 'report it with the log; it is tried again by itself' },
  'held-join': {
    up: 'capacity',
    remedy:
      '`spillway machine list --all` names those that ended as join-failed or join-deadline, `spillway machine show ID` has the end of the output; a changed policy is tried at once',
  },
  'held-quota': {
    up: 'hold',
    remedy: 'ask AWS for more of the quota, or allow families of another one in burst.instances',
  },
  'stale-samples': {
    down: 'hold',
    remedy: '`spillway agent list` names silent agents, `spillway explain agent ID` says when they count as gone',
  },
  'no-samples': {
    down: 'hold',
    remedy: 'see with `spillway agent list` whether any agent reports; a utilization signal needs them',
  },
  'implausible-samples': {
    down: 'hold',
    remedy: 'see with `spillway agent list` which agent reports more use than it has, and restart it',
  },
  'silence-unconfirmed': {
    up: 'hold',
    remedy: 'see why half of the local agents are silent; after another `freshness` it is believed',
  },
  'cloud-view-stale': {
    down: 'hold',
    remedy: 'wait for the next complete listing; `curl localhost:7777/healthz?verbose` says if it fails',
  },
  'at-max': { up: 'limit', remedy: 'raise limits.max in the policy, or wait for a machine to end' },
  'at-vcpus': { up: 'limit', remedy: 'raise limits.vcpus in the policy, or wait for a machine to end' },
  'at-launches-per-hour': {
    up: 'limit',
    remedy: 'raise limits.launchesPerHour, or wait: after an hour a launch no longer counts',
  },
  'at-max-scale-up': { up: 'limit', remedy: 'wait for the next plan, or raise limits.maxScaleUp' },
  'at-on-demand-base': { down: 'limit', remedy: 'lower market.onDemandBase in the policy' },
  'at-drain-budget': { down: 'limit', remedy: 'wait until machines that drain have gone, or raise drain.budgets' },
  protected: {
    down: 'limit',
    remedy: '`spillway machine show ID` says who protects it and why; `spillway machine unprotect ID` ends that',
  },
  'minimum-life': { down: 'wait', remedy: 'wait, or shorten drain.minimumLife' },
  'churn-breaker': {
    down: 'hold',
    remedy:
      'wait, lengthen drain.scaleDownUnneededTime (machines that went were replaced at once), or shorten drain.churnPause',
  },
  underutilized: { remedy: '' },
  'at-min': { down: 'limit', remedy: 'lower limits.min in the policy' },
  'at-max-scale-down': { down: 'limit', remedy: 'wait for the next plan, or raise limits.maxScaleDown' },
  'at-hourly-budget': {
    up: 'budget',
    remedy: 'raise budget.hourly, or allow cheaper types or more spot in the policy',
  },
  'offerings-held': {
    up: 'capacity',
    remedy: 'allow more families, sizes or subnets; what was refused is tried again by itself',
  },
  probing: { up: 'capacity', remedy: 'wait: the one machine finds out whether EC2 takes launches again' },
  'no-offering-fits': {
    up: 'capacity',
    remedy: 'allow types that hold the task in burst.instances, or submit smaller tasks',
  },
  'cooldown-scale-up': { up: 'cooldown', remedy: 'wait, or shorten drain.cooldown.scaleUp' },
  'cooldown-scale-down': { down: 'cooldown', remedy: 'wait, or shorten drain.cooldown.scaleDown' },
  'local-first': { up: 'room', remedy: BY_ITSELF },
  'local-only': { up: 'room', remedy: 'add local agents, or submit the work without --local-only' },
  'in-flight-covers': {
    up: 'room',
    remedy: '`spillway machine list` shows them, `spillway explain machine ID` what each waits for',
  },
  satisfied: { up: 'room', remedy: BY_ITSELF },
  'no-demand': { up: 'room', remedy: 'submit work' },
  needed: { down: 'room', remedy: BY_ITSELF },
  'waiting-within-max-wait': { up: 'wait', remedy: 'wait, or shorten queue.maxWait' },
  'local-frees-up-sooner': { up: 'wait', remedy: 'wait: a machine would be ready later' },
  'idle-not-long-enough': { down: 'wait', remedy: 'wait, or shorten drain.scaleDownUnneededTime' },
  'unserved-work': { wants: true, remedy: '' },
  'below-min': { wants: true, remedy: '' },
  'utilization-above-target': { wants: true, remedy: '' },
  'headroom-missing': { wants: true, remedy: '' },
  'forecast-room-missing': { wants: true, remedy: '' },
  forecast: { remedy: '' },
  'local-share': { remedy: '' },
  'dearest-stay-local': { remedy: '' },
  'schedule-window': { remedy: '' },
  'drain-cancelled': { remedy: '' },
  'machine-started': { remedy: '' },
  'machine-retired': { remedy: '' },
  'start-held': { up: 'capacity', remedy: BY_ITSELF },
  unneeded: { remedy: '' },
};

/** Sorts what a plan says by what it stands in the way of. Pure. */
export function explainWhyNot(facts: WhyNotFacts): WhyNot {
  const { plan, trouble } = facts;
  const { reasons, limits = [] } = plan.report;
  const failing = trouble === null ? [] : [troubleFinding(trouble)];
  const drained = plan.actions.filter(({ kind }) => kind === 'drain').length;
  return {
    workload: plan.workload,
    scaleUp: {
      machines: countGrowth(plan),
      wanted: reasons.filter(({ code }) => RULES[code].wants === true).map(describeReason),
      findings: [...failing, ...findingsOf(reasons, 'up')],
    },
    scaleDown: {
      machines: drained,
      wanted: [],
      findings: [...failing, ...withPresent(facts, findingsOf(reasons, 'down'), drained)],
    },
    limits,
  };
}

function countGrowth({ actions }: WorkloadPlan): number {
  return actions.reduce((sum, action) => {
    if (action.kind === 'drain' || action.kind === 'retire') return sum;
    return sum + (action.kind === 'launch' ? action.count : 1);
  }, 0);
}

function findingsOf(reasons: readonly PlanReason[], direction: 'up' | 'down'): Finding[] {
  return reasons
    .flatMap(({ code, detail }) => {
      const binding = RULES[code][direction];
      return binding === undefined
        ? []
        : [{ code, binding, says: reasonText(code), detail, remedy: RULES[code].remedy }];
    })
    .sort((a, b) => BINDINGS.indexOf(a.binding) - BINDINGS.indexOf(b.binding));
}

function troubleFinding(detail: string): Finding {
  const remedy = 'see the log of the service and `curl localhost:7777/healthz?verbose`';
  return { code: 'planner-failing', binding: 'hold', says: 'no plan is made', detail, remedy };
}

const COMING: readonly string[] = ['requested', 'launching', 'booting', 'joining'];
const GOING: readonly string[] = ['draining', 'leaving', 'stopping', 'terminating'];

/** A plan does not tell of machines that nothing was decided about. */
function withPresent({ plan, machines }: WhyNotFacts, findings: readonly Finding[], drained: number): Finding[] {
  const ready = (machines['ready'] ?? 0) - drained;
  const growth = countGrowth(plan);
  const coming = countStates(machines, COMING);
  const going = countStates(machines, GOING);
  if (Object.values(machines).every((count) => count === 0)) {
    return [present('no-machines', 'there is nothing to let go', 'no machine of this workload lives', BY_ITSELF)];
  }
  const wanted = `${countOf(growth, 'machine')} wanted`;
  const more: readonly (readonly [boolean, Finding])[] = [
    [growth > 0, present('growing', 'a plan that wants machines lets none go', wanted, BY_ITSELF)],
    [
      growth === 0 && findings.length === 0 && ready > 0,
      present('at-work', 'machines with work are never let go', countOf(ready, 'ready machine'), ASK_FOR_TASKS),
    ],
    [coming !== '', present('on-the-way', 'machines on their way are not let go', coming, ASK_FOR_WAIT)],
    [going !== '', { ...present('leaving', 'some are on their way out', going, ASK_FOR_WAIT), binding: 'wait' }],
  ];
  return [...findings, ...more.flatMap(([applies, finding]) => (applies ? [finding] : []))];
}

const ASK_FOR_TASKS = '`spillway explain machine ID` names the tasks that one runs';
const ASK_FOR_WAIT = '`spillway explain machine ID` says what each waits for';

function present(code: FindingCode, says: string, detail: string, remedy: string): Finding {
  return { code, binding: 'room', says, detail, remedy };
}

/** `2 booting, 1 joining`, or nothing. */
function countStates(machines: WhyNotFacts['machines'], states: readonly string[]): string {
  return states.flatMap((state) => ((machines[state] ?? 0) > 0 ? [`${machines[state]} ${state}`] : [])).join(', ');
}
