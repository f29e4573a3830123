import { describe, expect } from 'vitest';
import type { MachineId } from '../../src/model/ids.ts';
import type { CloudInstance, InstanceListing } from '../../src/ports/cloud.ts';
import type { OwnedInstance } from '../../src/ports/sweeping.ts';
import type { Db } from '../../src/store/database.ts';
import { createLeadership } from '../../src/store/leadership.ts';
import { createSweepStore } from '../../src/store/sweeping.ts';
import { aLaunch, aMachine, anInstance, NOW_MS, passTime, REGION, someHex, stopClock } from '../support/builders.ts';
import { test } from '../support/database.ts';
import { untilBlocked, withOpenTransaction } from './blocked.ts';

const MINUTE_MS = 60_000;

function aListing(instances: readonly CloudInstance[], overrides: Partial<InstanceListing> = {}): InstanceListing {
  return { instances, complete: true, startedAtMs: NOW_MS, ...overrides };
}

/** A machine and its instance as a listing shows it. */
async function aPair(db: Db, shown: Partial<CloudInstance> = {}, ageMs = 0) {
  const { id, instanceId } = await aMachine(db, 'booting', { ageMs, dueMs: -MINUTE_MS });
  return { id, instance: anInstance({ instanceId: instanceId!, ...shown }) };
}

const machineOf = async (db: Db, id: MachineId) =>
  await db.selectFrom('machines').selectAll().where('id', '=', id).executeTakeFirstOrThrow();

