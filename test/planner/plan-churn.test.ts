/** Tables: one row is one sentence about machines that come and go too often. Then the same over time. */
import { describe, expect, it } from 'vitest';
import { planAll } from '../../src/planner/plan.ts';
import type { ChurnView } from '../../src/planner/types.ts';
import { NOW, TASK, input, pending, plan, policy, readyMachine } from './fixtures.ts';
import { check } from './table.ts';

const churned = (churn: Partial<ChurnView>) => ({
  churn: { letGo: 4, missed: 3, lastMissedAtMs: NOW - 60_000, ...churn },
});

describe('where machines that were let go are replaced at once', () => {
  check([
    {
      says: 'three times, and mostly, nothing more goes for a while',
      world: { workload: churned({}), pairs: [readyMachine(1)] },
      actions: [],
      because: 'churn-breaker',
    },
    {
      says: 'half of them are enough',
      world: { workload: churned({ letGo: 6 }), pairs: [readyMachine(1)] },
      actions: [],
      because: 'churn-breaker',
    },
    {
      says: 'less than half of them are not',
      world: { workload: churned({ letGo: 7 }), pairs: [readyMachine(1)] },
      actions: ['drain 1'],
      because: 'unneeded',
    },
    {
      says: 'twice is bad luck',
      world: { workload: churned({ letGo: 2, missed: 2 }), pairs: [readyMachine(1)] },
      actions: ['drain 1'],
      because: 'unneeded',
    },
    {
      says: 'the pause ends a quarter of an hour after the last replacement',
      world: { workload: churned({ lastMissedAtMs: NOW - 900_000 }), pairs: [readyMachine(1)] },
      actions: ['drain 1'],
      because: 'unneeded',
    },
    {
      says: 'the policy may never mind',
      world: {
        workload: { ...churned({}), policy: policy({ drain: { scaleDownUnneededMs: 60_000, churnPauseMs: 0 } }) },
        pairs: [readyMachine(1)],
      },
      actions: ['drain 1'],
      because: 'unneeded',
    },
    {
      says: 'machines are launched all the same',
      world: { workload: { ...churned({}), pending: [pending(TASK, 1)] } },
      actions: ['launch 1 c6a.large on-demand'],
      because: 'unserved-work',
    },
    {
      says: 'nothing is said of it while nothing could go anyway',
      world: { workload: churned({}), pairs: [readyMachine(1, { idleMs: 1000 })] },
      actions: [],
      because: 'idle-not-long-enough',
    },
  ]);

  it('says what happened and how long it lasts', () => {
    const { reasons } = plan({ workload: churned({}), pairs: [readyMachine(1)] }).report;
    expect(reasons[0]?.detail).toBe('3 of 4 machines let go within the hour replaced at once, 840 s left');
  });

  it('goes into the stored input, so that the plan can be replayed', () => {
    const given = input({ workload: churned({}), pairs: [readyMachine(1)] });
    const stored = JSON.parse(JSON.stringify(given)) as typeof given;
    expect(JSON.stringify(planAll(stored))).toBe(JSON.stringify(planAll(given)));
    expect(stored.workloads[0]?.churn).toEqual(churned({}).churn);
  });
});
