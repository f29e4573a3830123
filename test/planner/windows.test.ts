/** Tables: what open windows of a schedule do to a plan. */
import { describe, expect, it } from 'vitest';
import type { OpenWindow } from '../../src/planner/types.ts';
import { describePlan } from '../../src/planner/describe.ts';
import { NOW, TASK, agent, codes, pending, plan, policy, readyMachine } from './fixtures.ts';
import { check } from './table.ts';

const HOUR_MS = 3_600_000;

function open(options: Partial<OpenWindow> = {}): OpenWindow {
  const schedule = '0 8 * * 1-5 Europe/Berlin';
  return { schedule, min: null, max: null, fromMs: NOW - HOUR_MS, untilMs: NOW + HOUR_MS, ...options };
}

describe('an open window', () => {
  check([
    {
      says: 'keeps its min without any demand',
      world: { workload: { windows: [open({ min: 2 })] } },
      actions: ['launch 1 c6a.large on-demand', 'launch 1 c6a.large on-demand'],
      because: 'below-min',
    },
    {
      says: 'keeps idle machines up to its min',
      world: { workload: { windows: [open({ min: 1 })] }, pairs: [readyMachine(1), readyMachine(2)] },
      actions: ['drain 1'],
      because: 'unneeded',
    },
    {
      says: 'does not lower limits.min',
      world: { workload: { policy: policy({ limits: { min: 2 } }), windows: [open({ min: 1 })] } },
      actions: ['launch 1 c6a.large on-demand', 'launch 1 c6a.large on-demand'],
      because: 'below-min',
    },
    {
      says: 'allows no launch beyond its max, however much waits',
      world: { workload: { windows: [open({ max: 0 })], pending: [pending(TASK, 3)] } },
      actions: [],
      because: 'at-max',
    },
    {
      says: 'does not raise limits.max',
      world: {
        workload: { policy: policy({ limits: { max: 0 } }), windows: [open({ max: 5 })], pending: [pending(TASK, 3)] },
      },
      actions: [],
      because: 'at-max',
    },
    {
      says: 'leaves machines above its max at their work',
      world: {
        workload: { windows: [open({ max: 0 })] },
        pairs: [readyMachine(1, { machine: { idleSinceMs: null }, agent: { runningTasks: 1 } })],
      },
      actions: [],
      because: 'satisfied',
    },
    {
      says: 'with others means the largest min and the smallest max, and max where they contradict each other',
      world: { workload: { windows: [open({ min: 3 }), open({ min: 2, max: 4 }), open({ max: 1 })] } },
      actions: ['launch 1 c6a.large on-demand'],
      because: 'below-min',
    },
  ]);

  it('is named in the plan, with its bounds and its end', () => {
    const result = plan({ workload: { windows: [open({ min: 1, max: 3 })] }, pairs: [readyMachine(1)] });
    expect(codes(result)).toEqual(['at-min', 'schedule-window']);
    expect(describePlan({ decidedAtMs: NOW, workloads: [result] })).toContain(
      'a window of the schedule counts (at least 1 machine, at most 3 machines until 2026-11-22T13:00Z by 0 8 * * 1-5 Europe/Berlin)',
    );
  });

  it('that is only prepared for is said to be', () => {
    const result = plan({ workload: { windows: [open({ min: 1, fromMs: NOW + HOUR_MS })] }, agents: [agent(1)] });
    expect(result.report.reasons.at(-1)?.detail).toBe(
      'at least 1 machine from 2026-11-22T13:00Z, being prepared by 0 8 * * 1-5 Europe/Berlin',
    );
  });
});
