/**
 * What AWS charges for one machine, from what was observed of its life. The rules:
 * - compute: per second from `running` to the end, 60 s at least per start; `pending` and `shutting-down` are free;
 *   spot at the price of each moment, and free when AWS took the machine back within its first hour;
 * - volume: per second from launch to the end, 60 s at least, also while the machine is stopped;
 * - public IPv4: per second from each start to the stop or end that follows, 60 s at least.
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

/** True of the state reason of an instance that AWS took back. */
export function isTakenBack(endCode: string | null): boolean {
  return SPOT_TAKEN_BACK.test(endCode ?? '');
}

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
  /** EC2's LaunchTime of its first run; null = not told yet. */
  readonly launchAtMs: EpochMs | null;
  /** When it was last seen `pending`; null = never. */
  readonly pendingSeenAtMs: EpochMs | null;
  /** When it was first seen `running`; null = not yet, or never. Once set, it and the two above do not change any more. */
  readonly runningSeenAtMs: EpochMs | null;
  /** When it began to shut down; null = it lives. */
  readonly endedAtMs: EpochMs | null;
  /** EC2's state reason code of its end. */
  readonly endCode?: string | null;
  /** The run that it is in, or was in last; what was seen of `pending` and `running` is of it. Default 1. */
  readonly run?: number;
  /** EC2's LaunchTime of that run; default: that of the first. */
  readonly runLaunchAtMs?: EpochMs | null;
  /** When EC2 began to stop that run; null or absent = it runs, or ended without a stop. */
  readonly stoppedAtMs?: EpochMs | null;
  /** Runs before it. Default: none. */
  readonly pastRuns?: readonly PastRun[];
  /** Everything before is charged; null = nothing is. */
  readonly chargedThroughMs: EpochMs | null;
}

/** A run that ended with a stop. */
export interface PastRun {
  readonly run: number;
  readonly launchAtMs: EpochMs | null;
  readonly pendingSeenAtMs: EpochMs | null;
  readonly runningSeenAtMs: EpochMs | null;
  readonly stoppedAtMs: EpochMs;
}

