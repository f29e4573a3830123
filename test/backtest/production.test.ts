import { describe, expect, test } from 'vitest';
import { replay } from '../../src/backtest/frame.ts';
import { productionScaler } from '../../src/backtest/production.ts';
import type { ReplayOutcome } from '../../src/backtest/replay-types.ts';
import type { NodeType, TraceTask } from '../../src/backtest/types.ts';
import type { WorkloadPolicy } from '../../src/model/policy.ts';
import type { PolicyOptions } from '../planner/fixtures.ts';
import { policy as makePolicy } from '../planner/fixtures.ts';
import { SIZES, amount, nodeType, randomTasks, task } from './fixtures.ts';

const LOCALS = [amount(4)];

function run(
  policy: WorkloadPolicy,
  tasks: readonly TraceTask[],
  options: { readonly types?: readonly NodeType[]; readonly asksAlways?: boolean } = {},
): { outcome: ReplayOutcome; report: ReturnType<ReturnType<typeof productionScaler>['report']> } {
  const { types = SIZES, asksAlways = false } = options;
  const scaler = productionScaler({ policy, types, asksAlways });
  const outcome = replay({ tasks, locals: LOCALS, types: scaler.types, scaler });
  return { outcome, report: scaler.report() };
}

function withHold(scaleDownUnneededMs: number, options: PolicyOptions = {}): WorkloadPolicy {
  const made = makePolicy(options);
  return { ...made, drain: { ...made.drain, scaleDownUnneededMs } };
}

describe('the planner in the replay', () => {
  test('launches what fits nowhere, and lets a machine go when it was idle for as long as the policy says', () => {
    const { outcome } = run(withHold(120_000), [task(0, 100, amount(4)), task(0, 100, amount(4))]);
    // Ready at 60, done at 160, idle for two minutes at 280.
    expect([...outcome.waitsS]).toEqual([0, 60]);
    expect([outcome.launches, outcome.terminations, outcome.machineHours * 3600]).toEqual([1, 1, 280]);
    expect(outcome.costUsd).toBeCloseTo((280 * 4 * 0.04) / 3600, 6);
  });

  test('lets tasks wait for a local place as long as the policy says', () => {
    const tasks = [task(0, 90, amount(4)), task(0, 500, amount(4)), task(0, 500, amount(4))];
    const { outcome } = run(withHold(60_000, { maxWaitMs: 300_000 }), tasks);
    // The second gets the local agent at 90; the third may wait until 300.
    expect([...outcome.waitsS]).toEqual([0, 90, 360]);
  });

  test('keeps to the limits: one machine at a time, and so many an hour', () => {
    const tasks = Array.from({ length: 6 }, () => task(0, 1000, amount(4)));
    const one = run(withHold(60_000, { limits: { max: 1 }, instances: { cpu: { min: 4, max: 4 } } }), tasks);
    expect(one.outcome.nodesMax).toBe(1);
    expect(one.report.reasons).toMatchObject({ 'at-max': expect.any(Number) as number });
    const limits = { launchesPerHour: 2, max: 50 };
    const long = Array.from({ length: 6 }, () => task(0, 8000, amount(4)));
    const slow = run(withHold(60_000, { limits, instances: { cpu: { min: 4, max: 4 } } }), long);
    expect([...slow.outcome.waitsS].sort((a, b) => a - b)).toEqual([0, 60, 60, 3660, 3660, 7260]);
  });

  test('adds machines in steps and pauses between two launches', () => {
    const tasks = Array.from({ length: 5 }, () => task(0, 2000, amount(4)));
    const options = {
      limits: { maxScaleUp: 1 },
      cooldown: { scaleUpMs: 120_000 },
      instances: { cpu: { min: 4, max: 4 } },
    };
    const { outcome } = run(withHold(60_000, options), tasks);
    expect([...outcome.waitsS].sort((a, b) => a - b)).toEqual([0, 60, 180, 300, 420]);
  });

  test('never buys a type that the policy does not allow', () => {
    const types = [...SIZES, nodeType('m9.4', amount(4), 0.0001)];
    const policy = withHold(60_000, { instances: { families: ['c6a'] } });
    expect(productionScaler({ policy, types }).types.map(({ name }) => name)).toEqual(SIZES.map(({ name }) => name));
    const { outcome } = run(policy, [task(0, 100, amount(4)), task(0, 100, amount(4))], { types });
    expect(outcome.costUsd).toBeGreaterThan(0.001);
  });

  test('buys spot at its price where the policy wants it and the catalogue knows one', () => {
    const types = SIZES.map((type) => ({ ...type, spotUsdPerHour: type.priceUsdPerHour / 4 }));
    const tasks = [task(0, 100, amount(4)), task(0, 100, amount(4))];
    const dear = run(withHold(60_000), tasks, { types }).outcome.costUsd;
    const cheap = run(withHold(60_000, { market: { spot: 1 } }), tasks, { types }).outcome.costUsd;
    expect(cheap).toBeCloseTo(dear / 4, 6);
  });

  test('buys a machine with GPUs for tasks that need some, whole or shared, and for nothing else', () => {
    const types = [...SIZES, nodeType('g5.4', amount(4, 16, 1), 0.0001)];
    const tasks = [
      task(0, 10, amount(1, 1, 0.5)),
      task(0, 10, amount(1, 1, 0.5)),
      task(0, 10, amount(4)),
      task(0, 10, amount(4)),
    ];
    const { outcome } = run(withHold(60_000), tasks, { types });
    expect([outcome.launches, outcome.tasksDone]).toEqual([2, 4]);
    expect(run(withHold(60_000), tasks.slice(0, 2), { types }).outcome.launches).toBe(1);
  });

  test('sees utilization as the service would: busy agents alone make it launch', () => {
    const utilization = { metric: 'cpu', target: 0.5, windowMs: 120_000 } as const;
    const policy = withHold(600_000, { demand: { utilization, queue: null } });
    const { outcome } = run(policy, [task(0, 1200, amount(4))]);
    expect(outcome.launches).toBeGreaterThan(0);
    expect(run(withHold(600_000), [task(0, 1200, amount(4))]).outcome.launches).toBe(0);
  });
});

