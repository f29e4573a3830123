import type { WorkloadPolicy } from '../model/policy.ts';
import { planAll } from '../planner/plan.ts';
import type { MarketType } from './production-view.ts';
import { toMs } from './production-view.ts';
import { keepUnbeaten } from './type-list.ts';

/** What the policy allows of all that is offered. */
export function allowedMarketTypes(policy: WorkloadPolicy, offered: readonly MarketType[]): readonly MarketType[] {
  return offered.filter((each) => isAllowed(policy, each));
}

/**
 * Of allowed offerings those that can matter to a plan: of a type that on one market no other allowed type beats. A pass
 * judges each offering anew, so that most of its time would go into types it never takes.
 */
export function usefulMarketTypes(allowed: readonly MarketType[]): readonly MarketType[] {
  const kept = new Set<string>();
  // The planner buys types with GPUs for work that needs them and for nothing else, so that neither kind beats the other.
  const kinds = Map.groupBy(allowed, ({ market, type }) => `${market}/${type.capacity.gpuMilli > 0}`);
  for (const kind of kinds.values()) for (const { name } of keepUnbeaten(kind.map(({ type }) => type))) kept.add(name);
  // Sizes are chosen at the prices of one market and may be launched on the other.
  return allowed.filter(({ type }) => kept.has(type.name));
}

/** The planner itself says so, of a world in which there is nothing else. */
function isAllowed(policy: WorkloadPolicy, { offering }: MarketType): boolean {
  const { workloads } = planAll({
    nowMs: toMs(0),
    agents: [],
    machines: [],
    workloads: [
      {
        policy,
        pending: [],
        utilization: null,
        offerings: [offering],
        unavailableOfferings: 0,
        launchedLastHour: 0,
        lastLaunchAtMs: null,
        lastDrainAtMs: null,
        cloudViewFresh: true,
      },
    ],
  });
  const rejected = workloads[0]?.report.candidates.rejected ?? {};
  return Object.keys(rejected).length === 0;
}