describe('observe', () => {
  test('writes what a listing shows of many machines and names those that changed', async ({ db }) => {
    await stopClock(db);
    const pending = await aPair(db, { state: 'pending', privateIp: null, launchTimeMs: NOW_MS - 3000 });
    const running = await aPair(db, { state: 'running', privateIp: '10.0.0.99' });
    const stranger = anInstance();
    const sweep = createSweepStore(db);
    const listing = aListing([pending.instance, running.instance, stranger]);

    const first = await sweep.observe(REGION, listing);

    expect([...first.changed].sort()).toEqual([pending.id, running.id]);
    expect(await machineOf(db, pending.id)).toMatchObject({
      observed_state: 'pending',
      observed_at: new Date(NOW_MS),
      launch_time: new Date(NOW_MS - 3000),
      private_ip: '10.0.0.7',
      wake_at: new Date(NOW_MS),
    });
    expect(await machineOf(db, running.id)).toMatchObject({ observed_state: 'running', private_ip: '10.0.0.99' });
    expect(await sweep.observe(REGION, listing)).toEqual({ changed: [] });
  });

  test('wakes only what changed', async ({ db }) => {
    await stopClock(db);
    const { id, instance } = await aPair(db);
    const sweep = createSweepStore(db);
    await sweep.observe(REGION, aListing([instance]));
    await db
      .updateTable('machines')
      .set({ wake_at: new Date(NOW_MS + MINUTE_MS) })
      .execute();

    await sweep.observe(REGION, aListing([instance]));
    expect(await machineOf(db, id)).toMatchObject({ wake_at: new Date(NOW_MS + MINUTE_MS) });

    const changed = await sweep.observe(REGION, aListing([{ ...instance, privateIp: '10.9.9.9' }]));
    expect(changed).toEqual({ changed: [id] });
    expect(await machineOf(db, id)).toMatchObject({ wake_at: new Date(NOW_MS) });
  });

  test('names no machine that is over, but goes on watching its instance', async ({ db }) => {
    const { id, instanceId } = await aMachine(db, 'terminated', { instanceId: 'i-0over' });

    const result = await createSweepStore(db).observe(REGION, aListing([anInstance({ instanceId: instanceId! })]));

    expect(result).toEqual({ changed: [] });
    expect(await machineOf(db, id)).toMatchObject({ observed_state: 'running' });
  });

  test('takes an instance that two pages show as one', async ({ db }) => {
    const { id, instance } = await aPair(db);

    expect(await createSweepStore(db).observe(REGION, aListing([instance, instance]))).toEqual({ changed: [id] });
  });

  test('of nothing at all is no error', async ({ db }) => {
    expect(await createSweepStore(db).observe(REGION, aListing([]))).toEqual({ changed: [] });
  });

  test('bounds the moment billing began: last asked while pending, first seen running', async ({ db }) => {
    await stopClock(db);
    const { id, instance } = await aPair(db);
    const sweep = createSweepStore(db);
    const looks = [
      ['pending', 0],
      ['pending', 2000],
      ['running', 4000],
      ['running', 6000],
      // A late answer shows it pending once more: what is known already stays.
      ['pending', 8000],
    ] as const;
    let nowMs = NOW_MS;
    for (const [state, atMs] of looks) {
      await passTime(db, NOW_MS + atMs + 500 - nowMs);
      nowMs = NOW_MS + atMs + 500;
      await sweep.observe(REGION, aListing([{ ...instance, state }], { startedAtMs: NOW_MS + atMs }));
    }

    expect(await machineOf(db, id)).toMatchObject({
      pending_seen_at: new Date(NOW_MS + 2000),
      running_seen_at: new Date(NOW_MS + 4500),
    });
  });

  test('keeps the end that EC2 tells, and its first reason', async ({ db }) => {
    await stopClock(db);
    const told = await aPair(db, {
      state: 'shutting-down',
      endedAtMs: NOW_MS - 7000,
      endCode: 'Server.SpotInstanceTermination',
    });
    const untold = await aPair(db, { state: 'terminated' });
    const alive = await aPair(db, { state: 'stopping' });
    const sweep = createSweepStore(db);
    await sweep.observe(REGION, aListing([told.instance, untold.instance, alive.instance]));
    await passTime(db, MINUTE_MS);
    await sweep.observe(
      REGION,
      aListing([
        { ...told.instance, state: 'terminated', endedAtMs: NOW_MS + 1, endCode: 'Client.UserInitiatedShutdown' },
      ]),
    );

    expect(await machineOf(db, told.id)).toMatchObject({
      observed_state: 'terminated',
      ended_at: new Date(NOW_MS - 7000),
      end_code: 'Server.SpotInstanceTermination',
    });
    expect(await machineOf(db, untold.id)).toMatchObject({ ended_at: new Date(NOW_MS) });
    expect(await machineOf(db, alive.id)).toMatchObject({ ended_at: null });
  });

  test('vouches for an instance only up to the moment at which the listing was asked for', async ({ db }) => {
    await stopClock(db);
    const { id, instance } = await aPair(db);
    const sweep = createSweepStore(db);
    const seenAt = async (startedAtMs: number) => {
      await sweep.observe(REGION, aListing([instance], { startedAtMs }));
      return (await machineOf(db, id)).observed_at;
    };

    // It may have ended while the answer was on its way, and charges go up to here.
    expect(await seenAt(NOW_MS - 4000)).toEqual(new Date(NOW_MS - 4000));
    // An older listing that was held up takes nothing back.
    expect(await seenAt(NOW_MS - 9000)).toEqual(new Date(NOW_MS - 4000));
    // A clock of ours that is ahead of the database's is not believed.
    expect(await seenAt(NOW_MS + 9000)).toEqual(new Date(NOW_MS));
  });

  test('waits for another writer and then writes on what that one left', async ({ db }) => {
    const { id, instance } = await aPair(db);
    await withOpenTransaction(db, async (tx) => {
      await tx.updateTable('machines').set({ observed_state: 'running' }).where('id', '=', id).execute();
      const observed = createSweepStore(db).observe(REGION, aListing([{ ...instance, privateIp: '10.0.0.7' }]));
      await untilBlocked(db);
      await tx.commit().execute();

      expect(await observed).toEqual({ changed: [] });
    });
  });

  test('meets a launch that locks its machines in their order without a deadlock', async ({ db }) => {
    await stopClock(db);
    const [first, second] = [await aPair(db, {}, 6 * MINUTE_MS), await aPair(db, {}, 6 * MINUTE_MS)].sort((a, b) =>
      a.id < b.id ? -1 : 1,
    );
    const lock = async (tx: Db, id: MachineId) =>
      await tx.selectFrom('machines').select('id').where('id', '=', id).forUpdate().noWait().execute();

    await withOpenTransaction(db, async (tx) => {
      await lock(tx, first!.id);
      // The second is shown, the first is missing.
      const observed = createSweepStore(db).observe(REGION, aListing([second!.instance]));
      await untilBlocked(db);
      expect(await lock(tx, second!.id)).toEqual([{ id: second!.id }]);
      await tx.commit().execute();
      await observed;
    });
    expect(await machineOf(db, first!.id)).toMatchObject({ missing_listings: 1 });
  });
});

