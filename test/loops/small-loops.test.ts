import { describe, expect } from 'vitest';
import { pricesTick } from '../../src/loops/prices.ts';
import { retainTick } from '../../src/loops/retain.ts';
import type { SpotPrice } from '../../src/ports/cloud.ts';
import { test } from '../support/database.ts';
import { worldPolicy } from '../support/world-policy.ts';
import { World } from '../support/world.ts';

const BY_HAND = { plan: Infinity, ring: Infinity, sweep: Infinity, account: Infinity, prices: Infinity } as const;

describe('forgetting', () => {
  test.each([
    [[5000, 5000, 12], 10_012, 4],
    [[0], 0, 1],
    [Array.from({ length: 50 }, () => 5000), 100_000, 20],
  ])('goes on in batches until nothing is old, or the turn is long enough (%#)', async (batches, forgotten, calls) => {
    const asked: [number, number][] = [];
    const store = {
      forget: async (ageMs: number, limit: number) => {
        asked.push([ageMs, limit]);
        return batches[asked.length - 1] ?? 0;
      },
    };
    expect(await retainTick(store, 1000)).toBe(forgotten);
    expect(asked).toEqual(Array.from({ length: calls }, () => [1000, 5000]));
  });
});

describe('spot prices', () => {
  test('are asked for where policies buy spot, and kept once', async ({ pool }) => {
    const policy = worldPolicy({ burst: { market: { spot: 1, onDemandBase: 0 } } });
    const world = await World.create(pool, { policies: [policy], everyS: BY_HAND, types: ['c5.large'] });
    await world.turn('prices');
    await world.turn('prices');
    const rows = await world.db.selectFrom('spot_prices').select(['zone', 'at', 'price_usd_per_hour']).execute();
    // Three hours back and the price in force before, in two zones.
    expect(rows).toHaveLength(8);
    expect(rows.every((row) => Number(row.price_usd_per_hour) > 0)).toBe(true);
  });

  test('are not asked for where nobody buys spot', async ({ pool }) => {
    const world = await World.create(pool, { everyS: BY_HAND });
    expect(await pricesTick(world.process.loops)).toBe(0);
  });

  test('are asked for a hundred types at a time', async ({ pool }) => {
    const policy = worldPolicy({ burst: { market: { spot: 1, onDemandBase: 0 } } });
    const world = await World.create(pool, { policies: [policy], everyS: BY_HAND });
    const asked: number[] = [];
    const { loops } = world.process;
    const [type] = await loops.cloud.listInstanceTypes('us-east-1');
    if (type === undefined) throw new Error('the region has types');
    const cloud = {
      ...loops.cloud,
      listInstanceTypes: async () =>
        Array.from({ length: 230 }, (_, index) => ({ ...type, name: `c5.${index}xlarge` })),
      listSpotPrices: async (_region: string, types: readonly string[]): Promise<readonly SpotPrice[]> => {
        asked.push(types.length);
        return [];
      },
    };
    await pricesTick({ ...loops, cloud });
    expect(asked).toEqual([100, 100, 30]);
  });
});

describe('ringing', () => {
  test('brings every row its next step, though the queue lost every ring so far', async ({ pool }) => {
    const world = await World.create(pool, { everyS: { ring: Infinity } });
    world.wake.deaf = true;
    await world.submit(4, 10);
    await world.run(60_000);
    expect(world.truth.instances()).toEqual([]);
    world.wake.deaf = false;
    for (let turn = 0; turn < 60; turn += 1) {
      await world.turn('ring');
      await world.run(10_000);
    }
    expect(await world.count('tasks', 'done')).toBe(4);
    expect(await world.liveMachines()).toBe(0);
  });

  test('carries whole lives through a queue that loses, doubles and delays', async ({ pool }) => {
    const world = await World.create(pool);
    const faults = ['lose', 'delay', 'double', 'lose', 'lose', 'delay'] as const;
    world.wake.faults.push(...Array.from({ length: 120 }, (_, index) => faults[index % faults.length] ?? 'lose'));
    await world.submit(6, 30);
    await world.runUntil('all is done', async () => (await world.count('tasks', 'done')) === 6, 1_200_000);
    await world.runUntil('all is gone', async () => (await world.liveMachines()) === 0, 1_200_000);
    expect(world.truth.living()).toEqual([]);
    expect(world.truth.instances().length).toBeLessThanOrEqual(3);
  });
});
