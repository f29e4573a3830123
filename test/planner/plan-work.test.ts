/** Tables: one row is one sentence about where work goes and what is wanted. */
import { describe, expect, it } from 'vitest';
import { planAll } from '../../src/planner/plan.ts';
import {
  GIB,
  NOW,
  TASK,
  UTILIZED,
  agent,
  cores,
  drainingMachine,
  pending,
  plan,
  policy,
  readyMachine,
  requested,
  samples,
  utilizationOnly,
  workload,
} from './fixtures.ts';
import { check } from './table.ts';

describe('where pending work goes', () => {
  check([
    { says: 'an empty world asks for nothing', world: {}, actions: [], because: 'no-demand' },
    {
      says: 'local agents fill first',
      world: { workload: { pending: [pending(TASK, 4)] }, agents: [agent(1)], pairs: [readyMachine(2, { idleMs: 0 })] },
      actions: [],
      because: 'idle-not-long-enough',
    },
    {
      says: 'what does not fit local agents goes to ready cloud agents',
      world: { workload: { pending: [pending(TASK, 6)] }, agents: [agent(1)], pairs: [readyMachine(2)] },
      actions: [],
      because: 'needed',
    },
    {
      says: 'machines on their way count as whole capacity',
      world: { workload: { pending: [pending(TASK, 2)] }, machines: [requested(1)] },
      actions: [],
      because: 'in-flight-covers',
    },
    {
      says: 'only what is left after all that is launched',
      world: { workload: { pending: [pending(TASK, 7)] }, agents: [agent(1)], machines: [requested(2)] },
      actions: ['launch 1 c6a.large on-demand'],
      because: 'unserved-work',
    },
    {
      says: 'agents whose labels do not match offer nothing',
      world: { workload: { pending: [pending(TASK, 1)] }, agents: [agent(1, { labels: { pool: 'other' } })] },
      actions: ['launch 1 c6a.large on-demand'],
      because: 'unserved-work',
    },
    {
      says: 'cordoned agents offer nothing',
      world: { workload: { pending: [pending(TASK, 1)] }, agents: [agent(1, { cordoned: true })] },
      actions: ['launch 1 c6a.large on-demand'],
      because: 'unserved-work',
    },
    {
      says: 'silent agents offer nothing',
      world: { workload: { pending: [pending(TASK, 1)] }, agents: [agent(1, { lastSeenAtMs: NOW - 31_000 })] },
      actions: ['launch 1 c6a.large on-demand'],
      because: 'unserved-work',
    },
    {
      says: 'tasks within maxWait wait when they do not fit',
      world: { workload: { policy: policy({ maxWaitMs: 90_000 }), pending: [pending(TASK, 3, 0)] } },
      actions: [],
      because: 'waiting-within-max-wait',
    },
    {
      says: 'overdue tasks burst and the others go on waiting',
      world: { workload: { policy: policy({ maxWaitMs: 90_000 }), pending: [pending(TASK, 3, 1)] } },
      actions: ['launch 1 c6a.large on-demand'],
      because: 'unserved-work',
    },
    {
      says: 'maxWait 0 bursts at once',
      world: { workload: { pending: [pending(TASK, 1, 0)] } },
      actions: ['launch 1 c6a.large on-demand'],
      because: 'unserved-work',
    },
    {
      says: 'work that no type holds is impossible, and other work is served all the same',
      world: { workload: { pending: [pending(cores(500), 1), pending(TASK, 1)] } },
      actions: ['launch 1 c6a.large on-demand'],
      because: 'unserved-work',
    },
  ]);

  it('tells every place apart', () => {
    const result = plan({
      workload: {
        policy: policy({ maxWaitMs: 90_000 }),
        pending: [pending(TASK, 12, 9), pending(cores(500), 2, 2)],
      },
      agents: [agent(1, { capacity: cores(4) })],
      pairs: [readyMachine(2, { agent: { capacity: cores(4) } })],
      machines: [requested(3)],
    });
    expect(result.report.placement).toEqual({
      pendingTasks: 14,
      onLocal: 2,
      onCloud: 2,
      inFlight: 2,
      planned: 3,
      waiting: 3,
      unserved: 0,
      impossible: 2,
    });
  });

  it('calls overdue work that only a busy local agent can hold unserved, not waiting within maxWait', () => {
    const result = plan({
      workload: { policy: policy({ maxWaitMs: 90_000 }), pending: [pending(cores(100), 3, 2)] },
      agents: [agent(1, { capacity: cores(128), allocated: cores(128), runningTasks: 1 })],
    });
    expect(result.report.placement).toMatchObject({ waiting: 1, unserved: 2, impossible: 0 });
  });

  it('gives room on shared local agents away once, to workloads in turns', () => {
    const two = ['beta', 'alpha'].map((name) => workload({ policy: policy({ name }), pending: [pending(TASK, 3)] }));
    const { workloads } = planAll({ nowMs: NOW, workloads: two, agents: [agent(1)], machines: [] });
    expect(workloads.map((part) => [part.workload, part.report.placement.onLocal])).toEqual([
      ['alpha', 2],
      ['beta', 2],
    ]);
  });

  it('does not let headroom of one workload push out work of another', () => {
    const greedy = policy({ name: 'alpha', demand: { headroom: { tasks: 4 } } });
    const two = [
      workload({ policy: greedy }),
      workload({ policy: policy({ name: 'beta' }), pending: [pending(TASK, 4)] }),
    ];
    const { workloads } = planAll({ nowMs: NOW, workloads: two, agents: [agent(1)], machines: [] });
    expect(workloads[1]?.report.placement.onLocal).toBe(4);
  });
});