describe('missing from a listing', () => {
  const missing = async (db: Db, id: MachineId) => (await machineOf(db, id)).missing_listings;

  test('counts for each complete listing, and begins anew when the instance is seen', async ({ db }) => {
    await stopClock(db);
    const { id, instance } = await aPair(db, {}, 6 * MINUTE_MS);
    const sweep = createSweepStore(db);
    const counted: number[] = [];
    for (const shown of [[], [], [instance], []]) {
      await sweep.observe(REGION, aListing(shown));
      counted.push(await missing(db, id));
    }

    expect(counted).toEqual([1, 2, 0, 1]);
    expect(await machineOf(db, id)).toMatchObject({ wake_at: new Date(NOW_MS) });
  });

  test('means nothing in a listing that is not complete', async ({ db }) => {
    await stopClock(db);
    const { id } = await aPair(db, {}, 6 * MINUTE_MS);

    await createSweepStore(db).observe(REGION, aListing([], { complete: false }));

    expect(await missing(db, id)).toBe(0);
  });

  test('means nothing of a machine that is young, moved since the listing began, is elsewhere, or has no instance', async ({
    db,
  }) => {
    await stopClock(db);
    const young = await aPair(db, {}, 5 * MINUTE_MS);
    const moved = await aPair(db, {}, 6 * MINUTE_MS);
    await db
      .updateTable('machines')
      .set({ state_since: new Date(NOW_MS) })
      .where('id', '=', moved.id)
      .execute();
    const elsewhere = await aMachine(db, 'booting', {
      ageMs: 6 * MINUTE_MS,
      launchId: await aLaunch(db, { body: { region: 'us-east-1' } }),
    });
    const launching = await aMachine(db, 'launching', { ageMs: 6 * MINUTE_MS });
    const over = await aMachine(db, 'terminated', { ageMs: 6 * MINUTE_MS, instanceId: 'i-0over' });

    await createSweepStore(db).observe(REGION, aListing([]));

    const rows = await db.selectFrom('machines').select(['id', 'missing_listings']).execute();
    const ids = [young.id, moved.id, elsewhere.id, launching.id, over.id];
    expect(rows.sort((a, b) => (a.id < b.id ? -1 : 1))).toEqual(ids.sort().map((id) => ({ id, missing_listings: 0 })));
  });

  test('of many at once says that the listing is wrong, until nothing was seen of them for half an hour', async ({
    db,
  }) => {
    await stopClock(db);
    const pairs = await Promise.all(Array.from({ length: 11 }, () => aPair(db, {}, 40 * MINUTE_MS)));
    const sweep = createSweepStore(db);
    await sweep.observe(REGION, aListing(pairs.map(({ instance }) => instance)));
    const misses = async (shown: readonly CloudInstance[], ms: number) => {
      await passTime(db, ms);
      await sweep.observe(REGION, aListing(shown, { startedAtMs: NOW_MS + 3_600_000 }));
      return await missing(db, pairs[0]!.id);
    };
    const counted: number[] = [];
    for (let listing = 0; listing < 5; listing += 1) counted.push(await misses([], 5 * MINUTE_MS));
    expect(counted).toEqual([1, 1, 1, 1, 1]);
    for (let listing = 0; listing < 2; listing += 1) counted.push(await misses([], 5 * MINUTE_MS));
    expect(counted.slice(5)).toEqual([2, 3]);
    // Ten are not many: they may all have ended while nobody looked.
    await sweep.observe(REGION, aListing(pairs.map(({ instance }) => instance)));
    expect(await misses([pairs[10]!.instance], 0)).toBe(1);
    expect(await misses([pairs[10]!.instance], 0)).toBe(2);
  });

  test('of a machine whose row is older than its instance counts from the launch', async ({ db }) => {
    await stopClock(db);
    const { id } = await aPair(db, {}, 6 * MINUTE_MS);
    await db
      .updateTable('machines')
      .set({ launch_time: new Date(NOW_MS - MINUTE_MS) })
      .where('id', '=', id)
      .execute();

    await createSweepStore(db).observe(REGION, aListing([]));

    expect(await missing(db, id)).toBe(0);
  });
});

