import { describe, expect } from 'vitest';
import { DAY_MS, HOUR_MS } from '../../src/model/time.ts';
import { nanoUsdFromDecimal, nanoUsdToNumber, type NanoUsd } from '../../src/model/money.ts';
import { test } from '../support/database.ts';
import { worldPolicy } from '../support/world-policy.ts';
import { World } from '../support/world.ts';

/** A cent, the promise of invariant 9. */
const CENT = nanoUsdFromDecimal('0.01');

async function ledgerTotal(world: World): Promise<NanoUsd> {
  const rows = await world.db.selectFrom('charges').select('amount_usd').execute();
  return rows.reduce((sum, row) => sum + nanoUsdFromDecimal(row.amount_usd), 0n);
}

function distance(a: NanoUsd, b: NanoUsd): NanoUsd {
  return a > b ? a - b : b - a;
}

async function untilGone(world: World): Promise<void> {
  await world.runUntil('all machines are gone', async () => (await world.liveMachines()) === 0, DAY_MS);
  await world.run(120_000);
}

/** The service looks every few seconds; here it does while something starts. */
async function watchStart(world: World): Promise<void> {
  for (let look = 0; look < 10; look += 1) {
    await world.run(1000);
    await world.turn('sweep');
  }
}

/** Few reports, one type, and a seed whose spot prices move every hour in both zones. */
const LONG_RUN = { heartbeatS: 60, types: ['c5.4xlarge'], region: { seed: 'a' } } as const;
const SPOT = worldPolicy({ burst: { market: { spot: 1, onDemandBase: 0 } }, demand: { freshnessMs: 300_000 } });
const SLOW = { plan: 60, sweep: 30, ring: 60, assign: 60, recover: 300, account: 30, prices: Infinity } as const;

describe('the ledger', () => {
  test('knows the price of the moment when a spot machine ends right after a change', async ({ pool }) => {
    const world = await World.create(pool, { policies: [SPOT], everyS: SLOW, ...LONG_RUN });
    await world.turn('prices');
    await world.submit(1, 55 * 60);
    await watchStart(world);
    await untilGone(world);
    const [line] = world.region.bill().lines;
    const rows = await world.db
      .selectFrom('charges')
      .select(['amount_usd', 'to_at'])
      .where('kind', '=', 'compute')
      .execute();
    expect(new Date(Math.max(...rows.map((row) => row.to_at.getTime()))).getUTCHours()).toBe(13);
    const compute = rows.reduce((sum, row) => sum + nanoUsdFromDecimal(row.amount_usd), 0n);
    // Of several rounded parts, each may be half a nano-dollar off.
    expect(distance(compute, line?.instanceNanoUsd ?? 0n)).toBeLessThanOrEqual(3n);
  });

  test('waits with spot machines while EC2 does not tell their prices', async ({ pool }) => {
    const world = await World.create(pool, { policies: [SPOT], everyS: SLOW, ...LONG_RUN });
    await world.turn('prices');
    world.region.faults.failNext('DescribeSpotPriceHistory', { code: 'ServiceUnavailable', times: 10_000 });
    await world.submit(1, 60);
    await watchStart(world);
    await untilGone(world);
    expect(await ledgerTotal(world)).toBe(0n);
  });

  test(
    'equals the bill when AWS takes a spot machine back in its first hour, and after it',
    { timeout: 90_000 },
    async ({ pool }) => {
      const policies = [worldPolicy({ burst: SPOT.burst, demand: SPOT.demand, limits: { max: 1 } })];
      const everyS = { ...SLOW, plan: 120, sweep: 10, account: 120 };
      const world = await World.create(pool, { policies, everyS, ...LONG_RUN });
      // EC2 cuts the work short.
      world.truth.killsAllowed = true;
      await world.turn('prices');
      for (const minutes of [20, 90]) {
        await world.submit(1, 7 * 3600);
        await world.run(minutes * 60_000);
        const [instance] = world.truth.living();
        world.region.interrupt(instance?.instanceId ?? '');
        // It works until EC2 takes it: whoever ends it himself within the notice pays for it.
        const state = () => world.region.findInstance(instance?.instanceId ?? '')?.state;
        await world.runUntil('EC2 has taken it', async () => await Promise.resolve(state() !== 'running'));
        await world.db.updateTable('tasks').set({ state: 'cancelled' }).execute();
        await untilGone(world);
      }
      const bill = world.region.bill();
      expect(bill.lines.map(({ billedSeconds }) => billedSeconds > 0)).toEqual([false, true]);
      expect(distance(await ledgerTotal(world), bill.totalNanoUsd)).toBeLessThan(CENT);
    },
  );

  test('equals the bill when AWS takes a spot machine back within its hour, and we look after it', async ({ pool }) => {
    const policies = [worldPolicy({ burst: SPOT.burst, demand: SPOT.demand, limits: { max: 1 } })];
    const world = await World.create(pool, { policies, everyS: { ...SLOW, sweep: Infinity }, ...LONG_RUN });
    await world.turn('prices');
    await world.submit(1, 7 * 3600);
    await world.runUntil('it is launched', async () => (await world.count('machines', 'booting')) === 1);
    await watchStart(world);
    // The notice is two minutes: it ends half a minute before its hour is over.
    await world.run(HOUR_MS - 3 * 60_000);
    world.region.interrupt(world.truth.living()[0]?.instanceId ?? '');
    await world.db.updateTable('tasks').set({ state: 'cancelled' }).execute();
    await world.run(6 * 60_000);
    await world.turn('sweep');
    await untilGone(world);
    const bill = world.region.bill();
    expect(bill.lines.map(({ billedSeconds }) => billedSeconds)).toEqual([0]);
    expect(distance(await ledgerTotal(world), bill.totalNanoUsd)).toBeLessThan(CENT);
  });

  test(
    'equals the bill of the region to the cent, over a day on both markets',
    { timeout: 240_000 },
    async ({ pool }) => {
      const policy = worldPolicy({
        burst: { market: { spot: 0.5, onDemandBase: 2 } },
        limits: { max: 12 },
        demand: { freshnessMs: 300_000 },
        drain: { scaleDownUnneededMs: 600_000 },
      });
      const everyS = { plan: 180, sweep: 90, ring: 120, assign: 300, recover: 300, account: 300, prices: 900 };
      const world = await World.create(pool, { policies: [policy], everyS, ...LONG_RUN });
      world.truth.livingMax = 12;
      await world.turn('prices');
      // Waves of different lengths, so that machines end at any moment of an hour.
      const shape = { cpuMilli: 8000, memoryMib: 8192, gpus: 0 };
      const endMs = world.time.nowMs() + DAY_MS;
      for (const hours of [1.3, 2.7, 5.1]) {
        await world.submit(8, hours * 3600, shape);
        // The service looks every few seconds; here it does while something starts.
        for (let look = 0; look < 10; look += 1) {
          await world.run(1000);
          await world.turn('sweep');
        }
        await world.run(7 * HOUR_MS);
      }
      await world.run(endMs - world.time.nowMs());
      await untilGone(world);
      await world.run(300_000);
      const bill = world.region.bill();
      const ledger = await ledgerTotal(world);
      expect(new Set(bill.lines.map(({ market }) => market))).toEqual(new Set(['on-demand', 'spot']));
      expect(bill.lines.length).toBeGreaterThanOrEqual(12);
      expect(nanoUsdToNumber(bill.totalNanoUsd)).toBeGreaterThan(20);
      expect(distance(ledger, bill.totalNanoUsd), `ledger ${ledger}, bill ${bill.totalNanoUsd}`).toBeLessThan(CENT);
    },
  );
});
