import type { Market } from '../model/offering.ts';
import { ANYWHERE } from '../model/constraints.ts';
import type { Resources } from '../model/resources.ts';
import { NO_RESOURCES, fits } from '../model/resources.ts';
import type { Bounds, Draft, NewMachines, Planning, Room } from './draft.ts';
import { isAffordable, noteBound, noteBudgetBound, noteCountBounds, noteVcpuBound, readRoom } from './draft.ts';
import { isSpent, probedBy, probingDetail } from './holds.ts';
import type { WantedGroup } from './launch.ts';
import { launchGroups } from './launch.ts';
import type { Catalogue, NodeNeeds, PricedType } from './offerings.ts';
import { cheapestHolding, keepUndominated, needsOf, pricedTypes, typesFor } from './offerings.ts';
import { compareResources } from './order.ts';
import type { NodeGroup } from './pack.ts';
import { countNodes, packWithin } from './pack.ts';
import type { Batch } from './slots.ts';
import { countOf, needText } from './text.ts';

/** Tasks that need machines, and a bare number of machines wanted beside them. */
export interface Wish {
  readonly batches: readonly Batch[];
  /** Machines wanted for their own sake (`limits.min`); each must hold a task of `shape` if any type can. */
  readonly bare: { readonly count: number; readonly shape: Resources } | null;
}

/** Machines for a wish within every limit; what stood in the way is noted. */
export function chooseMachines(planning: Planning, catalogue: Catalogue, draft: Draft, wish: Wish): Chosen {
  const bounds: Bounds = new Map();
  const room = readRoom(planning, draft);
  if (noteCountBounds(planning, room, bounds)) return { machines: [], bounds };
  const { spot } = planning.workload.policy.burst.market;
  // Sizes are chosen at the prices most machines will have. When that leaves nothing affordable, the other prices decide.
  const orders: readonly Market[] = spot >= 0.5 ? ['spot', 'on-demand'] : ['on-demand'];
  for (const market of orders) {
    const machines = chooseAtPrices({ planning, catalogue, draft, wish, room, bounds }, market);
    if (machines.length > 0) return { machines, bounds };
  }
  return { machines: [], bounds };
}

export interface Chosen {
  readonly machines: readonly NewMachines[];
  readonly bounds: Bounds;
}

interface Choice {
  readonly planning: Planning;
  readonly catalogue: Catalogue;
  readonly draft: Draft;
  readonly wish: Wish;
  readonly room: Room;
  readonly bounds: Bounds;
}

function chooseAtPrices(choice: Choice, market: Market): NewMachines[] {
  const { catalogue, room, bounds, planning } = choice;
  const groups: WantedGroup[] = [];
  let nodesMax = Math.min(room.max, room.perHour);
  for (const part of splitByNeeds(choice.wish)) {
    const own = packPart(choice, part, { market, nodesMax });
    groups.push(...own.map((group) => ({ ...group, needs: part.needs })));
    nodesMax -= countNodes(own);
  }
  groups.sort((a, b) => a.oldestMs - b.oldestMs || compareResources(b.used, a.used) || b.count - a.count);
  return launchGroups({ planning, catalogue, draft: choice.draft, room, bounds }, groups);
}

/** Tasks of a wish that may share machines. */
interface WishPart extends Wish {
  readonly needs: NodeNeeds;
}

/** Tasks that ask for unlike machines are packed apart, those whose oldest waits longest first. */
function splitByNeeds({ batches, bare }: Wish): WishPart[] {
  if (bare !== null) return [{ batches, bare, needs: needsOf({ shape: bare.shape, constraints: ANYWHERE }) }];
  const parts = Map.groupBy(batches, (batch) => {
    const { gpus, arch, spotOk } = needsOf(batch);
    return `${gpus}/${arch}/${spotOk}`;
  });
  return [...parts.values()]
    .flatMap((part) => (part[0] === undefined ? [] : [{ batches: part, bare: null, needs: needsOf(part[0]) }]))
    .sort((a, b) => oldestOf(a) - oldestOf(b));
}

function oldestOf({ batches }: Wish): number {
  return Math.min(...batches.map(({ oldestMs }) => oldestMs));
}

function packPart(
  choice: Choice,
  { needs, batches, bare }: WishPart,
  { market, nodesMax }: { readonly market: Market; readonly nodesMax: number },
): readonly NodeGroup[] {
  const { catalogue, room, bounds, planning } = choice;
  const priced = pricedTypes(catalogue, needs.spotOk ? market : 'on-demand');
  const all = typesFor(priced, needs);
  const probed = probedBy(choice.draft.launched);
  const open = all.filter(({ name }) => isToBeHad(catalogue, name, probed));
  const affordable = keepUndominated(open.filter((type) => isAffordable(type, room)));
  const packing = packWithin(batches, affordable, nodesMax);
  if (packing.unplaced.length > 0 || (bare !== null && affordable.length === 0)) {
    const shapes = bare === null ? packing.unplaced.map(({ shape }) => shape) : [bare.shape];
    if (all.length > open.length) noteBound(bounds, 'probing', probingDetail(probed));
    else noteUnplaced({ planning, room, bounds }, { types: all, needs, others: priced }, shapes);
  }
  return bare === null ? packing.groups : bareGroups(affordable, bare);
}

/** False for a type that only a probe could have, when this plan sends that already. */
function isToBeHad({ markets }: Catalogue, type: string, probed: ReadonlySet<string>): boolean {
  if (probed.size === 0) return true;
  return Object.values(markets).some(({ cheapest }) =>
    (cheapest.get(type) ?? []).some((offering) => !isSpent(offering, probed)),
  );
}

interface UnfitTypes {
  /** Those that the work may be given. */
  readonly types: readonly PricedType[];
  readonly needs: NodeNeeds;
  readonly others: readonly PricedType[];
}

/** Tells apart work that no type holds from work whose types a limit rules out. */
function noteUnplaced(
  { planning, room, bounds }: Pick<Choice, 'planning' | 'room' | 'bounds'>,
  { types, needs, others }: UnfitTypes,
  shapes: readonly Resources[],
): void {
  for (const shape of shapes) {
    const holding = types.filter((type) => cheapestHolding([type], shape) !== null);
    if (holding.length === 0 && planning.workload.unavailableOfferings > 0) {
      const detail = `${countOf(planning.workload.unavailableOfferings, 'offering')} refused by EC2 a while ago`;
      noteBound(bounds, 'offerings-held', detail);
    } else if (holding.length === 0) {
      const isForGpus = !needs.gpus && others.some((type) => type.hasGpus && fits(shape, type.capacity));
      const what = isForGpus ? 'only types with GPUs, for work that needs none, hold' : 'no offering holds';
      noteBound(bounds, 'no-offering-fits', `${what} ${needText(shape, needs.arch)}`);
    } else if (!holding.some(({ vcpus }) => vcpus <= room.vcpus)) {
      noteVcpuBound(planning, room, bounds);
    } else {
      noteBudgetBound(planning, room, bounds);
    }
  }
}

function bareGroups(types: readonly PricedType[], { count, shape }: { count: number; shape: Resources }): NodeGroup[] {
  const type = cheapestHolding(types, shape) ?? types[0];
  if (type === undefined) return [];
  const used = cheapestHolding([type], shape) === null ? NO_RESOURCES : shape;
  return [{ type, used, count, oldestMs: Infinity }];
}
