/**
 * Goal: what must hold for every input, not only for those somebody thought of. Method: random worlds of up to two
 * workloads that share on-prem agents, with machines in every state; each property plans them with the real planner.
 */
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { planAll } from '../../src/planner/plan.ts';
import type { AgentView, PlannerInput, WorkloadPlan } from '../../src/planner/types.ts';
import { NOW, agentId, launchedMachines, policy, workload } from './fixtures.ts';
import { RUNS, apply, localAgents, pairs, pendingShape, startsOf, world } from './random-worlds.ts';

describe('every plan', () => {
  it('launches no more than every limit and the hourly budget allow', () => {
    fc.assert(
      fc.property(world, (given) => {
        for (const { workload, plan, machines } of pairs(given)) {
          const { limits, budget } = workload.policy.burst;
          const launches = plan.actions.flatMap((action) => (action.kind === 'launch' ? [action] : []));
          const starts = startsOf(plan.actions);
          const count = launchedMachines(plan.actions) + starts.length;
          if (count === 0) continue;
          const begun = starts.map(({ machineId }) => machineId);
          const live = machines.filter(({ id, state }) => state !== 'stopped' || begun.includes(id));
          const vcpus = [
            ...live.map(({ resources }) => resources.cpuMilli),
            ...launches.map((action) => action.offering.instanceType.resources.cpuMilli * action.count),
          ].reduce((sum, cpu) => sum + cpu, 0);
          expect(live.length + launchedMachines(plan.actions)).toBeLessThanOrEqual(limits.max);
          expect(workload.launchedLastHour + count).toBeLessThanOrEqual(limits.launchesPerHour);
          expect(count).toBeLessThanOrEqual(limits.maxScaleUp);
          expect(vcpus / 1000).toBeLessThanOrEqual(limits.vcpus ?? Infinity);
          expect(plan.report.money.usdPerHourAfter).toBeLessThanOrEqual((budget.hourlyUsd ?? Infinity) + 1e-9);
        }
      }),
      RUNS,
    );
  });

  it('accounts for every pending task exactly once, and never with a negative number', () => {
    fc.assert(
      fc.property(world, (given) => {
        for (const { workload, plan } of pairs(given)) {
          const { pendingTasks, ...parts } = plan.report.placement;
          expect(pendingTasks).toBe(workload.pending.reduce((sum, { count }) => sum + count, 0));
          expect(Object.values(parts).reduce((sum, count) => sum + count, 0)).toBe(pendingTasks);
          const { local, cloud, inFlight, signals } = plan.report;
          const amounts = [local, cloud, inFlight].flatMap(({ capacity, free }) => [capacity, free]);
          const wanted = Object.values(signals).flatMap((signal) => (signal === null ? [] : [signal.wanted]));
          for (const { cpuMilli, memoryMib, gpus } of [...amounts, ...wanted]) {
            expect(Math.min(cpuMilli, memoryMib, gpus)).toBeGreaterThanOrEqual(0);
          }
          for (const count of Object.values(parts)) expect(count).toBeGreaterThanOrEqual(0);
        }
      }),
      RUNS,
    );
  });

  it('gives the same bytes whatever the order of its input', () => {
    fc.assert(
      fc.property(world, fc.infiniteStream(fc.nat()), (given, numbers) => {
        const shuffle = <T>(list: readonly T[]): T[] =>
          list
            .map((value) => ({ value, key: numbers.next().value ?? 0 }))
            .sort((a, b) => a.key - b.key)
            .map(({ value }) => value);
        const shuffled: PlannerInput = {
          ...given,
          agents: shuffle(given.agents),
          machines: shuffle(given.machines),
          workloads: shuffle(given.workloads).map((workload) => ({
            ...workload,
            pending: shuffle(workload.pending),
            offerings: workload.offerings === null ? null : shuffle(workload.offerings),
          })),
        };
        expect(JSON.stringify(planAll(shuffled))).toBe(JSON.stringify(planAll(given)));
      }),
      RUNS,
    );
  });

  it('never drains while it grows; takes back before it starts what is stopped, and starts before it launches', () => {
    fc.assert(
      fc.property(world, (given) => {
        for (const { plan } of pairs(given)) {
          const kinds = plan.actions.map(({ kind }) => kind);
          expect([...kinds].sort((a, b) => 'usldr'.indexOf(a[0]!) - 'usldr'.indexOf(b[0]!))).toEqual(kinds);
          expect(kinds.includes('drain') && kinds.some((kind) => 'usl'.includes(kind[0]!))).toBe(false);
          expect(plan.report.reasons.length).toBeGreaterThan(0);
        }
      }),
      RUNS,
    );
  });

  it('drains nothing of a workload with a silent agent', () => {
    fc.assert(
      fc.property(world, (given) => {
        const blind = pairs(given).filter(
          ({ plan }) => plan.report.local.staleAgents + plan.report.cloud.staleAgents > 0,
        );
        expect(blind.flatMap(({ plan }) => plan.actions).filter(({ kind }) => kind === 'drain')).toEqual([]);
      }),
      RUNS,
    );
  });

  it('leaves the next plan nothing to launch, start, take back or terminate, but for what limits.maxScaleUp put off', () => {
    fc.assert(
      fc.property(world, (given) => {
        const first = planAll(given);
        const second = planAll(apply(given));
        for (const [index, plan] of second.workloads.entries()) {
          const before = first.workloads[index]!;
          if (before.report.reasons.some(({ code }) => code === 'at-max-scale-up')) continue;
          const actions = plan.actions.filter(({ kind }) => kind !== 'drain' || before.report.verdict !== 'scale-up');
          expect(actions).toEqual([]);
        }
      }),
      { numRuns: 400 },
    );
  });

  it('never launches more or dearer machines for equal tasks because there are more local agents', () => {
    fc.assert(
      fc.property(localAgents, localAgents, pendingShape, fc.boolean(), (some, more, tasks, hasQueue) => {
        const offered = workload({
          policy: policy(hasQueue ? {} : { demand: { queue: null } }),
          pending: [tasks],
        });
        const planWith = (agents: readonly AgentView[]): WorkloadPlan =>
          planAll({ nowMs: NOW, workloads: [offered], agents, machines: [] }).workloads[0]!;
        const added = more.map((extra, index) => ({ ...extra, id: agentId(500 + index) }));
        const [few, many] = [planWith(some), planWith([...some, ...added])];
        expect(launchedMachines(many.actions)).toBeLessThanOrEqual(launchedMachines(few.actions));
        expect(many.report.money.usdPerHourAfter).toBeLessThanOrEqual(few.report.money.usdPerHourAfter + 1e-9);
      }),
      RUNS,
    );
  });
});
