/**
 * Goal: what must hold of every plan that lets machines go. Method: random fleets of one workload that need
 * little, under budgets, bases, holds and lives of all kinds.
 */
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { DrainBudget } from '../../src/model/policy.ts';
import { planAll } from '../../src/planner/plan.ts';
import type { MachineView, PlannerInput, WorkloadPlan } from '../../src/planner/types.ts';
import { NOW, TASK, UTILIZED, codes, cores, input, pending, policy, readyMachine, samples } from './fixtures.ts';
import { apply, pairs } from './random-worlds.ts';

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
  consolidation: fc.constantFrom('whenEmpty', 'whenEmptyOrUnderutilized'),
  budgets: fc.array(budget, { maxLength: 2 }),
});

const aMachine = fc.record({
  state: fc.constantFrom('ready', 'ready', 'ready', 'ready', 'ready', 'draining', 'leaving'),
  cpu: fc.constantFrom(2, 4, 16),
  market: fc.constantFrom('on-demand', 'spot', 'spot'),
  tasks: fc.constantFrom<number>(0, 0, 1, 2, 4),
  idleMs: fc.constantFrom(1000, 3_600_000, 3_600_000),
  startMs: fc.constantFrom(null, 90_000),
});

/** A workload of which much may go. */
const quietWorld: fc.Arbitrary<PlannerInput> = fc
  .record({
    drain,
    machines: fc.array(aMachine, { minLength: 1, maxLength: 9 }),
    isBusy: fc.boolean(),
    min: fc.constantFrom(0, 0, 1, 3),
    maxScaleDown: fc.constantFrom(1, 2, 100),
    onDemandBase: fc.integer({ min: 0, max: 3 }),
    headroom: fc.constantFrom(0, 0, 1),
    tasks: fc.constantFrom(0, 0, 0, 2),
    load: fc.constantFrom(null, null, 0.1, 0.5),
  })
  .map(({ drain, machines, isBusy, min, maxScaleDown, onDemandBase, headroom, tasks, load }) =>
    input({
      workload: {
        policy: policy({
          drain,
          limits: { min, maxScaleDown },
          market: { spot: 1, onDemandBase },
          demand: {
            headroom: headroom === 0 ? null : { tasks: headroom },
            utilization: load === null ? null : UTILIZED,
          },
        }),
        pending: tasks === 0 ? [] : [pending(TASK, tasks)],
        utilization: load === null ? null : samples(load),
      },
      pairs: machines.map((each, index) => pairOf({ ...each, tasks: Math.max(each.tasks, isBusy ? 1 : 0) }, index)),
    }),
  );

type MachineKnobs = typeof aMachine extends fc.Arbitrary<infer T> ? T : never;

function pairOf({ state, cpu, market, tasks, idleMs, startMs }: MachineKnobs, index: number) {
  const running = Math.min(tasks, cpu);
  return readyMachine(index, {
    idleMs,
    machine: {
      state,
      market,
      startMs,
      instanceType: `m6a.${cpu}`,
      resources: cores(cpu, cpu * 4),
      priceUsdPerHour: cpu * (market === 'spot' ? 0.02 : 0.0432),
      ...(running > 0 ? { idleSinceMs: null } : {}),
    },
    agent: {
      capacity: cores(cpu, cpu * 4 - 1),
      allocated: cores(running),
      runningTasks: running,
      cordoned: state !== 'ready',
    },
  });
}

function drainedBy(plan: WorkloadPlan, machines: readonly MachineView[]): MachineView[] {
  return plan.actions.flatMap((action) =>
    action.kind === 'drain' ? machines.filter(({ id }) => id === action.machineId) : [],
  );
}

/** Why a plan lets go: all of it for the same reason. */
function whyOf(plan: WorkloadPlan): 'empty' | 'underutilized' {
  const whys = new Set(plan.actions.flatMap((action) => (action.kind === 'drain' ? [action.why] : [])));
  expect(whys.size).toBe(1);
  return whys.has('unneeded') ? 'empty' : 'underutilized';
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
            if (!reasons.includes(whyOf(plan))) continue;
            const most = allowed.kind === 'count' ? allowed.count : Math.ceil(allowed.share * (ready + going));
            expect(going + drained.length).toBeLessThanOrEqual(most);
          }
        }
      }),
      RUNS,
    );
  });

  it('lets go of no machine with work unless the policy wants consolidation, and of none that is too young', () => {
    fc.assert(
      fc.property(quietWorld, (given) => {
        const agentOf = new Map(given.agents.map((agent) => [agent.machineId, agent]));
        for (const { workload, plan, machines } of pairs(given)) {
          const { consolidation } = workload.policy.drain;
          for (const machine of drainedBy(plan, machines)) {
            const { runningTasks, allocated } = agentOf.get(machine.id)!;
            expect(machine.state).toBe('ready');
            const isIdle = runningTasks === 0 && allocated.cpuMilli === 0;
            expect(isIdle ? 'whenEmpty' : 'whenEmptyOrUnderutilized').toBe(isIdle ? 'whenEmpty' : consolidation);
            expect(isIdle ? 'empty' : 'underutilized').toBe(whyOf(plan));
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

  it('gives the same bytes whatever the order of its input', () => {
    fc.assert(
      fc.property(quietWorld, (given) => {
        const turned: PlannerInput = {
          ...given,
          agents: given.agents.toReversed(),
          machines: given.machines.toReversed(),
          workloads: given.workloads.toReversed().map((workload) => ({
            ...workload,
            pending: workload.pending.toReversed(),
            offerings: workload.offerings?.toReversed() ?? null,
          })),
        };
        expect(JSON.stringify(planAll(turned))).toBe(JSON.stringify(planAll(given)));
      }),
      RUNS,
    );
  });

  it('that lets go leaves the next one nothing to launch and nothing to take back', () => {
    fc.assert(
      fc.property(quietWorld, (given) => {
        const first = planAll(given);
        const second = planAll(apply(given));
        for (const [index, { report }] of first.workloads.entries()) {
          const next = second.workloads[index]!.actions.filter(({ kind }) => kind !== 'drain');
          expect(report.verdict === 'scale-down' ? next : []).toEqual([]);
        }
      }),
      RUNS,
    );
  });
});
