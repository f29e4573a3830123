import { maxLocalValue } from './local-share.ts';
import type { LocalShareProblem } from './local-share.ts';
import type { ResourcePrices } from './prices.ts';
import { priceVertices, valueOf } from './prices.ts';
import { keepUnbeaten } from './type-list.ts';
import type { Amount, NodeType, TraceTask } from './types.ts';
import { NOTHING, addAmounts, amountFits, amountKey, scaleAmount, timesInto } from './types.ts';

/** Tells what work is worth at least, whatever is bought for it. */
export interface WorkPrices {
  /** Least USD for work in the cloud, in resource-seconds, however it is packed. */
  leastUsd(work: Amount): number;
  /** Ways to put a price on single tasks; each gives a bound, the best one is the highest. */
  readonly ways: readonly ((task: TraceTask) => number)[];
}

/** Prices of work for these tasks on these types. */
export function workPrices(tasks: readonly TraceTask[], types: readonly NodeType[]): WorkPrices {
  const vertices = priceVertices(types);
  const shape = onlyShape(tasks);
  const perSecond = shape === null ? null : leastPerSecond(shape, types);
  // Tasks that are all equal fill nodes in whole numbers: a price per task is then higher than any price per resource.
  if (shape !== null && perSecond !== null) {
    return {
      leastUsd: (work) => (shape.cpuMilli === 0 ? 0 : (work.cpuMilli / shape.cpuMilli) * perSecond),
      ways: [({ runS }) => runS * perSecond],
    };
  }
  return {
    leastUsd: (work) => vertices.reduce((most, vertex) => Math.max(most, valueOf(work, vertex)), 0),
    ways: vertices.map((vertex) => wayOf(vertex)),
  };
}

function wayOf(vertex: ResourcePrices): (task: TraceTask) => number {
  return ({ need, runS }) => valueOf(need, vertex) * runS;
}

function onlyShape(tasks: readonly TraceTask[]): Amount | null {
  const [first] = tasks;
  if (first === undefined) return null;
  const key = amountKey(first.need);
  return tasks.every(({ need }) => need === first.need || amountKey(need) === key) ? first.need : null;
}

function leastPerSecond(need: Amount, types: readonly NodeType[]): number | null {
  const prices = keepUnbeaten(types).map((type) => type.priceUsdPerHour / timesInto(need, type.capacity) / 3600);
  const least = Math.min(...prices);
  return Number.isFinite(least) ? least : null;
}

export interface Bounds {
  /** Least cost of running everything in the cloud (price dual). */
  readonly allCloudUsd: number;
  /** Least cost with the local agents, for whoever knows all tasks in advance and starts each at once. */
  readonly lowerBoundUsd: number;
  /** The same linear program has no bound above this: how far `lowerBoundUsd` is from its own optimum. */
  readonly lowerBoundAtMostUsd: number;
  readonly iterations: number;
}

export interface BoundsInput {
  readonly tasks: readonly TraceTask[];
  readonly locals: readonly Amount[];
  readonly types: readonly NodeType[];
  /** Default 600. */
  readonly bucketS?: number;
}

const BUCKET_S = 600;
/** A log of years gets wider buckets: the bound is lower then, and still true. */
const BUCKETS_MAX = 20_000;
const RELATIVE_GAP = 0.0007;

/**
 * Lower bounds on what any scaler pays in the frame of the replay. Strictly `lowerBoundUsd` is about those that start tasks at
 * once; waits of minutes move it by less than a percent.
 */
export function lowerBounds(input: BoundsInput): Bounds {
  const { types, locals } = input;
  const inCloud = (need: Amount): boolean => types.some(({ capacity }) => amountFits(need, capacity));
  const tasks = knownFits(input.tasks, inCloud).filter(({ fits }) => fits);
  const buyable = tasks.map(({ task }) => task).filter(({ staysLocal }) => staysLocal !== true);
  const { ways } = workPrices(buyable, types);
  const local = knownFits(buyable, (need) => locals.some((capacity) => amountFits(need, capacity)));
  const fitting = local.filter(({ fits }) => fits).map(({ task }) => task);
  let best: Bounds = { allCloudUsd: 0, lowerBoundUsd: 0, lowerBoundAtMostUsd: 0, iterations: 0 };
  for (const way of ways) {
    const all = buyable.reduce((sum, task) => sum + way(task), 0);
    const share = maxLocalValue(makeProblem(input, fitting, way), RELATIVE_GAP, all - best.lowerBoundUsd);
    best = {
      allCloudUsd: Math.max(best.allCloudUsd, all),
      lowerBoundUsd: Math.max(best.lowerBoundUsd, all - share.upper),
      lowerBoundAtMostUsd: Math.max(best.lowerBoundAtMostUsd, all - share.lower),
      iterations: best.iterations + share.iterations,
    };
  }
  return best;
}

/** Asks once per shape, not per task. */
function knownFits(
  tasks: readonly TraceTask[],
  ask: (need: Amount) => boolean,
): readonly { readonly task: TraceTask; readonly fits: boolean }[] {
  const known = new Map<Amount, boolean>();
  return tasks.map((task) => {
    const fits = known.get(task.need) ?? ask(task.need);
    known.set(task.need, fits);
    return { task, fits };
  });
}

const RESOURCES = ['cpuMilli', 'memoryMib', 'gpuMilli'] as const;

function makeProblem(
  { locals, bucketS = BUCKET_S }: BoundsInput,
  tasks: readonly TraceTask[],
  way: (task: TraceTask) => number,
): LocalShareProblem {
  const pooled = locals.reduce(addAmounts, NOTHING);
  const value = Float64Array.from(tasks, way);
  const totalUsd = value.reduce((sum, usd) => sum + usd, 0);
  const work = tasks.reduce((sum, { need, runS }) => addAmounts(sum, scaleAmount(need, runS)), NOTHING);
  const starts = tasks.map(({ submitS }) => submitS);
  const startS = Float64Array.from(starts);
  const endS = tasks.reduce((end, { submitS, runS }) => Math.max(end, submitS + runS), 0);
  return {
    startS,
    runS: Float64Array.from(tasks, ({ runS }) => runS),
    value,
    resources: RESOURCES.filter((resource) => work[resource] > 0).map((resource) => ({
      amount: Float64Array.from(tasks, ({ need }) => need[resource]),
      capacity: pooled[resource],
      worth: totalUsd / work[resource],
    })),
    bucketS: Math.max(bucketS, (endS - (starts[0] ?? 0)) / BUCKETS_MAX),
  };
}
