/**
 * How much work the local agents could do at best, knowing everything in advance: choose shares x_i in [0, 1] of tasks that run
 * where and when they were submitted, so that their value is largest and in no bucket of time more is used than all agents
 * together have. A linear program, solved without a solver: primal-dual hybrid gradient with the diagonal steps of Pock and
 * Chambolle and restarts. Whatever the multipliers are, the dual value is a true upper bound; the iterations only tighten it.
 */

/** Tasks as intervals with amounts of each resource; all arrays are as long as there are tasks. */
export interface LocalShareProblem {
  readonly startS: Float64Array;
  readonly runS: Float64Array;
  /** What the task is worth; 0 or more. */
  readonly value: Float64Array;
  readonly resources: readonly LocalResource[];
  /** Width of the buckets. Wider ones allow more, so that the bound stays true. */
  readonly bucketS: number;
}

export interface LocalResource {
  /** Amount that each task needs. */
  readonly amount: Float64Array;
  /** Of all agents together. */
  readonly capacity: number;
  /** About what a unit of it is worth for a second: only the speed depends on it. Above 0. */
  readonly worth: number;
}

export interface LocalShare {
  /** No choice is worth more. */
  readonly upper: number;
  /** A choice of this value exists (of shares, within the buckets): how much tighter `upper` could get. */
  readonly lower: number;
  readonly iterations: number;
}

const ITERATIONS_MAX = 1200;
const CHECK_EVERY = 40;
const RESTART_EVERY = 320;
/** Short steps for shares, long ones for multipliers: found by trial on four logs, where 1 needs three times as many. */
const STEP_RATIO = 0.1;

/**
 * Solves to `relativeGap` between `upper` and `lower`, or as far as the limit of iterations allows; and no further once
 * `lower` has reached `enough`, because then the caller has no use for the result.
 */
export function maxLocalValue(problem: LocalShareProblem, relativeGap: number, enough = Infinity): LocalShare {
  const tasks = problem.value.length;
  const grid = makeGrid(problem);
  const rows = problem.resources.map((resource) => makeRow(problem, grid, resource)).filter(({ binds }) => binds);
  const total = problem.value.reduce((sum, value) => sum + value, 0);
  if (tasks === 0 || rows.length === 0) return { upper: total, lower: total, iterations: 0 };
  const solver = new Solver(problem.value, grid, rows);
  let best: LocalShare = { upper: total, lower: 0, iterations: 0 };
  for (let iteration = 1; iteration <= ITERATIONS_MAX; iteration += 1) {
    solver.step();
    if (iteration % CHECK_EVERY !== 0) continue;
    for (const point of [solver.current(), solver.average()]) {
      const upper = Math.min(best.upper, solver.dualValue(point));
      const lower = Math.max(best.lower, solver.primalValue(point));
      best = { upper, lower, iterations: iteration };
    }
    if (best.upper - best.lower <= relativeGap * best.upper || best.lower >= enough) break;
    if (iteration % RESTART_EVERY === 0) solver.restart();
  }
  return best;
}

/** Where each task's interval begins and ends in buckets. */
interface Grid {
  readonly buckets: number;
  readonly first: Int32Array;
  readonly last: Int32Array;
  /** Seconds in the first and in the last bucket; a task within one bucket has all in the first. */
  readonly firstS: Float64Array;
  readonly lastS: Float64Array;
  readonly bucketS: number;
}

function makeGrid({ startS, runS, bucketS }: LocalShareProblem): Grid {
  const tasks = startS.length;
  const origin = startS.reduce((least, start) => Math.min(least, start), Infinity);
  const first = new Int32Array(tasks);
  const last = new Int32Array(tasks);
  const firstS = new Float64Array(tasks);
  const lastS = new Float64Array(tasks);
  let buckets = 0;
  for (let task = 0; task < tasks; task += 1) {
    const from = (startS[task] ?? 0) - origin;
    const to = from + (runS[task] ?? 0);
    const begin = Math.floor(from / bucketS);
    // An end on an edge belongs to the bucket before it.
    const end = Math.max(begin, Math.ceil(to / bucketS) - 1);
    first[task] = begin;
    last[task] = end;
    firstS[task] = begin === end ? to - from : (begin + 1) * bucketS - from;
    lastS[task] = begin === end ? 0 : to - end * bucketS;
    buckets = Math.max(buckets, end + 1);
  }
  return { buckets, first, last, firstS, lastS, bucketS };
}

