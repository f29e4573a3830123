import type { Resources } from '../model/resources.ts';
import type { ActionMachine, PlanAction, PlanOutcome, PlanReason, ReasonCode, WorkloadPlan } from './types.ts';
import { countOf } from './text.ts';

/** What each code says by itself; the reason's detail follows with the figures. */
const REASON_TEXTS: Readonly<Record<ReasonCode, string>> = {
  amnesia: 'everything holds until the rows are rebuilt',
  'unserved-work': 'pending work has nowhere to run',
  'below-min': 'fewer machines than limits.min or the schedule asks for',
  'schedule-window': 'a window of the schedule counts',
  'utilization-above-target': 'utilization is above its target',
  'headroom-missing': 'headroom is missing',
  'forecast-room-missing': 'room for expected demand is missing',
  forecast: 'demand is forecast',
  'local-first': 'local agents take pending work first',
  'local-only': 'work that may not go to the cloud waits for local agents',
  'local-share': 'workloads share local agents by priority and weight',
  'in-flight-covers': 'machines on their way cover the rest',
  'waiting-within-max-wait': 'work may still wait for room',
  'local-frees-up-sooner': 'local agents will have room before a machine would be ready',
  'dearest-stay-local': 'local room goes to what would be dearest in the cloud',
  'drain-cancelled': 'a drain is called off instead of a launch',
  'machine-started': 'stopped machines are started instead of launches',
  'machine-retired': 'stopped machines are kept no longer',
  'start-held': 'stopped machines that EC2 would not start are left alone for a while',
  unneeded: 'nothing needs these machines',
  underutilized: 'the work of these machines has room on others, and they go when it is done',
  'idle-not-long-enough': 'machines without work are kept a while',
  'minimum-life': 'machines are kept for drain.minimumLife',
  needed: 'machines without work are needed',
  'at-max': 'limits.max is reached',
  'at-vcpus': 'limits.vcpus stands in the way',
  'at-hourly-budget': 'budget.hourly stands in the way',
  'at-launches-per-hour': 'limits.launchesPerHour is reached',
  'at-max-scale-up': 'limits.maxScaleUp is reached; the next plan goes on',
  'at-max-scale-down': 'limits.maxScaleDown is reached; the next plan goes on',
  'at-min': 'limits.min keeps machines',
  'at-on-demand-base': 'market.onDemandBase keeps on-demand machines',
  'at-drain-budget': 'drain.budgets lets no more machines go at a time',
  protected: 'protected machines are not let go',
  'cooldown-scale-up': 'launches cool down',
  'cooldown-scale-down': 'drains cool down',
  'churn-breaker': 'machines come and go too often, and stay for a while',
  'stale-samples': 'nothing is let go on old reports',
  'no-samples': 'nothing is let go without samples',
  'implausible-samples': 'samples that cannot be true count as none',
  'silence-unconfirmed': 'launches go in small steps until the silence is confirmed',
  'offerings-unknown': 'nothing is launched while offerings are unknown',
  'no-offering-fits': 'no allowed offering fits',
  'offerings-held': 'offerings that EC2 refused are left alone for a while',
  'held-quota': 'a quota of the account is used up',
  'held-auth': 'EC2 refuses our credentials or rights',
  'held-config': 'EC2 cannot do what the policy asks for',
  'held-idempotency': 'a launch was repeated with another request: report this',
  'held-join': 'machines did not join several times in a row, and their type is left alone for a while',
  probing: 'one launch finds out whether EC2 takes it again',
  'cloud-view-stale': 'nothing is let go on an old view of EC2',
  'no-demand': 'nothing to do',
  satisfied: 'demand is met',
};

/**
 * A plan as text: what would be launched (`+`), taken back (`~`) and let go (`-`), why, and what it costs. Ends without a
 * newline. Widths are those of the plan's own longest cells.
 */
export function describePlan(outcome: PlanOutcome): string {
  if (outcome.workloads.length === 0) return 'No workload has a policy. Nothing to plan.';
  return [...outcome.workloads.map(describeWorkloadPlan), describeTotals(outcome)].join('\n\n');
}

/** One workload's part of {@link describePlan}. */
export function describeWorkloadPlan(plan: WorkloadPlan): string {
  const { placement, verdict } = plan.report;
  const head = `${plan.workload}: ${verdict.replace('-', ' ')}, ${countOf(placement.pendingTasks, 'pending task')}${whereTo(plan)}`;
  const [first, ...others] = plan.report.reasons;
  const because = first === undefined ? [] : [`  because ${describeReason(first)}`];
  return [
    head,
    ...describeActions(plan),
    ...because,
    ...others.map((reason) => `      and ${describeReason(reason)}`),
  ].join('\n');
}

