import { sql } from 'kysely';

import { DAY_MS, type EpochMs } from '../model/time.ts';
import { periodOf, periodsNeeded, type ForecastErrors, type PastDemand } from '../planner/forecast.ts';
import type { DemandHistory, DemandRecord } from '../ports/planning.ts';
import { toMs, type Db, type Tx } from './database.ts';

/** Periods that a score looks back on: a week, so that the weekend has its part in it. */
const SCORED_MS = 7 * DAY_MS;

/** What a forecast is made of and judged by, as of the moment of a snapshot. */
export async function readDemandHistory(
  tx: Tx,
  workload: string,
  { nowMs, leadTimeMs }: { readonly nowMs: EpochMs; readonly leadTimeMs: number },
): Promise<DemandHistory> {
  return {
    past: await readPast(tx, workload, periodsNeeded(nowMs, leadTimeMs)),
    errors: await readErrors(tx, workload, nowMs),
  };
}

async function readPast(tx: Tx, workload: string, periods: readonly EpochMs[]): Promise<readonly PastDemand[]> {
  const rows = await tx
    .selectFrom('demand_history')
    .select('bucket')
    .select([sql<number>`cpu_milli::float8`.as('cpuMilli'), sql<number>`memory_mib::float8`.as('memoryMib')])
    .select(sql<number>`gpus::float8`.as('gpus'))
    .where('workload', '=', workload)
    .where(
      'bucket',
      'in',
      periods.map((ms) => new Date(ms)),
    )
    .where('cpu_milli', 'is not', null)
    .orderBy('bucket')
    .execute();
  return rows.map(({ bucket, ...demand }) => ({ atMs: toMs(bucket), demand }));
}

async function readErrors(tx: Tx, workload: string, nowMs: EpochMs): Promise<ForecastErrors> {
  const sum = (expression: string) => sql<number>`coalesce(sum(${sql.raw(expression)}), 0)::float8`;
  const row = await tx
    .selectFrom('demand_history')
    .select([
      sql<number>`count(*)::int`.as('periods'),
      sum('cpu_milli').as('cpu'),
      sum('memory_mib').as('memory'),
      sum('gpus').as('gpus'),
      sum('abs(forecast_cpu_milli - cpu_milli)').as('cpuError'),
      sum('abs(forecast_memory_mib - memory_mib)').as('memoryError'),
      sum('abs(forecast_gpus - gpus)').as('gpusError'),
    ])
    .where('workload', '=', workload)
    .where('bucket', '>=', new Date(nowMs - SCORED_MS))
    // A period that is not over may still want more.
    .where('bucket', '<', new Date(periodOf(nowMs)))
    .where('cpu_milli', 'is not', null)
    .where('forecast_cpu_milli', 'is not', null)
    .executeTakeFirstOrThrow();
  return {
    periods: row.periods,
    actual: { cpuMilli: row.cpu, memoryMib: row.memory, gpus: row.gpus },
    error: { cpuMilli: row.cpuError, memoryMib: row.memoryError, gpus: row.gpusError },
  };
}

/** Keeps the largest demand of each period, and each forecast as it was first made. */
export async function recordDemand(db: Db, { workload, nowMs, forecasts }: DemandRecord): Promise<void> {
  await sql`
    insert into spillway.demand_history as h (workload, bucket, cpu_milli, memory_mib, gpus)
    select ${workload}, ${new Date(periodOf(nowMs))}::timestamptz,
      coalesce(sum(cpu_milli), 0), coalesce(sum(memory_mib), 0), coalesce(sum(gpus), 0)
    from spillway.tasks where workload = ${workload} and state in ('pending', 'leased', 'running')
    on conflict (workload, bucket) do update set
      cpu_milli = greatest(h.cpu_milli, excluded.cpu_milli),
      memory_mib = greatest(h.memory_mib, excluded.memory_mib),
      gpus = greatest(h.gpus, excluded.gpus)`.execute(db);
  // What begins now is no forecast any more.
  const ahead = forecasts.filter(({ atMs }) => atMs > nowMs);
  if (ahead.length === 0) return;
  const column = (pick: (forecast: PastDemand) => number) => ahead.map(pick);
  await sql`
    insert into spillway.demand_history as h (workload, bucket, forecast_cpu_milli, forecast_memory_mib, forecast_gpus)
    select ${workload}, f.bucket, f.cpu, f.memory, f.gpus
    from unnest(${ahead.map(({ atMs }) => new Date(atMs))}::timestamptz[],
      ${column(({ demand }) => demand.cpuMilli)}::bigint[],
      ${column(({ demand }) => demand.memoryMib)}::bigint[],
      ${column(({ demand }) => demand.gpus)}::bigint[]) as f(bucket, cpu, memory, gpus)
    on conflict (workload, bucket) do update set
      forecast_cpu_milli = excluded.forecast_cpu_milli,
      forecast_memory_mib = excluded.forecast_memory_mib,
      forecast_gpus = excluded.forecast_gpus
    where h.forecast_cpu_milli is null`.execute(db);
}

/** Rows older than any forecast looks back: eight weeks, and one more for the longest lead time and a restart. */
export const DEMAND_KEPT_MS = 63 * DAY_MS;
