/**
 * How far what a plan launches is from the cheapest machines that could hold the same work: the question for a solver. Pure; who
 * asks it waits for the answer elsewhere, because a solver blocks its thread.
 */
import { mayRunAt } from '../model/constraints.ts';
import type { Market } from '../model/offering.ts';
import type { Resources } from '../model/resources.ts';
import { shapeKey, timesFitting } from '../model/resources.ts';
import type { Coverage } from './coverage.ts';
import { coverDemand } from './coverage.ts';
import type { Draft } from './draft.ts';
import type { Fleet } from './fleet.ts';
import { kindKey } from './keep-local.ts';
import { keepUndominated } from './offerings.ts';
import type { Catalogue } from './offerings.ts';
import { nanoOf, usdOf } from './order.ts';
import { decideAll } from './plan.ts';
import type { Findings } from './report.ts';
import { slotPlace } from './slot-place.ts';
import type { SlotPlace } from './slot-place.ts';
import type { Batch } from './slots.ts';
import { countTasks } from './slots.ts';
import type { PlannerInput, PlanOutcome } from './types.ts';

/** What the machines on their way and one workload's launches have to hold, and what could be bought for it instead. */
export interface ProofProblem {
  readonly workload: string;
  /** What the plan's new machines cost. */
  readonly paidUsdPerHour: number;
  readonly nodes: readonly ProofNode[];
  readonly kinds: readonly ProofKind[];
}

/** Equal machines: of a type that could be launched, or on their way already. */
export interface ProofNode {
  readonly room: Resources;
  /** 0 for machines that are on their way. */
  readonly priceUsdPerHour: number;
  /** So many there are; Infinity = of a type that could be launched. */
  readonly countMax: number;
}

/** So many equal tasks, and on which nodes (by index) how many of them fit. */
export interface ProofKind {
  readonly need: Resources;
  readonly count: number;
  readonly fits: readonly { readonly node: number; readonly times: number }[];
}

export type ProofQuestion = ProofProblem | { readonly workload: string; readonly unproven: string };

/** Pairs of kind and node that a solver still settles in a second or two. */
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
  if (other !== undefined) {
    return { workload, unproven: `machines are also launched for ${other}, not for tasks alone` };
  }
  const [market, second] = new Set(launched.map(({ offering }) => offering.market));
  if (market === undefined) return null;
  if (second !== undefined) return { workload, unproven: 'machines of both markets are launched, as the policy wants' };
  const without = coverDemand(planning.fleet, { ...up.draft, launched: [] }, after);
  const nodes = [...listComing(planning.fleet, up.draft), ...listTypes(catalogue, market)];
  const kinds = heldByComing(up.coverage, without).map((batch) => kindOf(batch, nodes));
  if (kinds.reduce((sum, kind) => sum + kind.fits.length, 0) > PAIRS_MAX) {
    return {
      workload,
      unproven: `${kinds.length} kinds of tasks on ${nodes.length} kinds of machines are too many to settle in time`,
    };
  }
  const paidNano = launched.reduce((sum, { offering, count }) => sum + count * nanoOf(offering.priceUsdPerHour), 0);
  return {
    workload,
    paidUsdPerHour: usdOf(paidNano),
    nodes: nodes.map(({ room, priceUsdPerHour, countMax }) => ({ room, priceUsdPerHour, countMax })),
    kinds,
  };
}

/**
 * What the plan puts on machines that are on their way and on new ones. The former are part of it, because new machines change what
 * goes where. Of work that may wait only what has a place without new machines: none is launched for it, it merely takes what is left over.
 */
function heldByComing({ beyondReady, urgent, patient, headroom }: Coverage, without: Coverage): Batch[] {
  return [
    ...heldOf(beyondReady.urgent, urgent),
    ...heldOf(beyondReady.patient, patient, without.patient),
    ...heldOf(beyondReady.headroom, headroom),
  ];
}

/** Of each kind the tasks that are left over in none of the lists. */
function heldOf(batches: readonly Batch[], ...lefts: readonly (readonly Batch[])[]): Batch[] {
  return [...Map.groupBy(batches, kindKey)].flatMap(([key, alike]) => {
    const left = lefts.map((list) => countTasks(list.filter((batch) => kindKey(batch) === key)));
    const count = countTasks(alike) - Math.max(...left);
    return count > 0 ? alike.slice(0, 1).map((batch) => ({ ...batch, count })) : [];
  });
}

interface PlacedNode extends ProofNode {
  readonly place: SlotPlace;
}

function listComing({ inFlight }: Fleet, { started }: Draft): PlacedNode[] {
  const alike = Map.groupBy([...inFlight, ...started], ({ free, place }) => `${shapeKey(free)} ${place.key}`);
  return [...alike.values()].flatMap((hosts) =>
    hosts.slice(0, 1).map(({ free, place }) => ({ room: free, priceUsdPerHour: 0, countMax: hosts.length, place })),
  );
}

