/** Tables: one row is one sentence about drains called off, and limits. */
import { describe, expect, it } from 'vitest';
import type { Market, Offering } from '../../src/model/offering.ts';
import { planAll } from '../../src/planner/plan.ts';
import type { World } from './fixtures.ts';
import {
  NOW,
  TASK,
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
} from './fixtures.ts';
import { check } from './table.ts';

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

  describe('types of which one is cheap and the other has few vCPUs', () => {
    const like = (name: string, vcpus: number, priceUsdPerHour: number, market: Market = 'on-demand'): Offering => ({
      ...allOfferings()[0]!,
      instanceType: { ...allOfferings()[0]!.instanceType, name, resources: cores(vcpus, 32) },
      market,
      priceUsdPerHour,
    });
    const offered = (vcpus: number, tasks: number, offerings: Offering[], spot = 0): World => ({
      workload: {
        policy: policy({ limits: { vcpus }, market: { spot } }),
        pending: [pending(cores(2, 20), tasks)],
        offerings,
      },
    });
    const onDemand = [like('c6a.wide', 8, 0.2), like('c6a.tall', 4, 0.25)];
    const spotAndOnDemand = [like('c6a.wide', 8, 0.1, 'spot'), like('c6a.tall', 4, 0.25)];

    it.each([
      { says: 'the dearer is launched when only it stays within limits.vcpus', world: offered(4, 1, onDemand) },
      { says: 'on-demand is launched when only it does', world: offered(4, 1, spotAndOnDemand, 1) },
    ])('$says', ({ world }) => {
      expect(short(plan(world).actions)).toEqual(['launch 1 c6a.tall on-demand']);
    });

    it('the vCPUs that the cheap ones leave go to the others', () => {
      const result = plan(offered(12, 3, onDemand));
      expect(short(result.actions)).toEqual(['launch 1 c6a.wide on-demand', 'launch 1 c6a.tall on-demand']);
      expect(result.report.reasons).toContainEqual({ code: 'at-vcpus', detail: '0 vCPUs left of 12' });
    });
  });

  it('says that no vCPUs are left, not fewer than none, when the limit was lowered below the fleet', () => {
    const lowered = policy({ limits: { vcpus: 2 } });
    const { report } = plan({ workload: { policy: lowered, pending: [pending(TASK, 1)] }, machines: [machine(1)] });
    expect(report.reasons).toContainEqual({ code: 'at-vcpus', detail: '0 vCPUs left of 2' });
  });

  it('serves work that waited longest first when not all can be served', () => {
    const old = { ...pending(cores(1, 1), 1), oldestPendingSinceMs: NOW - 600_000 };
    const result = plan({
      workload: { policy: policy({ limits: { maxScaleUp: 1 } }), pending: [pending(cores(16, 120), 3), old] },
    });
    expect(short(result.actions)).toEqual(['launch 1 c6a.large on-demand']);
  });
});

describe('a database that lost commits', () => {
  const amnesia = 'the database has lost commits';
  const only = (world: World) => {
    const [workload] = planAll({ ...input(world), amnesia }).workloads;
    if (workload === undefined) throw new Error('no workload was planned');
    return { actions: workload.actions, verdict: workload.report.verdict, because: workload.report.reasons[0] };
  };
  const held = { actions: [], verdict: 'hold', because: { code: 'amnesia', detail: amnesia } };

  it.each<[string, World]>([
    ['launches nothing for pending work', { workload: { pending: [pending(TASK, 3)] } }],
    ['takes back no drain', { workload: { pending: [pending(TASK, 1)] }, pairs: [drainingMachine(7)] }],
    ['lets no machine go', { pairs: [readyMachine(1, { idleMs: 3_600_000 })] }],
    ['says so when there is nothing to do', {}],
  ])('%s', (_says, world) => {
    expect(only(world)).toEqual(held);
  });
});
