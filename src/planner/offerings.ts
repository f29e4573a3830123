import type { Architecture, InstanceType, Market, Offering } from '../model/offering.ts';
import type { InstanceRequirements, NumberRange, WorkloadPolicy } from '../model/policy.ts';
import type { Resources } from '../model/resources.ts';
import { fits } from '../model/resources.ts';
import type { CapacityOf } from './capacity.ts';
import { compareText } from './order.ts';
import type { Batch } from './slots.ts';
import type { WorkloadInput } from './types.ts';

/** An instance type with what tasks get of it and what it costs in its cheapest zone. */
export interface PricedType {
  readonly name: string;
  readonly capacity: Resources;
  readonly vcpus: number;
  readonly arch: Architecture;
  /** Its hardware has GPUs, whatever agents on it reported. */
  readonly hasGpus: boolean;
  readonly priceUsdPerHour: number;
}

/** What tasks ask of a machine that is bought for them, beside their size. */
export interface NodeNeeds {
  /** True: a type with GPUs. False: one without, because a machine with GPUs is not bought for work that needs none. */
  readonly gpus: boolean;
  /** Null = any. */
  readonly arch: Architecture | null;
  readonly spotOk: boolean;
}

/** The types of which machines may be bought for such tasks, in the order given. */
export function typesFor(types: readonly PricedType[], needs: NodeNeeds): readonly PricedType[] {
  return types.filter((type) => serves(type, needs));
}

/** True when machines of the type may be bought for such tasks, if they hold them. */
export function serves({ arch, hasGpus }: PricedType, needs: NodeNeeds): boolean {
  return hasGpus === needs.gpus && (needs.arch === null || arch === needs.arch);
}

/** What tasks of a batch ask of the machine that is bought for them. */
export function needsOf({ shape, constraints }: Pick<Batch, 'shape' | 'constraints'>): NodeNeeds {
  return { gpus: shape.gpus > 0, arch: constraints.arch, spotOk: constraints.spotOk };
}

/** What tasks of both kinds ask of a machine that serves both already. */
export function mergeNeeds(a: NodeNeeds, b: NodeNeeds): NodeNeeds {
  return { gpus: a.gpus || b.gpus, arch: a.arch ?? b.arch, spotOk: a.spotOk && b.spotOk };
}

/** Why an offering is left out; the first that applies is counted. */
export const REJECTIONS = [
  'architecture',
  'family',
  'burstable',
  'excluded',
  'cpu',
  'memory',
  'memory-per-cpu',
  'market',
  'no-price',
  'unavailable',
  'dominated',
] as const;
export type Rejection = (typeof REJECTIONS)[number];

interface MarketList {
  readonly types: readonly PricedType[];
  /** Offerings of a type at its lowest price, in every zone that has it; and what may be probed at no higher price. */
  readonly cheapest: ReadonlyMap<string, readonly Offering[]>;
}

/** What a policy may launch now. */
export interface Catalogue {
  readonly markets: Readonly<Record<Market, MarketList>>;
  /** All offerings that the policy allows, whatever they cost. */
  readonly allowed: Readonly<Record<Market, readonly Offering[]>>;
  readonly considered: number;
  readonly rejected: Readonly<Record<string, number>>;
}

