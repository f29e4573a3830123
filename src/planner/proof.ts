/**
 * How far what a plan launches is from the cheapest machines that could hold the same work: the question for a solver. Pure; who
 * asks it waits for the answer elsewhere, because a solver blocks its thread.
 */
import type { Resources } from '../model/resources.ts';
import { timesFitting } from '../model/resources.ts';
import { coverDemand } from './coverage.ts';
import { keepUndominated, needsOf, typesFor } from './offerings.ts';
import type { PricedType } from './offerings.ts';
import { nanoOf, usdOf } from './order.ts';
import { decideAll } from './plan.ts';
import type { Findings } from './report.ts';
import type { Batch } from './slots.ts';
import { placedOf } from './slots.ts';
import type { PlannerInput, PlanOutcome } from './types.ts';

/** What one workload's launches have to hold, and what could be bought for it instead. */
export interface ProofProblem {
  readonly workload: string;
  /** What the plan's new machines cost. */
  readonly paidUsdPerHour: number;
  readonly types: readonly { readonly name: string; readonly capacity: Resources; readonly priceUsdPerHour: number }[];
  readonly kinds: readonly ProofKind[];
}

/** So many equal tasks, and on which types (by index) how many of them fit. */
export interface ProofKind {
  readonly need: Resources;
  readonly count: number;
  readonly fits: readonly { readonly type: number; readonly times: number }[];
}

export type ProofQuestion = ProofProblem | { readonly workload: string; readonly unproven: string };

/** Pairs of kind and type that a solver still settles in a second or two. */
const PAIRS_MAX = 20_000;

/** The question for each workload that the plan of this input launches machines for. */
export function readProofQuestions(input: PlannerInput): ProofQuestion[] {
  return decideAll(input).flatMap((decided) => {
    const question = questionOf(decided);
    return question === null ? [] : [question];
  });
}

function questionOf({ planning, after, catalogue, up }: Findings): ProofQuestion | null {
  const { launched } = up.draft;
  if (launched.length === 0) return null;
  const workload = planning.workload.policy.name;
  const other = up.wants.find((want) => want === 'min' || want === 'utilization');
  if (other !== undefined)
    return { workload, unproven: `machines are also launched for ${other}, not for tasks alone` };
  const [market, second] = new Set(launched.map(({ offering }) => offering.market));
  if (market === undefined) return null;
  if (second !== undefined) return { workload, unproven: 'machines of both markets are launched, as the policy wants' };
  const without = coverDemand(planning.fleet, { ...up.draft, launched: [] }, after);
  const bought = [...placedOf(without.urgent, up.coverage.urgent), ...placedOf(without.headroom, up.coverage.headroom)];
  const types = keepUndominated(catalogue.markets[market].types);
  const kinds = bought.map((batch) => kindOf(batch, types));
  if (kinds.reduce((sum, kind) => sum + kind.fits.length, 0) > PAIRS_MAX) {
    return {
      workload,
      unproven: `${kinds.length} kinds of tasks on ${types.length} types are too many to settle in time`,
    };
  }
  const paidNano = launched.reduce((sum, { offering, count }) => sum + count * nanoOf(offering.priceUsdPerHour), 0);
  return {
    workload,
    paidUsdPerHour: usdOf(paidNano),
    types: types.map(({ name, capacity, priceUsdPerHour }) => ({ name, capacity, priceUsdPerHour })),
    kinds,
  };
}

function kindOf(batch: Batch, types: readonly PricedType[]): ProofKind {
  const allowed = new Set(typesFor(types, needsOf(batch)));
  const fits = types.flatMap((type, index) => {
    const times = allowed.has(type) ? timesFitting(batch.shape, type.capacity) : 0;
    return times > 0 ? [{ type: index, times }] : [];
  });
  return { need: batch.shape, count: batch.count, fits };
}

/** A mixed-integer program in rows and columns, as solvers take it; `<= 0` or `= count` for every row. */
export interface ProofModel {
  readonly costs: readonly number[];
  /** True: a whole number. */
  readonly integers: readonly boolean[];
  readonly rows: readonly ProofRow[];
}

export interface ProofRow {
  readonly columns: readonly number[];
  readonly values: readonly number[];
  /** Null: the sum is at most 0. Else it is exactly this. */
  readonly equals: number | null;
}

