import { describe, expect } from 'vitest';
import type { Charge } from '../../src/cost/charges.ts';
import type { MachineId } from '../../src/model/ids.ts';
import type { Db } from '../../src/store/database.ts';
import { createLedgerStore } from '../../src/store/ledger.ts';
import { aMachine, NOW_MS, stopClock, WORKLOAD, ZONE } from '../support/builders.ts';
import { test } from '../support/database.ts';

const HOUR_MS = 3_600_000;

function aCharge(machineId: MachineId, fromMs: number, toMs: number, overrides: Partial<Charge> = {}): Charge {
  return {
    machineId,
    workload: WORKLOAD,
    kind: 'compute',
    run: 1,
    instanceType: 'c6a.large',
    market: 'on-demand',
    zone: ZONE,
    fromMs,
    toMs,
    quantitySeconds: (toMs - fromMs) / 1000,
    unitPricePerHour: 76_500_000n,
    amount: 1_234_567n,
    priceSource: 'price-at-launch',
    ...overrides,
  };
}

const chargesOf = async (db: Db) => await db.selectFrom('charges').selectAll().orderBy('id').execute();
const throughOf = async (db: Db, id: MachineId) =>
  (await db.selectFrom('machines').select('charged_through').where('id', '=', id).executeTakeFirstOrThrow())
    .charged_through;

describe('append', () => {
  test('writes the charges and moves charged-through with them, to the nano-dollar', async ({ db }) => {
    const { id } = await aMachine(db, 'ready');

    const done = await createLedgerStore(db).append(id, { from: null, to: NOW_MS + HOUR_MS }, [
      aCharge(id, NOW_MS, NOW_MS + HOUR_MS),
      aCharge(id, NOW_MS, NOW_MS + HOUR_MS, { kind: 'volume', amount: -1n }),
    ]);

    expect(done).toBe(true);
    expect(await throughOf(db, id)).toEqual(new Date(NOW_MS + HOUR_MS));
    expect(await chargesOf(db)).toMatchObject([
      {
        machine_id: id,
        kind: 'compute',
        from_at: new Date(NOW_MS),
        to_at: new Date(NOW_MS + HOUR_MS),
        quantity_seconds: 3600,
        unit_price_usd_per_hour: '0.076500000',
        amount_usd: '0.001234567',
      },
      { kind: 'volume', amount_usd: '-0.000000001' },
    ]);
  });

  test('by one who read an older charged-through writes nothing', async ({ db }) => {
    const { id } = await aMachine(db, 'ready');
    const ledger = createLedgerStore(db);
    await ledger.append(id, { from: null, to: NOW_MS }, [aCharge(id, NOW_MS - 1000, NOW_MS)]);

    expect(await ledger.append(id, { from: null, to: NOW_MS + 1000 }, [aCharge(id, NOW_MS, NOW_MS + 1000)])).toBe(
      false,
    );
    expect(await ledger.append(id, { from: NOW_MS - 1, to: NOW_MS + 1000 }, [])).toBe(false);
    expect(await chargesOf(db)).toHaveLength(1);

    expect(await ledger.append(id, { from: NOW_MS, to: NOW_MS + 1000 }, [aCharge(id, NOW_MS, NOW_MS + 1000)])).toBe(
      true,
    );
  });

  test('by several at once charges once', async ({ db }) => {
    const { id } = await aMachine(db, 'ready');
    const ledger = createLedgerStore(db);

    const done = await Promise.all(
      [1000, 2000, 3000, 3000].map((ms) =>
        ledger.append(id, { from: null, to: NOW_MS + ms }, [aCharge(id, NOW_MS, NOW_MS + ms)]),
      ),
    );

    expect(done.filter(Boolean)).toHaveLength(1);
    expect(await chargesOf(db)).toHaveLength(1);
  });

  test('of a second that is charged already is refused whole, and charged-through stays', async ({ db }) => {
    const { id } = await aMachine(db, 'ready');
    const ledger = createLedgerStore(db);
    await ledger.append(id, { from: null, to: NOW_MS + 1000 }, [aCharge(id, NOW_MS, NOW_MS + 1000)]);

    const again = ledger.append(id, { from: NOW_MS + 1000, to: NOW_MS + 2000 }, [
      aCharge(id, NOW_MS + 1000, NOW_MS + 2000),
      aCharge(id, NOW_MS, NOW_MS + 2000),
    ]);

    await expect(again).rejects.toMatchObject({ code: '23505' });
    expect(await throughOf(db, id)).toEqual(new Date(NOW_MS + 1000));
    expect(await chargesOf(db)).toHaveLength(1);
  });

  test('cannot be undone: a charge is neither changed nor deleted', async ({ db }) => {
    const { id } = await aMachine(db, 'ready');
    await createLedgerStore(db).append(id, { from: null, to: NOW_MS }, [aCharge(id, NOW_MS - 1000, NOW_MS)]);

    await expect(db.updateTable('charges').set({ amount_usd: '0' }).execute()).rejects.toMatchObject({ code: '23001' });
    await expect(db.deleteFrom('charges').execute()).rejects.toMatchObject({ code: '23001' });
  });
});

