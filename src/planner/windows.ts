/** Open windows of a workload's schedule: the bounds they put on the number of machines, and how a plan says so. */
import type { OpenWindow, PlanReason, WorkloadInput } from './types.ts';
import { countOf, minuteText } from './text.ts';

/**
 * The workload as its open windows want it: with the largest of all `min` and the smallest of all `max` in `burst.limits`.
 * Where the two contradict each other the machines that may be bought decide, because a limit is a promise.
 */
export function withOpenWindows(workload: WorkloadInput): WorkloadInput {
  const { policy, windows = [] } = workload;
  if (windows.length === 0) return workload;
  const { limits } = policy.burst;
  const max = Math.min(limits.max, ...windows.flatMap((window) => window.max ?? []));
  const min = Math.min(max, Math.max(limits.min, ...windows.flatMap((window) => window.min ?? [])));
  return { ...workload, policy: { ...policy, burst: { ...policy.burst, limits: { ...limits, min, max } } } };
}

/** Told whether or not the bounds bind: who wonders about a figure of limits must see where it comes from. */
export function windowReasons({ windows = [] }: WorkloadInput, nowMs: number): PlanReason[] {
  if (windows.length === 0) return [];
  return [{ code: 'schedule-window', detail: windows.map((window) => windowText(window, nowMs)).join('; ') }];
}

function windowText({ schedule, min, max, fromMs, untilMs }: OpenWindow, nowMs: number): string {
  const bounds = [
    ...(min === null ? [] : [`at least ${countOf(min, 'machine')}`]),
    ...(max === null ? [] : [`at most ${countOf(max, 'machine')}`]),
  ];
  const when = fromMs > nowMs ? `from ${minuteText(fromMs)}, being prepared` : `until ${minuteText(untilMs)}`;
  return `${bounds.join(', ')} ${when} by ${schedule}`;
}