const DIMENSIONS = ['cpuMilli', 'memoryMib', 'gpus'] as const;
/** Cores and GiB: numbers near one another are what solvers are exact with. */
const UNITS: Readonly<Record<(typeof DIMENSIONS)[number], number>> = { cpuMilli: 1000, memoryMib: 1024, gpus: 1 };

/**
 * How many machines of each type (whole numbers) so that all tasks fit at the least price, where the tasks on machines of one type
 * may be spread over them at will: cheaper than any real packing or equal to the cheapest, and so a lower bound. No task
 * counts for more than its share of a machine that holds only its kind, which is what makes the bound tight for large tasks.
 */
export function makeProofModel({ types, kinds }: ProofProblem): ProofModel {
  const costs = types.map(({ priceUsdPerHour }) => priceUsdPerHour);
  // The column of each kind on each type that it fits, after those of the types.
  const placed: Placed[] = [];
  const whole: ProofRow[] = [];
  for (const { need, count, fits } of kinds) {
    const columns = fits.map(({ type, times }) => {
      const column = types.length + placed.length;
      placed.push({ type, column, times, need });
      return column;
    });
    whole.push({ columns, values: columns.map(() => 1), equals: count });
  }
  const share = placed.map(({ type, column, times }) => ({
    columns: [type, column],
    values: [-times, 1],
    equals: null,
  }));
  const onType = Map.groupBy(placed, ({ type }) => type);
  const room = types.flatMap(({ capacity }, type) =>
    DIMENSIONS.flatMap((dimension) => roomRow({ type, capacity }, onType.get(type) ?? [], dimension)),
  );
  return {
    costs: [...costs, ...placed.map(() => 0)],
    integers: [...types.map(() => true), ...placed.map(() => false)],
    rows: [...whole, ...share, ...room],
  };
}

interface Placed {
  readonly type: number;
  readonly column: number;
  readonly times: number;
  readonly need: Resources;
}

/** What is placed on machines of a type needs no more than they have. */
function roomRow(
  { type, capacity }: { readonly type: number; readonly capacity: Resources },
  placed: readonly Placed[],
  dimension: keyof typeof UNITS,
): ProofRow[] {
  const needing = placed.filter(({ need }) => need[dimension] > 0);
  if (needing.length === 0) return [];
  const unit = UNITS[dimension];
  const columns = [type, ...needing.map(({ column }) => column)];
  return [
    {
      columns,
      values: [-capacity[dimension] / unit, ...needing.map(({ need }) => need[dimension] / unit)],
      equals: null,
    },
  ];
}

/** The proof in figures; `excess` 0.013 = at most 1.3 % dearer than the cheapest possible. */
export interface ExcessProof {
  readonly workload: string;
  readonly paidUsdPerHour: number;
  readonly boundUsdPerHour: number;
  readonly excess: number;
}

export type ProofVerdict = ExcessProof | { readonly workload: string; readonly unproven: string };

/** A plan that is shown before anybody acts on it. */
export interface PlanPreview extends PlanOutcome {
  /** How cheap it is, for each workload that launches machines. */
  readonly proofs: readonly ProofVerdict[];
}

/** Bounds come from floating point: half a millionth of the price is no excess. */
const NOISE = 5e-7;

/** What a bound says of a plan. */
export function proveExcess({ workload, paidUsdPerHour }: ProofProblem, boundUsdPerHour: number): ExcessProof {
  const excess = paidUsdPerHour / boundUsdPerHour - 1;
  return { workload, paidUsdPerHour, boundUsdPerHour, excess: excess <= NOISE ? 0 : excess };
}

/** A line for each workload that launches machines. */
export function describeProofs(proofs: readonly ProofVerdict[]): string[] {
  return proofs.map((proof) => {
    if ('unproven' in proof) return `${proof.workload}: how cheap this is was not proved: ${proof.unproven}`;
    const { workload, paidUsdPerHour, boundUsdPerHour } = proof;
    return `${workload}: ${describeExcess(proof)} (new machines $${paidUsdPerHour.toFixed(4)}/h, at least $${boundUsdPerHour.toFixed(4)}/h)`;
  });
}

/** `within 1.3 % of the cheapest possible`; rounded up, so that it is never too good. */
export function describeExcess({ excess }: ExcessProof): string {
  if (excess === 0) return 'no cheaper machines are possible for it';
  return `within ${(Math.ceil(excess * 1000) / 10).toFixed(1)} % of the cheapest possible`;
}
