import type { NanoUsd } from '../model/money.ts';
import type { Market } from '../model/offering.ts';
import type { EpochMs } from '../model/time.ts';
import { DAY_MS, SECOND_MS } from '../model/time.ts';

export const COST_GROUPINGS = ['workload', 'day', 'instance-type', 'market'] as const;
export type CostGrouping = (typeof COST_GROUPINGS)[number];

/** What a report needs of a charge; every `Charge` is one. */
export interface CostLine {
  readonly machineId: string;
  readonly workload: string;
  readonly kind: 'compute' | 'volume' | 'ipv4';
  readonly instanceType: string;
  readonly market: Market;
  readonly fromMs: EpochMs;
  readonly toMs: EpochMs;
  readonly quantitySeconds: number;
  readonly amount: NanoUsd;
}

export interface CostFacts {
  /** From the ledger. */
  readonly charges: readonly CostLine[];
  /** Not in the ledger yet (`accruedFor`). */
  readonly accrued: readonly CostLine[];
}

export interface CostReportOptions {
  readonly by: CostGrouping;
  /** Only what falls into [fromMs, toMs); null = no bound. */
  readonly fromMs: EpochMs | null;
  readonly toMs: EpochMs | null;
}

export interface CostRow {
  /** The workload, UTC day (`2026-11-22`), instance type or market; `total` in the total. */
  readonly key: string;
  /** Distinct machines with any cost in the row; a machine may be in several rows. */
  readonly machines: number;
  /** Time paid for as compute. */
  readonly machineSeconds: number;
  readonly compute: NanoUsd;
  readonly volume: NanoUsd;
  readonly ipv4: NanoUsd;
  readonly total: NanoUsd;
  /** Part of the total that is not in the ledger yet. */
  readonly estimated: NanoUsd;
}

export interface CostReport {
  readonly by: CostGrouping;
  /** By key. */
  readonly rows: readonly CostRow[];
  /** Exactly the sum of the rows' money and time. */
  readonly total: CostRow;
}

/** Groups money by one property; days are UTC days, and intervals are split at midnight. */
export function reportCosts(facts: CostFacts, { by, fromMs, toMs }: CostReportOptions): CostReport {
  const total = openSum('total');
  const sums = new Map<string, Sum>();
  const parts = [facts.charges, facts.accrued].flatMap((lines, index) =>
    lines
      .flatMap((line) => splitLine(line, by === 'day' ? midnightsIn(line) : [], { fromMs, toMs }))
      .map((line) => ({ line, isEstimated: index === 1 })),
  );
  for (const { line, isEstimated } of parts) {
    const key = keyOf(line, by);
    const sum = sums.get(key) ?? openSum(key);
    sums.set(key, sum);
    addLine(sum, line, isEstimated);
    addLine(total, line, isEstimated);
  }
  const rows = [...sums.values()].map(closeSum).sort((a, b) => (a.key < b.key ? -1 : 1));
  return { by, rows, total: closeSum(total) };
}

/** Paid machine time in hours. */
export function machineHours({ machineSeconds }: CostRow): number {
  return machineSeconds / 3600;
}

/** 0..1: how much of a row's money is an estimate. */
export function estimatedShare({ total, estimated }: CostRow): number {
  return total === 0n ? 0 : Number(estimated) / Number(total);
}

interface Sum {
  readonly key: string;
  readonly machines: Set<string>;
  readonly byKind: Record<CostLine['kind'], NanoUsd>;
  machineSeconds: number;
  estimated: NanoUsd;
}

function openSum(key: string): Sum {
  return { key, machines: new Set(), byKind: { compute: 0n, volume: 0n, ipv4: 0n }, machineSeconds: 0, estimated: 0n };
}

function addLine(sum: Sum, line: CostLine, isEstimated: boolean): void {
  sum.machines.add(line.machineId);
  sum.byKind[line.kind] += line.amount;
  if (line.kind === 'compute') sum.machineSeconds += line.quantitySeconds;
  if (isEstimated) sum.estimated += line.amount;
}

function closeSum({ key, machines, machineSeconds, byKind, estimated }: Sum): CostRow {
  const total = byKind.compute + byKind.volume + byKind.ipv4;
  return { key, machines: machines.size, machineSeconds, ...byKind, total, estimated };
}

function keyOf(line: CostLine, by: CostGrouping): string {
  switch (by) {
    case 'workload':
      return line.workload;
    case 'day':
      return new Date(line.fromMs).toISOString().slice(0, 10);
    case 'instance-type':
      return line.instanceType;
    case 'market':
      return line.market;
  }
}

function midnightsIn({ fromMs, toMs }: CostLine): EpochMs[] {
  const midnights: EpochMs[] = [];
  for (let at = (Math.floor(fromMs / DAY_MS) + 1) * DAY_MS; at < toMs; at += DAY_MS) midnights.push(at);
  return midnights;
}

/** Splits a line at moments and keeps the parts within bounds. The money of all parts is that of the line, exactly. */
function splitLine(
  line: CostLine,
  moments: readonly EpochMs[],
  bounds: { readonly fromMs: EpochMs | null; readonly toMs: EpochMs | null },
): CostLine[] {
  const beginMs = Math.max(line.fromMs, wholeSecond(bounds.fromMs) ?? line.fromMs);
  const endMs = Math.min(line.toMs, wholeSecond(bounds.toMs) ?? line.toMs);
  // A line without time, such as a correction, cannot be split: it belongs to the moment it begins.
  if (line.toMs === line.fromMs) return isInside(line.fromMs, bounds) ? [line] : [];
  const edges = [beginMs, ...moments.filter((at) => at > beginMs && at < endMs), endMs];
  return edges.slice(1).flatMap((toMs, index) => {
    const fromMs = edges[index] ?? beginMs;
    if (toMs <= fromMs) return [];
    const quantitySeconds = (toMs - fromMs) / SECOND_MS;
    return [{ ...line, fromMs, toMs, quantitySeconds, amount: amountTo(line, toMs) - amountTo(line, fromMs) }];
  });
}

/** Money of a line from its beginning to a moment, by the share of time. */
function amountTo({ fromMs, toMs, amount }: CostLine, atMs: EpochMs): NanoUsd {
  return (amount * BigInt(atMs - fromMs)) / BigInt(toMs - fromMs);
}

function wholeSecond(atMs: EpochMs | null): EpochMs | null {
  return atMs === null ? null : Math.floor(atMs / SECOND_MS) * SECOND_MS;
}

function isInside(
  atMs: EpochMs,
  { fromMs, toMs }: { readonly fromMs: EpochMs | null; readonly toMs: EpochMs | null },
): boolean {
  return (fromMs === null || atMs >= fromMs) && (toMs === null || atMs < toMs);
}
