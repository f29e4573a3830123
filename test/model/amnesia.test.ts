import { describe, expect, test } from 'vitest';
import {
  agreeWith,
  CLEAN_LISTINGS_MIN,
  CLEAN_SPAN_MS,
  describeAmnesia,
  findForgotten,
  isRecovered,
  rememberNonces,
  WITNESSED_NONCES_MAX,
  type MemoryFacts,
  type Testimony,
} from '../../src/model/amnesia.ts';

const TESTIMONY: Testimony = {
  owner: 'us',
  epoch: 3,
  turns: 50,
  nonces: ['a', 'b'],
  regions: ['us-east-1'],
  server: '7/1',
};
const facts = (changes: Partial<MemoryFacts> = {}): MemoryFacts => ({
  epoch: 3,
  turns: 50,
  nonces: ['a', 'b'],
  server: '7/1',
  amnesia: null,
  ...changes,
});

describe('what a witness proves', () => {
  test.each<[string, Partial<MemoryFacts>, string | null]>([
    ['nothing, when all is as it was', {}, null],
    ['nothing, when the lease went on', { epoch: 4, turns: 51 }, null],
    ['nothing, when only the server is another one', { server: '8/2' }, null],
    ['a loss, when the epoch is lower, however many turns there were', { epoch: 2, turns: 99 }, 'lost-lease'],
    ['a loss, when the turns are fewer', { turns: 49 }, 'lost-lease'],
    ['a loss, when there is no lease at all', { epoch: 0, turns: 0 }, 'lost-lease'],
    ['a loss, when a launch is missing, although the lease went on', { turns: 90, nonces: ['a'] }, 'lost-launch'],
  ])('is %s', (_what, changes, reason) => {
    expect(findForgotten(TESTIMONY, facts(changes))?.reason ?? null).toBe(reason);
  });

  test('names what is missing, and a server that changed with it', () => {
    expect(findForgotten(TESTIMONY, facts({ nonces: ['a'], server: '7/2' }))).toEqual({
      reason: 'lost-launch',
      evidence: { nonces: ['b'], serverBefore: '7/1', serverNow: '7/2' },
    });
  });

  test('is proved once: a testimony that agreed misses nothing any more', () => {
    const now = facts({ epoch: 1, turns: 2, nonces: ['a'], server: null });
    const agreed = agreeWith(TESTIMONY, now);
    expect(agreed).toEqual({ ...TESTIMONY, epoch: 1, turns: 2, nonces: ['a'] });
    expect(findForgotten(agreed, now)).toBeNull();
  });

  test('is of the newest launches only, so that it stays small', () => {
    const many = Array.from({ length: WITNESSED_NONCES_MAX + 1 }, (_, index) => `n${index}`);
    const { nonces } = rememberNonces(TESTIMONY, many);
    expect([nonces.length, nonces[0], nonces.at(-1)]).toEqual([WITNESSED_NONCES_MAX, 'n1', many.at(-1)]);
  });
});

test('the memory is back after enough listings over enough time, never after one of the two', () => {
  expect(isRecovered(CLEAN_LISTINGS_MIN, CLEAN_SPAN_MS)).toBe(true);
  expect(isRecovered(CLEAN_LISTINGS_MIN - 1, CLEAN_SPAN_MS * 9)).toBe(false);
  expect(isRecovered(CLEAN_LISTINGS_MIN * 9, CLEAN_SPAN_MS - 1)).toBe(false);
});

test('an amnesia says what is the matter and what it waits for', () => {
  const amnesia = {
    sinceMs: 0,
    reason: 'unknown-launch',
    evidence: {},
    rebuilt: 3,
    cleanListings: 2,
    cleanSinceMs: 60_000,
  } as const;
  expect(describeAmnesia(amnesia, 90_000)).toBe(
    'the database has lost commits (EC2 has instances of launches that no row knows): nothing is launched or ended, ' +
      '3 machines are rebuilt; waits for 2 of 5 complete listings of all regions without unknown instances, and for 330 s more of them',
  );
});