describe('a policy with a schedule', () => {
  test('keeps machines while a window is open, and lets them go when it has closed', () => {
    const policy = withHold(60_000);
    const fromMs = Date.UTC(2000, 0, 1) + 1_000_000;
    const untilMs = fromMs + 3_600_000;
    const window = { schedule: 'once', min: 2, max: null, fromMs, untilMs };
    const windowsAt = (nowMs: number) => (nowMs >= fromMs && nowMs < untilMs ? [window] : []);
    const scaler = productionScaler({ policy, types: SIZES, windowsAt });
    // One task before and one long after, which the local agent takes.
    const tasks = [task(0, 10), task(10_000, 10)];
    const outcome = replay({ tasks, locals: LOCALS, types: scaler.types, scaler });
    expect([outcome.launches, outcome.terminations]).toEqual([2, 2]);
    expect(outcome.machineHours).toBeCloseTo(2, 1);
  });
});

describe('a policy with utilization alone', () => {
  const utilization = { metric: 'cpu', target: 0.7, windowMs: 120_000 } as const;

  test('lets nothing starve at half the target: what fits into no rest is bought for at once', () => {
    // Two such tasks need more memory than one agent has, which therefore stays at 50 % of its cores for ever.
    const big = amount(16, 98);
    const types = [nodeType('m6a.32', amount(32, 128), 1.4)];
    const policy = withHold(300_000, { demand: { utilization, queue: null } });
    const scaler = productionScaler({ policy, types });
    const tasks = Array.from({ length: 12 }, (_, index) => task(60 * index, 86_400, big));
    const outcome = replay({ tasks, locals: [amount(32, 128)], types: scaler.types, scaler });
    expect(outcome.tasksDone).toBe(12);
    // A boot of 60 s and a tick of 5 s.
    expect(Math.max(...outcome.waitsS)).toBeLessThanOrEqual(65);
  });
});

