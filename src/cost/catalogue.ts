import assert from 'node:assert/strict';
import type { NanoUsd } from '../model/money.ts';
import { nanoUsdFromDecimal, nanoUsdToNumber } from '../model/money.ts';
import type { Architecture } from '../model/offering.ts';
import { FAMILY_TABLE, SIZE_LADDER } from './catalogue-families.ts';

/** One EC2 instance type with its on-demand price in us-east-1 (Linux, shared tenancy). */
export interface CatalogueType {
  /** e.g. `c6a.4xlarge` */
  readonly name: string;
  /** e.g. `c6a` */
  readonly family: string;
  readonly vcpus: number;
  readonly memoryMib: number;
  readonly gpus: number;
  readonly arch: Architecture;
  readonly priceUsdPerHour: number;
  /** The same price, exact. */
  readonly priceNanoUsdPerHour: NanoUsd;
  /** `t*`: the vCPUs are a burst, not a promise. */
  readonly burstable: boolean;
  readonly bareMetal: boolean;
}

interface Family {
  readonly name: string;
  readonly arch: Architecture;
  readonly memoryMibPerVcpu: number;
  readonly vcpuPrice: NanoUsd;
  /** Prices are multiples of this many nano-dollars. */
  readonly priceStep: NanoUsd;
}

const SIZE_PATTERN = /^([a-z0-9-]+)(?::(\d+))?(?:\/(\d+))?(?:\*(\d+))?(?:@([\d.]+))?$/;
const NANO_DECIMALS = 9;

let cached: readonly CatalogueType[] | null = null;

/** Every type in the order of the table; the same frozen array each time. What the simulated region offers is this list. */
export function listInstanceTypes(): readonly CatalogueType[] {
  cached ??= Object.freeze(FAMILY_TABLE.trim().split('\n').flatMap(readFamilyLine));
  return cached;
}

let byName: ReadonlyMap<string, CatalogueType> | null = null;

/** The type of that name, or undefined. */
export function findInstanceType(name: string): CatalogueType | undefined {
  byName ??= new Map(listInstanceTypes().map((type) => [type.name, type]));
  return byName.get(name);
}

/**
 * On-demand price of a type in USD per hour, Linux, us-east-1; null when the table does not have it. Other regions differ by
 * up to a quarter: there it is an estimate, and whoever shows it says so.
 */
export function listPriceUsdPerHour(instanceType: string): number | null {
  return findInstanceType(instanceType)?.priceUsdPerHour ?? null;
}

function readFamilyLine(line: string): CatalogueType[] {
  const [head, sizes] = line.split('|');
  const [name, arch, memory, price, decimals] = head?.trim().split(/\s+/) ?? [];
  assert(name !== undefined && price !== undefined && sizes !== undefined, `family line: ${line}`);
  assert(arch === 'x86_64' || arch === 'arm64', `architecture of ${name}: ${arch}`);
  const family: Family = {
    name,
    arch,
    memoryMibPerVcpu: Number(memory),
    vcpuPrice: nanoUsdFromDecimal(price),
    priceStep: 10n ** BigInt(NANO_DECIMALS - Number(decimals)),
  };
  return sizes
    .trim()
    .split(/\s+/)
    .flatMap(expandRange)
    .map((size) => readSize(family, size));
}

function expandRange(token: string): readonly string[] {
  const [from, to] = token.split('..');
  if (from === undefined || to === undefined) return [token];
  const start = SIZE_LADDER.indexOf(from);
  const end = SIZE_LADDER.indexOf(to);
  assert(start >= 0 && end > start, `size range: ${token}`);
  return SIZE_LADDER.slice(start, end + 1);
}

function readSize(family: Family, token: string): CatalogueType {
  const match = SIZE_PATTERN.exec(token);
  assert(match !== null, `size of ${family.name}: ${token}`);
  const [, size = '', vcpuText, memoryText, gpuText, priceText] = match;
  const vcpus = vcpuText === undefined ? vcpusOfSize(size) : Number(vcpuText);
  const price = priceText === undefined ? linearPrice(family, vcpus) : nanoUsdFromDecimal(priceText);
  return Object.freeze({
    name: `${family.name}.${size}`,
    family: family.name,
    vcpus,
    memoryMib: memoryText === undefined ? family.memoryMibPerVcpu * vcpus : Number(memoryText),
    gpus: Number(gpuText ?? 0),
    arch: family.arch,
    priceUsdPerHour: nanoUsdToNumber(price),
    priceNanoUsdPerHour: price,
    burstable: family.name.startsWith('t'),
    bareMetal: size.startsWith('metal'),
  });
}

function vcpusOfSize(size: string): number {
  if (size === 'medium') return 1;
  if (size === 'large') return 2;
  const steps = /^(\d*)xlarge$|^metal-(\d+)xl$/.exec(size);
  assert(steps !== null, `size without a vCPU count: ${size}`);
  return 4 * Number(steps[1] === '' ? 1 : (steps[1] ?? steps[2]));
}

function linearPrice(family: Family, vcpus: number): NanoUsd {
  const exact = family.vcpuPrice * BigInt(vcpus);
  return ((exact + family.priceStep / 2n) / family.priceStep) * family.priceStep;
}
