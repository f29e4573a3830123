import type { DrainBudget, DrainReason } from '../model/policy.ts';
import type { Planning } from './draft.ts';
import { countOf, minuteText } from './text.ts';
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
 * The room of the tightest budget that names the reason and counts now. Shares are of all machines that have ever taken work and
 * still live, rounded up, so that a share above 0 % always lets one go. Whoever began the going of those that go now, they count.
 */
export function readAllowance(planning: Planning, reason: DrainReason): Allowance {
  const { drain } = planning.workload.policy;
  const { machines } = planning.fleet;
  const going = machines.filter(({ state }) => GOING_STATES.includes(state)).length;
  const all = going + machines.filter(({ state }) => state === 'ready').length;
  let tightest: Allowance = { left: Infinity, detail: '' };
  const bind = (allowed: number, says: string): void => {
    const left = Math.max(0, allowed - going);
    if (left < tightest.left) tightest = { left, detail: `${says}, ${going} going already` };
  };
  if (drain.oneAtATime === true) bind(1, 'one at a time by drain.oneAtATime');
  for (const [index, budget] of drain.budgets.entries()) {
    const window = windowText(planning, index);
    if (window === null || !budget.reasons.includes(reason)) continue;
    const allowed = countAllowed(budget.machines, all);
    bind(allowed, `at most ${allowed} of ${countOf(all, 'machine')} at a time${window}`);
  }
  return tightest;
}

/** When the budget ends to count; empty = never, null = it does not count now. */
function windowText({ workload }: Planning, index: number): string | null {
  const window = workload.policy.drain.budgets[index]?.window;
  if (window === undefined) return '';
  const open = workload.budgetWindows?.find(({ budget }) => budget === index);
  if (open === undefined) return null;
  return ` until ${minuteText(open.untilMs)} by ${window.cron} ${window.timezone}`;
}

function countAllowed(machines: DrainBudget['machines'], all: number): number {
  // The small number keeps 50 * 0.14 = 7.000000000000001 from counting as eight.
  return machines.kind === 'count' ? machines.count : Math.ceil(machines.share * all - 1e-9);
}