/** What is done, a line each: `+` launched or started, `~` taken back, `-` let go. */
export function describeActions({ actions }: WorkloadPlan): string[] {
  const cells = actions.map((action) => actionCells(action));
  const widths = [0, 1, 2].map((column) => Math.max(0, ...cells.map((row) => row[column]?.length ?? 0)));
  return cells.map((row) => `  ${row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ')}`.trimEnd());
}

/** What a code means, without figures. */
export function reasonText(code: ReasonCode): string {
  return REASON_TEXTS[code];
}

/** One reason as a clause: what its code means, then the figures. */
export function describeReason({ code, detail }: PlanReason): string {
  return `${REASON_TEXTS[code]} (${detail})`;
}

function whereTo({ report }: WorkloadPlan): string {
  const { placement } = report;
  const parts: readonly (readonly [number, string])[] = [
    [placement.onLocal, 'on local agents'],
    [placement.onCloud, 'on cloud agents'],
    [placement.inFlight, 'on machines on their way'],
    [placement.planned ?? 0, 'on machines of this plan'],
    [placement.waiting, 'waiting'],
    [placement.unserved, 'without a place'],
    [placement.impossible, 'impossible to place'],
  ];
  const said = parts.filter(([count]) => count > 0).map(([count, place]) => `${count} ${place}`);
  return said.length === 0 ? '' : ` (${said.join(', ')})`;
}

function actionCells(action: PlanAction): string[] {
  switch (action.kind) {
    case 'launch': {
      const { instanceType, market, zone, priceUsdPerHour } = action.offering;
      const price = signedPrice(priceUsdPerHour * action.count);
      return [
        `+ ${action.count} x ${instanceType.name} ${market} ${zone}`,
        scaled(instanceType.resources, action.count, '+'),
        price,
      ];
    }
    case 'undrain':
      return [`~ ${action.machineId}${machineText(action.machine)}`, 'drain called off', '$0.0000/h'];
    case 'start': {
      const { machine } = action;
      if (machine === undefined) return [`+ ${action.machineId}`, 'started', ''];
      const price = signedPrice(machine.priceUsdPerHour);
      return [`+ ${action.machineId}${machineText(machine)}, stopped before`, scaled(machine.resources, 1, '+'), price];
    }
    case 'retire':
      return [`- ${action.machineId}${machineText(action.machine)}, stopped`, 'terminated', '$0.0000/h'];
    case 'drain': {
      const { machine } = action;
      if (machine === undefined) return [`- ${action.machineId}`, 'after its drain', ''];
      const idle = machine.idleMs === null ? ' once its work is done' : ` idle ${Math.floor(machine.idleMs / 1000)} s`;
      const freed = scaled(machine.resources, 1, '-');
      return [`- ${action.machineId}${machineText(machine)}${idle}`, freed, signedPrice(-machine.priceUsdPerHour)];
    }
  }
}

function machineText(machine: ActionMachine | undefined): string {
  return machine === undefined ? '' : ` ${machine.instanceType} ${machine.market} ${machine.zone}`;
}

function scaled({ cpuMilli, memoryMib, gpus }: Resources, count: number, sign: '+' | '-'): string {
  const devices = gpus === 0 ? '' : ` ${sign}${countOf(gpus * count, 'GPU')}`;
  return `${sign}${(cpuMilli * count) / 1000} vCPU ${sign}${(memoryMib * count) / 1024} GiB${devices}`;
}

function signedPrice(usdPerHour: number): string {
  return `${usdPerHour < 0 ? '-' : '+'}$${Math.abs(usdPerHour).toFixed(4)}/h`;
}

/** How much is launched, taken back and let go by all workloads, and what that costs. */
export function describeTotals({ workloads }: PlanOutcome): string {
  const actions = workloads.flatMap((plan) => plan.actions);
  const launches = actions.reduce((sum, action) => sum + (action.kind === 'launch' ? action.count : 0), 0);
  const undrains = actions.filter(({ kind }) => kind === 'undrain').length;
  const drains = actions.filter(({ kind }) => kind === 'drain').length;
  const before = workloads.reduce((sum, { report }) => sum + report.money.usdPerHourBefore, 0);
  const after = workloads.reduce((sum, { report }) => sum + report.money.usdPerHourAfter, 0);
  const [starts, retires] = (['start', 'retire'] as const).map(
    (kind) => actions.filter((action) => action.kind === kind).length,
  );
  const ofPool = [starts ? `, ${starts} to start` : '', retires ? `, ${retires} stopped to terminate` : ''].join('');
  const counts = `${launches} to launch, ${undrains} to take back, ${drains} to drain${ofPool}`;
  return `Plan: ${counts}. $${before.toFixed(4)}/h now, $${after.toFixed(4)}/h after.`;
}
