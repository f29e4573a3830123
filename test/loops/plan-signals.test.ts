/** Signals on their way from the policy into a stored plan. */
import { sql } from 'kysely';
import { describe, expect } from 'vitest';
import { planTick } from '../../src/loops/plan.ts';
import { planAll } from '../../src/planner/plan.ts';
import type { PlannerInput } from '../../src/planner/types.ts';
import { anAgent } from '../support/builders.ts';
import { test } from '../support/database.ts';
import { worldPolicy } from '../support/world-policy.ts';
import { World } from '../support/world.ts';

const NO_LOOPS = { plan: Infinity, ring: Infinity, sweep: Infinity, account: Infinity, prices: Infinity } as const;

describe('a schedule', () => {
  const window = { cron: '* * * * *', timezone: 'UTC', durationMs: 3_600_000, leadTimeMs: 0, min: 2, max: 3 };

  test('keeps machines while a window is open, and its plan replays from what was stored', async ({ pool }) => {
    const policies = [worldPolicy({ demand: { schedule: [window] } })];
    const world = await World.create(pool, { policies, everyS: NO_LOOPS });
    expect(await planTick(world.process.loops)).toMatchObject({ kind: 'planned', acted: true });
    expect(await world.liveMachines()).toBe(2);
    const stored = await world.db.selectFrom('plans').select(['input', 'outcome']).executeTakeFirstOrThrow();
    const input = stored.input as PlannerInput;
    expect(input.workloads[0]?.windows).toMatchObject([{ schedule: '* * * * * UTC', min: 2, max: 3 }]);
    expect(JSON.parse(JSON.stringify(planAll(input)))).toEqual(stored.outcome);
  });
});

describe('a forecast', () => {
  const forecast = { mode: 'ForecastAndScale', leadTimeMs: 300_000, minAccuracy: 0.7 } as const;

  /** Three days at this time of day with demand for four cores, and a day and a half of forecasts that were right. */
  async function remember(world: World): Promise<void> {
    await sql`
      insert into spillway.demand_history (workload, bucket, cpu_milli, memory_mib, gpus, forecast_cpu_milli, forecast_memory_mib, forecast_gpus)
      select 'render', date_bin('5 minutes', spillway.now(), 'epoch') + near * interval '5 minutes' - back * interval '5 minutes',
        4000, 4096, 0, 4000, 4096, 0
      from generate_series(1, 3 * 288) as back, generate_series(0, 1) as near
      on conflict do nothing`.execute(world.db);
  }

  test('buys room ahead once it was right for long enough, and goes on being written and judged', async ({ pool }) => {
    const policies = [worldPolicy({ demand: { forecast } })];
    const world = await World.create(pool, { policies, everyS: NO_LOOPS });
    expect(await planTick(world.process.loops)).toMatchObject({ kind: 'planned', acted: false });
    await remember(world);
    const tick = await planTick(world.process.loops);
    expect(tick).toMatchObject({ kind: 'planned', acted: true });
    const reasons = tick.kind === 'planned' ? tick.outcome.workloads[0]?.report.reasons : [];
    expect(reasons?.map(({ code }) => code)).toEqual(['forecast-room-missing', 'forecast']);
    expect(reasons?.at(-1)?.detail).toContain('the median of 3 days at that time, accuracy 100 %');
    const ahead = await world.db
      .selectFrom('demand_history')
      .select('forecast_cpu_milli')
      .where('bucket', '>', sql<Date>`spillway.now()`)
      .execute();
    expect(ahead).toEqual([{ forecast_cpu_milli: 4000 }]);
  });

  test('does nothing but say so with ForecastOnly', async ({ pool }) => {
    const policies = [worldPolicy({ demand: { forecast: { ...forecast, mode: 'ForecastOnly' } } })];
    const world = await World.create(pool, { policies, everyS: NO_LOOPS });
    await remember(world);
    const tick = await planTick(world.process.loops);
    expect(tick).toMatchObject({ kind: 'planned', acted: false });
    const [plan] = tick.kind === 'planned' ? tick.outcome.workloads : [];
    expect(plan?.report.reasons.find(({ code }) => code === 'forecast')?.detail).toContain('ForecastOnly does nothing');
  });
});

describe('a datacenter that falls silent as a whole', () => {
  test('is not bought again at once, but is when it stays silent while everything else is seen', async ({ pool }) => {
    const world = await World.create(pool, { everyS: NO_LOOPS });
    for (let number = 0; number < 4; number += 1) {
      await anAgent(world.db, { labels: { pool: 'local' }, silentMs: 31_000 });
    }
    await world.submit(40, 600);
    const launched = async (): Promise<number> => {
      await planTick(world.process.loops);
      return await world.liveMachines();
    };
    const first = await launched();
    expect(first).toBe(2);
    for (let pass = 0; pass < 5; pass += 1) {
      await world.time.run(5000);
      expect(await launched()).toBe(2);
    }
    await world.time.run(5000);
    expect(await launched()).toBeGreaterThan(2);
  });
});
