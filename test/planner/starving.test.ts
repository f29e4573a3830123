/**
 * Goal: pending work never starves behind a signal. Utilization alone can stand still for ever below its target while what waits fits
 * into no agent's rest; so whatever a workload declares, work that waits and that a machine can be bought for gets a place.
 * Method: worlds with one workload of every combination of signals, limits out of the way, local agents as they come.
 */
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ANYWHERE } from '../../src/model/constraints.ts';
import type { DemandPolicy } from '../../src/model/policy.ts';
import { planAll } from '../../src/planner/plan.ts';
import type { OpenWindow, UtilizationView } from '../../src/planner/types.ts';
import { NOW, UTILIZED, allOfferings, gpuOfferings, pending, policy, samples, workload } from './fixtures.ts';
import { RUNS, localAgents, pendingShape } from './random-worlds.ts';

const QUEUE = policy().demand.queue;
const FREE = { max: 10_000, launchesPerHour: 10_000, maxScaleUp: 10_000 };

const signals = fc.constantFrom<readonly [string, Partial<DemandPolicy>]>(
  ['utilization alone', { queue: null, utilization: UTILIZED }],
  ['utilization of memory alone', { queue: null, utilization: { ...UTILIZED, metric: 'memory' } }],
  ['utilization that may reach all', { queue: null, utilization: { ...UTILIZED, target: 1 } }],
  ['utilization and queue', { queue: QUEUE, utilization: UTILIZED }],
  ['queue alone', { queue: QUEUE }],
  ['queue and headroom', { queue: QUEUE, headroom: { tasks: 2 } }],
  ['schedule alone', { queue: null, utilization: null }],
);

const use = fc.option(
  fc.record({ share: fc.double({ min: 0, max: 1, noNaN: true }), ageMs: fc.constantFrom(1000, 31_000, 3_600_000) }),
);

function view({ share, ageMs }: { readonly share: number; readonly ageMs: number }): UtilizationView {
  return samples(share, { newestSampleAtMs: NOW - ageMs });
}

const windows = fc.constantFrom<readonly OpenWindow[]>(
  [],
  [{ schedule: '0 8 * * * UTC', min: 1, max: null, fromMs: NOW - 1000, untilMs: NOW + 1000 }],
);

describe('pending work', () => {
  it('has a place after every plan, whatever the signals, the samples and the agents are', () => {
    fc.assert(
      fc.property(
        fc.record({
          signals,
          use,
          windows,
          agents: localAgents,
          shapes: fc.array(pendingShape, { minLength: 1, maxLength: 6 }),
        }),
        ({ signals: [, demand], use, windows, agents, shapes }) => {
          const waiting = shapes.map((shape) => ({
            ...shape,
            ...ANYWHERE,
            // Without a queue signal nobody has said that tasks may wait: they count from the first moment on.
            overdue: demand.queue === null ? 0 : shape.count,
          }));
          const only = workload({
            policy: policy({ limits: FREE, demand }),
            pending: waiting,
            utilization: use === null ? null : view(use),
            windows,
            offerings: [...allOfferings(), ...gpuOfferings()],
          });
          const [plan] = planAll({ nowMs: NOW, agents, machines: [], workloads: [only] }).workloads;
          const { onLocal, planned, impossible, pendingTasks, ...rest } = plan!.report.placement;
          expect(rest).toMatchObject({ waiting: 0, unserved: 0 });
          expect(onLocal + planned! + impossible).toBe(pendingTasks);
        },
      ),
      RUNS,
    );
  });

  it('is bought for although utilization is known to be far below its target, old, or not known at all', () => {
    const task = { cpuMilli: 16_000, memoryMib: 100_044, gpus: 0 };
    for (const utilization of [samples(0.01), samples(0.01, { newestSampleAtMs: NOW - 3_600_000 }), null]) {
      const only = workload({
        policy: policy({ limits: FREE, demand: { queue: null, utilization: UTILIZED } }),
        pending: [pending(task, 3)],
        utilization,
      });
      const [plan] = planAll({ nowMs: NOW, agents: [], machines: [], workloads: [only] }).workloads;
      expect(plan!.report.placement).toMatchObject({ pendingTasks: 3, planned: 3, unserved: 0 });
      expect(plan!.report.reasons[0]?.code).toBe('unserved-work');
    }
  });
});
