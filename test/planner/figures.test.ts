/** What a report says beside its reasons: demand, gap and limits, against the same figures reckoned from the input. */
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LIMIT_CODES } from '../../src/planner/figures.ts';
import { NOW, TASK, agent, cores, machine, pending, plan, policy, readyMachine } from './fixtures.ts';
import { RUNS, pairs, world } from './random-worlds.ts';

describe('the figures of a report', () => {
  it('say what was asked for, what was missing before the plan, and which limits stood in the way', () => {
    const { report } = plan({
      workload: {
        policy: policy({ maxWaitMs: 90_000, limits: { max: 2, vcpus: 64 }, hourlyUsd: 1.5 }),
        pending: [pending(TASK, 9, 4)],
        launchedLastHour: 3,
      },
      agents: [agent(1, { capacity: cores(4) })],
      machines: [machine(1, { state: 'booting' })],
    });
    expect(report.demand).toEqual({
      tasks: 9,
      urgentTasks: 4,
      resources: { cpuMilli: 18_000, memoryMib: 18_432, gpus: 0 },
      oldestPendingSinceMs: NOW - 60_000,
    });
    // Two tasks fit the local agent and one the machine on its way, whose operating system keeps a part.
    expect(report.gap).toMatchObject({ tasks: 5, machinesBelowMin: 0 });
    const used = Object.fromEntries((report.limits ?? []).map(({ limit, ...figures }) => [limit, figures]));
    expect(used['limits.max']).toEqual({ value: 2, before: 1, after: 1, bound: false });
    expect(used['limits.vcpus']).toEqual({ value: 64, before: 4, after: 4, bound: false });
    expect(used['limits.launchesPerHour']).toMatchObject({ before: 3, after: 3 });
    expect(used['budget.hourly']).toEqual({ value: 1.5, before: 0.1728, after: 0.1728, bound: false });
  });

  it('leave out limits that the policy does not set, and say when one bound', () => {
    const { report } = plan({ workload: { policy: policy({ limits: { max: 1 } }), pending: [pending(cores(32), 3)] } });
    const limits = report.limits ?? [];
    expect(limits.map(({ limit }) => limit)).not.toContain('limits.vcpus');
    expect(limits.filter(({ bound }) => bound)).toEqual([
      { limit: 'limits.max', value: 1, before: 0, after: 1, bound: true },
    ]);
  });

  it('count machines let go out of limits.min, and not out of what EC2 still has', () => {
    const pair = readyMachine(1);
    const { report } = plan({ pairs: [pair] });
    const of = (name: string) => report.limits?.find(({ limit }) => limit === name);
    expect(of('limits.min')).toMatchObject({ before: 1, after: 0 });
    expect(of('limits.max')).toMatchObject({ before: 1, after: 1 });
    expect(of('limits.maxScaleDown')).toMatchObject({ before: 0, after: 1 });
  });

  it('agree with the input, the actions and the placement in every world', () => {
    fc.assert(
      fc.property(world, (given) => {
        for (const { workload, plan: made, machines } of pairs(given)) {
          const { demand, gap, limits = [], placement, reasons } = made.report;
          const counts = workload.pending.map(({ count }) => count);
          expect(demand?.tasks).toBe(counts.reduce((sum, count) => sum + count, 0));
          const codes = reasons.map(({ code }) => code);
          // What asks for machines was missing before this plan.
          expect((gap?.tasks ?? 0) > 0 || !codes.includes('unserved-work')).toBe(true);
          expect((gap?.machinesBelowMin ?? 0) > 0 || !codes.includes('below-min')).toBe(true);
          expect((gap?.tasks ?? 0) + placement.onLocal).toBeLessThanOrEqual(demand?.tasks ?? 0);
          expect(limits.find(({ limit }) => limit === 'limits.max')?.before).toBe(
            machines.filter(({ state }) => state !== 'stopped').length,
          );
          for (const { limit, value, before, after, bound } of limits) {
            // A machine more than before is one within the limit.
            expect(limit === 'limits.min' || after <= Math.max(before, value + 1e-9)).toBe(true);
            expect(bound).toBe(codes.includes(LIMIT_CODES[limit]));
          }
        }
      }),
      RUNS,
    );
  });
});
