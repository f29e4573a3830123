import { mayRunAt } from '../model/constraints.ts';
import { fits } from '../model/resources.ts';
import type { AfterLocal } from './coverage.ts';
import type { Demand } from './demand.ts';
import type { Planning } from './draft.ts';
import { placeOfLocal } from './fleet.ts';
import type { Catalogue } from './offerings.ts';
import { needsOf, typesFor } from './offerings.ts';
import { holdsShape } from './pack.ts';
import type { ScaleUp } from './scale-up.ts';
import type { Batch } from './slots.ts';
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
  for (const batch of coverage.urgent) left[fateOf(facts, batch, 'unserved')] += batch.count;
  for (const batch of coverage.patient) left[fateOf(facts, batch, 'waiting')] += batch.count;
  return {
    pendingTasks: countTasks(demand.urgent) + countTasks(demand.patient),
    onLocal: after.onLocal,
    onCloud: coverage.onCloud,
    inFlight: coverage.inFlight,
    planned: coverage.planned,
    ...left,
  };
}

function fateOf(facts: PlacementFacts, batch: Batch, otherwise: Fate): Fate {
  if (mayBeBoughtFor(facts, batch)) return otherwise;
  // No machine can be bought for it, but one that is here could hold it once it has room.
  return isHeldBySomeAgent(facts, batch) ? otherwise : 'impossible';
}

function mayBeBoughtFor({ planning: { workload }, catalogue }: PlacementFacts, batch: Batch): boolean {
  if (batch.constraints.localOnly) return false;
  if (workload.offerings === null || workload.unavailableOfferings > 0) return true;
  const { 'on-demand': onDemand, spot } = catalogue.markets;
  const types = [...onDemand.types, ...(batch.constraints.spotOk ? spot.types : [])];
  return holdsShape(typesFor(types, needsOf(batch)), batch.shape);
}

type Fate = 'waiting' | 'unserved' | 'impossible';

function isHeldBySomeAgent({ planning }: PlacementFacts, { shape, constraints }: Batch): boolean {
  const { localAgents, cloud, inFlight, returnable, stopped } = planning.fleet;
  const locals = localAgents.map((agent) => ({ capacity: agent.capacity, place: placeOfLocal(agent) }));
  return [...locals, ...cloud, ...inFlight, ...returnable, ...stopped].some(
    ({ capacity, place }) => fits(shape, capacity) && mayRunAt(constraints, place),
  );
}
