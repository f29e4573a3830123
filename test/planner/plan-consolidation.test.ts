/** Tables: one row is one sentence about machines that are little used. */
import { describe, expect, it } from 'vitest';
import type { DrainBudget } from '../../src/model/policy.ts';
import { describePlan } from '../../src/planner/describe.ts';
import { planAll } from '../../src/planner/plan.ts';
import type { AgentView, MachineView, WorkloadInput } from '../../src/planner/types.ts';
import type { PolicyOptions } from './fixtures.ts';
import {
  NOW,
  TASK,
  UTILIZED,
  allOfferings,
  cores,
  input,
  pending,
  plan,
  policy,
  readyMachine,
  requested,
  samples,
} from './fixtures.ts';
import { check } from './table.ts';

/** A machine of 8 vCPU with so many tasks of 2 vCPU and 2 GiB. */
function withTasks(
  number: number,
  tasks: number,
  more: { machine?: Partial<MachineView>; agent?: Partial<AgentView> } = {},
) {
  return readyMachine(number, {
    machine: {
      instanceType: 'c6a.2xlarge',
      resources: cores(8, 16),
      priceUsdPerHour: 0.306,
      ...(tasks > 0 ? { idleSinceMs: null } : {}),
      ...more.machine,
    },
    agent: { capacity: cores(8, 15), allocated: cores(2 * tasks), runningTasks: tasks, ...more.agent },
  });
}

function consolidating(options: PolicyOptions = {}, more: Partial<WorkloadInput> = {}): Partial<WorkloadInput> {
  const drain = { consolidation: 'whenEmptyOrUnderutilized' as const, ...options.drain };
  return { policy: policy({ ...options, drain }), ...more };
}

const noneOf = (reasons: DrainBudget['reasons']): DrainBudget[] => [{ machines: { kind: 'count', count: 0 }, reasons }];
const PAIR = [withTasks(1, 1), withTasks(2, 2)];

