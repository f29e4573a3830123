/**
 * The decision: demand, agents, machines and offerings in; actions and reasons out. No clock, no I/O, no randomness, and
 * no dependence on the order of the input's lists: the same input gives the same bytes, so that a stored plan can be
 * replayed.
 */
import type { AfterLocal } from './coverage.ts';
import { placePendingLocally } from './coverage.ts';
import type { Demand } from './demand.ts';
import { readDemand } from './demand.ts';
import type { Fleet, World } from './fleet.ts';
import { localSlotsOf, openWorld, readFleet, sumFree } from './fleet.ts';
import { readCatalogue } from './offerings.ts';
import { writePlan } from './report.ts';
import { planScaleDown } from './scale-down.ts';
import { planScaleUp } from './scale-up.ts';
import { openTier, placeBatches } from './slots.ts';
import type { Resources } from '../model/resources.ts';
import type { PlannerInput, PlanOutcome, WorkloadInput, WorkloadPlan } from './types.ts';

/** Plans every workload. Pure; throws only on input that breaks its own types. */
export function planAll(input: PlannerInput): PlanOutcome {
  const world = openWorld(input);
  const parts = placeLocally(world);
  return { decidedAtMs: input.nowMs, workloads: parts.map((part) => planWorkload(world, part)) };
}

interface Part {
  readonly workload: WorkloadInput;
  readonly fleet: Fleet;
  readonly demand: Demand;
  readonly after: AfterLocal;
  /** Free local room that was offered to this workload. */
  readonly localFree: Resources;
}

/**
 * Fills local agents with the pending work of all workloads in turn, and only then keeps headroom on them: room for tasks
 * that do not exist yet may not push out tasks that do.
 */
function placeLocally(world: World): Part[] {
  const parts = world.workloads.map((workload) => {
    const fleet = readFleet(world, workload);
    const demand = readDemand(world, workload, fleet);
    const slots = localSlotsOf(world, fleet);
    const localFree = sumFree(slots);
    return { workload, fleet, demand, slots, localFree, pending: placePendingLocally(slots, demand) };
  });
  return parts.map(({ workload, fleet, demand, slots, localFree, pending }) => {
    const headroom = placeBatches(openTier(slots, demand.headroom), demand.headroom);
    return { workload, fleet, demand, localFree, after: { ...pending, headroom } };
  });
}

function planWorkload(world: World, { workload, fleet, demand, after, localFree }: Part): WorkloadPlan {
  const planning = { world, workload, fleet };
  const catalogue = readCatalogue(workload, world.capacityOf);
  const up = planScaleUp({ ...planning, demand, after, catalogue });
  const isGrowing = up.draft.undrained.length > 0 || up.draft.launched.length > 0;
  const down = planScaleDown({ ...planning, demand, after, coverage: up.coverage, isGrowing });
  return writePlan({ planning, demand, after, localFree, catalogue, up, down });
}
