/**
 * Goal: stopped machines are used before any is bought, within every limit, and those that nobody wants are not kept.
 * Method: tables, and random worlds for what must hold for every input.
 */
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { fits } from '../../src/model/resources.ts';
import { describePlan } from '../../src/planner/describe.ts';
import { planAll } from '../../src/planner/plan.ts';
import { explainWhyNot } from '../../src/planner/why-not.ts';
import {
  NOW,
  codes,
  cores,
  drainingMachine,
  input,
  pending,
  plan,
  policy,
  short,
  stoppedMachine,
  type PolicyOptions,
} from './fixtures.ts';
import { RUNS } from './random-worlds.ts';

const HOUR = 3_600_000;
const POOL = { max: 3, maxAgeMs: 24 * HOUR };
const pooled = (options: PolicyOptions = {}) => policy({ warmPool: POOL, ...options });
const work = (count: number, options: PolicyOptions = {}) => ({
  policy: pooled(options),
  pending: count === 0 ? [] : [pending(cores(4, 8), count)],
});

describe('stopped machines', () => {
  it('are started before any is launched', () => {
    const result = plan({ workload: work(1), machines: [stoppedMachine(1)] });
    expect(short(result.actions)).toEqual(['start 1']);
    expect(codes(result)).toEqual(['unserved-work', 'machine-started']);
    expect(result.report.money).toEqual({ usdPerHourBefore: 0, usdPerHourAfter: 0.1728 });
  });

  it('leave the rest to launches', () => {
    const result = plan({ workload: work(3), machines: [stoppedMachine(1)] });
    expect(short(result.actions)[0]).toBe('start 1');
    expect(short(result.actions)[1]).toMatch(/^launch/);
  });

  it('come after drains that can be called off', () => {
    const result = plan({ workload: work(2), machines: [stoppedMachine(2)], pairs: [drainingMachine(1)] });
    expect(short(result.actions)).toEqual(['undrain 1', 'start 2']);
  });

  it('are started for limits.min, the cheapest first', () => {
    const dear = stoppedMachine(1, { priceUsdPerHour: 1 });
    const cheap = stoppedMachine(2);
    const result = plan({ workload: work(0, { limits: { min: 1 } }), machines: [dear, cheap] });
    expect(short(result.actions)).toEqual(['start 2']);
  });

  it('do not count for any limit while they are stopped', () => {
    const { limits, money } = plan({ workload: work(0), machines: [stoppedMachine(1), stoppedMachine(2)] }).report;
    expect(limits?.filter(({ before }) => before !== 0)).toEqual([]);
    expect(money.usdPerHourBefore).toBe(0);
  });

  it.each([
    ['limits.max', { limits: { max: 1 } }, 'at-max'],
    ['limits.vcpus', { limits: { vcpus: 6 } }, 'at-vcpus'],
    ['limits.launchesPerHour', { limits: { launchesPerHour: 1 } }, 'at-launches-per-hour'],
    ['limits.maxScaleUp', { limits: { maxScaleUp: 1 } }, 'at-max-scale-up'],
    ['budget.hourly', { hourlyUsd: 0.2 }, 'at-hourly-budget'],
  ] as const)('obey %s when they start, like launches', (_limit, options, code) => {
    const result = plan({ workload: work(2, options), machines: [stoppedMachine(1), stoppedMachine(2)] });
    expect(short(result.actions)).toEqual(['start 1']);
    expect(codes(result)).toContain(code);
  });

  it('are left alone while EC2 refuses their like, and others are launched', () => {
    const held = stoppedMachine(1, { startHeld: true });
    const result = plan({ workload: work(1), machines: [held] });
    expect(short(result.actions)).toEqual([expect.stringMatching(/^launch/)]);
    const blocked = plan({ workload: work(1, { hourlyUsd: 0.01 }), machines: [held] });
    expect(codes(blocked)).toContain('start-held');
  });

  it('are not started while launches cool down', () => {
    const cooling = { ...work(1, { cooldown: { scaleUpMs: 60_000 } }), lastLaunchAtMs: NOW - 1000 };
    const result = plan({ workload: cooling, machines: [stoppedMachine(1)] });
    expect(result.actions).toEqual([]);
    expect(codes(result)).toContain('cooldown-scale-up');
  });

  it('hold everything still while the database has forgotten', () => {
    const given = input({ workload: work(1), machines: [stoppedMachine(1, { stoppedSinceMs: 0 })] });
    const [result] = planAll({ ...given, amnesia: 'commits were lost' }).workloads;
    expect(result?.actions).toEqual([]);
  });
});

