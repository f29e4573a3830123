import { nanoUsdFromDecimal, nanoUsdToNumber } from '../../src/model/money.ts';
import { DAY_MS } from '../../src/model/time.ts';
import type { CostReportDocument, MachineDocument, StatusDocument, TaskDocument } from '../../src/ports/reports.ts';
import { SCENARIO } from './scenario.ts';
import type { Stack } from './stack.ts';

/** One look at everything. */
export interface Glance {
  readonly atMs: number;
  readonly status: StatusDocument;
  readonly machines: readonly MachineDocument[];
  /** The ledger, and what living machines have cost since their last charge. */
  readonly spentUsd: number;
}

export async function glance(stack: Stack): Promise<Glance> {
  // A day on either side: the 60 s minimum of a short life reaches into the future.
  const [from, to] = [-DAY_MS, DAY_MS].map((ms) => new Date(Date.now() + ms).toISOString());
  const [status, machines, costs] = await Promise.all([
    stack.client.get<StatusDocument>('Status', '/v1/status'),
    stack.client.list<MachineDocument>('MachineList', '/v1/machines', { limit: 1000, all: true }),
    stack.client.get<CostReportDocument>('CostReport', '/v1/costs', { from, to, by: 'workload' }),
  ]);
  return { atMs: performance.now(), status, machines: machines.items, spentUsd: Number(costs.total.totalUsd) };
}

/** True when the wave is through and every machine it brought is gone again. */
export function isOver({ status, machines }: Glance): boolean {
  const waiting = (status.tasks.pending ?? 0) + (status.tasks.leased ?? 0) + (status.tasks.running ?? 0);
  return waiting === 0 && machines.length > 0 && machines.every(({ state }) => state === 'terminated');
}

export interface Summary {
  readonly tasks: { readonly submitted: number; readonly done: number; readonly lost: number };
  readonly machines: { readonly launched: number; readonly terminated: number; readonly leaked: number };
  readonly waitS: { readonly p50: number; readonly p95: number };
  readonly ledgerUsd: number;
  readonly billUsd: number;
  readonly seconds: number;
}

interface RegionInstance {
  readonly instanceId: string;
  readonly state: string;
}

/** Adds it all up from three sides: the service's rows, its ledger, and what the region itself says. `submitted`: as many tasks as were. */
export async function summarise(stack: Stack, seconds: number, submitted: number = SCENARIO.tasks): Promise<Summary> {
  const tasks = await stack.client.list<TaskDocument>('TaskList', '/v1/tasks', { limit: 5000 });
  const { machines } = await glance(stack);
  const { instances } = await stack.askRegion<{ instances: readonly RegionInstance[] }>('instances');
  const bill = await stack.askRegion<{ totalUsd: string }>('bill');
  const done = tasks.items.filter(({ state }) => state === 'done').length;
  const waits = tasks.items.map(waitOf).sort((a, b) => a - b);
  return {
    tasks: { submitted, done, lost: submitted - done },
    machines: {
      launched: instances.length,
      terminated: machines.filter(({ state, instanceId }) => state === 'terminated' && instanceId !== null).length,
      leaked: instances.filter(({ state }) => state !== 'terminated').length,
    },
    waitS: { p50: quantile(waits, 0.5), p95: quantile(waits, 0.95) },
    ledgerUsd: nanoUsdToNumber(machines.reduce((sum, { costUsd }) => sum + nanoUsdFromDecimal(costUsd), 0n)),
    billUsd: Number(bill.totalUsd),
    seconds: Math.round(seconds * 10) / 10,
  };
}

function waitOf({ submittedAt, startedAt }: TaskDocument): number {
  return startedAt === null ? Infinity : (Date.parse(startedAt) - Date.parse(submittedAt)) / 1000;
}

/** Nearest rank. */
function quantile(sorted: readonly number[], q: number): number {
  return sorted[Math.max(0, Math.ceil(sorted.length * q) - 1)] ?? 0;
}

/** Half a cent: two amounts closer than this are the same to the cent. */
const CENT_TOLERANCE_USD = 0.005;

/** What the demo promises; each broken promise is one sentence. */
export function findBrokenPromises(summary: Summary): readonly string[] {
  const { tasks, machines, ledgerUsd, billUsd } = summary;
  const promises: readonly [boolean, string][] = [
    [tasks.lost === 0, `${tasks.lost} tasks were lost`],
    [machines.launched > 0, 'nothing was launched: the wave did not overflow'],
    [machines.leaked === 0, `${machines.leaked} instances still live in the region`],
    [
      machines.launched === machines.terminated,
      `${machines.launched} launched, but ${machines.terminated} seen to the end`,
    ],
    [
      Math.abs(ledgerUsd - billUsd) < CENT_TOLERANCE_USD,
      `the ledger says ${ledgerUsd} USD, the region's bill ${billUsd}`,
    ],
  ];
  return promises.flatMap(([kept, sentence]) => (kept ? [] : [sentence]));
}
