import type { Demand } from './demand.ts';
import { utilizationDetail } from './demand.ts';
import type { Bounds, Planning } from './draft.ts';
import { nanoPerHour, EMPTY_DRAFT } from './draft.ts';
import { usdOf } from './order.ts';
import type { ScaleDown } from './scale-down.ts';
import type { ScaleUp, Want } from './scale-up.ts';
import { isAboveTarget } from './scale-up.ts';
import { countTasks, sumTasks } from './slots.ts';
import type { PlanReason, ReasonCode, WorkloadReport } from './types.ts';

export interface ReasonFacts {
  readonly planning: Planning;
  readonly demand: Demand;
  readonly placement: Required<WorkloadReport['placement']>;
  readonly up: ScaleUp;
  readonly down: ScaleDown;
}

/** Every reason that held, the deciding one first; never empty. */
export function listReasons(facts: ReasonFacts): PlanReason[] {
  const { up, down } = facts;
  const reasons: PlanReason[] = [];
  const add = (more: readonly PlanReason[]): void => {
    for (const reason of more) if (!reasons.some(({ code }) => code === reason.code)) reasons.push(reason);
  };
  add(up.wants.map((want) => wantReason(want, facts)));
  if (up.draft.undrained.length > 0) {
    add([
      { code: 'drain-cancelled', detail: `${up.draft.undrained.length} machines taken back before anything is bought` },
    ]);
  }
  if (down.drained.length > 0) add([{ code: 'unneeded', detail: unneededDetail(facts) }]);
  add(boundReasons(up.bounds));
  add(up.open.map((want) => wantReason(want, facts)));
  add(boundReasons(down.bounds));
  add(placementReasons(facts));
  if (reasons.length === 0) add([contentReason(facts)]);
  return reasons;
}

function boundReasons(bounds: Bounds): PlanReason[] {
  return [...bounds].map(([code, detail]) => ({ code, detail }));
}

const WANT_CODES: Readonly<Record<Want, ReasonCode>> = {
  work: 'unserved-work',
  headroom: 'headroom-missing',
  min: 'below-min',
  utilization: 'utilization-above-target',
};

function wantReason(want: Want, facts: ReasonFacts): PlanReason {
  return { code: WANT_CODES[want], detail: wantDetail(want, facts) };
}

function wantDetail(want: Want, { planning, demand, placement, up }: ReasonFacts): string {
  const { limits } = planning.workload.policy.burst;
  switch (want) {
    case 'work': {
      const unplaced = placement.planned + countTasks(up.coverage.urgent);
      return `${unplaced} of ${placement.pendingTasks} pending tasks fit no agent and no machine on its way`;
    }
    case 'headroom': {
      const { cpuMilli, memoryMib } = sumTasks(demand.headroom);
      return `room for ${countTasks(demand.headroom)} tasks wanted, ${cpuMilli / 1000} vCPU and ${memoryMib} MiB`;
    }
    case 'min':
      return `at least ${limits.min} machines wanted`;
    case 'utilization':
      return utilizationDetail(demand.utilization);
  }
}

function unneededDetail({ planning, down }: ReasonFacts): string {
  const { scaleDownUnneededMs } = planning.workload.policy.drain;
  return `${down.drained.length} machines without work for at least ${scaleDownUnneededMs / 1000} s`;
}

/** Why work that is pending asks for nothing. */
function placementReasons({ planning, demand, placement, up }: ReasonFacts): PlanReason[] {
  const reasons: PlanReason[] = [];
  const { onLocal, onCloud, inFlight, waiting, impossible } = placement;
  const isUtilizationComing = isAboveTarget(demand, planning.fleet) && !up.open.includes('utilization');
  if (inFlight > 0 || (isUtilizationComing && planning.fleet.inFlight.length > 0)) {
    const detail = `${planning.fleet.inFlight.length} machines are on their way, for ${inFlight} of the pending tasks`;
    reasons.push({ code: 'in-flight-covers', detail });
  }
  if (onLocal > 0) reasons.push({ code: 'local-first', detail: `${onLocal} pending tasks fit local agents` });
  if (waiting > 0) {
    const maxWaitMs = planning.workload.policy.demand.queue?.maxWaitMs ?? 0;
    reasons.push({
      code: 'waiting-within-max-wait',
      detail: `${waiting} tasks wait for room, at most ${maxWaitMs / 1000} s`,
    });
  }
  if (impossible > 0) {
    reasons.push({ code: 'no-offering-fits', detail: `${impossible} tasks fit no agent and no allowed offering` });
  }
  if (onCloud > 0) reasons.push({ code: 'satisfied', detail: `${onCloud} pending tasks fit cloud agents` });
  return reasons;
}

function contentReason({ planning, placement }: ReasonFacts): PlanReason {
  const { fleet } = planning;
  if (fleet.machines.length === 0)
    return { code: 'no-demand', detail: `${placement.pendingTasks} pending tasks, no machines` };
  const usd = usdOf(nanoPerHour(fleet, EMPTY_DRAFT)).toFixed(4);
  return { code: 'satisfied', detail: `${fleet.machines.length} machines at $${usd}/h, none wanted and none to spare` };
}
