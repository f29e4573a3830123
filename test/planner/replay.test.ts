/**
 * Goal: a stored plan can be made again to the byte, whatever the database does to its JSON, and whoever cannot do that
 * says whose fault it is. Method: random worlds go through JSON with keys in another order, and through Postgres itself.
 */
import * as fc from 'fast-check';
import { describe, expect } from 'vitest';
import { planAll } from '../../src/planner/plan.ts';
import { findDifferences, replayPlan, replayUnder } from '../../src/planner/replay.ts';
import type { PlannerInput, PlanOutcome } from '../../src/planner/types.ts';
import { PLANNER_VERSION } from '../../src/planner/version.generated.ts';
import { test } from '../support/database.ts';
import { renderPlannerVersion } from '../support/planner-version.ts';
import { readFile } from 'node:fs/promises';
import { TASK, input, pending, policy } from './fixtures.ts';
import { RUNS, world } from './random-worlds.ts';

/** As a store that keeps no order of keys gives it back. */
function turned<T>(value: T): T {
  const text = JSON.stringify(value, (_, inner: unknown) =>
    typeof inner === 'object' && inner !== null && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).toReversed())
      : inner,
  );
  return JSON.parse(text) as T;
}

describe('a replay', () => {
  test('is the same for every plan, whatever order its keys came back in', () => {
    fc.assert(
      fc.property(world, (given) => {
        expect(replayPlan(turned(given), turned(planAll(given)))).toEqual({
          result: 'same',
          madeBy: PLANNER_VERSION,
          differences: [],
        });
      }),
      RUNS,
    );
  });

  test('is the same for every plan that was in a jsonb column', async ({ pool }) => {
    const worlds = fc.sample(world, { numRuns: 60, seed: 7 });
    for (const given of worlds) {
      const stored = [JSON.stringify(given), JSON.stringify(planAll(given))];
      const { rows } = await pool.query<{ input: PlannerInput; outcome: PlanOutcome }>(
        'select $1::jsonb as input, $2::jsonb as outcome',
        stored,
      );
      const [row] = rows;
      expect(replayPlan(row!.input, row!.outcome).result).toBe('same');
    }
  });

  const given = input({ workload: { pending: [pending(TASK, 9)] } });
  const outcome = planAll(given);

  test('shows where the plan says something else, and calls it a difference', () => {
    const [first] = outcome.workloads;
    const report = { ...first!.report, verdict: 'hold' as const };
    const forged = { ...outcome, workloads: [{ ...first!, report }] };
    expect(replayPlan(given, forged)).toEqual({
      result: 'differs',
      madeBy: PLANNER_VERSION,
      differences: [{ path: 'workloads[0].report.verdict', stored: 'hold', replayed: 'scale-up' }],
    });
  });

  test.for([['another'], [undefined]] as const)('of a plan by planner %s says so instead', ([madeBy]) => {
    const { plannerVersion: _mine, ...plan } = outcome;
    const named = madeBy === undefined ? plan : { ...plan, plannerVersion: madeBy };
    const older = { ...named, decidedAtMs: 1 };
    expect(replayPlan(given, named)).toEqual({ result: 'same', madeBy: madeBy ?? null, differences: [] });
    expect(replayPlan(given, older)).toMatchObject({ result: 'other-version', madeBy: madeBy ?? null });
    expect(replayPlan({ nowMs: 1 } as PlannerInput, named)).toMatchObject({ result: 'unreadable' });
  });

  test('of an input that its own planner cannot read is a bug that is not hidden', () => {
    expect(() => replayPlan({ nowMs: 1 } as PlannerInput, outcome)).toThrow(TypeError);
  });

  test('under another policy changes what that policy changes, and nothing else', () => {
    const capped = policy({ limits: { max: 1 } });
    const whatIf = replayUnder(given, capped);
    expect(whatIf?.before).toEqual(outcome);
    expect(whatIf?.after).toEqual(planAll(input({ workload: { policy: capped, pending: [pending(TASK, 9)] } })));
    expect(whatIf?.notes).toEqual([]);
    expect(replayUnder(given, policy({ name: 'other' }))).toBeNull();
  });

  test('under a policy that would have seen other facts says which', () => {
    const base = policy({ maxWaitMs: 90_000 });
    const notes = replayUnder(given, {
      ...base,
      demand: { ...base.demand, utilization: { metric: 'cpu', target: 0.5, windowMs: 60_000 } },
      burst: { ...base.burst, region: 'us-east-1' },
    })?.notes;
    expect(notes).toEqual([
      'tasks count as overdue as they did then, after 0 s instead of 90 s',
      'offerings are those of then: eu-central-1, subnet-eu-central-1a, subnet-eu-central-1b',
      'utilization is as it was measured then, over the window of then',
    ]);
  });
});

describe('differences', () => {
  test.for([
    [{ a: 1, b: 2 }, { b: 2, a: 1 }, []],
    [{ a: undefined }, {}, []],
    [{ a: 1 }, {}, ['a']],
    [{}, { a: null }, ['a']],
    [[1, 2], [1], ['[1]']],
    [{ a: [{ b: 1, c: 2 }] }, { a: [{ b: 2, c: 3 }] }, ['a[0].b', 'a[0].c']],
    [{ a: [] }, { a: {} }, ['a']],
    [1, '1', ['']],
  ] as const)('of %j and %j are at %j', ([stored, replayed, paths]) => {
    expect(findDifferences(stored, replayed).map(({ path }) => path)).toEqual(paths);
  });

  test('are twenty at most', () => {
    const list = Array.from({ length: 100 }, (_, index) => index);
    expect(findDifferences(list, list.map(String))).toHaveLength(20);
  });
});

test('the version of the planner is that of its sources (npm run generate)', async () => {
  const file = new URL('../../src/planner/version.generated.ts', import.meta.url);
  expect(await readFile(file, 'utf8')).toBe(await renderPlannerVersion());
  expect(planAll(input({})).plannerVersion).toBe(PLANNER_VERSION);
});
