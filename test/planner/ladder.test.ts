import { describe, expect, it } from 'vitest';
import type { Offering } from '../../src/model/offering.ts';
import type { HoldView, PlanAction, WorkloadPlan } from '../../src/planner/types.ts';
import { allOfferings, codes, launchedMachines, NOW, pending, plan, policy, short, TASK, ZONES } from './fixtures.ts';

type Launch = Extract<PlanAction, { kind: 'launch' }>;

function launches({ actions }: WorkloadPlan): Launch[] {
  return actions.filter((action) => action.kind === 'launch');
}

const nameOf = ({ offering: { instanceType, zone, market } }: Launch['ladder'][number]): string =>
  `${instanceType.name} ${zone.at(-1)} ${market}`;

function probing(offerings: readonly Offering[], isProbe: (offering: Offering) => boolean, key = 'probe'): Offering[] {
  return offerings.map((offering) => (isProbe(offering) ? { ...offering, probes: [key] } : offering));
}

const HELD: HoldView = {
  key: 'workload:ci',
  isWide: true,
  errorClass: 'auth',
  errorCode: 'UnauthorizedOperation',
  state: 'open',
  untilMs: NOW + 90_000,
};

describe('the ladder of a launch', () => {
  it('holds other offerings for the same tasks, cheapest first, each at most twice the price, none twice', () => {
    const [launch] = launches(plan({ workload: { pending: [pending(TASK, 1)] } }));
    expect(nameOf(launch!)).toBe('c6a.large a on-demand');
    expect(launch!.ladder.map(nameOf)).toEqual([
      'c6a.large b on-demand',
      'm6a.large a on-demand',
      'm6a.large b on-demand',
      'r6a.large a on-demand',
      'r6a.large b on-demand',
      'c6a.xlarge a on-demand',
      'c6a.xlarge b on-demand',
    ]);
  });

  it('of a spot launch ends on-demand, and that of an on-demand launch never has spot', () => {
    const market = { spot: 1, onDemandBase: 1 };
    const result = plan({
      workload: { policy: policy({ market }), pending: [pending(TASK, 2)], offerings: allOfferings() },
    });
    const ladders = Object.fromEntries(
      launches(result).map((launch) => [launch.offering.market, launch.ladder.map(({ offering }) => offering.market)]),
    );
    expect(new Set(ladders['on-demand'])).toEqual(new Set(['on-demand']));
    expect(ladders['spot']!.slice(-2)).toEqual(['on-demand', 'on-demand']);
    expect(new Set(ladders['spot']!.slice(0, -2))).toEqual(new Set(['spot']));
    expect(ladders['spot']!.length).toBeLessThanOrEqual(8);
  });

  it('holds only what takes the tasks of the launch’s fullest machine', () => {
    const big = { cpuMilli: 4000, memoryMib: 12 * 1024, gpus: 0 };
    const [launch] = launches(plan({ workload: { pending: [pending(big, 1)] } }));
    expect(launch!.ladder.length).toBeGreaterThan(0);
    for (const { offering } of launch!.ladder) {
      expect(offering.instanceType.resources.cpuMilli).toBeGreaterThanOrEqual(4000);
      expect(offering.instanceType.resources.memoryMib).toBeGreaterThan(12 * 1024);
    }
  });

  it('has no offering that is to be probed', () => {
    const offerings = probing(allOfferings(), ({ zone }) => zone === ZONES[1]);
    const [launch] = launches(plan({ workload: { pending: [pending(TASK, 3)], offerings } }));
    expect(launch!.ladder.every(({ offering }) => offering.zone === ZONES[0])).toBe(true);
  });
});

describe('an offering that is to be probed', () => {
  it('gets one machine, and the others go where capacity is sure', () => {
    const offerings = probing(allOfferings(), ({ zone }) => zone === ZONES[0]);
    const result = plan({ workload: { pending: [pending(TASK, 6)], offerings } });
    const probes = launches(result).filter(({ probes: keys }) => keys.length > 0);
    expect(probes.map(({ count }) => count)).toEqual([1]);
    expect(launchedMachines(result.actions)).toBe(6);
    expect(probes[0]!.offering).not.toHaveProperty('probes');
  });

  it('gets one machine when there is nothing else, and the plan says so', () => {
    const offerings = probing(allOfferings(), () => true);
    const result = plan({ workload: { pending: [pending(TASK, 6)], offerings } });
    expect(short(result.actions)).toEqual(['launch 1 c6a.large on-demand']);
    expect(codes(result)).toContain('probing');
    expect(result.report.placement.unserved).toBeGreaterThan(0);
  });

  it('does not let the machines after it become many of a dearer type: their sizes are chosen anew', () => {
    const offerings = probing(allOfferings(), ({ instanceType: { name } }) => !name.endsWith('.8xlarge'));
    const result = plan({ workload: { pending: [pending(TASK, 6)], offerings } });
    expect(short(result.actions)).toEqual(['launch 1 c6a.large on-demand', 'launch 1 c6a.8xlarge on-demand']);
  });

  it('does not set the price at which many machines are chosen', () => {
    const cheap = allOfferings().map((offering) =>
      offering.zone === ZONES[0] ? { ...offering, priceUsdPerHour: offering.priceUsdPerHour / 10 } : offering,
    );
    const offerings = probing(cheap, ({ zone }) => zone === ZONES[0]);
    const budget = policy({ hourlyUsd: 0.16 });
    const result = plan({ workload: { policy: budget, pending: [pending(TASK, 6)], offerings } });
    const usdPerHour = launches(result).reduce((sum, { offering, count }) => sum + offering.priceUsdPerHour * count, 0);
    expect(usdPerHour).toBeLessThanOrEqual(0.16);
    expect(launches(result).map(({ probes, count }) => [probes.length, count])).toContainEqual([1, 1]);
  });
});

describe('a hold', () => {
  const held = (hold: Partial<HoldView>, count = 3): WorkloadPlan =>
    plan({ workload: { pending: [pending(TASK, count)], holds: [{ ...HELD, ...hold }] } });

  it.each([
    ['auth', 'held-auth'],
    ['config', 'held-config'],
    ['idempotency', 'held-idempotency'],
    ['quota', 'held-quota'],
  ] as const)('after %s keeps launches back and says so', (errorClass, code) => {
    const result = held({ errorClass });
    expect(result.actions).toEqual([]);
    expect(result.report.reasons).toContainEqual({ code, detail: 'workload:ci: UnauthorizedOperation, 90 s left' });
  });

  it('is told although nothing is wanted', () => {
    expect(codes(held({}, 0))).toContain('held-auth');
  });

  it('that is half open lets one machine through, as its probe', () => {
    const result = held({ state: 'half-open', untilMs: NOW - 1 });
    expect(launches(result).map(({ count, probes }) => [count, probes])).toEqual([[1, ['workload:ci']]]);
  });

  it('that is being tried lets nothing through', () => {
    expect(held({ state: 'probing', untilMs: NOW - 1 }).actions).toEqual([]);
  });

  it('of a quota alone leaves other markets and families free', () => {
    expect(launchedMachines(held({ isWide: false, errorClass: 'quota' }).actions)).toBe(3);
  });
});

it('that EC2 refused every offering that fits is told as that', () => {
  const result = plan({ workload: { pending: [pending(TASK, 1)], offerings: [], unavailableOfferings: 4 } });
  expect(codes(result)).toContain('offerings-held');
  expect(codes(result)).not.toContain('no-offering-fits');
});
