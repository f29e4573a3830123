import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { chargesFor } from '../../src/cost/charges.ts';
import type { CostLine } from '../../src/cost/report.ts';
import { COST_GROUPINGS, estimatedShare, machineHours, reportCosts } from '../../src/cost/report.ts';
import { nanoUsdToNumber } from '../../src/model/money.ts';
import { HOUR, SECOND, START, billed, sum } from './fixtures.ts';

const ALL = { fromMs: null, toMs: null };

function line(options: Partial<CostLine> = {}): CostLine {
  return {
    machineId: 'mc-000000000001',
    workload: 'ci',
    kind: 'compute',
    instanceType: 'm6a.xlarge',
    market: 'on-demand',
    fromMs: START,
    toMs: START + HOUR,
    quantitySeconds: 3600,
    amount: 1_000_000_000n,
    ...options,
  };
}

describe('a cost report', () => {
  it('splits an interval at midnight', () => {
    const across = line({
      fromMs: START - HOUR,
      toMs: START + 2 * HOUR,
      quantitySeconds: 10_800,
      amount: 3_000_000_000n,
    });
    const { rows } = reportCosts({ charges: [across], accrued: [] }, { by: 'day', ...ALL });
    expect(rows.map((row) => [row.key, nanoUsdToNumber(row.total), machineHours(row)])).toEqual([
      ['2026-10-31', 1, 1],
      ['2026-11-01', 2, 2],
    ]);
  });

  it('takes only the part of an interval that lies in the period', () => {
    const { total } = reportCosts(
      { charges: [line()], accrued: [] },
      { by: 'workload', fromMs: START + HOUR / 4, toMs: START + HOUR / 2 },
    );
    expect([nanoUsdToNumber(total.total), total.machineSeconds]).toEqual([0.25, 900]);
  });

  it('counts a machine once however many charges it has, and only compute as machine time', () => {
    const charges = chargesFor(billed({ volumeGib: 20, publicIpv4: true, endedAtMs: START + HOUR }), START);
    const { total } = reportCosts({ charges, accrued: [] }, { by: 'market', ...ALL });
    expect([total.machines, machineHours(total)]).toEqual([1, 1]);
    expect(total.compute + total.volume + total.ipv4).toBe(total.total);
  });

  it('tells how much is an estimate', () => {
    const facts = { charges: [line()], accrued: [line({ machineId: 'mc-000000000002', workload: 'render' })] };
    const { rows, total } = reportCosts(facts, { by: 'workload', ...ALL });
    expect(rows.map((row) => [row.key, estimatedShare(row)])).toEqual([
      ['ci', 0],
      ['render', 1],
    ]);
    expect([estimatedShare(total), total.machines]).toEqual([0.5, 2]);
  });

  it('keeps a correction that has no time of its own', () => {
    const correction = line({ toMs: START, quantitySeconds: 0, amount: -5n });
    expect(reportCosts({ charges: [correction], accrued: [] }, { by: 'day', ...ALL }).total.total).toBe(-5n);
    expect(
      reportCosts({ charges: [correction], accrued: [] }, { by: 'day', fromMs: START + 1, toMs: null }).rows,
    ).toEqual([]);
  });

  it('is empty without charges', () => {
    const { rows, total } = reportCosts({ charges: [], accrued: [] }, { by: 'day', ...ALL });
    expect([rows, total.total, estimatedShare(total)]).toEqual([[], 0n, 0]);
  });
});

const anyLine: fc.Arbitrary<CostLine> = fc
  .record({
    machine: fc.integer({ min: 1, max: 4 }),
    workload: fc.constantFrom('ci', 'render'),
    kind: fc.constantFrom('compute' as const, 'volume' as const, 'ipv4' as const),
    instanceType: fc.constantFrom('m6a.large', 'c6a.large', 'r6a.large'),
    market: fc.constantFrom('on-demand' as const, 'spot' as const),
    fromS: fc.integer({ min: 0, max: 5 * 86_400 }),
    seconds: fc.integer({ min: 0, max: 3 * 86_400 }),
    amount: fc.bigInt({ min: -1000n, max: 10n ** 12n }),
  })
  .map(({ machine, fromS, seconds, ...rest }) => ({
    ...rest,
    machineId: `mc-${machine}`,
    fromMs: START + fromS * SECOND,
    toMs: START + (fromS + seconds) * SECOND,
    quantitySeconds: seconds,
  }));

describe('every cost report', () => {
  it('has rows that add up to the total, which is all the money there is', () => {
    fc.assert(
      fc.property(fc.array(anyLine), fc.array(anyLine), fc.constantFrom(...COST_GROUPINGS), (charges, accrued, by) => {
        const { rows, total } = reportCosts({ charges, accrued }, { by, ...ALL });
        expect(total.total).toBe(sum([...charges, ...accrued]));
        expect(total.estimated).toBe(sum(accrued));
        for (const column of ['compute', 'volume', 'ipv4', 'total', 'estimated'] as const) {
          expect(rows.reduce((money, row) => money + row[column], 0n)).toBe(total[column]);
        }
        expect(rows.reduce((seconds, row) => seconds + row.machineSeconds, 0)).toBe(total.machineSeconds);
      }),
    );
  });

  it('gives two adjoining periods the money of both together', () => {
    fc.assert(
      fc.property(fc.array(anyLine), fc.integer({ min: 0, max: 8 * 86_400 }), (charges, at) => {
        const whole = charges.filter(({ quantitySeconds }) => quantitySeconds > 0);
        const borderMs = START + at * SECOND;
        const before = reportCosts({ charges: whole, accrued: [] }, { by: 'workload', fromMs: null, toMs: borderMs });
        const after = reportCosts({ charges: whole, accrued: [] }, { by: 'workload', fromMs: borderMs, toMs: null });
        expect(before.total.total + after.total.total).toBe(sum(whole));
      }),
    );
  });
});
