import type { NanoUsd } from '../model/money.ts';
import { nanoUsdFromDecimal } from '../model/money.ts';
import type { EpochMs } from '../model/time.ts';
import { HOUR_MS, SECOND_MS } from '../model/time.ts';
import type { BilledMachine } from './charges.ts';

/** gp3 storage per GiB and month; 3,000 IOPS and 125 MB/s are included. us-east-1, 2026. */
const GP3_PER_GIB_MONTH = nanoUsdFromDecimal('0.08');
/** A public IPv4 address, since 2024-02. */
const PUBLIC_IPV4_PER_HOUR = nanoUsdFromDecimal('0.005');

/** A stretch of time at one price: `amount` for every `perSeconds` seconds. */
export interface Rate {
  readonly fromMs: EpochMs;
  readonly toMs: EpochMs;
  readonly amount: NanoUsd;
  readonly perSeconds: bigint;
  readonly source: string;
}

/** Something that costs money from a moment on. */
export interface Meter {
  readonly kind: 'compute' | 'volume' | 'ipv4';
  readonly beginMs: EpochMs;
  /** The rates from the beginning up to a moment, without gaps; whole seconds. */
  readonly ratesTo: (toMs: EpochMs) => readonly Rate[];
}

/**
 * Cost of rates that follow one another. Amounts of one unit of time are added up before they are rounded, once: so the
 * cost up to a moment depends on that moment only, and differences of it add up however often they are taken.
 */
export function costOfRates(rates: readonly Rate[]): NanoUsd {
  const products = new Map<bigint, bigint>();
  for (const { fromMs, toMs, amount, perSeconds } of rates) {
    const seconds = BigInt((toMs - fromMs) / SECOND_MS);
    products.set(perSeconds, (products.get(perSeconds) ?? 0n) + amount * seconds);
  }
  let cost = 0n;
  for (const [perSeconds, product] of products) cost += (product + perSeconds / 2n) / perSeconds;
  return cost;
}

/** Price per hour of a rate, rounded to the nano-dollar. */
export function hourlyPrice({ amount, perSeconds }: Rate): NanoUsd {
  return (amount * 3600n + perSeconds / 2n) / perSeconds;
}

/** The instance itself: at the price agreed, or on the spot market at the price of each moment. */
export function computeMeter(machine: BilledMachine, beginMs: EpochMs): Meter {
  const points = [...machine.spotPrices].sort((a, b) => a.atMs - b.atMs);
  const isSpot = machine.market === 'spot' && points.length > 0;
  const source = isSpot ? 'spot-history' : 'price-at-launch';
  const ratesTo = (toMs: EpochMs): Rate[] => {
    // A price point within a second counts from the next whole one.
    const changes = isSpot ? points.slice(1).map(({ atMs }) => Math.ceil(atMs / SECOND_MS) * SECOND_MS) : [];
    return cut(beginMs, toMs, changes).map(([from, to]) => {
      const inForce = points.findLast(({ atMs }) => atMs <= from) ?? points[0];
      const amount = isSpot && inForce !== undefined ? inForce.pricePerHour : machine.pricePerHour;
      return { fromMs: from, toMs: to, amount, perSeconds: 3600n, source };
    });
  };
  return { kind: 'compute', beginMs, ratesTo };
}

/**
 * gp3 is priced per GiB-month and metered by the second. A month has the seconds it really has, as in AWS's own example
 * (12 hours of a 30-day month are 43,200 / (86,400 x 30) of the monthly price); the usual 730 h are only its yearly mean.
 */
export function volumeMeter(volumeGib: number, beginMs: EpochMs): Meter {
  const ratesTo = (toMs: EpochMs): Rate[] => {
    const months: EpochMs[] = [];
    for (let at = nextMonth(beginMs); at < toMs; at = nextMonth(at)) months.push(at);
    return cut(beginMs, toMs, months).map(([from, to]) => ({
      fromMs: from,
      toMs: to,
      amount: GP3_PER_GIB_MONTH * BigInt(volumeGib),
      perSeconds: BigInt((nextMonth(from) - monthOf(from)) / SECOND_MS),
      source: 'list-price',
    }));
  };
  return { kind: 'volume', beginMs, ratesTo };
}

export function ipv4Meter(beginMs: EpochMs): Meter {
  const rate = { amount: PUBLIC_IPV4_PER_HOUR, perSeconds: BigInt(HOUR_MS / SECOND_MS), source: 'list-price' };
  const ratesTo = (toMs: EpochMs): Rate[] =>
    cut(beginMs, toMs, []).map(([from, to]) => ({ fromMs: from, toMs: to, ...rate }));
  return { kind: 'ipv4', beginMs, ratesTo };
}

/** [from, to) in pieces that begin at `from` and at every moment given; none when the interval is empty. */
function cut(fromMs: EpochMs, toMs: EpochMs, moments: readonly EpochMs[]): [EpochMs, EpochMs][] {
  if (toMs <= fromMs) return [];
  const inner = [...new Set(moments)].filter((at) => at > fromMs && at < toMs).sort((a, b) => a - b);
  const begins = [fromMs, ...inner];
  return begins.map((begin, index) => [begin, begins[index + 1] ?? toMs]);
}

function monthOf(atMs: EpochMs): EpochMs {
  const date = new Date(atMs);
  return Date.UTC(date.getUTCFullYear(), date.getUTCMonth());
}

function nextMonth(atMs: EpochMs): EpochMs {
  const date = new Date(atMs);
  return Date.UTC(date.getUTCFullYear(), date.getUTCMonth() + 1);
}