describe('a node that is little used', () => {
  test('takes no more tasks with consolidation, and goes when its own is done', () => {
    const drain = { scaleDownUnneededMs: 60_000, consolidation: 'whenEmptyOrUnderutilized' } as const;
    // The local agent is full. Two nodes of four cores keep one core each at work; what comes then would go to either.
    const tasks = [
      task(0, 20_000, amount(4)),
      ...[0, 0].flatMap(() => [task(0, 4000, amount(1)), task(0, 300, amount(3))]),
      ...Array.from({ length: 40 }, (_, index) => task(1000 + 200 * index, 250, amount(1))),
    ];
    const options = { types: SIZES.filter(({ capacity }) => capacity.cpuMilli === 4000) };
    const [kept, gone] = [{}, drain].map((changes) =>
      run(makePolicy({ drain: { scaleDownUnneededMs: 60_000, ...changes } }), tasks, options),
    );
    expect(gone!.report.reasons['underutilized']).toBeGreaterThan(0);
    expect(gone!.outcome.tasksDone).toBe(kept!.outcome.tasksDone);
    expect(gone!.outcome.machineHours).toBeLessThan(kept!.outcome.machineHours);
  });
});

describe('machines that were let go and are wanted again at once', () => {
  // The same task 30 s after the last: without a hold a machine goes each time, and another one is bought for the next.
  const tasks = Array.from({ length: 40 }, (_, index) => task(index * 150, 60, amount(8)));

  test('make the planner pause after the third time, as the service does', () => {
    const { outcome, report } = run(withHold(0), tasks);
    expect(report.reasons['churn-breaker']).toBeGreaterThan(0);
    expect(outcome.launches).toBeLessThan(20);
  });
});

describe('asking the planner only when it could decide something', () => {
  const policies: readonly [string, WorkloadPolicy][] = [
    ['nothing to wait for', withHold(60_000)],
    ['a maximal wait', withHold(300_000, { maxWaitMs: 200_000 })],
    ['launches per hour', withHold(30_000, { limits: { launchesPerHour: 6 } })],
    ['steps', withHold(45_000, { limits: { maxScaleUp: 1, maxScaleDown: 1 } })],
    ['pauses', withHold(60_000, { cooldown: { scaleUpMs: 90_000, scaleDownMs: 240_000 } })],
    ['a maximum and a minimum', withHold(60_000, { limits: { max: 3, min: 1 } })],
    ['headroom', withHold(60_000, { demand: { headroom: { tasks: 2 } } })],
    ['a budget', withHold(60_000, { hourlyUsd: 1.5 })],
    ['a hold that follows from the start', makePolicy({ drain: { scaleDownUnneededMs: null } })],
    ['machines that go at once and come back', makePolicy({ drain: { scaleDownUnneededMs: 0 } })],
    ['consolidation', makePolicy({ drain: { consolidation: 'whenEmptyOrUnderutilized' } })],
    ['a life of ten minutes at least', makePolicy({ drain: { scaleDownUnneededMs: 30_000, minimumLifeMs: 600_000 } })],
  ];

  test.each(policies)('changes no figure: %s', (_name, policy) => {
    const tasks = randomTasks(policy.burst.limits.max + 11, 150);
    const seldom = run(policy, tasks);
    const always = run(policy, tasks, { asksAlways: true });
    expect({ ...seldom.outcome, decisions: 0, endedAtS: 0 }).toEqual({ ...always.outcome, decisions: 0, endedAtS: 0 });
    expect(seldom.report.plans).toBeLessThanOrEqual(always.report.plans);
  });

  test('asks it far less often', () => {
    const tasks = randomTasks(3, 150);
    const policy = withHold(60_000);
    expect(run(policy, tasks).report.plans * 5).toBeLessThan(run(policy, tasks, { asksAlways: true }).report.plans);
  });
});