/** One resource in all buckets, in units of worth. */
interface ResourceRow {
  readonly amount: Float64Array;
  /** Worth of the capacity in one bucket. */
  readonly limit: number;
  /** Worth of what all tasks together would use, by bucket. */
  readonly all: Float64Array;
  /** In some bucket not all fits. */
  readonly binds: boolean;
}

function makeRow(
  { bucketS, value }: LocalShareProblem,
  grid: Grid,
  { amount, capacity, worth }: LocalResource,
): ResourceRow {
  const scaled = amount.map((need) => need * worth);
  const all = new Float64Array(grid.buckets);
  addLoad(grid, scaled, new Float64Array(value.length).fill(1), all);
  const limit = capacity * worth * bucketS;
  return { amount: scaled, limit, all, binds: all.some((load) => load > limit) };
}

type Numbers = Float64Array | Int32Array;

function at(list: Numbers, index: number): number {
  return list[index] ?? 0;
}

function bump(list: Float64Array, index: number, by: number): void {
  list[index] = at(list, index) + by;
}

/** Adds what the shares of all tasks use, by bucket. */
function addLoad(grid: Grid, amount: Float64Array, share: Float64Array, load: Float64Array): void {
  const { first, last, firstS, lastS, bucketS, buckets } = grid;
  const whole = new Float64Array(buckets + 1);
  for (let task = 0; task < share.length; task += 1) {
    const used = at(amount, task) * at(share, task);
    if (used === 0) continue;
    const begin = at(first, task);
    const end = at(last, task);
    bump(load, begin, used * at(firstS, task));
    if (end === begin) continue;
    bump(load, end, used * at(lastS, task));
    bump(whole, begin + 1, used);
    bump(whole, end, -used);
  }
  let level = 0;
  for (let bucket = 0; bucket < buckets; bucket += 1) {
    level += at(whole, bucket);
    bump(load, bucket, level * bucketS);
  }
}

/** Adds what each task pays at such multipliers. */
function addPaid(grid: Grid, amount: Float64Array, price: Float64Array, paid: Float64Array): void {
  const { first, last, firstS, lastS, bucketS, buckets } = grid;
  const before = new Float64Array(buckets + 1);
  for (let bucket = 0; bucket < buckets; bucket += 1) before[bucket + 1] = at(before, bucket) + at(price, bucket);
  for (let task = 0; task < paid.length; task += 1) {
    const begin = at(first, task);
    const end = at(last, task);
    let sum = at(firstS, task) * at(price, begin);
    if (end > begin) sum += at(lastS, task) * at(price, end) + bucketS * (at(before, end) - at(before, begin + 1));
    bump(paid, task, at(amount, task) * sum);
  }
}

interface Point {
  readonly share: Float64Array;
  readonly prices: readonly Float64Array[];
}

class Solver {
  readonly #value: Float64Array;
  readonly #grid: Grid;
  readonly #rows: readonly ResourceRow[];
  /** Worth of all that a task uses: the inverse of its step. */
  readonly #weight: Float64Array;
  #share: Float64Array;
  #prices: Float64Array[];
  #shareSum: Float64Array;
  #priceSums: Float64Array[];
  #summed = 0;

