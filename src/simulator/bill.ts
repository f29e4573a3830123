/**
 * The region's own bill, by AWS's rules, from the region's log of events. It is the yardstick for the product's ledger,
 * so nothing of the product reads it and it shares no code with the ledger but the money type.
 *
 * - Instances: per second from `running` to `shutting-down` or `stopping`, at least 60 s per start; `pending` is free.
 * - Spot: at the price of each moment; free when AWS itself took the instance back within its first hour.
 * - gp3: $0.08 per GiB-month per second from launch to deletion, at least 60 s. A month has the seconds it really has,
 *   as in AWS's own example (43,200 s of a 30-day month of 86,400 x 30 s).
 * - Public IPv4: $0.005 per hour per second from each start to the stop or end that follows, at least 60 s.
 * - Windows: $0.046 per vCPU and hour on top, on demand. The region sells no spot instances of it.
 * A begun second counts as a whole one.
 */
import assert from 'node:assert/strict';
import type { NanoUsd } from '../model/money.ts';
import { costOfSeconds, nanoUsdFromDecimal } from '../model/money.ts';
import type { EpochMs } from '../model/time.ts';
import { HOUR_MS, SECOND_MS } from '../model/time.ts';
import { findInstanceType } from '../cost/catalogue.ts';
import type { BilledThing, RegionEvent } from './events.ts';
import { nextPriceChangeMs, spotPriceAt } from './spot-prices.ts';

const MINIMUM_MS = 60 * SECOND_MS;
const GP3_GIB_MONTH = nanoUsdFromDecimal('0.08');
const PUBLIC_IPV4_HOUR = nanoUsdFromDecimal('0.005');
/** What most types cost more with Windows, on demand: c5.large is $0.085 with Linux and $0.177 with Windows. */
const WINDOWS_VCPU_HOUR = nanoUsdFromDecimal('0.046');

export interface BillLine {
  readonly instanceId: string;
  readonly instanceType: string;
  readonly zone: string;
  readonly market: BilledThing['market'];
  /** Seconds of instance time paid for; 0 for a life that never ran or was free. */
  readonly billedSeconds: number;
  readonly instanceNanoUsd: NanoUsd;
  readonly volumeNanoUsd: NanoUsd;
  readonly publicIpv4NanoUsd: NanoUsd;
  readonly totalNanoUsd: NanoUsd;
}

export interface Bill {
  readonly atMs: EpochMs;
  /** In the order of launches. */
  readonly lines: readonly BillLine[];
  readonly totalNanoUsd: NanoUsd;
}

interface Interval {
  readonly fromMs: EpochMs;
  readonly toMs: EpochMs;
}

interface BilledLife {
  readonly instanceId: string;
  readonly thing: BilledThing;
  readonly events: readonly RegionEvent[];
}

/** The bill for everything up to `atMs`; what still runs is billed as if it ended then. */
export function writeBill(events: readonly RegionEvent[], atMs: EpochMs, seed: string): Bill {
  const lines = livesOf(events).map((life) => writeLine(life, atMs, seed));
  return { atMs, lines, totalNanoUsd: lines.reduce((sum, line) => sum + line.totalNanoUsd, 0n) };
}

function livesOf(events: readonly RegionEvent[]): BilledLife[] {
  const lives = new Map<string, { instanceId: string; thing: BilledThing; events: RegionEvent[] }>();
  for (const event of events) {
    if (event.launched !== null) {
      lives.set(event.instanceId, { instanceId: event.instanceId, thing: event.launched, events: [] });
    }
    const life = lives.get(event.instanceId);
    assert(life !== undefined, `event of an instance that was never launched: ${event.instanceId}`);
    life.events.push(event);
  }
  return [...lives.values()];
}

function writeLine(life: BilledLife, atMs: EpochMs, seed: string): BillLine {
  const { thing } = life;
  const runs = runningIntervals(life, atMs);
  const existence = { fromMs: firstAtMs(life), toMs: timeOf(life, ['terminated']) ?? atMs };
  const instance = runs.reduce((sum, run) => sum + costOfRun(thing, run, seed), 0n);
  // A volume that outlives its instance is an orphan, and AWS goes on billing it.
  const volume = thing.volumes.reduce(
    (sum, { sizeGib, deleteOnTermination }) =>
      sum + costOfVolume(sizeGib, deleteOnTermination ? existence : { ...existence, toMs: atMs }),
    0n,
  );
  const addresses = thing.publicIpv4 ? intervalsFrom(life, 'pending', atMs) : [];
  const address = addresses.reduce(
    (sum, held) => sum + costOfSeconds(PUBLIC_IPV4_HOUR, wholeSeconds(atLeastMinimum(held))),
    0n,
  );
  return {
    instanceId: life.instanceId,
    instanceType: thing.instanceType,
    zone: thing.zone,
    market: thing.market,
    billedSeconds: runs.reduce((sum, run) => sum + wholeSeconds(run), 0),
    instanceNanoUsd: instance,
    volumeNanoUsd: volume,
    publicIpv4NanoUsd: address,
    totalNanoUsd: instance + volume + address,
  };
}

