/** What is too odd to be believed at first sight, and how far a plan goes on it. Letting go is held anyway: unknown is HOLD. */
import { selects } from '../model/agent.ts';
import type { WorkloadPolicy } from '../model/policy.ts';
import type { EpochMs } from '../model/time.ts';
import { freshnessRule } from './fleet.ts';
import type { AgentView, SilenceView, UtilizationView, WorkloadInput } from './types.ts';
import { countOf } from './text.ts';

/**
 * Machines on their way at a time while a silence is in doubt. Two show within a minute or two whether machines help, and cost next
 * to nothing; a whole datacenter bought again because a switch restarted costs a month's budget.
 */
export const DOUBT_STEP_MACHINES = 2;

/**
 * Use above capacity that clocks and rounding can explain: an agent that samples late may see 10 s of work in 8 s. Twice that is a
 * broken sensor, or an agent that reports another machine's figures.
 */
export const UTILIZATION_MAX = 1.5;

/** One agent alone is silent every day; of several at once the network is the likelier reason. */
const SILENT_MIN = 2;
const SILENT_SHARE = 0.5;

/** How many of a workload's local agents are silent, when these are so many that the way to them is the likelier fault; else null. */
export function findSilence(
  agents: readonly AgentView[],
  policy: WorkloadPolicy,
  nowMs: EpochMs,
): Omit<SilenceView, 'forMs'> | null {
  const isSelected = selects(policy.agents.selector);
  const isFresh = freshnessRule(policy, nowMs);
  const local = agents.filter((agent) => agent.site === 'on-prem' && isSelected(agent));
  const silent = local.filter((agent) => !isFresh(agent)).length;
  return silent >= SILENT_MIN && silent >= local.length * SILENT_SHARE
    ? { silentAgents: silent, localAgents: local.length }
    : null;
}

/**
 * Why only a small step is taken now; null = no doubt. Agents that fell silent together are believed to be gone when they
 * have been so for another `freshness` without a gap in what we saw: it may have been us who could not hear.
 */
export function doubtOf({ policy, silence }: WorkloadInput): string | null {
  const { freshnessMs } = policy.demand;
  if (silence === undefined || silence.forMs >= freshnessMs) return null;
  const { silentAgents, localAgents, forMs } = silence;
  const seen = `${silentAgents} of ${countOf(localAgents, 'local agent')} silent, seen so for ${Math.round(forMs / 1000)} s`;
  return `${seen}; at most ${countOf(DOUBT_STEP_MACHINES, 'machine')} on their way before ${freshnessMs / 1000} s`;
}

/** True when no machine can be that busy. */
export function isImplausible({ cpu, memory }: UtilizationView): boolean {
  return !(cpu >= 0 && cpu <= UTILIZATION_MAX && memory >= 0 && memory <= UTILIZATION_MAX);
}