describe('listChargeable', () => {
  const at = (ms: number): Date => new Date(NOW_MS + ms);
  const aLife = async (db: Db, life: Readonly<Record<string, Date | null>>) => {
    const { id } = await aMachine(db, 'ready');
    await db.updateTable('machines').set(life).where('id', '=', id).execute();
    return id;
  };

  test('names ended machines until they are charged to the end, and living ones that were not charged lately', async ({
    db,
  }) => {
    const due = [
      await aLife(db, { launch_time: at(-9000), running_seen_at: at(-8000) }),
      await aLife(db, { launch_time: at(-9000), running_seen_at: at(-8000), charged_through: at(-1) }),
      await aLife(db, { launch_time: at(-9000), running_seen_at: at(5), ended_at: at(10) }),
      await aLife(db, { launch_time: at(-9000), ended_at: at(10), charged_through: at(9) }),
    ];
    await aLife(db, { launch_time: at(-9000), running_seen_at: at(0) });
    await aLife(db, { launch_time: at(-9000), running_seen_at: at(-8000), charged_through: at(0) });
    await aLife(db, { launch_time: at(-9000), running_seen_at: null });
    await aLife(db, { launch_time: at(-9000), ended_at: at(10), charged_through: at(10) });
    // It never began: no instance ever ran for it.
    await aLife(db, { ended_at: at(10) });

    const listed = await createLedgerStore(db).listChargeable(NOW_MS, 100);

    expect(listed.map(({ machineId }) => machineId)).toEqual(due);
    expect(await createLedgerStore(db).listChargeable(NOW_MS, 2)).toHaveLength(2);
  });

  test('tells what billing needs to know', async ({ db }) => {
    const id = await aLife(db, {
      launch_time: at(-9000),
      pending_seen_at: at(-8000),
      running_seen_at: at(-7000),
      observed_at: at(-10),
      charged_through: at(-100),
    });

    expect(await createLedgerStore(db).listChargeable(NOW_MS, 1)).toEqual([
      {
        machineId: id,
        workload: WORKLOAD,
        instanceType: 'c6a.large',
        zone: ZONE,
        market: 'on-demand',
        volumeGib: 20,
        priceUsdPerHour: '0.076500',
        launchTimeMs: NOW_MS - 9000,
        pendingSeenAtMs: NOW_MS - 8000,
        runningSeenAtMs: NOW_MS - 7000,
        run: 1,
        runLaunchTimeMs: null,
        stoppedAtMs: null,
        pastRuns: [],
        observedAtMs: NOW_MS - 10,
        endedAtMs: null,
        endCode: null,
        chargedThroughMs: NOW_MS - 100,
      },
    ]);
  });
});

describe('spot prices', () => {
  const price = (hours: number, usd: number, instanceType = 'c6a.large', zone = ZONE) => ({
    instanceType,
    zone,
    atMs: NOW_MS + hours * HOUR_MS,
    priceUsdPerHour: usd,
  });

  test('are read from the one in force at the start', async ({ db }) => {
    const ledger = createLedgerStore(db);
    await ledger.recordSpotPrices([
      price(2, 0.04),
      price(0, 0.02),
      price(1, 0.03),
      price(1, 9, 'c6a.xlarge'),
      price(1, 9, 'c6a.large', 'eu-central-1b'),
    ]);
    const usdSince = async (hours: number) =>
      (await ledger.readSpotPrices('c6a.large', ZONE, NOW_MS + hours * HOUR_MS)).map((row) => row.priceUsdPerHour);

    expect(await usdSince(0.5)).toEqual([0.02, 0.03, 0.04]);
    expect(await usdSince(1)).toEqual([0.03, 0.04]);
    expect(await usdSince(7)).toEqual([0.04]);
    // Before all that is known there is none in force.
    expect(await usdSince(-1)).toEqual([0.02, 0.03, 0.04]);
    expect(await ledger.readSpotPrices('r6a.large', ZONE, NOW_MS)).toEqual([]);
  });

  test('are recorded once; what was read stays', async ({ db }) => {
    const ledger = createLedgerStore(db);
    await ledger.recordSpotPrices([price(0, 0.02)]);
    await ledger.recordSpotPrices([price(0, 0.05), price(1, 0.03)]);
    await ledger.recordSpotPrices([]);

    expect(await ledger.readSpotPrices('c6a.large', ZONE, NOW_MS)).toEqual([price(0, 0.02), price(1, 0.03)]);
  });

  test('of each type and zone have one that is newest', async ({ db }) => {
    const ledger = createLedgerStore(db);
    await ledger.recordSpotPrices([price(0, 0.02), price(1, 0.03), price(0, 0.1, 'c6a.xlarge')]);

    expect(await ledger.listLatestSpotPrices()).toEqual([price(1, 0.03), price(0, 0.1, 'c6a.xlarge')]);
  });
});

describe('databaseNowMs', () => {
  test('is the database’s clock', async ({ db }) => {
    await stopClock(db);

    expect(await createLedgerStore(db).databaseNowMs()).toBe(NOW_MS);
  });
});
