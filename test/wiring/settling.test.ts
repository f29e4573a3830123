import { describe, expect, test } from 'vitest';

import { settlingMs } from '../../src/wiring/settling.ts';

describe('a service that starts looks before it decides', () => {
  test.each<[string, number | null, readonly number[], number]>([
    ['a heartbeat and a second when nobody ever led', null, [30_000], 11_000],
    ['as long after an outage in which reports went stale', 10_001, [30_000], 11_000],
    ['not at all after a shorter one', 10_000, [30_000], 0],
    ['by the policy that finds reports stale soonest', 10_000, [60_000, 29_999], 11_000],
    ['not at all when no policy is in force and somebody led', 3_600_000, [], 0],
  ])('%s', (_, silentMs, freshnessMs, expected) => {
    expect(settlingMs({ silentMs, heartbeatMs: 10_000, freshnessMs })).toBe(expected);
  });
});
