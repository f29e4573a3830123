import type { Resources } from '../model/resources.ts';
import { NO_RESOURCES, addResources, multiplyResources } from '../model/resources.ts';
import { chooseMachines } from './choose.ts';
import type { Wish } from './choose.ts';
import type { AfterLocal, Coverage } from './coverage.ts';
import { coverDemand } from './coverage.ts';
import type { Demand } from './demand.ts';
import { asTasks, isAnything, missingForTarget } from './demand.ts';
import type { Bounds, Draft, Planning } from './draft.ts';
import { EMPTY_DRAFT, countStaying, launchHold, noteBound } from './draft.ts';
import type { Fleet, Host } from './fleet.ts';
import { hostSlots, localCapacity, sumCapacity } from './fleet.ts';
import type { Catalogue } from './offerings.ts';
import { openTier, placeBatches } from './slots.ts';
import type { Batch } from './slots.ts';
import { startStopped } from './warm-pool.ts';

/** What asks for more machines. */
export type Want = 'work' | 'headroom' | 'min' | 'utilization';

export interface ScaleUp {
  readonly draft: Draft;
  readonly coverage: Coverage;
  /** The same before this plan's own machines. */
  readonly before: Coverage;
  /** Wants that the draft answered, in order of urgency. */
  readonly wants: readonly Want[];
  /** Wants that are still open, with what stood in the way in `bounds`. */
  readonly open: readonly Want[];
  readonly bounds: Bounds;
}

/**
 * Rounds per plan. Each round starts from the world as the rounds before would make it, exactly as the next plan will see
 * it; so a plan that ends by itself leaves the next one nothing to do. What 32 rounds do not settle waits for that next plan.
 */
const ROUNDS_MAX = 32;

export interface ScaleUpInput extends Planning {
  readonly demand: Demand;
  readonly after: AfterLocal;
  readonly catalogue: Catalogue;
}

/** Takes back drains, starts what is stopped and launches machines until nothing more is wanted or a limit stands in the way. */
export function planScaleUp(input: ScaleUpInput): ScaleUp {
  let draft = EMPTY_DRAFT;
  const before = coverDemand(input.fleet, draft, input.after);
  const answered = new Set<Want>();
  for (let round = 1; ; round += 1) {
    const coverage = round === 1 ? before : coverDemand(input.fleet, draft, input.after);
    const step = takeStep(input, draft, coverage);
    if (step.next === null || round === ROUNDS_MAX) {
      return { draft, coverage, before, wants: [...answered], open: step.open, bounds: step.bounds };
    }
    for (const want of step.answered) answered.add(want);
    draft = step.next;
  }
}

interface Step {
  /** The draft with one want more answered, wholly or in part; null = nothing more can be done. */
  readonly next: Draft | null;
  readonly answered: readonly Want[];
  readonly open: readonly Want[];
  readonly bounds: Bounds;
}

function takeStep(input: ScaleUpInput, draft: Draft, coverage: Coverage): Step {
  const bounds: Bounds = new Map();
  const open: Want[] = [];
  for (const { wants, wish } of readWishes(input, draft, coverage)) {
    const undrained = takeBack(input, draft, wish);
    if (undrained.length > 0) {
      return { next: { ...draft, undrained: [...draft.undrained, ...undrained] }, answered: wants, open, bounds };
    }
    const hold = launchHold(input);
    if (hold === null) {
      const started = startStopped(input, draft, wish, bounds);
      if (started.length > 0) {
        return { next: { ...draft, started: [...draft.started, ...started] }, answered: wants, open, bounds };
      }
      const chosen = chooseMachines(input, input.catalogue, draft, wish);
      if (chosen.machines.length > 0) {
        return { next: { ...draft, launched: [...draft.launched, ...chosen.machines] }, answered: wants, open, bounds };
      }
      for (const [code, detail] of chosen.bounds) noteBound(bounds, code, detail);
    } else {
      noteBound(bounds, hold.code, hold.detail);
    }
    open.push(...wants);
  }
  return { next: null, answered: [], open, bounds };
}

