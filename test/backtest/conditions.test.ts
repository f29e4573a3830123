import { describe, expect, test } from 'vitest';
import { isMet, parseCondition } from '../../src/backtest/conditions.ts';

const FIGURES = ['costUsd', 'waitP95S'];

describe('a condition', () => {
  test.each<[string, number, boolean]>([
    ['costUsd > 100', 100.01, true],
    ['costUsd > 100', 100, false],
    ['costUsd>=100', 100, true],
    ['costUsd < -1.5', -2, true],
    ['costUsd <= 1', 1.1, false],
    ['costUsd == 0', 0, true],
    ['costUsd != 0', 0, false],
  ])('%s of %d: %s', (text, actual, met) => {
    expect(isMet(parseCondition(text, FIGURES), actual)).toBe(met);
  });

  test('on a figure that is not known holds, so that a gate never opens unseen', () => {
    expect(isMet(parseCondition('costUsd > 100', FIGURES), null)).toBe(true);
  });

  test('may be about the difference of two policies', () => {
    expect(parseCondition(' difference.waitP95S > 5 ', FIGURES)).toEqual({
      text: 'difference.waitP95S > 5',
      isDifference: true,
      figure: 'waitP95S',
      operator: '>',
      value: 5,
    });
  });

  test.each([
    ['costUsd', 'is not a condition'],
    ['costUsd > much', 'is not a condition'],
    ['costUsd => 1', 'is not a condition'],
    ['costUSD2 > 1', 'there is no figure "costUSD2"'],
  ])('%s is refused', (text, message) => {
    expect(() => parseCondition(text, FIGURES)).toThrow(message);
  });
});