/** The offerings that the policy allows, by market. Unknown offerings (`null`) give an empty catalogue. */
export function readCatalogue(workload: WorkloadInput, capacityOf: CapacityOf): Catalogue {
  const { policy, unavailableOfferings } = workload;
  const offerings = workload.offerings ?? [];
  const counts = new Map<Rejection, number>();
  const count = (reason: Rejection, by = 1): unknown => counts.set(reason, (counts.get(reason) ?? 0) + by);
  const verdicts = new Map<string, Rejection | null>();
  const judgeType = typeJudge(policy);
  const judge = (offering: Offering): Rejection | null => {
    const { name } = offering.instanceType;
    const known = verdicts.get(name);
    const verdict = known === undefined ? judgeType(offering.instanceType) : known;
    if (known === undefined) verdicts.set(name, verdict);
    return verdict ?? judgeOffering(offering, policy);
  };
  const allowed: Record<Market, Offering[]> = { 'on-demand': [], spot: [] };
  for (const offering of offerings) {
    const verdict = judge(offering);
    if (verdict === null) allowed[offering.market].push(offering);
    else count(verdict);
  }
  if (unavailableOfferings > 0) count('unavailable', unavailableOfferings);
  const markets = {
    'on-demand': listMarket(allowed['on-demand'], capacityOf),
    spot: listMarket(allowed.spot, capacityOf),
  };
  for (const market of ['on-demand', 'spot'] as const) {
    const kept = new Set(keepUndominated(markets[market].types).map(({ name }) => name));
    const dominated = allowed[market].filter(({ instanceType }) => !kept.has(instanceType.name)).length;
    if (dominated > 0) count('dominated', dominated);
  }
  return {
    markets,
    allowed,
    considered: offerings.length + unavailableOfferings,
    rejected: Object.fromEntries(REJECTIONS.flatMap((reason) => entryOf(reason, counts.get(reason)))),
  };
}

function entryOf(reason: Rejection, count: number | undefined): [string, number][] {
  return count === undefined ? [] : [[reason, count]];
}

function judgeOffering({ market, priceUsdPerHour }: Offering, policy: WorkloadPolicy): Rejection | null {
  if (market === 'spot' && policy.burst.market.spot === 0) return 'market';
  return Number.isFinite(priceUsdPerHour) && priceUsdPerHour >= 0 ? null : 'no-price';
}

/** The policy's rules about types, read once: a catalogue has more than a thousand types, and every pass judges them all. */
function typeJudge({ burst: { image, instances } }: WorkloadPolicy): (type: InstanceType) => Rejection | null {
  const isFamilyAllowed = familyRule(instances);
  const excludes = instances.exclude.map(readGlob);
  return ({ name, family, resources: { cpuMilli, memoryMib }, architecture, burstable }) => {
    const vcpus = cpuMilli / 1000;
    if (image[architecture] === undefined) return 'architecture';
    if (!isFamilyAllowed(family)) return 'family';
    // Their vCPUs are a burst, not a promise, and look cheapest of all: only for those who ask for them by name.
    if (burstable && instances.families.length === 0) return 'burstable';
    if (excludes.some((glob) => glob.test(name))) return 'excluded';
    if (!isWithin(vcpus, instances.cpu)) return 'cpu';
    if (!isWithin(memoryMib, instances.memoryMib)) return 'memory';
    return isWithin(memoryMib / vcpus, instances.memoryMibPerCpu) ? null : 'memory-per-cpu';
  };
}

/** True for types that the policy would launch, by what a row tells of them. */
export function nameJudge({ burst: { instances } }: WorkloadPolicy): (name: string, resources: Resources) => boolean {
  const isFamilyAllowed = familyRule(instances);
  const excludes = instances.exclude.map(readGlob);
  return (name, { cpuMilli, memoryMib }) => {
    const vcpus = cpuMilli / 1000;
    const isNamed = isFamilyAllowed(name.slice(0, name.indexOf('.'))) && !excludes.some((glob) => glob.test(name));
    const isSized = isWithin(vcpus, instances.cpu) && isWithin(memoryMib, instances.memoryMib);
    return isNamed && isSized && isWithin(memoryMib / vcpus, instances.memoryMibPerCpu);
  };
}

/** A single letter stands for every generation of its families; anything longer is one family. */
function familyRule({ families }: InstanceRequirements): (family: string) => boolean {
  if (families.length === 0) return () => true;
  const letters = families.filter((name) => /^[a-z]$/.test(name));
  const names = new Set(families.filter((name) => !letters.includes(name)));
  const generations = letters.length === 0 ? null : new RegExp(`^[${letters.join('')}]\\d`);
  return (family) => names.has(family) || (generations?.test(family) ?? false);
}

