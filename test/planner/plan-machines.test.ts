/** Tables: one row is one sentence about which machines are chosen. */
import { describe, expect, it } from 'vitest';
import { planAll } from '../../src/planner/plan.ts';
import type { World } from './fixtures.ts';
import {
  GIB,
  TASK,
  agent,
  agentId,
  allOfferings,
  cores,
  input,
  machine,
  pending,
  plan,
  policy,
  readyMachine,
  short,
} from './fixtures.ts';

describe('which machine', () => {
  const launched = (options: Parameters<typeof policy>[0], shape = TASK, count = 1): string[] =>
    short(plan({ workload: { policy: policy(options), pending: [pending(shape, count)] } }).actions);

  it.each([
    { says: 'families by letter', options: { instances: { families: ['m'] } }, name: 'm6a.large' },
    { says: 'families by name', options: { instances: { families: ['r6a'] } }, name: 'r6a.large' },
    { says: 'burstable types only when named', options: { instances: { families: ['t3'] } }, name: 't3.large' },
    { says: 'excluded globs', options: { instances: { exclude: ['c*', '*.large'] } }, name: 'm6a.xlarge' },
    { says: 'vCPU ranges', options: { instances: { cpu: { min: 8, max: 16 } } }, name: 'c6a.2xlarge' },
    {
      says: 'memory ranges',
      options: { instances: { memoryMib: { min: 16 * GIB, max: 16 * GIB } } },
      name: 'r6a.large',
    },
    {
      says: 'memory per vCPU',
      options: { instances: { memoryMibPerCpu: { min: 4 * GIB, max: 4 * GIB } } },
      name: 'm6a.large',
    },
    { says: 'architectures with an image', options: { image: { arm64: 'ami-arm' } }, name: 'c6g.large' },
  ])('obeys $says', ({ options, name }) => {
    expect(launched(options)).toEqual([`launch 1 ${name} on-demand`]);
  });

  it('keeps room for the system: a task as large as the advertised memory takes the next size', () => {
    expect(launched({}, { cpuMilli: 2000, memoryMib: 4 * GIB, gpus: 0 })).toEqual(['launch 1 m6a.large on-demand']);
  });

  it('learns what a type really has from the agents on it', () => {
    const small = readyMachine(1, {
      machine: { instanceType: 'c6a.large', resources: cores(2, 4), idleSinceMs: null },
      agent: { capacity: cores(2, 1), allocated: cores(2, 1), runningTasks: 1 },
    });
    expect(short(plan({ workload: { pending: [pending(TASK, 1)] }, pairs: [small] }).actions)).toEqual([
      'launch 1 m6a.large on-demand',
    ]);
  });

  it('gives each task a machine of its own size instead of stranding many on a large one', () => {
    expect(launched({}, TASK, 8)).toEqual(['launch 4 c6a.large on-demand', 'launch 4 c6a.large on-demand']);
  });

  it.each([
    { says: 'less', other: { cpuMilli: 500, memoryMib: 6 * GIB, gpus: 0 }, actions: ['launch 1 r6a.large on-demand'] },
    {
      says: 'no less',
      other: { cpuMilli: 1900, memoryMib: 3 * GIB, gpus: 0 },
      actions: Array(2).fill('launch 1 c6a.large on-demand'),
    },
  ])('lets unlike tasks share a machine only when that costs less than two: $says', ({ other, actions }) => {
    const tasks = [pending({ cpuMilli: 1500, memoryMib: 3 * GIB, gpus: 0 }, 1), pending(other, 1)];
    expect(short(plan({ workload: { pending: tasks } }).actions)).toEqual(actions);
  });

  it('mixes markets: first the on-demand base, then the spot share, rounded in favour of on-demand', () => {
    const actions = launched({ market: { spot: 0.75, onDemandBase: 1 } }, TASK, 9);
    const count = (market: string): number =>
      actions.filter((text) => text.endsWith(market)).reduce((sum, text) => sum + Number(text.split(' ')[1]), 0);
    expect([count('on-demand'), count('spot')]).toEqual([3, 6]);
  });

  it('falls back to on-demand when the spot market has nothing', () => {
    const offerings = allOfferings().filter(({ market }) => market === 'on-demand');
    const result = plan({
      workload: { policy: policy({ market: { spot: 1 } }), pending: [pending(TASK, 1)], offerings },
    });
    expect(short(result.actions)).toEqual(['launch 1 c6a.large on-demand']);
  });

  it('never turns the on-demand base into spot machines', () => {
    const offerings = allOfferings().filter(({ market }) => market === 'spot');
    const options = {
      policy: policy({ market: { spot: 0.5, onDemandBase: 5 } }),
      pending: [pending(TASK, 1)],
      offerings,
    };
    expect(plan({ workload: options }).actions).toEqual([]);
  });

  it('spreads equal prices over zones and prefers a cheaper zone', () => {
    const offerings = allOfferings().map((offering) =>
      offering.zone.endsWith('b') ? { ...offering, priceUsdPerHour: offering.priceUsdPerHour * 0.9 } : offering,
    );
    const zones = (given: World): unknown[] =>
      plan(given).actions.map((action) =>
        action.kind === 'launch' ? [action.offering.zone.at(-1), action.count] : null,
      );
    expect(zones({ workload: { pending: [pending(TASK, 4)] } })).toEqual([
      ['a', 2],
      ['b', 2],
    ]);
    expect(zones({ workload: { pending: [pending(TASK, 4)], offerings } })).toEqual([['b', 4]]);
    expect(zones({ workload: { pending: [pending(cores(16), 1)] }, machines: [machine(1)] })).toEqual([['b', 1]]);
  });

  it('asks for at most 100 machines in one launch', () => {
    const offerings = allOfferings().filter(({ zone }) => zone.endsWith('a'));
    const big = policy({ limits: { max: 1000 } });
    const { actions } = plan({ workload: { policy: big, pending: [pending(TASK, 250)], offerings } });
    expect(actions.map((action) => (action.kind === 'launch' ? action.count : 0))).toEqual([100, 100, 50]);
  });

  it('counts the offerings it left out, and why', () => {
    const { candidates } = plan({
      workload: {
        policy: policy({ instances: { families: ['c', 'm'], exclude: ['*.16xlarge'] } }),
        unavailableOfferings: 3,
      },
    }).report;
    expect(candidates).toEqual({
      considered: 123,
      rejected: { architecture: 24, family: 48, excluded: 8, market: 20, unavailable: 3 },
    });
  });
});

describe('the outcome', () => {
  it('is plain JSON', () => {
    const outcome = planAll(
      input({ workload: { pending: [pending(TASK, 1)] }, agents: [agent(1)], pairs: [readyMachine(2)] }),
    );
    expect(JSON.parse(JSON.stringify(outcome))).toEqual(outcome);
  });

  it('plans 1,337 agents and 13,315 equal tasks without looking at each of them', () => {
    const agents = Array.from({ length: 1337 }, (_, index) => agent(index, { id: agentId(index), capacity: cores(8) }));
    const result = plan({
      workload: { pending: [pending(cores(1), 13_315)], policy: policy({ limits: { max: 2000 } }) },
      agents,
    });
    expect(result.report.placement.onLocal).toBe(1337 * 8);
    expect(result.report.placement.planned).toBe(13_315 - 1337 * 8);
  });
});
