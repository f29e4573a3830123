/**
 * Goal: what Spillway asks of EC2 does not grow with the fleet, beyond the pages of a listing.
 * Method: fleets of several sizes in the simulated world, whose region has EC2's own buckets and counts each call that reaches it.
 */
import { describe, expect } from 'vitest';
import { test } from '../support/database.ts';
import { measureEnding, measureStanding, sumOf } from '../support/fleet.ts';

/** One look every ten seconds. */
const SWEEPS = 6;
/** The subnets' free addresses, once a minute. */
const SUBNETS = 1;

describe('calls to EC2 in a minute', () => {
  test.for([
    [10, 1],
    [100, 1],
    [2500, 3],
  ] as const)(
    'of a fleet of %d that stands are %d pages per sweep and one more',
    { timeout: 300_000 },
    async ([machines, pages], { pool }) => {
      const { minutes, throttled } = await measureStanding(pool, machines);
      expect(minutes).toEqual([{ DescribeInstances: SWEEPS * pages, DescribeSubnets: SUBNETS }]);
      expect(throttled).toBe(0);
    },
  );

  test.for([
    [10, 1],
    [2500, 3],
  ] as const)(
    'of a fleet of %d spot machines are one more per sweep, which asks who is marked',
    { timeout: 300_000 },
    async ([machines, pages], { pool }) => {
      const { minutes, throttled } = await measureStanding(pool, machines, 'spot');
      const [{ DescribeInstances, DescribeSpotInstanceRequests } = {}] = minutes;
      expect({ DescribeInstances, DescribeSpotInstanceRequests }).toEqual({
        DescribeInstances: SWEEPS * pages,
        DescribeSpotInstanceRequests: SWEEPS,
      });
      expect(throttled).toBe(0);
    },
  );

  test.for([
    [10, 1, 1],
    [100, 1, 1],
    // One bucket full of instances, and a hundred that wait ten seconds for their tokens.
    [600, 1, 2],
  ] as const)(
    'of a fleet of %d that ends at once are %d pages per sweep and %d terminations',
    { timeout: 300_000 },
    async ([machines, pages, terminations], { pool }) => {
      const { minutes, throttled } = await measureEnding(pool, machines);
      const all = minutes.map((minute) => minute['TerminateInstances'] ?? 0);
      expect(all.reduce((sum, count) => sum + count, 0)).toBe(terminations);
      for (const minute of minutes) expect(sumOf(minute)).toBeLessThanOrEqual(SWEEPS * pages + SUBNETS + terminations);
      expect(throttled).toBe(0);
    },
  );
});
