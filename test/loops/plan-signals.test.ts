/** Signals on their way from the policy into a stored plan. */
import { describe, expect } from 'vitest';
import { planTick } from '../../src/loops/plan.ts';
import { planAll } from '../../src/planner/plan.ts';
import type { PlannerInput } from '../../src/planner/types.ts';
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