/** `*` is any run of characters, `?` one; everything else stands for itself. */
function readGlob(glob: string): RegExp {
  const pattern = glob
    .replaceAll(/[.+^${}()|[\]\\]/g, '\\$&')
    .replaceAll('*', '.*')
    .replaceAll('?', '.');
  return new RegExp(`^${pattern}$`);
}

function isWithin(value: number, range: NumberRange | null): boolean {
  return range === null || (value >= range.min && value <= range.max);
}

function listMarket(offerings: readonly Offering[], capacityOf: CapacityOf): MarketList {
  const cheapest = new Map<string, Offering[]>();
  const types: PricedType[] = [];
  for (const [name, all] of Map.groupBy(offerings, ({ instanceType }) => instanceType.name)) {
    // A probe is good for one machine only: the price of many is that of the others, where there are others.
    const sure = all.filter(({ probes }) => probes === undefined);
    const priceUsdPerHour = Math.min(...(sure.length > 0 ? sure : all).map((offering) => offering.priceUsdPerHour));
    const list = all.filter((offering) => offering.priceUsdPerHour <= priceUsdPerHour);
    list.sort((a, b) => compareText(a.zone, b.zone) || compareText(a.subnetId, b.subnetId));
    cheapest.set(name, list);
    const [first] = list;
    if (first === undefined) continue;
    const { resources, architecture } = first.instanceType;
    types.push({
      name,
      capacity: capacityOf(name, resources),
      vcpus: resources.cpuMilli / 1000,
      arch: architecture,
      hasGpus: resources.gpus > 0,
      priceUsdPerHour,
    });
  }
  return { types: types.sort(compareTypes), cheapest };
}

/** Cheapest first; of two equally dear the larger; then by name. */
function compareTypes(a: PricedType, b: PricedType): number {
  return (
    a.priceUsdPerHour - b.priceUsdPerHour ||
    b.capacity.gpus - a.capacity.gpus ||
    b.capacity.cpuMilli - a.capacity.cpuMilli ||
    b.capacity.memoryMib - a.capacity.memoryMib ||
    compareText(a.name, b.name)
  );
}

/**
 * Leaves out every type for which another holds as much of everything and costs no more: of 1,367 types some fifty
 * remain, and no plan gets dearer by it. Types with GPUs never stand in for those without. The result is ordered by price.
 */
export function keepUndominated(types: readonly PricedType[]): PricedType[] {
  const kept: PricedType[] = [];
  for (const type of [...types].sort(compareTypes)) {
    // What beats a type is mostly the last one that was kept: the largest so far.
    const better = kept.findLast(({ hasGpus, capacity }) => hasGpus === type.hasGpus && fits(type.capacity, capacity));
    if (better === undefined) kept.push(type);
  }
  return kept;
}

/** The cheapest of types ordered by price that holds this much; null when none does. */
export function cheapestHolding(types: readonly PricedType[], need: Resources): PricedType | null {
  return types.find((type) => fits(need, type.capacity)) ?? null;
}

/** Types at the price of one market; those that it does not have, at the price of the other when that is allowed too. */
export function pricedTypes(catalogue: Catalogue, first: Market): readonly PricedType[] {
  const own = catalogue.markets[first].types;
  const other = catalogue.markets[first === 'spot' ? 'on-demand' : 'spot'].types;
  if (first === 'on-demand' || other.length === 0) return own;
  const names = new Set(own.map(({ name }) => name));
  return [...own, ...other.filter(({ name }) => !names.has(name))];
}

/** The same facts with keys in a fixed order, so that equal plans are equal bytes wherever the offering came from. */
export function copyOffering(offering: Offering): Offering {
  const { instanceType: type } = offering;
  return {
    instanceType: {
      name: type.name,
      family: type.family,
      resources: {
        cpuMilli: type.resources.cpuMilli,
        memoryMib: type.resources.memoryMib,
        gpus: type.resources.gpus,
      },
      architecture: type.architecture,
      burstable: type.burstable,
    },
    zone: offering.zone,
    subnetId: offering.subnetId,
    market: offering.market,
    priceUsdPerHour: offering.priceUsdPerHour,
  };
}