/** At the least that any of its offerings costs: one that is only probed may be below what the type is reckoned with. */
function listTypes(catalogue: Catalogue, market: Market): PlacedNode[] {
  const { types, cheapest } = catalogue.markets[market];
  const priced = types.map((type) => {
    const prices = (cheapest.get(type.name) ?? []).map((offering) => offering.priceUsdPerHour);
    return { ...type, priceUsdPerHour: Math.min(type.priceUsdPerHour, ...prices) };
  });
  // One architecture's types never stand in for those of the other: tasks may ask for one.
  const kept = [...Map.groupBy(priced, ({ arch }) => arch).values()].flatMap(keepUndominated);
  return kept.map(({ capacity, priceUsdPerHour, arch, hasGpus }) => ({
    room: capacity,
    priceUsdPerHour,
    countMax: Infinity,
    place: slotPlace({ site: 'aws', arch, market }, hasGpus),
  }));
}

/** Also work without need of GPUs fits on machines with GPUs: none is bought for it, but it takes the room beside work that has. */
function kindOf({ shape, constraints, count }: Batch, nodes: readonly PlacedNode[]): ProofKind {
  const fits = nodes.flatMap(({ room, place }, node) => {
    const times = mayRunAt(constraints, place) ? timesFitting(shape, room) : 0;
    return times > 0 ? [{ node, times }] : [];
  });
  return { need: shape, count, fits };
}

/** A mixed-integer program in rows and columns, as solvers take it; `<= 0` or `= count` for every row. */
export interface ProofModel {
  readonly costs: readonly number[];
  /** The most that a column may be; Infinity = no limit. */
  readonly uppers: readonly number[];
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
 * How many machines of each node (whole numbers) so that all tasks fit at the least price, where the tasks on machines of one node
 * may be spread over them at will: cheaper than any real packing or equal to the cheapest, and so a lower bound. No task
 * counts for more than its share of a machine that holds only its kind, which is what makes the bound tight for large tasks.
 */
export function makeProofModel({ nodes, kinds }: ProofProblem): ProofModel {
  const costs = nodes.map(({ priceUsdPerHour }) => priceUsdPerHour);
  // The column of each kind on each node that it fits, after those of the nodes.
  const placed: Placed[] = [];
  const whole: ProofRow[] = [];
  for (const { need, count, fits } of kinds) {
    const columns = fits.map(({ node, times }) => {
      const column = nodes.length + placed.length;
      placed.push({ node, column, times, need });
      return column;
    });
    whole.push({ columns, values: columns.map(() => 1), equals: count });
  }
  const share = placed.map(({ node, column, times }) => ({
    columns: [node, column],
    values: [-times, 1],
    equals: null,
  }));
  const onNode = Map.groupBy(placed, ({ node }) => node);
  const rooms = nodes.flatMap(({ room }, node) =>
    DIMENSIONS.flatMap((dimension) => roomRow({ node, room }, onNode.get(node) ?? [], dimension)),
  );
  return {
    costs: [...costs, ...placed.map(() => 0)],
    uppers: [...nodes.map(({ countMax }) => countMax), ...placed.map(() => Infinity)],
    integers: [...nodes.map(() => true), ...placed.map(() => false)],
    rows: [...whole, ...share, ...rooms],
  };
}

interface Placed {
  readonly node: number;
  readonly column: number;
  readonly times: number;
  readonly need: Resources;
}

/** What is placed on a node's machines needs no more than they have. */
function roomRow(
  { node, room }: { readonly node: number; readonly room: Resources },
  placed: readonly Placed[],
  dimension: keyof typeof UNITS,
): ProofRow[] {
  const needing = placed.filter(({ need }) => need[dimension] > 0);
  if (needing.length === 0) return [];
  const unit = UNITS[dimension];
  const columns = [node, ...needing.map(({ column }) => column)];
  return [
    {
      columns,
      values: [-room[dimension] / unit, ...needing.map(({ need }) => need[dimension] / unit)],
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

/** What a bound says of a plan. One above what the plan pays is no bound, and nothing is claimed of it. */
export function proveExcess(
  { workload, paidUsdPerHour }: Pick<ProofProblem, 'workload' | 'paidUsdPerHour'>,
  boundUsdPerHour: number,
): ProofVerdict {
  if (boundUsdPerHour === 0) return { workload, unproven: 'what the machines are for might have room without them' };
  const excess = paidUsdPerHour / boundUsdPerHour - 1;
  if (excess < -NOISE) return { workload, unproven: 'the solver put the cheapest possible above what the plan pays' };
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
function describeExcess({ excess }: ExcessProof): string {
  if (excess === 0) return 'no cheaper machines are possible for it';
  return `within ${(Math.ceil(excess * 1000) / 10).toFixed(1)} % of the cheapest possible`;
}
