/**
 * The decision: demand, agents, machines and offerings in; actions and reasons out. No clock, no I/O, no randomness, and
 * no dependence on the order of the input's lists: the same input gives the same bytes, so that a stored plan can be
 * replayed.
 */
import type { AfterLocal } from './coverage.ts';
import type { Demand } from './demand.ts';
import { readDemand } from './demand.ts';
import { countBegun } from './draft.ts';
import type { Fleet, World } from './fleet.ts';
import { localSlotsOf, openWorld, readFleet, sumCapacity, sumFree } from './fleet.ts';
import type { LocalShare } from './local-room.ts';
import { placeLocally } from './local-room.ts';
import { rankKinds, rankOf } from './keep-local.ts';
import type { Catalogue } from './offerings.ts';
import { readCatalogue } from './offerings.ts';
import { writePlan, type Findings } from './report.ts';
import { planScaleDown } from './scale-down.ts';
import { planScaleUp } from './scale-up.ts';
import { waitForLocal } from './wait.ts';
import { retireStopped } from './warm-pool.ts';
import type { Resources } from '../model/resources.ts';
import type { PlannerInput, PlanOutcome, RankedKind, WorkloadInput } from './types.ts';
import { PLANNER_VERSION } from './version.generated.ts';

/** Plans every workload. Pure; throws only on input that breaks its own types. */
export function planAll(input: PlannerInput): PlanOutcome {
  return { plannerVersion: PLANNER_VERSION, decidedAtMs: input.nowMs, workloads: decideAll(input).map(writePlan) };
}

interface Part {
  readonly workload: WorkloadInput;
  readonly fleet: Fleet;
  readonly demand: Demand;
  readonly after: AfterLocal;
  /** Free local room that was offered to this workload. */
  readonly localFree: Resources;
  readonly share: LocalShare | null;
  readonly catalogue: Catalogue;
  readonly kinds: readonly RankedKind[];
}

/** What each workload wants, after local agents have taken what they hold. */
function readParts(world: World): Part[] {
  const parts = world.workloads.map((workload) => {
    const fleet = readFleet(world, workload);
    const demand = readDemand(world, workload, fleet);
    const slots = localSlotsOf(world, fleet);
    const catalogue = readCatalogue(workload, world.capacityOf);
    const kinds = rankKinds(demand, catalogue, sumCapacity(fleet.localAgents));
    return { workload, fleet, demand, slots, localFree: sumFree(slots), catalogue, kinds, rankOf: rankOf(kinds) };
  });
  const rooms = placeLocally(parts, sumCapacity(world.onPremAgents));
  const promised = new Map<string, Resources>();
  return parts.flatMap(({ workload, fleet, demand, slots, localFree, catalogue, kinds, rankOf }, index) => {
    const room = rooms[index];
    if (room === undefined) return [];
    const pending = waitForLocal({ world, workload, slots, after: room.pending, promised, rankOf });
    const after = { ...pending, headroom: room.headroom };
    return [{ workload, fleet, demand, localFree, after, share: room.share, catalogue, kinds }];
  });
}

/** What `planAll` writes down, before it is written. */
export function decideAll(input: PlannerInput): Findings[] {
  const world = openWorld(input);
  return readParts(world).map((part) => decide(world, part));
}

function decide(world: World, { workload, fleet, ...part }: Part): Findings {
  const planning = { world, workload, fleet };
  const { demand, after, catalogue } = part;
  const up = planScaleUp({ ...planning, demand, after, catalogue });
  const isGrowing = up.draft.undrained.length > 0 || countBegun(up.draft) > 0;
  const down = planScaleDown({ ...planning, demand, after, coverage: up.coverage, isGrowing });
  return { ...part, planning, up, down, retired: retireStopped(planning, up.draft) };
}
