import type { Resources } from '../model/resources.ts';
import { fits } from '../model/resources.ts';
import type { AfterLocal } from './coverage.ts';
import type { Demand } from './demand.ts';
import type { Planning } from './draft.ts';
import type { Catalogue } from './offerings.ts';
import { holdsShape } from './pack.ts';
import type { ScaleUp } from './scale-up.ts';
import { countTasks } from './slots.ts';
import type { WorkloadReport } from './types.ts';

export interface PlacementFacts {
  readonly planning: Planning;
  readonly demand: Demand;
  readonly after: AfterLocal;
  readonly catalogue: Catalogue;
  readonly up: ScaleUp;
}

/** Where each pending task is expected to run; the parts add up to the pending tasks. */
export function placePending(facts: PlacementFacts): Required<WorkloadReport['placement']> {
  const { demand, after, up } = facts;
  const { coverage } = up;
  const left = { waiting: 0, unserved: 0, impossible: 0 };
  for (const { shape, count } of coverage.urgent) left[fateOf(facts, shape, 'unserved')] += count;
  for (const { shape, count } of coverage.patient) left[fateOf(facts, shape, 'waiting')] += count;
  return {
    pendingTasks: countTasks(demand.urgent) + countTasks(demand.patient),
    onLocal: after.onLocal,
    onCloud: coverage.onCloud,
    inFlight: coverage.inFlight,
    planned: coverage.planned,
    ...left,
  };
}

function fateOf(facts: PlacementFacts, shape: Resources, otherwise: Fate): Fate {
  const { workload } = facts.planning;
  const types = Object.values(facts.catalogue.markets).flatMap((market) => market.types);
  if (workload.offerings === null || workload.unavailableOfferings > 0 || holdsShape(types, shape)) return otherwise;
  // No machine can be bought for it, but one that is here could hold it once it has room.
  return isHeldBySomeAgent(facts, shape) ? otherwise : 'impossible';
}

type Fate = 'waiting' | 'unserved' | 'impossible';

function isHeldBySomeAgent({ planning }: PlacementFacts, shape: Resources): boolean {
  const { localAgents, cloud, inFlight, returnable } = planning.fleet;
  const capacities = [...localAgents, ...cloud, ...inFlight, ...returnable];
  return capacities.some(({ capacity }) => fits(shape, capacity));
}
