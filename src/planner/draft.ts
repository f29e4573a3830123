import type { Market, Offering } from '../model/offering.ts';
import type { Resources } from '../model/resources.ts';
import { DOUBT_STEP_MACHINES, doubtOf } from './doubt.ts';
import type { Fleet, Host, World } from './fleet.ts';
import { holdReason, wideHold, wideProbes } from './holds.ts';
import type { NodeNeeds } from './offerings.ts';
import { nanoOf, usdOf } from './order.ts';
import type { ReasonCode, WorkloadInput } from './types.ts';
import { countOf } from './text.ts';

/** Equal machines this plan launches. */
export interface NewMachines {
  readonly offering: Offering;
  readonly count: number;
  readonly capacity: Resources;
  /** Sum of the tasks each is launched for: another machine in its place must hold as much. */
  readonly used: Resources;
  /** What these tasks ask of it: another machine in its place must be like that, too. */
  readonly needs: NodeNeeds;
}

/** A plan for one workload while it grows. */
export interface Draft {
  readonly undrained: readonly Host[];
  /** Stopped before. */
  readonly started: readonly Host[];
  readonly launched: readonly NewMachines[];
}

/** A plan that does nothing. */
export const EMPTY_DRAFT: Draft = Object.freeze({ undrained: [], started: [], launched: [] });

/** Everything the steps of one workload's plan look at. */
export interface Planning {
  readonly world: World;
  readonly workload: WorkloadInput;
  readonly fleet: Fleet;
}

/** How much more may be launched, limit by limit. Infinity = no limit. */
export interface Room {
  readonly max: number;
  readonly perHour: number;
  readonly perPlan: number;
  readonly vcpus: number;
  readonly nanoUsdPerHour: number;
}

/** Limits that stood in the way, with figures; the first detail of a code stays. */
export type Bounds = Map<ReasonCode, string>;

/** Notes what stood in the way, unless the code is noted already. */
export function noteBound(bounds: Bounds, code: ReasonCode, detail: string): void {
  if (!bounds.has(code)) bounds.set(code, detail);
}

/**
 * Every machine that is neither stopped nor terminated counts against the limits, also while it leaves: EC2 has it, and may still bill it.
 */
export function readRoom({ workload, fleet }: Planning, draft: Draft): Room {
  const { limits, budget } = workload.policy.burst;
  const begun = countBegun(draft);
  const step = doubtOf(workload) === null ? Infinity : Math.max(0, DOUBT_STEP_MACHINES - fleet.inFlight.length);
  const probing = wideProbes(workload).length > 0 ? 1 : Infinity;
  const perPlanMax = Math.min(step, probing, limits.maxScaleUp);
  return {
    max: limits.max - fleet.machines.length - begun,
    perHour: limits.launchesPerHour - workload.launchedLastHour - begun,
    perPlan: perPlanMax - begun,
    vcpus: limits.vcpus === null ? Infinity : limits.vcpus - countVcpus(fleet, draft),
    nanoUsdPerHour: budget.hourlyUsd === null ? Infinity : nanoOf(budget.hourlyUsd) - nanoPerHour(fleet, draft),
  };
}

/** True when one more machine of this type stays within vCPUs and budget. */
export function isAffordable(type: { readonly vcpus: number; readonly priceUsdPerHour: number }, room: Room): boolean {
  return type.vcpus <= room.vcpus && nanoOf(type.priceUsdPerHour) <= room.nanoUsdPerHour;
}

/** Machines that the plan launches or starts: both count for limits. */
export function countBegun(draft: Draft): number {
  return draft.launched.reduce((sum, { count }) => sum + count, 0) + countStarted(draft);
}

export function countStarted({ started }: Draft): number {
  return started.length;
}

/** vCPUs of all machines that EC2 has, with the plan's own. */
export function countVcpus(fleet: Fleet, draft: Draft): number {
  const parts = [
    ...fleet.machines.map(({ resources }) => resources.cpuMilli),
    ...draft.started.map(({ machine }) => machine.resources.cpuMilli),
    ...draft.launched.map(({ offering, count }) => offering.instanceType.resources.cpuMilli * count),
  ];
  return parts.reduce((sum, cpuMilli) => sum + cpuMilli, 0) / 1000;
}