describe('a machine that is little used', () => {
  check([
    {
      says: 'takes no more work when what runs on it has room on another that works',
      world: { workload: consolidating(), pairs: PAIR },
      actions: ['drain 1'],
      because: 'underutilized',
    },
    { says: 'stays by default', world: { pairs: PAIR }, actions: [], because: 'satisfied' },
    {
      says: 'stays when the others have no room for its work',
      world: { workload: consolidating(), pairs: [withTasks(1, 2), withTasks(2, 3)] },
      actions: [],
      because: 'satisfied',
    },
    {
      says: 'stays when pending work needs the room',
      world: { workload: consolidating({}, { pending: [pending(TASK, 5)] }), pairs: PAIR },
      actions: [],
      because: 'satisfied',
    },
    {
      says: 'stays when headroom needs the room',
      world: { workload: consolidating({ demand: { headroom: { tasks: 2 } } }), pairs: PAIR },
      actions: [],
      because: 'satisfied',
    },
    {
      says: 'stays when more than half of it is used, whatever room others have',
      world: {
        workload: consolidating(),
        pairs: [withTasks(1, 3), withTasks(2, 9, { agent: { capacity: cores(32, 60) } })],
      },
      actions: [],
      because: 'satisfied',
    },
    {
      says: 'goes before another whose unused part costs less',
      world: {
        workload: consolidating(),
        pairs: [
          withTasks(1, 1, { machine: { market: 'spot', zone: 'elsewhere', priceUsdPerHour: 0.1 } }),
          withTasks(2, 1),
        ],
      },
      actions: ['drain 1'],
      because: 'underutilized',
    },
    {
      says: 'stays while a machine without work is there, which goes first',
      world: { workload: consolidating(), pairs: [...PAIR, withTasks(3, 0, { machine: { idleSinceMs: NOW - 1000 } })] },
      actions: [],
      because: 'idle-not-long-enough',
    },
    {
      says: 'stays while a machine is on its way',
      world: { workload: consolidating(), pairs: PAIR, machines: [requested(9)] },
      actions: [],
      because: 'satisfied',
    },
    {
      says: 'stays for a while after a launch, because new machines have not filled yet',
      world: { workload: consolidating({}, { lastLaunchAtMs: NOW - 299_999 }), pairs: PAIR },
      actions: [],
      because: 'satisfied',
    },
    {
      says: 'stays for its minimum life',
      world: { workload: consolidating({ drain: { minimumLifeMs: 7_200_000 } }), pairs: PAIR },
      actions: [],
      because: 'satisfied',
    },
    {
      says: 'stays when a budget for it says so',
      world: { workload: consolidating({ drain: { budgets: noneOf(['underutilized']) } }), pairs: PAIR },
      actions: [],
      because: 'satisfied',
    },
    {
      says: 'does not heed a budget for machines without work',
      world: { workload: consolidating({ drain: { budgets: noneOf(['empty']) } }), pairs: PAIR },
      actions: ['drain 1'],
      because: 'underutilized',
    },
    {
      says: 'stays for limits.min',
      world: { workload: consolidating({ limits: { min: 2 } }), pairs: PAIR },
      actions: [],
      because: 'satisfied',
    },
    {
      says: 'stays when it is of market.onDemandBase',
      world: { workload: consolidating({ market: { onDemandBase: 2 } }), pairs: PAIR },
      actions: [],
      because: 'satisfied',
    },
    {
      says: 'stays when utilization would be above its target without it',
      world: {
        workload: consolidating({ demand: { utilization: UTILIZED } }, { utilization: samples(0.5) }),
        pairs: PAIR,
      },
      actions: [],
      because: 'satisfied',
    },
    {
      says: 'stays through the cooldown of drains',
      world: {
        workload: consolidating({ cooldown: { scaleDownMs: 120_000 } }, { lastDrainAtMs: NOW - 1000 }),
        pairs: PAIR,
      },
      actions: [],
      because: 'cooldown-scale-down',
    },
    {
      says: 'stays while what was let go is replaced at once',
      world: {
        workload: consolidating({}, { churn: { letGo: 3, missed: 3, lastMissedAtMs: NOW - 1000 } }),
        pairs: PAIR,
      },
      actions: [],
      because: 'churn-breaker',
    },
    {
      says: 'stays when its work may only run on-demand and the others are spot machines',
      world: {
        workload: consolidating({ market: { spot: 1 } }),
        pairs: [withTasks(1, 1), withTasks(2, 3, { machine: { market: 'spot' } })],
      },
      actions: [],
      because: 'satisfied',
    },
    {
      says: 'stays when it costs next to nothing at the price of now',
      world: {
        workload: consolidating({}, { offerings: allOfferings().map((each) => ({ ...each, priceUsdPerHour: 0.001 })) }),
        pairs: PAIR,
      },
      actions: [],
      because: 'satisfied',
    },
    {
      says: 'goes with others as far as what is left has room for the work of all',
      world: { workload: consolidating(), pairs: [1, 2, 3, 4, 5].map((each) => withTasks(each, 1)) },
      actions: ['drain 1', 'drain 2', 'drain 3'],
      because: 'underutilized',
    },
  ]);

  it('is taken back before anything is launched when its room is wanted after all', () => {
    const draining = withTasks(1, 1, {
      machine: { state: 'draining', endReason: 'scale-down' },
      agent: { cordoned: true },
    });
    const { actions } = plan({
      workload: consolidating({}, { pending: [pending(TASK, 4)] }),
      pairs: [draining, PAIR[1]!],
    });
    expect(actions.map(({ kind }) => kind)).toEqual(['undrain']);
  });

  it('is spoken of as going once its work is done', () => {
    const text = describePlan(planAll(input({ workload: consolidating(), pairs: PAIR })));
    expect(text).toContain('- mc-000000000001 c6a.2xlarge on-demand eu-central-1a once its work is done');
    expect(text).toContain('the work of these machines has room on others, and they go when it is done');
  });
});
