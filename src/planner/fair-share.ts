/**
 * Who draws next on agents that several workloads share: dominant resource fairness, as Mesos gives its offers, with weights,
 * and priorities before them. Planner and engine ask this one rule, so that what is predicted is what happens.
 */
import type { WorkloadPolicy } from '../model/policy.ts';
import type { Resources } from '../model/resources.ts';
import { addResources, multiplyResources } from '../model/resources.ts';
import { compareText } from './order.ts';

/** A workload that wants room on shared agents. */
export interface Claimant {
  readonly workload: string;
  readonly weight: number;
  readonly priority: number;
  /** What its tasks hold there, those just placed included. */
  readonly held: Resources;
}

/**
 * Part of all local capacity that one turn gives at most, unless a single task is larger. Shares are even to within it, and
 * the sum of dominant shares is at most one per resource: three times 256 turns fill any datacenter.
 */
const TURN_SHARE = 1 / 256;

/** A claimant without a policy, or before anything is said, weighs 1 and has priority 0. */
export function claimantOf(workload: string, policy: WorkloadPolicy | undefined, held: Resources): Claimant {
  const { weight = 1, priority = 0 } = policy?.agents ?? {};
  return { workload, weight, priority, held };
}

/** The claimant with so many tasks more. */
export function withTasks(claimant: Claimant, shape: Resources, count: number): Claimant {
  return { ...claimant, held: addResources(claimant.held, multiplyResources(shape, count)) };
}

/** Share of the resource of which it is largest, 0 where there is none of any: what a workload is said to have. */
export function dominantShare(held: Resources, total: Resources): number {
  const shareOf = (part: number, whole: number): number => (whole > 0 ? part / whole : 0);
  return Math.max(
    shareOf(held.cpuMilli, total.cpuMilli),
    shareOf(held.memoryMib, total.memoryMib),
    shareOf(held.gpus, total.gpus),
  );
}

/** Whoever comes first draws first: the higher priority, then the smaller share for its weight, then the name. */
export function compareClaimants(a: Claimant, b: Claimant, total: Resources): number {
  return (
    b.priority - a.priority ||
    dominantShare(a.held, total) / a.weight - dominantShare(b.held, total) / b.weight ||
    compareText(a.workload, b.workload)
  );
}

/** Of those that still want something, the one that draws next. */
export function nextClaimant<T extends { readonly claimant: Claimant }>(
  claims: readonly T[],
  total: Resources,
): T | null {
  let next: T | null = null;
  for (const claim of claims) {
    if (next === null || compareClaimants(claim.claimant, next.claimant, total) < 0) next = claim;
  }
  return next;
}

/** How many tasks of a shape one turn gives; at least one. */
export function tasksPerTurn(shape: Resources, total: Resources): number {
  const share = dominantShare(shape, total);
  return share > 0 ? Math.max(1, Math.floor(TURN_SHARE / share)) : Infinity;
}