  constructor(value: Float64Array, grid: Grid, rows: readonly ResourceRow[]) {
    this.#value = value;
    this.#grid = grid;
    this.#rows = rows;
    this.#weight = new Float64Array(value.length);
    const ones = new Float64Array(grid.buckets).fill(1);
    for (const { amount } of rows) addPaid(grid, amount, ones, this.#weight);
    this.#share = new Float64Array(value.length);
    this.#prices = rows.map(() => new Float64Array(grid.buckets));
    this.#shareSum = new Float64Array(value.length);
    this.#priceSums = rows.map(() => new Float64Array(grid.buckets));
  }

  step(): void {
    const paid = this.#paidAt(this.#prices);
    const ahead = new Float64Array(paid.length);
    for (let task = 0; task < paid.length; task += 1) {
      const old = this.#share[task] ?? 0;
      const weight = this.#weight[task] ?? 0;
      // A task that uses nothing that is scarce simply runs locally.
      const pull = weight === 0 ? 1 : ((this.#value[task] ?? 0) - (paid[task] ?? 0)) * (STEP_RATIO / weight);
      const next = Math.min(1, Math.max(0, old + pull));
      this.#share[task] = next;
      this.#shareSum[task] = (this.#shareSum[task] ?? 0) + next;
      ahead[task] = 2 * next - old;
    }
    for (const [at, row] of this.#rows.entries()) this.#raisePrices(at, row, ahead);
    this.#summed += 1;
  }

  current(): Point {
    return { share: this.#share, prices: this.#prices };
  }

  average(): Point {
    const by = 1 / Math.max(1, this.#summed);
    return {
      share: this.#shareSum.map((sum) => sum * by),
      prices: this.#priceSums.map((sums) => sums.map((sum) => sum * by)),
    };
  }

  /** Goes on from the average. */
  restart(): void {
    const { share, prices } = this.average();
    this.#share = share;
    this.#prices = [...prices];
    this.#shareSum = new Float64Array(share.length);
    this.#priceSums = prices.map((each) => new Float64Array(each.length));
    this.#summed = 0;
  }

  /** An upper bound on the value of every choice, for any multipliers of at least 0. */
  dualValue({ prices }: Point): number {
    let sum = 0;
    for (const [at, row] of this.#rows.entries()) {
      for (const price of prices[at] ?? []) sum += price * row.limit;
    }
    const paid = this.#paidAt(prices);
    for (let task = 0; task < paid.length; task += 1) {
      sum += Math.max(0, (this.#value[task] ?? 0) - (paid[task] ?? 0));
    }
    return sum;
  }

  /** Value of the shares, made smaller where a bucket of theirs is too full. */
  primalValue({ share }: Point): number {
    const excess = this.#excessOf(share);
    const { first, last } = this.#grid;
    let sum = 0;
    for (let task = 0; task < share.length; task += 1) {
      let worst = 1;
      for (let bucket = first[task] ?? 0; bucket <= (last[task] ?? 0); bucket += 1) {
        worst = Math.max(worst, excess[bucket] ?? 1);
      }
      sum += ((share[task] ?? 0) * (this.#value[task] ?? 0)) / worst;
    }
    return sum;
  }

  /** By how much the fullest resource of each bucket is too full; 1 = it is not. */
  #excessOf(share: Float64Array): Float64Array {
    const { buckets } = this.#grid;
    const excess = new Float64Array(buckets).fill(1);
    for (const { amount, limit } of this.#rows) {
      const load = new Float64Array(buckets);
      addLoad(this.#grid, amount, share, load);
      for (let bucket = 0; bucket < buckets; bucket += 1) {
        excess[bucket] = Math.max(excess[bucket] ?? 1, (load[bucket] ?? 0) / limit);
      }
    }
    return excess;
  }

  #paidAt(prices: readonly Float64Array[]): Float64Array {
    const paid = new Float64Array(this.#value.length);
    for (const [at, { amount }] of this.#rows.entries()) {
      addPaid(this.#grid, amount, prices[at] ?? new Float64Array(), paid);
    }
    return paid;
  }

  #raisePrices(at: number, { amount, limit, all }: ResourceRow, ahead: Float64Array): void {
    const load = new Float64Array(this.#grid.buckets);
    addLoad(this.#grid, amount, ahead, load);
    const prices = this.#prices[at] ?? load;
    const sums = this.#priceSums[at] ?? load;
    for (let bucket = 0; bucket < load.length; bucket += 1) {
      const most = all[bucket] ?? 0;
      const push = ((load[bucket] ?? 0) - limit) / (STEP_RATIO * most);
      const next = most <= limit ? 0 : Math.max(0, (prices[bucket] ?? 0) + push);
      prices[bucket] = next;
      sums[bucket] = (sums[bucket] ?? 0) + next;
    }
  }
}