/** What all machines of the workload cost per hour, in nano-dollars. */
export function nanoPerHour(fleet: Fleet, draft: Draft): number {
  const before = fleet.machines.map(({ priceUsdPerHour }) => priceUsdPerHour);
  const launched = draft.launched.map(({ offering, count }) => nanoOf(offering.priceUsdPerHour) * count);
  const started = draft.started.map(({ machine }) => nanoOf(machine.priceUsdPerHour));
  return [...before.map(nanoOf), ...started, ...launched].reduce((sum, nano) => sum + nano, 0);
}

const STAYING_STATES: readonly string[] = ['requested', 'launching', 'booting', 'joining', 'ready'];

/** Machines that are here to stay or on their way; with the plan's own. */
export function countStaying({ machines }: Fleet, draft: Draft): Record<Market, number> {
  const counts: Record<Market, number> = { 'on-demand': 0, spot: 0 };
  for (const machine of machines) if (STAYING_STATES.includes(machine.state)) counts[machine.market] += 1;
  for (const { machine } of [...draft.undrained, ...draft.started]) counts[machine.market] += 1;
  for (const { offering, count } of draft.launched) counts[offering.market] += count;
  return counts;
}

/** Notes each count limit that leaves no room; true when one does. */
export function noteCountBounds({ workload, fleet }: Planning, room: Room, bounds: Bounds): boolean {
  const { limits } = workload.policy.burst;
  if (room.max <= 0) {
    noteBound(bounds, 'at-max', `${countOf(fleet.machines.length, 'machine')} before this plan, at most ${limits.max}`);
  }
  if (room.perHour <= 0) {
    const before = `${workload.launchedLastHour} launched within the hour before this plan`;
    noteBound(bounds, 'at-launches-per-hour', `${before}, at most ${limits.launchesPerHour}`);
  }
  if (room.perPlan <= 0) {
    const probes = wideProbes(workload);
    const doubt = doubtOf(workload);
    if (doubt !== null) noteBound(bounds, 'silence-unconfirmed', doubt);
    else if (probes.length > 0) noteBound(bounds, 'probing', `one machine, for ${probes.join(', ')}`);
    else noteBound(bounds, 'at-max-scale-up', `at most ${countOf(limits.maxScaleUp, 'machine')} per plan`);
  }
  return room.max <= 0 || room.perHour <= 0 || room.perPlan <= 0;
}

/** Notes `limits.vcpus` with what is left of it. */
export function noteVcpuBound({ workload }: Planning, room: Room, bounds: Bounds): void {
  noteBound(bounds, 'at-vcpus', `${Math.max(0, room.vcpus)} vCPUs left of ${workload.policy.burst.limits.vcpus ?? 0}`);
}

/** Notes `budget.hourly` with what is left of it. */
export function noteBudgetBound({ workload }: Planning, room: Room, bounds: Bounds): void {
  const left = usdOf(Math.max(0, room.nanoUsdPerHour)).toFixed(4);
  const { hourlyUsd } = workload.policy.burst.budget;
  noteBound(bounds, 'at-hourly-budget', `$${left}/h left of $${(hourlyUsd ?? 0).toFixed(2)}/h`);
}

/** The reason for holding all launches now, if there is one. */
export function launchHold({ world, workload }: Planning): { code: ReasonCode; detail: string } | null {
  if (world.amnesia !== null) return { code: 'amnesia', detail: world.amnesia };
  if (workload.offerings === null) return { code: 'offerings-unknown', detail: 'EC2 has not told what it offers now' };
  const hold = wideHold(workload);
  if (hold !== null) return holdReason(hold, world.nowMs);
  const { scaleUpMs } = workload.policy.drain.cooldown;
  if (workload.lastLaunchAtMs === null || scaleUpMs === 0) return null;
  const leftMs = workload.lastLaunchAtMs + scaleUpMs - world.nowMs;
  return leftMs > 0 ? { code: 'cooldown-scale-up', detail: `${Math.ceil(leftMs / 1000)} s left` } : null;
}
