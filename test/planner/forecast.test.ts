/** What is forecast from history, and what a plan does about it. */
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { ForecastSignal } from '../../src/model/policy.ts';
import type { Resources } from '../../src/model/resources.ts';
import { DAY_MS, MINUTE_MS } from '../../src/model/time.ts';
import type { PastDemand } from '../../src/planner/forecast.ts';
import { PERIOD_MS, forecastPeriods, periodOf, periodsNeeded, viewForecast } from '../../src/planner/forecast.ts';
import type { ForecastView, WorkloadInput } from '../../src/planner/types.ts';
import { NOW, TASK, agent, codes, cores, pending, plan, policy, readyMachine } from './fixtures.ts';
import { check } from './table.ts';

const WEEK_MS = 7 * DAY_MS;
const AT = { nowMs: NOW, leadTimeMs: 5 * MINUTE_MS };

/** History in cores, by how long before `NOW` it was. */
function past(...values: readonly (readonly [number, number])[]): PastDemand[] {
  return values.map(([agoMs, count]) => ({ atMs: NOW - agoMs, demand: cores(count) }));
}

/** Cores by period, counted from `NOW` in minutes. */
function told(history: readonly PastDemand[], at = AT): string[] {
  return forecastPeriods(history, at).map(
    ({ atMs, demand, season, seasons }) =>
      `${(atMs - NOW) / MINUTE_MS}: ${demand.cpuMilli / 1000} of ${seasons} ${season}s`,
  );
}

describe('a forecast', () => {
  it.each<[string, readonly (readonly [number, number])[], string[]]>([
    ['is not made of nothing', [], []],
    [
      'is not made of two days',
      [
        [DAY_MS, 4],
        [2 * DAY_MS, 4],
      ],
      [],
    ],
    [
      'is the median of three days',
      [
        [DAY_MS, 4],
        [2 * DAY_MS, 9],
        [3 * DAY_MS, 5],
      ],
      ['0: 5 of 3 days'],
    ],
    [
      'is not thrown off by one odd day',
      [
        [DAY_MS, 4],
        [2 * DAY_MS, 4],
        [3 * DAY_MS, 4000],
        [4 * DAY_MS, 4],
      ],
      ['0: 4 of 4 days'],
    ],
    [
      'knows gaps: a day that is missing is not a day of nothing',
      [
        [DAY_MS, 4],
        [5 * DAY_MS, 8],
        [9 * DAY_MS, 6],
      ],
      ['0: 6 of 3 days'],
    ],
    [
      'is made of weeks as soon as there are three of them',
      [
        [WEEK_MS, 10],
        [2 * WEEK_MS, 10],
        [3 * WEEK_MS, 10],
        [DAY_MS, 1],
        [2 * DAY_MS, 1],
        [3 * DAY_MS, 1],
      ],
      ['0: 10 of 3 weeks'],
    ],
    [
      'does not look back further than eight weeks',
      [
        [9 * WEEK_MS, 10],
        [10 * WEEK_MS, 10],
        [11 * WEEK_MS, 10],
      ],
      [],
    ],
  ])('%s', (_, history, expected) => {
    expect(told(past(...history), { ...AT, leadTimeMs: 0 })).toEqual(expected);
  });

  it('is made for every period until the end of the lead time, each from its own past', () => {
    const history = [1, 2, 3].flatMap((days) => past([days * DAY_MS, 2], [days * DAY_MS - PERIOD_MS, 7]));
    expect(told(history)).toEqual(['0: 2 of 3 days', '5: 7 of 3 days']);
    const view = viewForecast(forecastPeriods(history, AT), { periods: 0, actual: cores(0), error: cores(0) });
    expect(view).toMatchObject({
      kind: 'known',
      wanted: cores(7),
      untilMs: NOW + 2 * PERIOD_MS,
      score: { accuracy: null },
    });
  });

  const amount = fc.record<Resources>({
    cpuMilli: fc.nat(1e9),
    memoryMib: fc.nat(1e9),
    gpus: fc.nat(1e4),
  });

  it('is a whole number within what was known, never negative and never NaN, for any history', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 4e12 }),
        fc.integer({ min: 0, max: 60 }).map((minutes) => minutes * MINUTE_MS),
        fc.array(fc.tuple(fc.nat(399), amount), { maxLength: 400 }),
        (nowMs, leadTimeMs, seeds) => {
          const moments = periodsNeeded(nowMs, leadTimeMs);
          const known = new Map(seeds.map(([at, demand]) => [moments[at % moments.length]!, demand]));
          const history = [...known].map(([atMs, demand]) => ({ atMs, demand }));
          for (const { atMs, demand, seasons } of forecastPeriods(history, { nowMs, leadTimeMs })) {
            expect(atMs).toBe(periodOf(atMs));
            expect(seasons).toBeGreaterThanOrEqual(3);
            for (const key of ['cpuMilli', 'memoryMib', 'gpus'] as const) {
              const values = history.map((each) => each.demand[key]);
              expect(Number.isInteger(demand[key])).toBe(true);
              expect(demand[key]).toBeGreaterThanOrEqual(Math.min(...values));
              expect(demand[key]).toBeLessThanOrEqual(Math.max(...values));
            }
          }
          const turned = forecastPeriods([...history].reverse(), { nowMs, leadTimeMs });
          expect(turned).toEqual(forecastPeriods(history, { nowMs, leadTimeMs }));
        },
      ),
    );
  });

  it('is scored by the resource it got worst, between none and all', () => {
    const score = (error: Resources, actual: Resources) =>
      viewForecast([], { periods: 9, actual, error }).score.accuracy;
    expect(score(cores(0), cores(10))).toBe(1);
    expect(score(cores(2, 0), cores(10))).toBeCloseTo(0.8);
    expect(score({ cpuMilli: 0, memoryMib: 5 * 1024, gpus: 0 }, cores(10))).toBeCloseTo(0.5);
    expect(score(cores(99), cores(10))).toBe(0);
    expect(score(cores(1), cores(0))).toBe(0);
    expect(score(cores(0), cores(0))).toBe(1);
    fc.assert(
      fc.property(amount, amount, (error, actual) => {
        expect(score(error, actual)).toBeGreaterThanOrEqual(0);
        expect(score(error, actual)).toBeLessThanOrEqual(1);
      }),
    );
  });
});