describe('stopped machines that are kept no longer', () => {
  it.each([
    ['were stopped for too long', stoppedMachine(1, { stoppedSinceMs: NOW - 25 * HOUR }), pooled(), 'pool-aged'],
    ['have another image', stoppedMachine(1, { imageId: 'ami-old' }), pooled(), 'pool-unfit'],
    ['are of a type that is excluded', stoppedMachine(1), pooled({ instances: { exclude: ['m6a*'] } }), 'pool-unfit'],
    ['are of another family', stoppedMachine(1), pooled({ instances: { families: ['c'] } }), 'pool-unfit'],
    ['are too small', stoppedMachine(1), pooled({ instances: { cpu: { min: 8, max: 32 } } }), 'pool-unfit'],
    ['have no pool any more', stoppedMachine(1), policy(), 'pool-above-max'],
  ] as const)('%s', (_why, machine, of, why) => {
    const result = plan({ workload: { policy: of }, machines: [machine] });
    expect(result.actions).toMatchObject([{ kind: 'retire', machineId: machine.id, why }]);
    expect(codes(result)[0]).toBe('machine-retired');
    expect(result.report.verdict).toBe('scale-down');
  });

  it('are those stopped longest when there are too many, and never those that the plan starts', () => {
    const stopped = [1, 2, 3, 4].map((number) => stoppedMachine(number, { stoppedSinceMs: NOW - number * HOUR }));
    const quiet = plan({ workload: work(0, { warmPool: { max: 2, maxAgeMs: 24 * HOUR } }), machines: stopped });
    expect(short(quiet.actions)).toEqual(['retire 4', 'retire 3']);
    const busy = plan({ workload: work(1, { warmPool: { max: 2, maxAgeMs: 24 * HOUR } }), machines: stopped });
    expect(short(busy.actions)).toEqual(['start 1', 'retire 4']);
  });

  it('are not started either, however much is wanted', () => {
    const old = stoppedMachine(1, { stoppedSinceMs: NOW - 25 * HOUR });
    const result = plan({ workload: work(1), machines: [old] });
    expect(short(result.actions)).toEqual([expect.stringMatching(/^launch/), 'retire 1']);
  });
});

describe('whoever asks', () => {
  it('reads what is started and terminated, and why', () => {
    const old = stoppedMachine(2, { stoppedSinceMs: NOW - 25 * HOUR });
    const text = describePlan(planAll(input({ workload: work(1), machines: [stoppedMachine(1), old] })));
    expect(text).toContain('+ mc-000000000001 m6a.xlarge on-demand eu-central-1a, stopped before');
    expect(text).toContain('- mc-000000000002 m6a.xlarge on-demand eu-central-1a, stopped');
    expect(text).toContain('1 stopped for longer than burst.warmPool.maxAge');
    expect(text).toContain('0 to launch, 0 to take back, 0 to drain, 1 to start, 1 stopped to terminate');
  });

  it('counts a start as growth', () => {
    const result = plan({ workload: work(1), machines: [stoppedMachine(1)] });
    expect(explainWhyNot({ plan: result, machines: { stopped: 1 }, trouble: null }).scaleUp.machines).toBe(1);
  });
});

describe('for every world', () => {
  const stopped = fc
    .array(fc.record({ cpu: fc.constantFrom(2, 4, 16), held: fc.integer({ min: 0, max: 9 }) }), { maxLength: 6 })
    .map((specs) =>
      specs.map(({ cpu, held }, index) =>
        stoppedMachine(index, {
          instanceType: `m6a.${cpu}`,
          resources: cores(cpu, cpu * 4),
          priceUsdPerHour: cpu * 0.0432,
          ...(held === 0 ? { startHeld: true } : {}),
        }),
      ),
    );

  it('nothing is bought while a stopped machine could hold some of the work', () => {
    fc.assert(
      fc.property(stopped, fc.constantFrom(1, 2, 8), fc.integer({ min: 1, max: 40 }), (machines, cpu, count) => {
        const task = cores(cpu, cpu);
        const of = pooled({ warmPool: { max: 6, maxAgeMs: 24 * HOUR }, limits: { max: 100 } });
        const { actions } = plan({ workload: { policy: of, pending: [pending(task, count)] }, machines });
        const started = new Set(actions.flatMap((action) => (action.kind === 'start' ? [action.machineId] : [])));
        const idle = machines.filter(
          ({ id, startHeld, resources }) => !started.has(id) && startHeld !== true && fits(task, resources),
        );
        expect(actions.some(({ kind }) => kind === 'launch') ? idle : []).toEqual([]);
        expect(started.size).toBeLessThanOrEqual(count);
      }),
      RUNS,
    );
  });
});