function firstAtMs(life: BilledLife): EpochMs {
  const [first] = life.events;
  assert(first !== undefined);
  return first.atMs;
}

function timeOf(life: BilledLife, kinds: readonly RegionEvent['kind'][]): EpochMs | null {
  return life.events.find((event) => kinds.includes(event.kind))?.atMs ?? null;
}

/** One interval per start, each already stretched to the minimum; without those that are free. */
function runningIntervals(life: BilledLife, atMs: EpochMs): Interval[] {
  return intervalsFrom(life, 'running', atMs)
    .filter(({ fromMs, toMs, cause }) => cause !== 'spot' || toMs - fromMs >= HOUR_MS)
    .map(atLeastMinimum);
}

/** From each event of a kind to the stop or end that follows it. */
function intervalsFrom(
  { events }: BilledLife,
  kind: RegionEvent['kind'],
  atMs: EpochMs,
): (Interval & Pick<RegionEvent, 'cause'>)[] {
  const ends: readonly RegionEvent['kind'][] = ['stopping', 'shutting-down', 'terminated'];
  return events.flatMap((event, index) => {
    if (event.kind !== kind) return [];
    const end = events.slice(index + 1).find((later) => ends.includes(later.kind));
    return [{ fromMs: event.atMs, toMs: end?.atMs ?? atMs, cause: end?.cause ?? null }];
  });
}

function atLeastMinimum({ fromMs, toMs }: Interval): Interval {
  return { fromMs, toMs: Math.max(toMs, fromMs + MINIMUM_MS) };
}

function wholeSeconds({ fromMs, toMs }: Interval): number {
  return Math.ceil((toMs - fromMs) / SECOND_MS);
}

function costOfRun(thing: BilledThing, run: Interval, seed: string): NanoUsd {
  const type = findInstanceType(thing.instanceType);
  assert(type !== undefined, `bill for an unknown type: ${thing.instanceType}`);
  const seconds = wholeSeconds(run);
  const license = thing.platform === undefined ? 0n : WINDOWS_VCPU_HOUR * BigInt(type.vcpus);
  if (thing.market === 'on-demand') return costOfSeconds(type.priceNanoUsdPerHour + license, seconds);
  // Each second belongs to the price that holds when it begins; seconds count from the start of the run.
  let cost = 0n;
  let done = 0;
  while (done < seconds) {
    const beginMs = run.fromMs + done * SECOND_MS;
    const price = spotPriceAt(seed, type, thing.zone, beginMs);
    const atThisPrice = Math.ceil((nextPriceChangeMs(beginMs) - beginMs) / SECOND_MS);
    const taken = Math.min(atThisPrice, seconds - done);
    cost += costOfSeconds(price, taken);
    done += taken;
  }
  return cost;
}

function costOfVolume(sizeGib: number, existence: Interval): NanoUsd {
  const span = atLeastMinimum(existence);
  const seconds = wholeSeconds(span);
  let cost = 0n;
  let done = 0;
  while (done < seconds) {
    const beginMs = span.fromMs + done * SECOND_MS;
    const month = monthOf(beginMs);
    const taken = Math.min(Math.ceil((month.toMs - beginMs) / SECOND_MS), seconds - done);
    const monthSeconds = BigInt(wholeSeconds(month));
    cost += (GP3_GIB_MONTH * BigInt(sizeGib) * BigInt(taken) + monthSeconds / 2n) / monthSeconds;
    done += taken;
  }
  return cost;
}

function monthOf(atMs: EpochMs): Interval {
  const date = new Date(atMs);
  const [year, month] = [date.getUTCFullYear(), date.getUTCMonth()];
  return { fromMs: Date.UTC(year, month), toMs: Date.UTC(year, month + 1) };
}
