/** The figures of a report that a reader compares: what was asked for, what was missing, and how much of each limit was used. */
import type { Coverage } from './coverage.ts';
import type { Demand } from './demand.ts';
import { missingForTarget } from './demand.ts';
import type { Draft, Planning } from './draft.ts';
import { EMPTY_DRAFT, countBegun, countStaying, countVcpus, nanoPerHour } from './draft.ts';
import { usdOf } from './order.ts';
import { capacityWith } from './scale-up.ts';
import { countTasks, sumTasks } from './slots.ts';
import type { DemandReport, GapReport, LimitName, LimitReport, PlanReason, ReasonCode } from './types.ts';

/** Pending work as it was found. */
export function writeDemand({ urgent, patient }: Demand): DemandReport {
  const all = [...urgent, ...patient];
  const oldestMs = Math.min(...all.map((batch) => batch.oldestMs));
  return {
    tasks: countTasks(all),
    urgentTasks: countTasks(urgent),
    resources: sumTasks(all),
    oldestPendingSinceMs: Number.isFinite(oldestMs) ? oldestMs : null,
  };
}

/** What nothing there or on its way has room for. */
export function writeGap({ workload, fleet }: Planning, demand: Demand, before: Coverage): GapReport {
  const pending = [...before.urgent, ...before.patient];
  const staying = countStaying(fleet, EMPTY_DRAFT);
  return {
    tasks: countTasks(pending),
    resources: sumTasks(pending),
    headroom: sumTasks(before.headroom),
    utilization: missingForTarget(demand.utilization, capacityWith(fleet, EMPTY_DRAFT)),
    machinesBelowMin: Math.max(0, workload.policy.burst.limits.min - staying['on-demand'] - staying.spot),
  };
}

interface LimitFacts {
  readonly planning: Planning;
  readonly launched: Draft;
  readonly drained: number;
  readonly reasons: readonly PlanReason[];
}

/** The code that says that a limit stood in the way. */
export const LIMIT_CODES: Readonly<Record<LimitName, ReasonCode>> = {
  'limits.max': 'at-max',
  'limits.vcpus': 'at-vcpus',
  'limits.launchesPerHour': 'at-launches-per-hour',
  'limits.maxScaleUp': 'at-max-scale-up',
  'budget.hourly': 'at-hourly-budget',
  'limits.min': 'at-min',
  'limits.maxScaleDown': 'at-max-scale-down',
};

/** Every limit that the policy sets. */
export function writeLimits({ planning, launched, drained, reasons }: LimitFacts): LimitReport[] {
  const { fleet, workload } = planning;
  const { limits, budget } = workload.policy.burst;
  const count = countBegun(launched);
  const machines = fleet.machines.length;
  const staying = (draft: Draft): number => {
    const counts = countStaying(fleet, draft);
    return counts['on-demand'] + counts.spot;
  };
  const usd = (draft: Draft): number => usdOf(nanoPerHour(fleet, draft));
  const rows: readonly (readonly [LimitName, number | null, number, number])[] = [
    ['limits.max', limits.max, machines, machines + count],
    ['limits.vcpus', limits.vcpus, countVcpus(fleet, EMPTY_DRAFT), countVcpus(fleet, launched)],
    ['limits.launchesPerHour', limits.launchesPerHour, workload.launchedLastHour, workload.launchedLastHour + count],
    ['limits.maxScaleUp', limits.maxScaleUp, 0, count],
    ['budget.hourly', budget.hourlyUsd, usd(EMPTY_DRAFT), usd(launched)],
    ['limits.min', limits.min, staying(EMPTY_DRAFT), staying(launched) - drained],
    ['limits.maxScaleDown', limits.maxScaleDown, 0, drained],
  ];
  return rows.flatMap(([limit, value, before, after]) =>
    value === null
      ? []
      : [{ limit, value, before, after, bound: reasons.some(({ code }) => code === LIMIT_CODES[limit]) }],
  );
}
