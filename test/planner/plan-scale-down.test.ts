/** Tables: one row is one sentence about what is let go. */
import { describe } from 'vitest';
import { NOW, UTILIZED, agent, cores, pending, policy, readyMachine, requested, samples } from './fixtures.ts';
import { check } from './table.ts';

describe('letting go', () => {
  const utilized = (cpu: number, more = {}) => ({
    policy: policy({ demand: { utilization: UTILIZED } }),
    utilization: samples(cpu),
    ...more,
  });
  const onBase = (limits = {}) => ({ policy: policy({ market: { spot: 1, onDemandBase: 1 }, limits }) });
  const spot = { machine: { market: 'spot', priceUsdPerHour: 0.07 } } as const;
  const atWork = { machine: { ...spot.machine, idleSinceMs: null }, agent: { runningTasks: 1, allocated: cores(1) } };
  const budgeted = (...allowed: (number | '15%' | '50%' | '100%')[]) => ({
    policy: policy({
      drain: {
        budgets: allowed.map((each) => ({
          machines:
            typeof each === 'number'
              ? ({ kind: 'count', count: each } as const)
              : ({ kind: 'share', share: Number.parseInt(each, 10) / 100 } as const),
          reasons: ['empty', 'underutilized'],
        })),
      },
    }),
  });
  const leaving = (number: number) => requested(number, { state: 'leaving' });
  check([
    {
      says: 'a machine idle for scaleDownUnneeded goes',
      world: { pairs: [readyMachine(1)] },
      actions: ['drain 1'],
      because: 'unneeded',
    },
    {
      says: 'the most expensive goes first',
      world: {
        workload: { policy: policy({ limits: { maxScaleDown: 1 } }) },
        pairs: [readyMachine(1), readyMachine(2, { machine: { priceUsdPerHour: 0.5 } })],
      },
      actions: ['drain 2'],
      because: 'unneeded',
    },
    {
      says: 'a machine idle for less stays',
      world: { pairs: [readyMachine(1, { idleMs: 299_000 })] },
      actions: [],
      because: 'idle-not-long-enough',
    },
    {
      says: 'a machine with a task stays',
      world: {
        pairs: [readyMachine(1, { machine: { idleSinceMs: null }, agent: { runningTasks: 1, allocated: cores(1) } })],
      },
      actions: [],
      because: 'satisfied',
    },
    {
      says: 'a machine with a task that was only promised stays',
      world: { pairs: [readyMachine(1, { agent: { allocated: cores(1) } })] },
      actions: [],
      because: 'satisfied',
    },
    {
      says: 'limits.min machines stay',
      world: { workload: { policy: policy({ limits: { min: 1 } }) }, pairs: [readyMachine(1), readyMachine(2)] },
      actions: ['drain 1'],
      because: 'unneeded',
    },
    {
      says: 'a machine that is only on its way does not stand in for one of limits.min that works',
      world: {
        workload: { policy: policy({ limits: { min: 1 } }) },
        machines: [requested(1)],
        pairs: [readyMachine(2)],
      },
      actions: [],
      because: 'at-min',
    },
    {
      says: 'a spot machine goes before an on-demand one of market.onDemandBase, though it is cheaper',
      world: { workload: onBase({ maxScaleDown: 1 }), pairs: [readyMachine(1), readyMachine(2, spot)] },
      actions: ['drain 2'],
      because: 'unneeded',
    },
    {
      says: 'an on-demand machine of the base stays while a spot one without work has only to wait for its time',
      world: { workload: onBase(), pairs: [readyMachine(1), readyMachine(2, { ...spot, idleMs: 1000 })] },
      actions: [],
      because: 'idle-not-long-enough',
    },
    {
      says: 'on-demand machines above the base go by their price as all others',
      world: { workload: onBase(), pairs: [readyMachine(1), readyMachine(2), readyMachine(3, { ...spot, idleMs: 1 })] },
      actions: ['drain 1'],
      because: 'unneeded',
    },
    {
      says: 'the base goes when it has no work and no spot machine could go instead',
      world: { workload: onBase(), pairs: [readyMachine(1), readyMachine(2, spot), readyMachine(3, atWork)] },
      actions: ['drain 2', 'drain 1'],
      because: 'unneeded',
    },
    {
      says: 'limits.min keeps the on-demand machine of the base and not a cheaper spot one',
      world: { workload: onBase({ min: 1 }), pairs: [readyMachine(1), readyMachine(2, spot)] },
      actions: ['drain 2'],
      because: 'unneeded',
    },
    {
      says: 'a budget in machines counts those that go already',
      world: { workload: budgeted(2), pairs: [readyMachine(1), readyMachine(2)], machines: [leaving(3)] },
      actions: ['drain 1'],
      because: 'unneeded',
    },
    {
      says: 'a share is of the machines that work or go, and rounded up',
      world: { workload: budgeted('15%'), pairs: [1, 2, 3, 4, 5, 6, 7].map((each) => readyMachine(each)) },
      actions: ['drain 1', 'drain 2'],
      because: 'unneeded',
    },
    {
      says: 'a share of machines on their way counts nothing',
      world: {
        workload: budgeted('50%'),
        pairs: [readyMachine(1), readyMachine(2)],
        machines: [requested(3), requested(4)],
      },
      actions: ['drain 1'],
      because: 'unneeded',
    },
    {
      says: 'a budget of 0 lets nothing go',
      world: { workload: budgeted(0), pairs: [readyMachine(1)] },
      actions: [],
      because: 'at-drain-budget',
    },
    {
      says: 'the tightest budget counts',
      world: { workload: budgeted(3, '100%', 1), pairs: [readyMachine(1), readyMachine(2)] },
      actions: ['drain 1'],
      because: 'unneeded',
    },
    {
      says: 'a budget for another reason does not count',
      world: {
        workload: {
          policy: policy({
            drain: { budgets: [{ machines: { kind: 'count', count: 0 }, reasons: ['underutilized'] }] },
          }),
        },
        pairs: [readyMachine(1)],
      },
      actions: ['drain 1'],
      because: 'unneeded',
    },
    {
      says: 'headroom keeps a machine',
      world: { workload: { policy: policy({ demand: { headroom: { tasks: 1 } } }) }, pairs: [readyMachine(1)] },
      actions: [],
      because: 'needed',
    },
    {
      says: 'a machine stays when utilization would rise above the target without it',
      world: { workload: utilized(0.6), agents: [agent(1)], pairs: [readyMachine(2)] },
      actions: [],
      because: 'needed',
    },
    {
      says: 'a machine goes when utilization stays below the target without it',
      world: { workload: utilized(0.4), agents: [agent(1)], pairs: [readyMachine(2)] },
      actions: ['drain 2'],
      because: 'unneeded',
    },
    {
      says: 'nothing goes while an agent of the workload is silent',
      world: { agents: [agent(1, { lastSeenAtMs: null })], pairs: [readyMachine(2)] },
      actions: [],
      because: 'stale-samples',
    },
    {
      says: 'nothing goes on reports that are too old',
      world: { agents: [agent(1, { lastSeenAtMs: NOW - 30_001 })], pairs: [readyMachine(2)] },
      actions: [],
      because: 'stale-samples',
    },
    {
      says: 'something goes on reports just fresh enough',
      world: { agents: [agent(1, { lastSeenAtMs: NOW - 30_000 })], pairs: [readyMachine(2)] },
      actions: ['drain 2'],
      because: 'unneeded',
    },
    {
      says: 'nothing goes on an old view of the cloud',
      world: { workload: { cloudViewFresh: false }, pairs: [readyMachine(1)] },
      actions: [],
      because: 'cloud-view-stale',
    },
    {
      says: 'nothing goes within the cooldown',
      world: {
        workload: { policy: policy({ cooldown: { scaleDownMs: 120_000 } }), lastDrainAtMs: NOW - 60_000 },
        pairs: [readyMachine(1)],
      },
      actions: [],
      because: 'cooldown-scale-down',
    },
    {
      says: 'a launch does not start the cooldown of drains: where machines come all the time, none would ever go',
      world: {
        workload: { policy: policy({ cooldown: { scaleDownMs: 120_000 } }), lastLaunchAtMs: NOW - 1000 },
        pairs: [readyMachine(1)],
      },
      actions: ['drain 1'],
      because: 'unneeded',
    },
    {
      says: 'nothing goes while something is launched',
      world: { workload: { pending: [pending(cores(16), 1)] }, pairs: [readyMachine(1)] },
      actions: ['launch 1 c6a.4xlarge on-demand'],
      because: 'unserved-work',
    },
    {
      says: 'an idle machine that is in the way of a limit goes even while other work is stuck',
      world: {
        workload: { policy: policy({ limits: { max: 1 } }), pending: [pending(cores(16), 1)] },
        pairs: [readyMachine(1)],
      },
      actions: ['drain 1'],
      because: 'unneeded',
    },
  ]);
});
