import type { Demand } from './demand.ts';
import { utilizationDetail } from './demand.ts';
import type { Bounds, Planning } from './draft.ts';
import { nanoPerHour, EMPTY_DRAFT } from './draft.ts';
import { forecastReasons } from './forecast.ts';
import { holdReasons } from './holds.ts';
import { holdText } from './idle-hold.ts';
import type { LocalShare } from './local-room.ts';
import { usdOf } from './order.ts';
import type { ScaleDown } from './scale-down.ts';
import type { ScaleUp, Want } from './scale-up.ts';
import { isAboveTarget } from './scale-up.ts';
import { countTasks, sumTasks } from './slots.ts';
import type { KeepReport, PlanReason, ReasonCode, WaitReport, WorkloadReport } from './types.ts';
import { countOf, needText, percent } from './text.ts';
import type { Retired } from './warm-pool.ts';
import { retiredDetail, startedDetail } from './warm-pool.ts';
import { windowReasons } from './windows.ts';

export interface ReasonFacts {
  readonly planning: Planning;
  readonly demand: Demand;
  readonly wait: WaitReport | null;
  readonly kept: KeepReport | null;
  readonly placement: Required<WorkloadReport['placement']>;
  readonly share: LocalShare | null;
  readonly up: ScaleUp;
  readonly down: ScaleDown;
  readonly retired: readonly Retired[];
}

/** Every reason that held, the deciding one first; never empty. */
export function listReasons(facts: ReasonFacts): PlanReason[] {
  const { up, down, planning, retired } = facts;
  const reasons: PlanReason[] = [];
  const add = (more: readonly PlanReason[]): void => {
    for (const reason of more) if (!reasons.some(({ code }) => code === reason.code)) reasons.push(reason);
  };
  const { amnesia } = planning.world;
  if (amnesia !== null) add([{ code: 'amnesia', detail: amnesia }]);
  add(up.wants.map((want) => wantReason(want, facts)));
  if (up.draft.undrained.length > 0) {
    add([
      {
        code: 'drain-cancelled',
        detail: `${countOf(up.draft.undrained.length, 'machine')} taken back before anything is bought`,
      },
    ]);
  }
  if (up.draft.started.length > 0) add([{ code: 'machine-started', detail: startedDetail(up.draft) }]);
  if (down.drained.length > 0) add([{ code: down.why, detail: unneededDetail(facts) }]);
  if (retired.length > 0) add([{ code: 'machine-retired', detail: retiredDetail(retired) }]);
  add(boundReasons(up.bounds));
  add(holdReasons(facts.planning.workload, facts.planning.world.nowMs));
  add(up.open.map((want) => wantReason(want, facts)));
  add(boundReasons(down.bounds));
  add(placementReasons(facts));
  add(keepReasons(facts));
  add(shareReasons(facts));
  if (reasons.length === 0) add([contentReason(facts)]);
  add(forecastReasons(planning.workload));
  add(windowReasons(planning.workload, planning.world.nowMs));
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
  if (want === 'headroom' && facts.demand.isForecast)
    return { code: 'forecast-room-missing', detail: wantDetail(want, facts) };
  return { code: WANT_CODES[want], detail: wantDetail(want, facts) };
}

function wantDetail(want: Want, { planning, demand, placement, up }: ReasonFacts): string {
  const { limits } = planning.workload.policy.burst;
  switch (want) {
    case 'work': {
      const unplaced =
        placement.planned + countTasks(up.coverage.urgent.filter(({ constraints }) => !constraints.localOnly));
      return `${unplaced} of ${countOf(placement.pendingTasks, 'pending task')} without room on agents and machines on their way`;
    }
    case 'headroom': {
      return `room for ${countOf(countTasks(demand.headroom), 'task')} wanted, ${needText(sumTasks(demand.headroom), null)}`;
    }
    case 'min':
      return `at least ${countOf(limits.min, 'machine')} wanted`;
    case 'utilization':
      return utilizationDetail(demand.utilization);
  }
}

function unneededDetail({ planning, down }: ReasonFacts): string {
  if (down.why === 'underutilized') return `${countOf(down.drained.length, 'machine')} at most half used`;
  return `${countOf(down.drained.length, 'machine')} without work for at least ${holdText(planning.workload.policy.drain)}`;
}

