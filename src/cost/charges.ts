/**
 * What AWS charges for one machine, from what was observed of its life. The rules:
 * - compute: per second from `running` to the end, 60 s at least per start; `pending` and `shutting-down` are free;
 *   spot at the price of each moment, and free when AWS took the machine back within its first hour;
 * - volume and public IPv4: per second from launch to the end, 60 s at least.
 *
 * A machine is settled again and again while it lives. Each charge is the difference of two costs counted from the
 * beginning, so that however often it was settled, its charges add up to the cost of the whole, to the nano-dollar.
 */
import type { MachineId } from '../model/ids.ts';
import { BILLED_MIN_MS, type NanoUsd } from '../model/money.ts';
import type { Market } from '../model/offering.ts';
import type { EpochMs } from '../model/time.ts';
import { HOUR_MS, SECOND_MS } from '../model/time.ts';
import type { Meter, Rate } from './meters.ts';
import { computeMeter, costOfRates, hourlyPrice, ipv4Meter, volumeMeter } from './meters.ts';

/** EC2's state reasons for a spot machine that AWS itself ended (`Server.SpotInstanceTermination`, `...Shutdown`). */
const SPOT_TAKEN_BACK = /^Server\.SpotInstance/;

export interface PricePoint {
  readonly atMs: EpochMs;
  readonly pricePerHour: NanoUsd;
}

/** What is known of a machine's life and price. */
export interface BilledMachine {
  readonly machineId: MachineId;
  readonly workload: string;
  readonly instanceType: string;
  readonly zone: string;
  readonly market: Market;
  /** 0 = no volume of its own. */
  readonly volumeGib: number;
  /** Default false: agents are reached through private addresses. */
  readonly publicIpv4?: boolean;
  /** Price at launch; also stands in for a spot price while no point is known. */
  readonly pricePerHour: NanoUsd;
  /** Spot prices of its type and zone from the launch on, the one in force at the launch included. Ignored on demand. */
  readonly spotPrices: readonly PricePoint[];
  /** EC2's LaunchTime; null = not told yet. */
  readonly launchAtMs: EpochMs | null;
  /** When it was last seen `pending`; null = never. */
  readonly pendingSeenAtMs: EpochMs | null;
  /** When it was first seen `running`; null = not yet, or never. Once set, it and the two above do not change any more. */
  readonly runningSeenAtMs: EpochMs | null;
  /** When it began to shut down; null = it lives. */
  readonly endedAtMs: EpochMs | null;
  /** EC2's state reason code of its end. */
  readonly endCode?: string | null;
  /** Everything before is charged; null = nothing is. */
  readonly chargedThroughMs: EpochMs | null;
}

/** Money for one machine over one interval at one price. */
export interface Charge {
  readonly machineId: MachineId;
  readonly workload: string;
  readonly kind: 'compute' | 'volume' | 'ipv4';
  readonly instanceType: string;
  readonly market: Market;
  readonly zone: string;
  readonly fromMs: EpochMs;
  readonly toMs: EpochMs;
  readonly quantitySeconds: number;
  readonly unitPricePerHour: NanoUsd;
  /** Negative only where an earlier charge is given back. */
  readonly amount: NanoUsd;
  readonly priceSource: string;
}

/** An instance is `pending` for seconds. A look that comes much later, after an outage of ours, tells nothing of when it ran. */
const PENDING_LEFT_MS_MAX = 5 * SECOND_MS;

/** What ended later than this after it was last known to be `pending` ran in between, though no look of ours fell into it. */
const UNSEEN_MS_MAX = 60 * SECOND_MS;

/**
 * Begin of billing, in whole seconds: half-way between the last look that saw `pending` and the first that saw `running`,
 * since the truth lies between them, but at most 5 s after the former; not before the launch. Null = it never ran, as far as is known.
 */
export function billingBeginMs(machine: BilledMachine): EpochMs | null {
  const { launchAtMs } = machine;
  const ranAtMs = machine.runningSeenAtMs ?? endOfUnseenRun(machine);
  if (ranAtMs === null) return null;
  const pendingSeenAtMs = machine.pendingSeenAtMs ?? launchAtMs ?? ranAtMs;
  const leftMs = Math.min((ranAtMs - pendingSeenAtMs) / 2, PENDING_LEFT_MS_MAX);
  return wholeSeconds(Math.max(pendingSeenAtMs + leftMs, launchAtMs ?? 0));
}

/**
 * State reasons of instances that never got beyond `pending`, whenever we heard of their end.
 * https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/troubleshooting-launch.html ("terminates immediately")
 */
const NEVER_RAN: ReadonlySet<string> = new Set([
  'Server.InsufficientInstanceCapacity',
  'Server.InternalError',
  'Client.InternalError',
  'Client.InvalidSnapshot.NotFound',
  'Client.VolumeLimitExceeded',
]);