const GOOD = { periods: 2016, accuracy: 0.83 };

function foreseen(
  forecast: ForecastView | 'absent',
  signal: Partial<ForecastSignal> = {},
  more: Partial<WorkloadInput> = {},
): Partial<WorkloadInput> {
  const full: ForecastSignal = { mode: 'ForecastAndScale', leadTimeMs: AT.leadTimeMs, minAccuracy: 0.7, ...signal };
  return {
    policy: policy({ demand: { forecast: full } }),
    ...(forecast === 'absent' ? {} : { forecast }),
    ...more,
  };
}

function expecting(count: number, score = GOOD): ForecastView {
  return { kind: 'known', wanted: cores(count), untilMs: NOW + PERIOD_MS, season: 'week', seasons: 5, score };
}

describe('a plan with a forecast', () => {
  check([
    {
      says: 'buys room for what is expected beyond what there is',
      world: { workload: foreseen(expecting(8)) },
      actions: ['launch 2 c6a.large on-demand', 'launch 2 c6a.large on-demand'],
      because: 'forecast-room-missing',
    },
    {
      says: 'expects what there is to go on, and buys the difference only',
      world: {
        workload: foreseen(expecting(8), {}, { heldLocally: cores(2), pending: [pending(TASK, 2)] }),
        agents: [agent(1, { capacity: cores(6), allocated: cores(2), runningTasks: 1 })],
      },
      actions: ['launch 1 c6a.large on-demand'],
      because: 'forecast-room-missing',
    },
    {
      says: 'fills local agents first with what is expected, too',
      world: { workload: foreseen(expecting(8)), agents: [agent(1, { capacity: cores(8, 64) })] },
      actions: [],
      because: 'no-demand',
    },
    {
      says: 'keeps a machine for what is expected',
      world: { workload: foreseen(expecting(2)), pairs: [readyMachine(1)] },
      actions: [],
      because: 'needed',
    },
    {
      says: 'does nothing with ForecastOnly',
      world: { workload: foreseen(expecting(8), { mode: 'ForecastOnly' }) },
      actions: [],
      because: 'no-demand',
    },
    {
      says: 'does nothing below minAccuracy',
      world: { workload: foreseen(expecting(8, { periods: 2016, accuracy: 0.69 })) },
      actions: [],
      because: 'no-demand',
    },
    {
      says: 'does nothing before a day is scored',
      world: { workload: foreseen(expecting(8, { periods: 287, accuracy: 1 })) },
      actions: [],
      because: 'no-demand',
    },
    {
      says: 'does nothing while nothing is known',
      world: { workload: foreseen({ kind: 'unknown', score: { periods: 0, accuracy: null } }) },
      actions: [],
      because: 'no-demand',
    },
    {
      says: 'does nothing without a forecast in its input, as in a backtest',
      world: { workload: foreseen('absent') },
      actions: [],
      because: 'no-demand',
    },
  ]);

  it.each<[string, Partial<WorkloadInput>, string]>([
    [
      'what it expects and how right that was',
      foreseen(expecting(8)),
      '8 vCPU with 8192 MiB until 2026-11-22T12:05Z, the median of 5 weeks at that time, accuracy 83 % over 2016 periods',
    ],
    [
      'that it does nothing, and why',
      foreseen(expecting(8), { mode: 'ForecastOnly' }),
      '8 vCPU with 8192 MiB until 2026-11-22T12:05Z, the median of 5 weeks at that time, accuracy 83 % over 2016 periods; ForecastOnly does nothing about it',
    ],
    [
      'that it is not right often enough',
      foreseen(expecting(8, { periods: 300, accuracy: 0.5 })),
      '8 vCPU with 8192 MiB until 2026-11-22T12:05Z, the median of 5 weeks at that time, accuracy 50 % over 300 periods; nothing is done below 70 %',
    ],
    [
      'that it was not scored for long enough',
      foreseen(expecting(8, { periods: 12, accuracy: 0.9 })),
      '8 vCPU with 8192 MiB until 2026-11-22T12:05Z, the median of 5 weeks at that time, accuracy 90 % over 12 periods; nothing is done before 288 periods are scored',
    ],
    [
      'that there is none',
      foreseen({ kind: 'unknown', score: { periods: 0, accuracy: null } }),
      'no forecast: fewer than 3 days or weeks are known at this time of day, not scored yet',
    ],
  ])('says %s', (_, workload, detail) => {
    const result = plan({ workload });
    expect(codes(result)).toContain('forecast');
    expect(result.report.reasons.find(({ code }) => code === 'forecast')?.detail).toBe(detail);
  });

  it('keeps the larger of headroom and forecast, not both', () => {
    const made = foreseen(expecting(8));
    const demand = { ...made.policy!.demand, headroom: { tasks: 1 } };
    const result = plan({ workload: { ...made, policy: { ...made.policy!, demand } } });
    expect(result.actions).toEqual(plan({ workload: made }).actions);
  });
});