/** Why work that is pending asks for nothing. */
function placementReasons({ planning, demand, wait, placement, up }: ReasonFacts): PlanReason[] {
  const reasons: PlanReason[] = [];
  const { onLocal, onCloud, inFlight, waiting, impossible } = placement;
  const isUtilizationComing = isAboveTarget(demand, planning.fleet) && !up.open.includes('utilization');
  if (inFlight > 0 || (isUtilizationComing && planning.fleet.inFlight.length > 0)) {
    const detail = `${countOf(planning.fleet.inFlight.length, 'machine')} on the way, for ${countOf(inFlight, 'pending task')}`;
    reasons.push({ code: 'in-flight-covers', detail });
  }
  if (onLocal > 0)
    reasons.push({ code: 'local-first', detail: `${countOf(onLocal, 'pending task')} for local agents` });
  reasons.push(...localOnlyReasons(up));
  reasons.push(...waitReasons(planning, waiting, wait));
  if (impossible > 0) {
    reasons.push({
      code: 'no-offering-fits',
      detail: `${countOf(impossible, 'task')} too large for every agent and allowed offering`,
    });
  }
  if (onCloud > 0) reasons.push({ code: 'satisfied', detail: `${countOf(onCloud, 'pending task')} for cloud agents` });
  return reasons;
}

/** Who stays local when some go: said only when somebody does. */
function keepReasons({ kept }: ReasonFacts): PlanReason[] {
  if (kept === null || kept.keptTasks === 0 || kept.burstTasks === 0) return [];
  const [stay, go] = [kept.keptUsdPerHour, kept.burstUsdPerHour].map((usd) => `$${usd.toFixed(4)} an hour`);
  const detail = `${countOf(kept.keptTasks, 'task')} that would cost ${stay} in the cloud before ${countOf(kept.burstTasks, 'task')} that cost ${go}`;
  return [{ code: 'dearest-stay-local', detail }];
}

/** Why work waits that might burst sooner or later. */
function waitReasons({ workload }: Planning, waiting: number, wait: WaitReport | null): PlanReason[] {
  const reasons: PlanReason[] = [];
  const forRoom = wait === null ? 0 : Math.min(waiting, wait.tasks);
  if (wait !== null && forRoom > 0) {
    const price = wait.burstUsd === null ? '' : ` and cost at least $${wait.burstUsd.toFixed(4)}`;
    reasons.push({
      code: 'local-frees-up-sooner',
      detail: `${countOf(forRoom, 'task')} waiting: local agents should have room within ${wait.localInS} s; a machine would take ${wait.machineInS} s${price}`,
    });
  }
  if (waiting > forRoom) {
    const maxWaitMs = workload.policy.demand.queue?.maxWaitMs ?? 0;
    const detail = `${countOf(waiting - forRoom, 'task')} waiting for room, at most ${maxWaitMs / 1000} s`;
    reasons.push({ code: 'waiting-within-max-wait', detail });
  }
  return reasons;
}

function localOnlyReasons({ coverage }: ScaleUp): PlanReason[] {
  const left = [...coverage.urgent, ...coverage.patient].filter(({ constraints }) => constraints.localOnly);
  if (left.length === 0) return [];
  return [{ code: 'local-only', detail: `${countOf(countTasks(left), 'task')} without room on local agents` }];
}

/** Who has what of local agents, when some of the work found no room there although others wanted the same. */
function shareReasons({ share, placement }: ReasonFacts): PlanReason[] {
  if (share === null || placement.onLocal === placement.pendingTasks) return [];
  const { own, rivals } = share;
  const text = ({ priority, weight, dominant }: LocalShare['own']): string =>
    `${percent(dominant)} at priority ${priority}, weight ${weight}`;
  const others = rivals.map((rival) => `${rival.workload} ${text(rival)}`);
  return [{ code: 'local-share', detail: `${text(own)}; ${others.join('; ')}` }];
}

function contentReason({ planning, placement }: ReasonFacts): PlanReason {
  const { fleet } = planning;
  if (fleet.machines.length === 0)
    return { code: 'no-demand', detail: `${countOf(placement.pendingTasks, 'pending task')}, no machines` };
  const usd = usdOf(nanoPerHour(fleet, EMPTY_DRAFT)).toFixed(4);
  return {
    code: 'satisfied',
    detail: `${countOf(fleet.machines.length, 'machine')} at $${usd}/h, none wanted and none to spare`,
  };
}
