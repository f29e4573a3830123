import { describe, expect, test } from 'vitest';
import { describeError } from '../../src/model/errors.ts';

const cyclic = new Error('outer');
cyclic.cause = cyclic;

describe('describeError', () => {
  test.each<[unknown, string]>([
    [new Error('cannot plan', { cause: new Error('connection lost') }), 'cannot plan: connection lost'],
    [
      new Error('cannot plan: connection lost', { cause: new Error('connection lost') }),
      'cannot plan: connection lost',
    ],
    [new Error('cannot plan', { cause: 'a string' }), 'cannot plan: a string'],
    [new TypeError(''), 'TypeError'],
    ['thrown text', 'thrown text'],
    [{ code: 7 }, '{"code":7}'],
    [cyclic, 'outer'],
    [
      new AggregateError([new Error('connect ECONNREFUSED ::1:1'), new Error('connect ECONNREFUSED 127.0.0.1:1')]),
      'connect ECONNREFUSED ::1:1',
    ],
    [new AggregateError([]), 'AggregateError'],
  ])('says %s in one line', (error, expected) => {
    expect(describeError(error)).toBe(expected);
  });
});