interface NamedWish {
  readonly wants: readonly Want[];
  readonly wish: Wish;
}

/** What is missing with this draft, the most urgent first. */
function readWishes(input: ScaleUpInput, draft: Draft, coverage: Coverage): NamedWish[] {
  const wishes: NamedWish[] = [];
  const { demand, fleet, workload } = input;
  const urgent = coverage.urgent.filter(({ constraints }) => !constraints.localOnly);
  if (urgent.length > 0) wishes.push(tasksWish('work', urgent));
  if (coverage.headroom.length > 0) wishes.push(tasksWish('headroom', coverage.headroom));
  const staying = countStaying(fleet, draft);
  const missing = workload.policy.burst.limits.min - staying['on-demand'] - staying.spot;
  if (missing > 0) {
    wishes.push({ wants: ['min'], wish: { batches: [], bare: { count: missing, shape: demand.taskShape } } });
  }
  // Adding up ten thousand agents takes a while, and mostly nobody asks.
  const have = demand.utilization.kind === 'known' ? capacityWith(fleet, draft) : NO_RESOURCES;
  const filler = asTasks(missingForTarget(demand.utilization, have), demand.taskShape);
  if (filler.length > 0) wishes.push(tasksWish('utilization', filler));
  return wishes;
}

function tasksWish(want: Want, batches: readonly Batch[]): NamedWish {
  return { wants: [want], wish: { batches, bare: null } };
}

/** Capacity that takes or will take work: local and cloud agents, in flight, and what the draft adds. */
export function capacityWith(fleet: Fleet, draft: Draft): Resources {
  return [
    readyCapacity(fleet),
    sumCapacity(fleet.inFlight),
    sumCapacity(draft.undrained),
    sumCapacity(draft.started),
    sumCapacity(draft.launched.map(({ capacity, count }) => ({ capacity: multiplyResources(capacity, count) }))),
  ].reduce(addResources, NO_RESOURCES);
}

/** Capacity of agents that take work now. */
export function readyCapacity(fleet: Fleet): Resources {
  return addResources(localCapacity(fleet), sumCapacity(fleet.cloud));
}

/** Machines whose drain is called off for the wish: the cheapest that help. They cost nothing to get and nothing to start. */
function takeBack({ fleet, world }: ScaleUpInput, draft: Draft, wish: Wish): Host[] {
  if (world.amnesia !== null) return [];
  const taken = new Set(draft.undrained.map(({ machine }) => machine.id));
  const candidates = fleet.returnable.filter(({ machine }) => !taken.has(machine.id));
  if (candidates.length === 0) return [];
  const fitFor = (shape: Resources) => candidates.filter(({ place }) => place.hasGpus === shape.gpus > 0);
  if (wish.bare !== null) return fitFor(wish.bare.shape).slice(0, wish.bare.count);
  // Machines at work would come first among ready ones; here the price decides, because each one taken back is kept.
  const slots = hostSlots(candidates.map((host) => ({ ...host, runningTasks: 0, capacity: host.free })));
  // A machine with GPUs is no more kept than bought for work that needs none.
  for (const [hasGpus, batches] of Map.groupBy(wish.batches, ({ shape }) => shape.gpus > 0)) {
    const fitting = slots.filter(({ place }) => place.hasGpus === hasGpus);
    placeBatches(openTier(fitting, batches), batches);
  }
  const helping = new Set(slots.filter((slot) => slot.taken > 0).map(({ id }) => id));
  return candidates.filter(({ machine }) => helping.has(machine.id));
}

/** True when the measured load is above the target for the capacity at hand, whether or not more is on its way. */
export function isAboveTarget(demand: Demand, fleet: Fleet): boolean {
  return isAnything(missingForTarget(demand.utilization, readyCapacity(fleet)));
}
