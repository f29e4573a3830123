import { describe, expect } from 'vitest';
import type { WorkloadPolicy } from '../../src/model/policy.ts';
import { DAY_MS, MINUTE_MS } from '../../src/model/time.ts';
import { PERIOD_MS } from '../../src/planner/forecast.ts';
import type { DemandHistory } from '../../src/ports/planning.ts';
import type { Db } from '../../src/store/database.ts';
import { createPlanningStore } from '../../src/store/planning.ts';
import { createRetentionStore } from '../../src/store/retention.ts';
import { aPolicy, aTask, anAgent, NOW_MS, passTime, stopClock, WORKLOAD } from '../support/builders.ts';
import { test } from '../support/database.ts';

const cores = (count: number) => ({ cpuMilli: count * 1000, memoryMib: count * 1024, gpus: 0 });
const POLICY: WorkloadPolicy = aPolicy({
  demand: { forecast: { mode: 'ForecastOnly', leadTimeMs: 5 * MINUTE_MS, minAccuracy: 0.7 } },
});

async function historyOf(db: Db): Promise<DemandHistory | undefined> {
  const { workloads } = await createPlanningStore(db).readFacts([POLICY]);
  return workloads.get(WORKLOAD)?.history;
}

async function record(db: Db, nowMs: number, ahead: readonly [number, number][] = []): Promise<void> {
  const forecasts = ahead.map(([afterMs, count]) => ({ atMs: nowMs + afterMs, demand: cores(count) }));
  await createPlanningStore(db).recordDemand({ workload: WORKLOAD, nowMs, forecasts });
}

describe('the history of demand', () => {
  test('has the most that pending, leased and running tasks wanted at once in each five minutes', async ({ db }) => {
    await stopClock(db);
    const agentId = await anAgent(db);
    await aTask(db, { shape: cores(1) });
    await aTask(db, { shape: cores(2), state: 'leased', agentId });
    await aTask(db, { shape: cores(4), state: 'running', agentId });
    await aTask(db, { shape: cores(8), state: 'done' });
    await aTask(db, { shape: cores(16), workload: 'other' });
    await record(db, NOW_MS);
    await db.deleteFrom('tasks').execute();
    await record(db, NOW_MS + PERIOD_MS - 1);
    await record(db, NOW_MS + PERIOD_MS);

    await passTime(db, DAY_MS);
    expect((await historyOf(db))?.past).toEqual([
      { atMs: NOW_MS, demand: cores(7) },
      { atMs: NOW_MS + PERIOD_MS, demand: cores(0) },
    ]);
  });

  test('is read for workloads with a forecast only', async ({ db }) => {
    const { workloads } = await createPlanningStore(db).readFacts([aPolicy()]);
    expect(workloads.get(WORKLOAD)?.history).toBeUndefined();
  });

  test('keeps a forecast as it was first made, and none that was made after its time began', async ({ db }) => {
    await stopClock(db);
    await record(db, NOW_MS, [
      [0, 9],
      [PERIOD_MS, 3],
    ]);
    await record(db, NOW_MS + MINUTE_MS, [[PERIOD_MS - MINUTE_MS, 5]]);
    const rows = await db
      .selectFrom('demand_history')
      .select(['bucket', 'cpu_milli', 'forecast_cpu_milli'])
      .orderBy('bucket')
      .execute();
    expect(rows.map((row) => [row.bucket.getTime() - NOW_MS, Number(row.cpu_milli), row.forecast_cpu_milli])).toEqual([
      [0, 0, null],
      [PERIOD_MS, 0, 3000],
    ]);
  });

  test('judges forecasts by what came, once their five minutes are over', async ({ db }) => {
    await stopClock(db);
    await record(db, NOW_MS, [[PERIOD_MS, 3]]);
    await aTask(db, { shape: cores(4) });
    await passTime(db, PERIOD_MS);
    await record(db, NOW_MS + PERIOD_MS);
    expect((await historyOf(db))?.errors.periods).toBe(0);
    await passTime(db, PERIOD_MS);
    expect((await historyOf(db))?.errors).toEqual({ periods: 1, actual: cores(4), error: cores(1) });
    await passTime(db, 8 * DAY_MS);
    expect((await historyOf(db))?.errors.periods).toBe(0);
  });

  test('is forgotten after nine weeks, however short other things are kept', async ({ db }) => {
    await stopClock(db);
    await record(db, NOW_MS);
    await passTime(db, 63 * DAY_MS);
    expect(await createRetentionStore(db).forget(DAY_MS, 100)).toBe(0);
    await passTime(db, 1);
    expect(await createRetentionStore(db).forget(DAY_MS, 100)).toBe(1);
  });
});