/** While EC2 could not be listed, an instance may have run from beginning to end. */
function endOfUnseenRun({ pendingSeenAtMs, launchAtMs, endedAtMs, endCode }: BilledMachine): EpochMs | null {
  const lastPendingMs = pendingSeenAtMs ?? launchAtMs;
  if (endedAtMs === null || lastPendingMs === null || NEVER_RAN.has(endCode ?? '')) return null;
  return endedAtMs - lastPendingMs > UNSEEN_MS_MAX ? endedAtMs : null;
}

/**
 * Charges from what is charged already up to the end of the machine, or up to `boundaryMs` while it lives. The boundary may
 * not lie after the last look that saw it alive. Nothing while it was not seen running, because its beginning is unknown.
 */
export function chargesFor(machine: BilledMachine, boundaryMs: EpochMs): Charge[] {
  if (machine.endedAtMs === null && machine.runningSeenAtMs === null) return [];
  return metersOf(machine).flatMap((meter) => chargeMeter(machine, meter, closedEndMs(machine, meter, boundaryMs)));
}

/**
 * What is not charged yet, as it will be if the machine ends now: an estimate while it lives. It owes the 60 s minimum from
 * its first second.
 */
export function accruedFor(machine: BilledMachine, nowMs: EpochMs): Charge[] {
  const endedAtMs = machine.endedAtMs ?? nowMs;
  return chargesFor({ ...machine, endedAtMs, endCode: machine.endCode ?? null }, nowMs);
}

/** Where charges of a settlement end: what the ledger keeps as charged-through. Null = there was nothing to charge. */
export function chargedThrough(charges: readonly Charge[]): EpochMs | null {
  return charges.length === 0 ? null : Math.max(...charges.map(({ toMs }) => toMs));
}

function metersOf(machine: BilledMachine): Meter[] {
  const runningMs = billingBeginMs(machine);
  const launchMs = machine.launchAtMs === null ? runningMs : wholeSeconds(machine.launchAtMs);
  const meters: Meter[] = [];
  if (runningMs !== null) meters.push(computeMeter(machine, runningMs));
  if (launchMs !== null && machine.volumeGib > 0) meters.push(volumeMeter(machine.volumeGib, launchMs));
  if (launchMs !== null && machine.publicIpv4 === true) meters.push(ipv4Meter(launchMs));
  return meters;
}

/** Until when a meter is charged: a begun second counts as a whole one at the end, not at a boundary. */
function closedEndMs({ endedAtMs }: BilledMachine, meter: Meter, boundaryMs: EpochMs): EpochMs {
  if (endedAtMs === null) return wholeSeconds(boundaryMs);
  return Math.max(Math.ceil(endedAtMs / SECOND_MS) * SECOND_MS, meter.beginMs + BILLED_MIN_MS);
}

function chargeMeter(machine: BilledMachine, meter: Meter, endMs: EpochMs): Charge[] {
  const fromMs = Math.max(meter.beginMs, machine.chargedThroughMs ?? meter.beginMs);
  if (endMs <= fromMs) return [];
  if (meter.kind === 'compute' && wasTakenBackEarly(machine, meter, endMs))
    return [giveBack(machine, meter, { fromMs, endMs })];
  const charges: Charge[] = [];
  const rates = meter.ratesTo(endMs);
  for (const [index, rate] of rates.entries()) {
    if (rate.toMs <= fromMs) continue;
    const before = rates.slice(0, index);
    const startMs = Math.max(rate.fromMs, fromMs);
    const costBefore = costOfRates(startMs > rate.fromMs ? [...before, { ...rate, toMs: startMs }] : before);
    const amount = costOfRates([...before, rate]) - costBefore;
    charges.push(writeCharge(machine, meter, { ...rate, fromMs: startMs }, amount));
  }
  return charges;
}

function wasTakenBackEarly({ market, endCode, endedAtMs }: BilledMachine, { beginMs }: Meter, endMs: EpochMs): boolean {
  return market === 'spot' && endedAtMs !== null && SPOT_TAKEN_BACK.test(endCode ?? '') && endMs - beginMs < HOUR_MS;
}

/** The rest of a free life, with what was charged of it before subtracted. */
function giveBack(
  machine: BilledMachine,
  meter: Meter,
  { fromMs, endMs }: { fromMs: EpochMs; endMs: EpochMs },
): Charge {
  const charged = costOfRates(meter.ratesTo(fromMs));
  const rate = { fromMs, toMs: endMs, amount: 0n, perSeconds: 3600n, source: 'spot-taken-back-in-first-hour' };
  return writeCharge(machine, meter, rate, -charged);
}

function writeCharge(machine: BilledMachine, { kind }: Meter, rate: Rate, amount: NanoUsd): Charge {
  return {
    machineId: machine.machineId,
    workload: machine.workload,
    kind,
    instanceType: machine.instanceType,
    market: machine.market,
    zone: machine.zone,
    fromMs: rate.fromMs,
    toMs: rate.toMs,
    quantitySeconds: (rate.toMs - rate.fromMs) / SECOND_MS,
    unitPricePerHour: hourlyPrice(rate),
    amount,
    priceSource: rate.source,
  };
}

function wholeSeconds(atMs: number): EpochMs {
  return Math.floor(atMs / SECOND_MS) * SECOND_MS;
}
