import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  costOfSeconds,
  nanoUsdFromDecimal,
  nanoUsdFromNumber,
  nanoUsdToDecimal,
  nanoUsdToNumber,
} from '../../src/model/money.ts';

describe('dollars', () => {
  test.each([
    ['0.0416', 41_600_000n],
    ['-12.5', -12_500_000_000n],
    ['0', 0n],
    ['0.000000001', 1n],
    ['123456789012345678.9', 123_456_789_012_345_678_900_000_000n],
  ])('%s are whole nano-dollars', (text, nano) => {
    expect(nanoUsdFromDecimal(text)).toBe(nano);
  });

  test.each(['', '1.', '.5', '1e3', '+1', ' 1', '1,5', '0.0000000001', 'NaN'])('are not read from %j', (text) => {
    expect(() => nanoUsdFromDecimal(text)).toThrow(RangeError);
  });

  test('are written as they are read, to the last place and with their sign', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: -(10n ** 24n), max: 10n ** 24n }), (nano) => {
        expect(nanoUsdFromDecimal(nanoUsdToDecimal(nano))).toBe(nano);
      }),
    );
    expect(nanoUsdToDecimal(-1n)).toBe('-0.000000001');
  });

  test('from floats are rounded to the nano-dollar, and never from what is no number', () => {
    expect(nanoUsdFromNumber(0.1 + 0.2)).toBe(300_000_000n);
    expect(nanoUsdToNumber(41_600_000n)).toBe(0.0416);
    for (const usd of [Number.NaN, Infinity]) expect(() => nanoUsdFromNumber(usd)).toThrow(RangeError);
  });
});

describe('the cost of seconds', () => {
  test.each([
    { says: 'nothing for no time', price: 3600n, seconds: 0, cost: 0n },
    { says: 'a 3600th of the hourly price each', price: 7200n, seconds: 5, cost: 10n },
    { says: 'half a nano-dollar as a whole one', price: 1800n, seconds: 1, cost: 1n },
    { says: 'less than half as none', price: 1799n, seconds: 1, cost: 0n },
  ])('is $says', ({ price, seconds, cost }) => {
    expect(costOfSeconds(price, seconds)).toBe(cost);
  });

  test.each([-1, 0.5, Number.NaN, 2 ** 53])('is refused for %s of them', (seconds) => {
    expect(() => costOfSeconds(1n, seconds)).toThrow(RangeError);
  });
});