describe('utilization, headroom and minimum', () => {
  check([
    {
      says: 'utilization above target launches what brings it down: 64 * (0.9 / 0.75 - 1) = 12.8 cores are seven tasks',
      world: {
        workload: { policy: policy({ demand: { utilization: UTILIZED } }), utilization: samples(0.9) },
        agents: [agent(1, { capacity: cores(64), allocated: cores(64) })],
      },
      actions: ['launch 4 c6a.large on-demand', 'launch 3 c6a.large on-demand'],
      because: 'utilization-above-target',
    },
    {
      says: 'what is on its way is subtracted from what utilization asks for',
      world: {
        workload: { policy: policy({ demand: { utilization: UTILIZED } }), utilization: samples(0.9) },
        agents: [agent(1, { capacity: cores(64), allocated: cores(64) })],
        machines: [requested(2, { resources: cores(16, 64) })],
      },
      actions: [],
      because: 'in-flight-covers',
    },
    {
      says: 'a machine that became ready within the window does not make the old load look larger',
      world: {
        workload: { policy: policy({ demand: { utilization: UTILIZED } }), utilization: samples(0.9) },
        agents: [agent(1, { capacity: cores(10), allocated: cores(10) })],
        pairs: [readyMachine(2, { machine: { readySinceMs: NOW - 60_000 }, idleMs: 1000 })],
      },
      actions: [],
      because: 'idle-not-long-enough',
    },
    {
      says: 'stale samples hold, up and down',
      world: {
        workload: {
          policy: policy({ demand: { utilization: UTILIZED } }),
          utilization: samples(1, { newestSampleAtMs: NOW - 31_000 }),
        },
        agents: [agent(1)],
        pairs: [readyMachine(2)],
      },
      actions: [],
      because: 'stale-samples',
    },
    {
      says: 'no samples hold',
      world: {
        workload: { policy: policy({ demand: utilizationOnly }) },
        agents: [agent(1)],
        pairs: [readyMachine(2)],
      },
      actions: [],
      because: 'no-samples',
    },
    {
      says: 'a utilization-only workload does not starve: a 16-core task bursts while the agent stays at 50 %',
      world: {
        workload: {
          policy: policy({ demand: utilizationOnly, instances: { families: ['m6a'] } }),
          utilization: samples(0.5),
          pending: [pending({ cpuMilli: 16_000, memoryMib: 98 * GIB, gpus: 0 }, 1)],
        },
        agents: [agent(1, { capacity: cores(32, 128), allocated: cores(16, 98), runningTasks: 1 })],
      },
      actions: ['launch 1 m6a.8xlarge on-demand'],
      because: 'unserved-work',
    },
    {
      says: 'headroom wants room beyond pending work',
      world: {
        workload: { policy: policy({ demand: { headroom: { tasks: 2 } } }), pending: [pending(TASK, 3)] },
        agents: [agent(1)],
      },
      actions: ['launch 1 c6a.large on-demand'],
      because: 'headroom-missing',
    },
    {
      says: 'limits.min machines are kept without any demand',
      world: { workload: { policy: policy({ limits: { min: 2 } }) } },
      actions: ['launch 1 c6a.large on-demand', 'launch 1 c6a.large on-demand'],
      because: 'below-min',
    },
    {
      says: 'a draining machine does not count towards limits.min, and is taken back for it',
      world: { workload: { policy: policy({ limits: { min: 1 } }) }, pairs: [drainingMachine(5)] },
      actions: ['undrain 5'],
      because: 'below-min',
    },
  ]);
});