describe('findUnbound', () => {
  const owned = (instance: CloudInstance, nonce = someHex(32)): OwnedInstance => ({ instance, nonce, attempt: 1 });

  test('names living instances that no living row has, with the launch of their nonce', async ({ db }) => {
    const bound = await aMachine(db, 'ready');
    const ended = await aMachine(db, 'terminated', { instanceId: 'i-0ended' });
    const nonces = { open: someHex(32), closed: someHex(32) };
    const open = await aLaunch(db, { nonce: nonces.open });
    const closed = await aLaunch(db, { nonce: nonces.closed, state: 'expired' });
    const late = owned(anInstance({ state: 'pending' }), nonces.open);
    const given = owned(anInstance(), nonces.closed);
    const unknown = owned(anInstance({ state: 'stopped' }));
    const zombie = owned(anInstance({ instanceId: ended.instanceId! }));
    const over = owned(anInstance({ state: 'terminated' }), nonces.closed);
    const shown = [owned(anInstance({ instanceId: bound.instanceId! })), late, given, unknown, zombie, over];

    expect(await createSweepStore(db).findUnbound(shown)).toEqual([
      { ...late, launch: { id: open, state: 'open', currentAttempt: 1 }, rowEnded: false },
      { ...given, launch: { id: closed, state: 'expired', currentAttempt: 1 }, rowEnded: false },
      { ...unknown, launch: null, rowEnded: false },
      { ...zombie, launch: null, rowEnded: true },
    ]);
    expect(await createSweepStore(db).findUnbound([])).toEqual([]);
  });

  test('names also what is over when no launch is known for it: its cost is missing', async ({ db }) => {
    const gone = owned(anInstance({ state: 'terminated' }));

    expect(await createSweepStore(db).findUnbound([gone])).toEqual([{ ...gone, launch: null, rowEnded: false }]);
  });
});

describe('condemn', () => {
  const LIMIT = { instancesMax: 3, windowMs: 60 * MINUTE_MS };
  const lead = async (db: Db) => (await createLeadership(db).acquire('a', 60_000_000))!;

  test('counts what was ended within the window, each instance once', async ({ db }) => {
    await stopClock(db);
    const sweep = createSweepStore(db);
    const lease = await lead(db);
    expect(await sweep.condemn(lease, ['i-1', 'i-2'], LIMIT)).toBe('condemned');
    expect(await sweep.condemn(lease, ['i-1', 'i-2', 'i-3'], LIMIT)).toBe('condemned');
    expect(await sweep.condemn(lease, ['i-4'], LIMIT)).toBe('too-many');
    // Nothing was written of what was refused.
    expect(await sweep.condemn(lease, ['i-3'], LIMIT)).toBe('condemned');
    await passTime(db, 60 * MINUTE_MS);
    expect(await sweep.condemn(lease, ['i-4'], LIMIT)).toBe('condemned');
  });

  test('is for the leader alone', async ({ db }) => {
    const lease = await lead(db);

    expect(await createSweepStore(db).condemn({ ...lease, epoch: lease.epoch + 1 }, ['i-1'], LIMIT)).toBe('fenced');
  });

  test('waits for an amnesia that is being declared, and obeys it', async ({ db }) => {
    const lease = await lead(db);
    await withOpenTransaction(db, async (declaring) => {
      await declaring.updateTable('amnesia').set({ since: new Date(), reason: 'lost-lease' }).execute();
      const condemned = createSweepStore(db).condemn(lease, ['i-1'], LIMIT);
      await untilBlocked(db);
      await declaring.commit().execute();

      expect(await condemned).toBe('amnesia');
    });
    expect(await db.selectFrom('sweep_kills').selectAll().execute()).toEqual([]);
  });
});

describe('suspects', () => {
  test('are counted once per mark and aged from the first', async ({ db }) => {
    await stopClock(db);
    const sweep = createSweepStore(db);
    expect(await sweep.markSuspect('i-1', 'no-row')).toEqual({ listings: 1, ageMs: 0 });
    await passTime(db, 40_000);

    expect(await sweep.markSuspect('i-1', 'no-row')).toEqual({ listings: 2, ageMs: 40_000 });
    expect(await sweep.markSuspect('i-2', 'row-ended')).toEqual({ listings: 1, ageMs: 0 });
  });

  test('that were cleared begin anew', async ({ db }) => {
    const sweep = createSweepStore(db);
    for (const id of ['i-1', 'i-2', 'i-3']) await sweep.markSuspect(id, 'no-row');

    await sweep.clearSuspects(['i-2', 'i-9']);

    expect(await sweep.markSuspect('i-1', 'no-row')).toMatchObject({ listings: 1 });
    expect(await sweep.markSuspect('i-2', 'no-row')).toMatchObject({ listings: 2 });
    await sweep.clearSuspects([]);
    expect(await sweep.markSuspect('i-2', 'no-row')).toMatchObject({ listings: 1 });
  });
});

describe('listLiveRegions', () => {
  test('names each region with a machine that is not over, once', async ({ db }) => {
    const elsewhere = await aLaunch(db, { body: { region: 'us-east-1' } });
    const left = await aLaunch(db, { body: { region: 'ap-south-1' } });
    await aMachine(db, 'ready');
    await aMachine(db, 'requested');
    await aMachine(db, 'draining', { launchId: elsewhere });
    await aMachine(db, 'terminated', { launchId: left });

    expect(await createSweepStore(db).listLiveRegions()).toEqual([REGION, 'us-east-1']);
  });
});
