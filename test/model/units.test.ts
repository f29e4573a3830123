import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  formatCpu,
  formatDuration,
  formatMib,
  formatPercent,
  nearestWord,
  parseCount,
  parseCpu,
  parseDuration,
  parsePercent,
  parseRange,
  parseSize,
} from '../../src/model/units.ts';
import type { UnitResult } from '../../src/model/units.ts';

function valueOf<T>(result: UnitResult<T>): T | string {
  return result.ok ? result.value : `${result.problem} | ${result.fix}`;
}

const DURATION_FIX = 'write whole numbers with the units d, h, m, s or ms, such as 90s, 5m or 1h30m';
const SIZE_FIX = 'write a number with the unit MiB, GiB or TiB, such as 512MiB or 4GiB';
const PERCENT_FIX = 'write a percentage from 0% to 100%, such as 75%';

describe('durations', () => {
  test.each([
    ['90s', 90_000],
    ['0s', 0],
    ['250ms', 250],
    ['5m', 300_000],
    ['1h30m', 5_400_000],
    ['14d', 1_209_600_000],
    ['1d2h3m4s5ms', 93_784_005],
    ['', `"" is not a duration | ${DURATION_FIX}`],
    ['90', `"90" has no unit | ${DURATION_FIX}`],
    [90, `90 has no unit | ${DURATION_FIX}`],
    ['1.5h', `"1.5h" is not a duration | ${DURATION_FIX}`],
    ['5 m', `"5 m" is not a duration | ${DURATION_FIX}`],
    ['-5m', `"-5m" is not a duration | ${DURATION_FIX}`],
    ['30m1h', `"30m1h" is not a duration | ${DURATION_FIX}`],
    ['5M', `"5M" is not a duration | ${DURATION_FIX}`],
    ['99999d', '"99999d" is longer than ten years | write at most 3650d'],
    [`${'9'.repeat(400)}d`, `"${'9'.repeat(37)}..." is longer than ten years | write at most 3650d`],
    [null, `nothing is not a duration | ${DURATION_FIX}`],
    [['5m'], `a list is not a duration | ${DURATION_FIX}`],
  ])('%j -> %s', (text, expected) => {
    expect(valueOf(parseDuration(text))).toBe(expected);
  });

  test('are written as they are read', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 3650 * 86_400_000 }), (durationMs) => {
        expect(valueOf(parseDuration(formatDuration(durationMs)))).toBe(durationMs);
      }),
    );
    expect(formatDuration(90_000)).toBe('1m30s');
    expect(formatDuration(0)).toBe('0s');
  });
});

describe('sizes', () => {
  test.each([
    ['512MiB', 512],
    ['4GiB', 4096],
    ['1.5GiB', 1536],
    ['2TiB', 2_097_152],
    ['4GB', '"4GB" is not a size | write 4GiB'],
    ['4gib', '"4gib" is not a size | write 4GiB'],
    ['4 GiB', '"4 GiB" is not a size | write 4GiB'],
    ['4', `"4" has no unit | ${SIZE_FIX}`],
    [4, `4 has no unit | ${SIZE_FIX}`],
    ['4Gigabytes', `"4Gigabytes" is not a size | ${SIZE_FIX}`],
    ['0.3MiB', `"0.3MiB" is not a whole number of MiB | ${SIZE_FIX}`],
    ['-1GiB', `"-1GiB" is not a size | ${SIZE_FIX}`],
    [`${'9'.repeat(30)}TiB`, `"${'9'.repeat(30)}TiB" is larger than any machine | ${SIZE_FIX}`],
  ])('%j -> %s', (text, expected) => {
    expect(valueOf(parseSize(text))).toBe(expected);
  });

  test('are written as they are read', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.nat(5000),
          fc.nat(5000).map((gib) => gib * 1024),
          fc.nat(2 ** 30),
        ),
        (mib) => {
          expect(valueOf(parseSize(formatMib(mib)))).toBe(mib);
        },
      ),
    );
    expect([formatMib(4096), formatMib(1536), formatMib(0)]).toEqual(['4GiB', '1536MiB', '0MiB']);
  });
});

