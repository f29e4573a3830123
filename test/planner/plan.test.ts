/** Tables: one row is one sentence about what the planner does. */
import { describe, expect, it } from 'vitest';
import { planAll } from '../../src/planner/plan.ts';
import type { World } from './fixtures.ts';
import {
  GIB,
  NOW,
  TASK,
  agent,
  agentId,
  allOfferings,
  codes,
  cores,
  drainingMachine,
  input,
  machine,
  pending,
  plan,
  policy,
  readyMachine,
  short,
  workload,
} from './fixtures.ts';

interface Row {
  readonly says: string;
  readonly world: World;
  readonly actions: readonly string[];
  /** The deciding reason. */
  readonly because: string;
}

function check(rows: readonly Row[]): void {
  it.each(rows)('$says', ({ world, actions, because }) => {
    const result = plan(world);
    expect(short(result.actions)).toEqual(actions);
    expect(codes(result)[0]).toBe(because);
  });
}

const UTILIZED = { metric: 'cpu', target: 0.75, windowMs: 120_000 } as const;
const samples = (cpu: number, options = {}) => ({
  cpu,
  memory: 0.1,
  oldestSampleAtMs: NOW - 120_000,
  newestSampleAtMs: NOW - 1000,
  ...options,
});
const requested = (number: number, options = {}) => machine(number, { state: 'requested', ...options });
const utilizationOnly = { queue: null, utilization: UTILIZED };

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

  it('gives room on shared local agents away once, to workloads in the order of their names', () => {
    const two = ['beta', 'alpha'].map((name) => workload({ policy: policy({ name }), pending: [pending(TASK, 3)] }));
    const { workloads } = planAll({ nowMs: NOW, workloads: two, agents: [agent(1)], machines: [] });
    expect(workloads.map((part) => [part.workload, part.report.placement.onLocal])).toEqual([
      ['alpha', 3],
      ['beta', 1],
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
      says: 'a machine younger than the window does not make the old load look larger',
      world: {
        workload: { policy: policy({ demand: { utilization: UTILIZED } }), utilization: samples(0.9) },
        agents: [agent(1, { capacity: cores(10), allocated: cores(10) })],
        pairs: [readyMachine(2, { machine: { createdAtMs: NOW - 60_000 }, idleMs: 1000 })],
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
          pending: [pending({ cpuMilli: 16_000, memoryMib: 98 * GIB }, 1)],
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

describe('taking back drains', () => {
  const one = { pending: [pending(TASK, 1)] };
  check([
    {
      says: 'a drain is called off before anything is launched',
      world: { workload: { pending: [pending(TASK, 3)] }, pairs: [drainingMachine(7)] },
      actions: ['undrain 7', 'launch 1 c6a.large on-demand'],
      because: 'unserved-work',
    },
    {
      says: 'the cheapest machine that helps is taken back',
      world: {
        workload: one,
        pairs: [drainingMachine(1), drainingMachine(2, { machine: { priceUsdPerHour: 0.05 } })],
      },
      actions: ['undrain 2'],
      because: 'unserved-work',
    },
    {
      says: 'a drain that touched work stands',
      world: { workload: one, pairs: [drainingMachine(1, { machine: { drainIrrevocable: true } })] },
      actions: ['launch 1 c6a.large on-demand'],
      because: 'unserved-work',
    },
    {
      says: "an operator's drain stands",
      world: { workload: one, pairs: [drainingMachine(1, { machine: { endReason: 'operator' } })] },
      actions: ['launch 1 c6a.large on-demand'],
      because: 'unserved-work',
    },
    {
      says: 'work that may wait does not call off a drain',
      world: {
        workload: { policy: policy({ maxWaitMs: 90_000 }), pending: [pending(TASK, 1, 0)] },
        pairs: [drainingMachine(1)],
      },
      actions: [],
      because: 'waiting-within-max-wait',
    },
    {
      says: 'a launch cooldown does not hold back a drain called off',
      world: {
        workload: { ...one, policy: policy({ cooldown: { scaleUpMs: 60_000 } }), lastLaunchAtMs: NOW - 1000 },
        pairs: [drainingMachine(1)],
      },
      actions: ['undrain 1'],
      because: 'unserved-work',
    },
  ]);
});

describe('limits', () => {
  const ten = (options: Parameters<typeof policy>[0], more = {}): World => ({
    workload: {
      policy: policy({ instances: { cpu: { min: 2, max: 2 } }, ...options }),
      pending: [pending(TASK, 10)],
      ...more,
    },
  });
  const launches = (...counts: number[]): string[] => counts.map((count) => `launch ${count} c6a.large on-demand`);
  it.each([
    { code: 'at-max', world: ten({ limits: { max: 3 } }), actions: launches(2, 1) },
    { code: 'at-vcpus', world: ten({ limits: { vcpus: 5 } }), actions: launches(1, 1) },
    {
      code: 'at-launches-per-hour',
      world: ten({ limits: { launchesPerHour: 5 } }, { launchedLastHour: 4 }),
      actions: launches(1),
    },
    { code: 'at-max-scale-up', world: ten({ limits: { maxScaleUp: 4 } }), actions: launches(2, 2) },
    { code: 'at-hourly-budget', world: ten({ hourlyUsd: 0.25 }), actions: launches(2, 1) },
    {
      code: 'cooldown-scale-up',
      world: ten({ cooldown: { scaleUpMs: 60_000 } }, { lastLaunchAtMs: NOW - 59_000 }),
      actions: [],
    },
    { code: 'offerings-unknown', world: ten({}, { offerings: null }), actions: [] },
    { code: 'no-offering-fits', world: ten({ instances: { families: ['x'] } }), actions: [] },
  ])('$code binds and says so', ({ code, world, actions }) => {
    const result = plan(world);
    expect(short(result.actions)).toEqual(actions);
    expect(codes(result)).toContain(code);
    expect(codes(result)).toContain('unserved-work');
  });

  it('counts machines that are leaving against the maximum', () => {
    const result = plan({
      workload: { policy: policy({ limits: { max: 1 } }), pending: [pending(TASK, 1)] },
      machines: [machine(1, { state: 'terminating' })],
    });
    expect(result.actions).toEqual([]);
    expect(codes(result)[0]).toBe('at-max');
  });

  it('takes larger machines when the number of machines would leave work behind', () => {
    const result = plan({ workload: { policy: policy({ limits: { max: 2 } }), pending: [pending(TASK, 10)] } });
    expect(result.report.placement.planned).toBe(10);
    expect(result.report.money.usdPerHourAfter).toBeLessThan(1.25);
  });

  it('takes what the budget still pays for when the right size is too dear', () => {
    const shape = cores(1, 1);
    const result = plan({
      workload: { policy: policy({ limits: { max: 2 }, hourlyUsd: 0.16 }), pending: [pending(shape, 40)] },
    });
    expect(short(result.actions)).toEqual(['launch 1 c6a.xlarge on-demand']);
    expect(codes(result)).toContain('at-hourly-budget');
  });

  it('serves work that waited longest first when not all can be served', () => {
    const old = { ...pending(cores(1, 1), 1), oldestPendingSinceMs: NOW - 600_000 };
    const result = plan({
      workload: { policy: policy({ limits: { maxScaleUp: 1 } }), pending: [pending(cores(16, 120), 3), old] },
    });
    expect(short(result.actions)).toEqual(['launch 1 c6a.large on-demand']);
  });
});

describe('letting go', () => {
  const utilized = (cpu: number, more = {}) => ({
    policy: policy({ demand: { utilization: UTILIZED } }),
    utilization: samples(cpu),
    ...more,
  });
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
      says: 'nothing goes while something is launched',
      world: { workload: { pending: [pending(cores(16), 1)] }, pairs: [readyMachine(1)] },
      actions: ['launch 1 c6a.4xlarge on-demand'].slice(1).concat('launch 1 m6a.4xlarge on-demand'),
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
    expect(launched({}, { cpuMilli: 2000, memoryMib: 4 * GIB })).toEqual(['launch 1 m6a.large on-demand']);
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

  it('lets a small task join a larger machine when that costs less than its own', () => {
    expect(
      short(
        plan({ workload: { pending: [pending(cores(2, 7), 1), pending({ cpuMilli: 1000, memoryMib: 512 }, 1)] } })
          .actions,
      ),
    ).toEqual(
      ['launch 1 r6a.large on-demand'].slice(1).concat('launch 1 c6a.large on-demand', 'launch 1 m6a.large on-demand'),
    );
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
