/**
 * Goal: what must hold of every plan that lets machines go. Method: the random worlds of the other properties, with policies that
 * have budgets, bases, holds and lives of all kinds.
 */
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { DrainBudget, DrainPolicy } from '../../src/model/policy.ts';
import type { MachineView, PlannerInput, WorkloadPlan } from '../../src/planner/types.ts';
import { NOW, codes } from './fixtures.ts';
import { pairs, world } from './random-worlds.ts';

const RUNS = { numRuns: 400 };

const budget: fc.Arbitrary<DrainBudget> = fc.record({
  machines: fc.oneof(
    fc.record({ kind: fc.constant('count' as const), count: fc.integer({ min: 0, max: 4 }) }),
    fc.record({ kind: fc.constant('share' as const), share: fc.constantFrom(0, 0.1, 0.5, 1) }),
  ),
  reasons: fc.constantFrom(['empty'], ['underutilized'], ['empty', 'underutilized']),
});

const drain = fc.record({
  scaleDownUnneededMs: fc.constantFrom(null, 0, 300_000),
  minimumLifeMs: fc.constantFrom(0, 3_600_000, 7_200_000),
  budgets: fc.array(budget, { maxLength: 2 }),
});

/** Worlds where more goes than in the usual ones: nothing waits, and policies have more to say about it. */
const quietWorld: fc.Arbitrary<PlannerInput> = fc
  .record({ given: world, drain, hasWork: fc.boolean() })
  .map(({ given, drain, hasWork }) => ({
    ...given,
    workloads: given.workloads.map((workload) => ({
      ...workload,
      ...(hasWork ? {} : { pending: [] }),
      policy: { ...workload.policy, drain: { ...workload.policy.drain, ...drain } satisfies DrainPolicy },
    })),
  }));

function drainedBy(plan: WorkloadPlan, machines: readonly MachineView[]): MachineView[] {
  return plan.actions.flatMap((action) =>
    action.kind === 'drain' ? machines.filter(({ id }) => id === action.machineId) : [],
  );
}

describe('every plan', () => {
  it('lets go of no more than limits.min, limits.maxScaleDown and the tightest budget allow', () => {
    fc.assert(
      fc.property(quietWorld, (given) => {
        for (const { workload, plan, machines } of pairs(given)) {
          const drained = drainedBy(plan, machines);
          if (drained.length === 0) continue;
          const { limits } = workload.policy.burst;
          const ready = machines.filter(({ state }) => state === 'ready').length;
          const going = machines.filter(({ state }) => ['draining', 'leaving', 'terminating'].includes(state)).length;
          expect(drained.length).toBeLessThanOrEqual(Math.max(0, Math.min(ready - limits.min, limits.maxScaleDown)));
          for (const { machines: allowed, reasons } of workload.policy.drain.budgets) {
            if (!reasons.includes('empty')) continue;
            const most = allowed.kind === 'count' ? allowed.count : Math.ceil(allowed.share * (ready + going));
            expect(going + drained.length).toBeLessThanOrEqual(most);
          }
        }
      }),
      RUNS,
    );
  });

  it('lets go of no machine with work, and of none that is too young', () => {
    fc.assert(
      fc.property(quietWorld, (given) => {
        const agentOf = new Map(given.agents.map((agent) => [agent.machineId, agent]));
        for (const { workload, plan, machines } of pairs(given)) {
          for (const machine of drainedBy(plan, machines)) {
            const agent = agentOf.get(machine.id)!;
            expect([agent.runningTasks, agent.allocated.cpuMilli, machine.state]).toEqual([0, 0, 'ready']);
            expect(NOW - machine.createdAtMs).toBeGreaterThanOrEqual(workload.policy.drain.minimumLifeMs);
          }
        }
      }),
      RUNS,
    );
  });

  it('lets no on-demand machine of the base go while it keeps a spot machine without work that nothing needs', () => {
    fc.assert(
      fc.property(quietWorld, (given) => {
        for (const { workload, plan, machines } of pairs(given)) {
          const drained = drainedBy(plan, machines);
          const onDemand = (each: MachineView) => each.market === 'on-demand' && each.state === 'ready';
          const left = machines.filter(onDemand).length - drained.filter(onDemand).length;
          if (left >= workload.policy.burst.market.onDemandBase || !drained.some(onDemand)) continue;
          // A spot machine may be needed: that, and only that, makes the base go before it.
          if (codes(plan).includes('needed')) continue;
          const kept = machines.filter(
            (each) => each.market === 'spot' && each.idleSinceMs !== null && each.state === 'ready',
          );
          expect(kept.filter(({ id }) => !drained.some((each) => each.id === id))).toEqual([]);
        }
      }),
      RUNS,
    );
  });
});
