/** Machines that somebody protects, budgets that count at times, and machines that go one at a time. */
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { BudgetWindow, DrainBudget } from '../../src/model/policy.ts';
import { planAll } from '../../src/planner/plan.ts';
import { machinesWithoutPolicy } from '../../src/planner/without-policy.ts';
import type { BudgetWindowView } from '../../src/planner/types.ts';
import { NOW, input, machineId, plan, policy, readyMachine, requested, short } from './fixtures.ts';
import { check } from './table.ts';

const FOR_GOOD = { machine: { protection: { by: 'operator', untilMs: null } } } as const;
const WINDOW: BudgetWindow = { cron: '0 8 * * 1-5', timezone: 'Europe/Berlin', durationMs: 36_000_000 };
const OPEN: BudgetWindowView = { budget: 0, untilMs: NOW + 3_600_000 };

function budget(count: number, window?: BudgetWindow): DrainBudget {
  const machines = { kind: 'count', count } as const;
  return { machines, reasons: ['empty', 'underutilized'], ...(window === undefined ? {} : { window }) };
}
const budgeted = (...budgets: DrainBudget[]) => policy({ drain: { budgets } });
const detailOf = (result: ReturnType<typeof plan>, code: string) =>
  result.report.reasons.find((reason) => reason.code === code)?.detail;

describe('letting go of machines that somebody wants to keep', () => {
  check([
    {
      says: 'a protected machine stays, and one beside it goes',
      world: { pairs: [readyMachine(1, FOR_GOOD), readyMachine(2)] },
      actions: ['drain 2'],
      because: 'unneeded',
    },
    {
      says: 'a protected machine alone is why nothing goes',
      world: { pairs: [readyMachine(1, FOR_GOOD)] },
      actions: [],
      because: 'protected',
    },
    {
      says: 'a protected machine counts as one of limits.min',
      world: {
        workload: { policy: policy({ limits: { min: 1 } }) },
        pairs: [readyMachine(1, FOR_GOOD), readyMachine(2)],
      },
      actions: ['drain 2'],
      because: 'unneeded',
    },
    {
      says: 'a budget counts while its window is open',
      world: { workload: { policy: budgeted(budget(0, WINDOW)), budgetWindows: [OPEN] }, pairs: [readyMachine(1)] },
      actions: [],
      because: 'at-drain-budget',
    },
    {
      says: 'a budget whose window is closed does not count',
      world: { workload: { policy: budgeted(budget(0, WINDOW)) }, pairs: [readyMachine(1)] },
      actions: ['drain 1'],
      because: 'unneeded',
    },
    {
      says: 'one at a time is one at a time',
      world: {
        workload: { policy: policy({ drain: { oneAtATime: true } }) },
        pairs: [readyMachine(1), readyMachine(2)],
      },
      actions: ['drain 1'],
      because: 'unneeded',
    },
    {
      says: 'one at a time waits for the one that goes',
      world: {
        workload: { policy: policy({ drain: { oneAtATime: true } }) },
        pairs: [readyMachine(1)],
        machines: [requested(2, { state: 'terminating' })],
      },
      actions: [],
      because: 'at-drain-budget',
    },
  ]);

  it('names protected machines with their time, and the budget that binds with the end of its window', () => {
    const untilMs = Date.UTC(2026, 10, 22, 14, 30);
    const byTag = { machine: { protection: { by: 'tag', untilMs: null } } } as const;
    const until = { machine: { protection: { by: 'operator', untilMs } } } as const;
    const kept = plan({ pairs: [readyMachine(1, until), readyMachine(2, byTag)] });
    expect(detailOf(kept, 'protected')).toBe(
      `2 machines without work: ${machineId(1)} until 2026-11-22T14:30Z, ${machineId(2)} by its tag`,
    );
    const bound = plan({
      workload: { policy: budgeted(budget(3), budget(0, WINDOW)), budgetWindows: [{ ...OPEN, budget: 1 }] },
      pairs: [readyMachine(1)],
    });
    expect(detailOf(bound, 'at-drain-budget')).toBe(
      'at most 0 of 1 machine at a time until 2026-11-22T13:00Z by 0 8 * * 1-5 Europe/Berlin, 0 going already',
    );
  });

  it('leaves protected machines alone when their policy is removed', () => {
    const world = input({ pairs: [readyMachine(1, FOR_GOOD), readyMachine(2)] });
    expect(machinesWithoutPolicy({ ...world, workloads: [] }).ready.map(({ id }) => id)).toEqual([machineId(2)]);
  });

  it('never drains a protected machine, and drains as if closed budgets were not there', () => {
    const budgets = fc.array(
      fc.record({ count: fc.integer({ min: 0, max: 3 }), timed: fc.boolean(), open: fc.boolean() }),
      {
        maxLength: 3,
      },
    );
    const machines = fc.array(fc.record({ kept: fc.boolean(), price: fc.constantFrom(0.1, 0.2) }), { maxLength: 6 });
    fc.assert(
      fc.property(budgets, machines, (knobs, fleet) => {
        const pairs = fleet.map(({ kept, price }, index) =>
          readyMachine(index, { machine: { priceUsdPerHour: price, ...(kept ? FOR_GOOD.machine : {}) } }),
        );
        const timed = knobs.map(({ count, timed: isTimed }) => (isTimed ? budget(count, WINDOW) : budget(count)));
        const budgetWindows = knobs.flatMap(({ timed: isTimed, open }, index) =>
          isTimed && open ? [{ ...OPEN, budget: index }] : [],
        );
        const counting = knobs.filter(({ timed: isTimed, open }) => !isTimed || open).map(({ count }) => budget(count));
        const actions = short(plan({ workload: { policy: budgeted(...timed), budgetWindows }, pairs }).actions);
        expect(actions).toEqual(short(plan({ workload: { policy: budgeted(...counting) }, pairs }).actions));
        const [only] = planAll(input({ workload: { policy: budgeted(...timed), budgetWindows }, pairs })).workloads;
        const gone = new Set(only?.actions.map((action) => (action.kind === 'drain' ? action.machineId : null)));
        expect(pairs.some(({ machine }) => machine.protection !== undefined && gone.has(machine.id))).toBe(false);
      }),
      { numRuns: 200 },
    );
  });
});