describe('percentages', () => {
  test.each([
    ['75%', 0.75],
    ['0%', 0],
    ['100%', 1],
    ['57%', 0.57],
    ['12.5%', 0.125],
    ['101%', `"101%" is more than 100% | ${PERCENT_FIX}`],
    [0.75, '0.75 has no percent sign | write 75%'],
    [75, '75 has no percent sign | write 75%'],
    [300, `300 has no percent sign | ${PERCENT_FIX}`],
    ['75', `"75" is not a percentage | ${PERCENT_FIX}`],
    ['-1%', `"-1%" is not a percentage | ${PERCENT_FIX}`],
  ])('%j -> %s', (text, expected) => {
    expect(valueOf(parsePercent(text))).toBe(expected);
  });

  test('are written as they are read', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 1_000_000 }), (millionths) => {
        const ratio = millionths / 1_000_000;
        expect(valueOf(parsePercent(formatPercent(ratio)))).toBe(ratio);
      }),
    );
  });
});

describe('cpu, counts and ranges', () => {
  test.each([
    [2, 2000],
    [0.5, 500],
    ['2', 2000],
    ['500m', 500],
    [1.234, 1234],
  ])('cpu %j -> %s', (text, expected) => {
    expect(valueOf(parseCpu(text))).toBe(expected);
  });

  test.each([[0], [-1], [1.2345], ['0.5m'], ['2 cores'], [Infinity], [Number.NaN], [1e9], [null], [true]])(
    'cpu %j is refused',
    (text) => {
      expect(parseCpu(text).ok).toBe(false);
    },
  );

  test('cpu is written as it is read', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 16_384_000 }), (cpuMilli) => {
        expect(valueOf(parseCpu(formatCpu(cpuMilli)))).toBe(cpuMilli);
      }),
    );
  });

  const count = (value: unknown) => parseCount(value, 1, 4096);

  test.each([
    ['4..32', { min: 4, max: 32 }],
    [4, { min: 4, max: 4 }],
    ['4', { min: 4, max: 4 }],
    ['32..4', '"32..4" begins above its end | write 4..32'],
    ['4...32', '"4...32" is not a range | write both ends with two dots between them, such as 4..32'],
    ['4..', '"4.." is not a range | write both ends with two dots between them, such as 4..32'],
    ['1..2..3', '"1..2..3" is not a range | write both ends with two dots between them, such as 4..32'],
    ['0..4', '0 is less than 1 | write a whole number from 1 to 4096'],
    ['4..9999', '9999 is more than 4096 | write a whole number from 1 to 4096'],
    ['four', '"four" is not a whole number | write a whole number from 1 to 4096'],
  ])('range %j -> %j', (text, expected) => {
    expect(valueOf(parseRange(text, count))).toEqual(expected);
  });

  test('ranges of sizes are read with the unit on both ends', () => {
    expect(valueOf(parseRange('1.5GiB..8GiB', parseSize))).toEqual({ min: 1536, max: 8192 });
    expect(valueOf(parseRange('2..8GiB', parseSize))).toBe(`"2" has no unit | ${SIZE_FIX}`);
  });
});

describe('any value', () => {
  test('is read or refused with something to write, never an exception', () => {
    const near = fc.stringMatching(/^[0-9.]{0,6}[dhmsGMTiB%. ]{0,5}[0-9.]{0,4}[a-zA-Z%]{0,4}$/);
    fc.assert(
      fc.property(fc.oneof(fc.anything(), near), (value) => {
        for (const parse of [
          parseDuration,
          parseSize,
          parsePercent,
          parseCpu,
          (v: unknown) => parseRange(v, parseSize),
        ]) {
          const result = parse(value);
          const good = result.ok
            ? typeof result.value === 'object' || Number.isFinite(result.value)
            : result.problem !== '' && result.fix !== '';
          expect(good).toBe(true);
        }
      }),
    );
  });
});

describe('nearestWord', () => {
  const keys = ['maxScaleUp', 'maxScaleDown', 'max', 'min', 'vcpus', 'utilization'];
  test.each([
    ['max_scale_up', 'maxScaleUp'],
    ['MAXSCALEUP', 'maxScaleUp'],
    ['maxScaleUpp', 'maxScaleUp'],
    ['vcpu', 'vcpus'],
    ['utilisation', 'utilization'],
    ['utliization', 'utilization'],
    ['mni', 'min'],
    ['headroom', null],
    ['', null],
    ['___', null],
    ['x'.repeat(10_000), null],
  ])('%s -> %s', (word, expected) => {
    expect(nearestWord(word, keys)).toBe(expected);
  });
});
