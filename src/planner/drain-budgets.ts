import type { DrainBudget, DrainReason } from '../model/policy.ts';
import type { Planning } from './draft.ts';
import { countOf } from './text.ts';
import type { MachineView } from './types.ts';

/** Machines that have begun to go and that EC2 still has. */
const GOING_STATES: readonly MachineView['state'][] = ['draining', 'leaving', 'stopping', 'terminating'];

/** What the tightest of `drain.budgets` leaves. */
export interface Allowance {
  /** So many machines more may begin to go now. Infinity = no budget names the reason. */
  readonly left: number;
  /** The budget in figures, for whoever asks why no more go. */
  readonly detail: string;
}

/**
 * The room of the tightest budget that names the reason. Shares are of all machines that have ever taken work and still live,
 * rounded up, so that a share above 0 % always lets one go. Whoever began the going of those that go now, they count.
 */
export function readAllowance({ workload, fleet }: Planning, reason: DrainReason): Allowance {
  const going = fleet.machines.filter(({ state }) => GOING_STATES.includes(state)).length;
  const all = going + fleet.machines.filter(({ state }) => state === 'ready').length;
  let tightest: Allowance = { left: Infinity, detail: '' };
  for (const { machines, reasons } of workload.policy.drain.budgets) {
    if (!reasons.includes(reason)) continue;
    const allowed = countAllowed(machines, all);
    const left = Math.max(0, allowed - going);
    if (left < tightest.left)
      tightest = { left, detail: `at most ${allowed} of ${countOf(all, 'machine')} at a time, ${going} going already` };
  }
  return tightest;
}

function countAllowed(machines: DrainBudget['machines'], all: number): number {
  // The small number keeps 50 * 0.14 = 7.000000000000001 from counting as eight.
  return machines.kind === 'count' ? machines.count : Math.ceil(machines.share * all - 1e-9);
}
