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

describe('the ledger', () => {
  test('equals the bill of the region to the cent, over a day on both markets', { timeout: 120_000 }, async ({ pool }) => {
    const policy = worldPolicy({
      burst: { market: { spot: 0.5, onDemandBase: 2 } },
      limits: { max: 12 },
      demand: { freshnessMs: 300_000 },
      drain: { scaleDownUnneededMs: 600_000 },
    });
    const everyS = { plan: 60, sweep: 60, ring: 60, assign: 60, recover: 120, account: 60, prices: 900 };
    const world = await World.create(pool, { policies: [policy], everyS, heartbeatS: 60, types: ['c5.4xlarge'] });
    world.truth.livingMax = 12;
    await world.turn('prices');
    // Waves of different lengths, so that machines end at any moment of an hour.
    const shape = { cpuMilli: 8000, memoryMib: 8192 };
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
    await world.runUntil('all machines are gone', async () => (await world.liveMachines()) === 0, DAY_MS);
    await world.run(300_000);
    const bill = world.region.bill();
    const ledger = await ledgerTotal(world);
    expect(new Set(bill.lines.map(({ market }) => market))).toEqual(new Set(['on-demand', 'spot']));
    expect(bill.lines.length).toBeGreaterThanOrEqual(12);
    expect(nanoUsdToNumber(bill.totalNanoUsd)).toBeGreaterThan(20);
    expect(distance(ledger, bill.totalNanoUsd), `ledger ${ledger}, bill ${bill.totalNanoUsd}`).toBeLessThan(CENT);
  });
});
