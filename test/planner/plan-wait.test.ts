/** Tables: wait for local room, or burst. */
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { planAll } from '../../src/planner/plan.ts';
import type { AgentView, WorkloadInput, WorkloadPlan } from '../../src/planner/types.ts';
import { NOW, TASK, agent, cores, input, pending, plan, policy, workload } from './fixtures.ts';
import { check } from './table.ts';

const FULL = cores(8);

/** A full agent on which tasks of so many cores are expected to end. */
function full(number: number, ...ending: readonly (readonly [inS: number, cpus: number])[]): AgentView {
  const freeing = ending.map(([inS, cpus]) => ({ inS, resources: cores(cpus) }));
  return agent(number, { allocated: FULL, runningTasks: 4, ...(freeing.length === 0 ? {} : { freeing }) });
}

/** Machines took a minute to join, tasks five minutes to run. */
function learned(tasks: number, options: Partial<WorkloadInput> = {}): Partial<WorkloadInput> {
  return { pending: [pending(TASK, tasks)], times: { runP50S: 300, runP95S: 400, joinP50S: 60 }, ...options };
}

function boughtCpu({ actions }: WorkloadPlan): number {
  return actions.reduce(
    (sum, action) =>
      sum + (action.kind === 'launch' ? action.count * action.offering.instanceType.resources.cpuMilli : 0),
    0,
  );
}

describe('work without room', () => {
  check([
    {
      says: 'waits for a local agent that frees up before a machine could be ready',
      world: { workload: learned(2), agents: [full(1, [45, 4])] },
      actions: [],
      because: 'local-frees-up-sooner',
    },
    {
      says: 'bursts when a machine is ready first',
      world: { workload: learned(2), agents: [full(1, [75, 4])] },
      actions: ['launch 1 c6a.large on-demand', 'launch 1 c6a.large on-demand'],
      because: 'unserved-work',
    },
    {
      says: 'bursts with what the freed room does not hold',
      world: { workload: learned(3), agents: [full(1, [45, 4])] },
      actions: ['launch 1 c6a.large on-demand'],
      because: 'unserved-work',
    },
    {
      says: 'bursts when nobody knows how long machines take',
      world: {
        workload: learned(2, { times: { runP50S: 300, runP95S: 400, joinP50S: null } }),
        agents: [full(1, [45, 4])],
      },
      actions: ['launch 1 c6a.large on-demand', 'launch 1 c6a.large on-demand'],
      because: 'unserved-work',
    },
    {
      says: 'does not believe in room for longer than two joins beyond its maxWait',
      world: {
        workload: learned(2, { pending: [{ ...pending(TASK, 2), oldestPendingSinceMs: NOW - 121_000 }] }),
        agents: [full(1, [45, 4])],
      },
      actions: ['launch 1 c6a.large on-demand', 'launch 1 c6a.large on-demand'],
      because: 'unserved-work',
    },
    {
      says: 'does not wait for agents that are silent or cordoned',
      world: {
        workload: learned(2),
        agents: [{ ...full(1, [45, 4]), cordoned: true }],
      },
      actions: ['launch 1 c6a.large on-demand', 'launch 1 c6a.large on-demand'],
      because: 'unserved-work',
    },
  ]);

  it('is told both prices', () => {
    const { report } = plan({ workload: learned(2), agents: [full(1, [30, 2], [45, 2])] });
    // Two of the cheapest offering's two cores, for a minute of joining and five of work.
    expect(report.wait).toEqual({ tasks: 2, localInS: 45, machineInS: 60, burstUsd: 0.0153 });
    expect(report.reasons.find(({ code }) => code === 'local-frees-up-sooner')?.detail).toBe(
      '2 tasks waiting: local agents should have room within 45 s; a machine would take 60 s and cost at least $0.0153',
    );
  });

  it('is promised room once, however many workloads wait for it', () => {
    const one = workload({ ...learned(2), policy: policy({ name: 'a' }) });
    const two = workload({ ...learned(2), policy: policy({ name: 'b' }) });
    const outcome = planAll({ ...input({ agents: [full(1, [45, 4])] }), workloads: [one, two] });
    expect(outcome.workloads.map(({ report }) => report.wait?.tasks ?? 0)).toEqual([2, 0]);
  });

  it('never asks for more machines when room is expected than when none is', () => {
    const endings = fc.array(fc.tuple(fc.integer({ min: 1, max: 90 }), fc.integer({ min: 1, max: 8 })), {
      maxLength: 4,
    });
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 30 }),
        fc.array(endings, { minLength: 1, maxLength: 5 }),
        (tasks, agents) => {
          const known = plan({ workload: learned(tasks), agents: agents.map((list, index) => full(index, ...list)) });
          const unknown = plan({ workload: learned(tasks), agents: agents.map((_list, index) => full(index)) });
          expect(boughtCpu(known)).toBeLessThanOrEqual(boughtCpu(unknown));
          // Nothing is forgotten: whoever does not wait has a machine.
          const waiting = (known.report.wait?.tasks ?? 0) * TASK.cpuMilli;
          expect(boughtCpu(known) + waiting).toBeGreaterThanOrEqual(tasks * TASK.cpuMilli);
        },
      ),
    );
  });
});