/** Money for one machine over one interval at one price. */
export interface Charge {
  readonly machineId: MachineId;
  readonly workload: string;
  readonly kind: 'compute' | 'volume' | 'ipv4';
  /** Volumes go on through all runs and name the first. */
  readonly run: number;
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

/** What was seen of one run. */
export type SeenRun = Pick<
  BilledMachine,
  'launchAtMs' | 'pendingSeenAtMs' | 'runningSeenAtMs' | 'endedAtMs' | 'endCode'
>;

/**
 * Begin of billing, in whole seconds: half-way between the last look that saw `pending` and the first that saw `running`,
 * since the truth lies between them, but at most 5 s after the former; not before the launch. Null = it never ran, as far as is known.
 */
export function billingBeginMs(machine: SeenRun): EpochMs | null {
  const { launchAtMs } = machine;
  // Also of one whose row was made anew after its end, and taken to have run.
  if (NEVER_RAN.has(machine.endCode ?? '')) return null;
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
function endOfUnseenRun({ pendingSeenAtMs, launchAtMs, endedAtMs }: SeenRun): EpochMs | null {
  const lastPendingMs = pendingSeenAtMs ?? launchAtMs;
  if (endedAtMs === null || lastPendingMs === null) return null;
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

/** A meter of one run, or of all of them. */
interface RunMeter {
  readonly meter: Meter;
  readonly run: number;
  /** Null = it goes on. */
  readonly endedAtMs: EpochMs | null;
}

function metersOf(machine: BilledMachine): RunMeter[] {
  const runs = [...(machine.pastRuns ?? []).map((past) => runOf(past)), currentRun(machine)];
  const meters: RunMeter[] = [];
  for (const [index, { run, seen }] of runs.entries()) {
    const { endedAtMs } = seen;
    const runningMs = billingBeginMs(seen);
    const launchMs = seen.launchAtMs === null ? runningMs : wholeSeconds(seen.launchAtMs);
    if (runningMs !== null) meters.push({ meter: computeMeter(machine, runningMs), run, endedAtMs });
    if (launchMs === null) continue;
    if (machine.publicIpv4 === true) meters.push({ meter: ipv4Meter(launchMs), run, endedAtMs });
    if (index > 0 || machine.volumeGib === 0) continue;
    meters.push({ meter: volumeMeter(machine.volumeGib, launchMs), run: 1, endedAtMs: machine.endedAtMs });
  }
  return meters;
}

interface Run {
  readonly run: number;
  readonly seen: SeenRun;
}

function runOf({ run, stoppedAtMs, ...seen }: PastRun): Run {
  return { run, seen: { ...seen, endedAtMs: stoppedAtMs } };
}

function currentRun(machine: BilledMachine): Run {
  const { run = 1, pendingSeenAtMs, runningSeenAtMs, stoppedAtMs = null } = machine;
  const launchAtMs = machine.runLaunchAtMs ?? machine.launchAtMs;
  const end =
    stoppedAtMs === null
      ? { endedAtMs: machine.endedAtMs, endCode: machine.endCode ?? null }
      : { endedAtMs: stoppedAtMs };
  return { run, seen: { launchAtMs, pendingSeenAtMs, runningSeenAtMs, ...end } };
}

/**
 * Until when a meter is charged: a begun second counts as a whole one at the end, not at a boundary. While the machine lives
 * no meter is charged beyond the boundary, so that there is one moment up to which all of them are.
 */
function closedEndMs(machine: BilledMachine, { meter, endedAtMs }: RunMeter, boundaryMs: EpochMs): EpochMs {
  if (endedAtMs === null) return wholeSeconds(boundaryMs);
  const closedMs = Math.max(Math.ceil(endedAtMs / SECOND_MS) * SECOND_MS, meter.beginMs + BILLED_MIN_MS);
  return machine.endedAtMs === null ? Math.min(closedMs, wholeSeconds(boundaryMs)) : closedMs;
}

function chargeMeter(machine: BilledMachine, runMeter: RunMeter, endMs: EpochMs): Charge[] {
  const { meter } = runMeter;
  const fromMs = Math.max(meter.beginMs, machine.chargedThroughMs ?? meter.beginMs);
  if (endMs <= fromMs) return [];
  if (meter.kind === 'compute' && wasTakenBackEarly(machine, meter, endMs))
    return [giveBack(machine, runMeter, { fromMs, endMs })];
  const charges: Charge[] = [];
  const rates = meter.ratesTo(endMs);
  for (const [index, rate] of rates.entries()) {
    if (rate.toMs <= fromMs) continue;
    const before = rates.slice(0, index);
    const startMs = Math.max(rate.fromMs, fromMs);
    const costBefore = costOfRates(startMs > rate.fromMs ? [...before, { ...rate, toMs: startMs }] : before);
    const amount = costOfRates([...before, rate]) - costBefore;
    charges.push(writeCharge(machine, runMeter, { ...rate, fromMs: startMs }, amount));
  }
  return charges;
}

function wasTakenBackEarly({ market, endCode, endedAtMs }: BilledMachine, { beginMs }: Meter, endMs: EpochMs): boolean {
  return market === 'spot' && endedAtMs !== null && isTakenBack(endCode ?? null) && endMs - beginMs < HOUR_MS;
}

/** The rest of a free life, with what was charged of it before subtracted. */
function giveBack(
  machine: BilledMachine,
  runMeter: RunMeter,
  { fromMs, endMs }: { fromMs: EpochMs; endMs: EpochMs },
): Charge {
  const charged = costOfRates(runMeter.meter.ratesTo(fromMs));
  const rate = { fromMs, toMs: endMs, amount: 0n, perSeconds: 3600n, source: 'spot-taken-back-in-first-hour' };
  return writeCharge(machine, runMeter, rate, -charged);
}

function writeCharge(machine: BilledMachine, { meter: { kind }, run }: RunMeter, rate: Rate, amount: NanoUsd): Charge {
  return {
    machineId: machine.machineId,
    workload: machine.workload,
    kind,
    run,
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
