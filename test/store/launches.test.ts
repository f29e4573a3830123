import { describe, expect } from 'vitest';
import type { LaunchId, MachineId } from '../../src/model/ids.ts';
import { CALL_SETTLED_AFTER_MS, LAUNCH_DEADLINE_MS, LAUNCH_GRACE_MS } from '../../src/model/state-waits.ts';
import type { LaunchedInstance } from '../../src/ports/cloud.ts';
import { dbNow, type Db } from '../../src/store/database.ts';
import { createLaunchStore } from '../../src/store/launches.ts';
import { aLaunch, aMachine, anId, eventsSince, NOW_MS, someHex, stopClock, ZONE } from '../support/builders.ts';
import { test } from '../support/database.ts';
import { untilBlocked, withOpenTransaction } from './blocked.ts';

const REFUSED = { reason: 'launch-refused', code: 'InsufficientInstanceCapacity', detail: 'none left' } as const;
const EXPIRED = { reason: 'launch-expired', code: 'LAUNCH_DEADLINE', detail: '' } as const;

async function aLaunchOf(db: Db, count: number, state: 'requested' | 'launching' = 'launching') {
  const launchId = await aLaunch(db, { count });
  const machines: MachineId[] = [];
  for (let index = 0; index < count; index += 1) machines.push((await aMachine(db, state, { launchId })).id);
  return { launchId, machines };
}

function instances(count: number): LaunchedInstance[] {
  return Array.from({ length: count }, (_, index) => ({
    instanceId: `i-${someHex(17)}`,
    privateIp: index === 0 ? null : `10.0.0.${index}`,
    zone: ZONE,
    launchTimeMs: NOW_MS + 1000,
  }));
}

const machinesOf = async (db: Db, launchId: LaunchId) =>
  await db
    .selectFrom('machines')
    .select(['id', 'state', 'revision', 'instance_id', 'end_reason', 'end_detail'])
    .where('launch_id', '=', launchId)
    .orderBy('id')
    .execute();

async function begin(launches: ReturnType<typeof createLaunchStore>, id: LaunchId): Promise<number> {
  const callId = await launches.beginCall(id, 1);
  if (typeof callId !== 'number') throw new Error(`no call was begun: ${callId}`);
  return callId;
}

const stateOf = async (db: Db, launchId: LaunchId) => (await createLaunchStore(db).read(launchId))?.launch.state;

describe('a call', () => {
  test('is a row before it is made, and the machines wait for it as launching', async ({ db }) => {
    await stopClock(db);
    const { launchId } = await aLaunchOf(db, 2, 'requested');
    const launches = createLaunchStore(db);

    const callId = await launches.beginCall(launchId, 1);

    const [call] = await db.selectFrom('launch_calls').selectAll().execute();
    expect(call).toMatchObject({ id: callId, launch_id: launchId, attempt: 1, outcome: null, finished_at: null });
    expect(await machinesOf(db, launchId)).toMatchObject([{ state: 'launching' }, { state: 'launching' }]);
    expect(await launches.read(launchId)).toMatchObject({ unsettledCalls: 1, nowMs: NOW_MS });
  });

  test('again finds the machines where they are', async ({ db }) => {
    const { launchId } = await aLaunchOf(db, 1, 'requested');
    const launches = createLaunchStore(db);

    const calls = [await launches.beginCall(launchId, 1), await launches.beginCall(launchId, 1)];

    expect(new Set(calls).size).toBe(2);
    expect(await machinesOf(db, launchId)).toMatchObject([{ state: 'launching', revision: 2 }]);
  });

  test('is not made for a launch that is over or that nobody knows', async ({ db }) => {
    const launches = createLaunchStore(db);

    expect(await launches.beginCall(await aLaunch(db, { state: 'expired' }), 1)).toBeNull();
    expect(await launches.beginCall(anId('ln'), 1)).toBeNull();
    expect(await db.selectFrom('launch_calls').selectAll().execute()).toEqual([]);
  });

  test('is unsettled until its outcome is known; the first outcome stands', async ({ db }) => {
    const { launchId } = await aLaunchOf(db, 1);
    const launches = createLaunchStore(db);
    const unsettled = async () => (await launches.read(launchId))?.unsettledCalls;
    const first = await begin(launches, launchId);
    const second = await begin(launches, launchId);
    expect(await unsettled()).toBe(2);

    await launches.finishCall(first, { kind: 'unknown', code: 'TimeoutError', message: '' });
    await launches.finishCall(first, { kind: 'throttled', code: 'RequestLimitExceeded', message: '' });
    expect(await unsettled()).toBe(2);

    await launches.finishCall(second, { kind: 'throttled', code: 'RequestLimitExceeded', message: '' });
    expect(await unsettled()).toBe(1);
  });
});

describe('fulfil', () => {
  test('binds an instance to each machine', async ({ db }) => {
    await stopClock(db);
    const { launchId, machines } = await aLaunchOf(db, 2);
    const given = instances(2);

    expect(await createLaunchStore(db).fulfil(launchId, 1, given)).toEqual(machines);

    expect(await stateOf(db, launchId)).toBe('fulfilled');
    const rows = await db.selectFrom('machines').selectAll().orderBy('id').execute();
    expect(rows.map(({ instance_id }) => instance_id)).toEqual(given.map(({ instanceId }) => instanceId));
    expect(rows).toMatchObject([
      { state: 'booting', private_ip: null, launch_time: new Date(NOW_MS + 1000) },
      { state: 'booting', private_ip: '10.0.0.1' },
    ]);
  });

  test('again changes nothing', async ({ db }) => {
    const { launchId } = await aLaunchOf(db, 2);
    const given = instances(2);
    const launches = createLaunchStore(db);
    await launches.fulfil(launchId, 1, given);
    const before = await machinesOf(db, launchId);

    expect(await launches.fulfil(launchId, 1, given)).toEqual([]);
    expect(await launches.fulfil(launchId, 1, instances(2))).toEqual([]);

    expect(await machinesOf(db, launchId)).toEqual(before);
  });

  test('by two at once binds each instance once', async ({ db }) => {
    const { launchId } = await aLaunchOf(db, 3);
    const given = instances(3);
    const launches = createLaunchStore(db);

    const woken = await Promise.all([launches.fulfil(launchId, 1, given), launches.fulfil(launchId, 1, given)]);

    expect(woken.flat()).toHaveLength(3);
    expect((await eventsSince(db)).filter((event) => event.to_state === 'booting')).toHaveLength(3);
  });

  test('with fewer instances than asked for ends the machines that got none', async ({ db }) => {
    const { launchId } = await aLaunchOf(db, 3);
    const [given] = instances(1);

    await createLaunchStore(db).fulfil(launchId, 1, [given!]);

    expect(await machinesOf(db, launchId)).toMatchObject([
      { state: 'booting', instance_id: given!.instanceId, end_reason: null },
      { state: 'terminated', instance_id: null, end_reason: 'launch-refused' },
      {
        state: 'terminated',
        instance_id: null,
        end_reason: 'launch-refused',
        end_detail: expect.stringContaining('fewer'),
      },
    ]);
  });

  test('with more instances than machines leaves the rest to the sweeper', async ({ db }) => {
    const { launchId } = await aLaunchOf(db, 1);
    const given = instances(3);

    await createLaunchStore(db).fulfil(launchId, 1, given);

    const rows = await machinesOf(db, launchId);
    expect(rows.map(({ instance_id }) => instance_id)).toEqual([given[0]!.instanceId]);
  });

  test('with the same instance told twice binds it once', async ({ db }) => {
    const { launchId } = await aLaunchOf(db, 2);
    const [given] = instances(1);

    await createLaunchStore(db).fulfil(launchId, 1, [given!, given!]);

    expect(await machinesOf(db, launchId)).toMatchObject([{ state: 'booting' }, { state: 'terminated' }]);
  });

  test('finds machines whose call was never recorded and takes them through launching', async ({ db }) => {
    const { launchId, machines } = await aLaunchOf(db, 1, 'requested');

    expect(await createLaunchStore(db).fulfil(launchId, 1, instances(1))).toEqual(machines);

    const events = await eventsSince(db);
    expect(events.map(({ to_state }) => to_state)).toEqual(['launching', 'booting']);
  });

  test('after the launch was given up binds nothing', async ({ db }) => {
    const { launchId } = await aLaunchOf(db, 1);
    const launches = createLaunchStore(db);
    await launches.close(launchId, 'expired', { reason: 'launch-expired', code: 'X', detail: '' });

    expect(await launches.fulfil(launchId, 1, instances(1))).toEqual([]);

    expect(await machinesOf(db, launchId)).toMatchObject([{ state: 'terminated', instance_id: null }]);
  });
});

describe('close', () => {
  test('ends the machines that have no instance and says why', async ({ db }) => {
    const { launchId } = await aLaunchOf(db, 1);
    const bound = await aMachine(db, 'booting', { launchId });

    await createLaunchStore(db).close(launchId, 'refused', REFUSED);

    expect(await stateOf(db, launchId)).toBe('refused');
    expect(await machinesOf(db, launchId)).toMatchObject([
      { state: 'terminated', end_reason: 'launch-refused', end_detail: 'none left' },
      { id: bound.id, state: 'booting', instance_id: bound.instanceId },
    ]);
    const row = await db.selectFrom('launches').selectAll().executeTakeFirstOrThrow();
    expect(row).toMatchObject({ error_code: 'InsufficientInstanceCapacity', error_detail: 'none left' });
  });

  test('does not end what is over already', async ({ db }) => {
    const { launchId } = await aLaunchOf(db, 1);
    const launches = createLaunchStore(db);
    await launches.fulfil(launchId, 1, instances(1));

    await launches.close(launchId, 'refused', REFUSED);

    expect(await stateOf(db, launchId)).toBe('fulfilled');
    expect(await machinesOf(db, launchId)).toMatchObject([{ state: 'booting' }]);
  });

  test('for a refusal does not happen while a twin’s call is in the air or its outcome is unknown', async ({ db }) => {
    await stopClock(db);
    const { launchId } = await aLaunchOf(db, 1);
    const launches = createLaunchStore(db);
    const twin = await begin(launches, launchId);

    await launches.close(launchId, 'refused', REFUSED);
    expect(await stateOf(db, launchId)).toBe('open');
    await launches.finishCall(twin, { kind: 'unknown', code: 'TimeoutError', message: '' });
    await launches.close(launchId, 'refused', REFUSED);
    expect(await stateOf(db, launchId)).toBe('open');

    await stopClock(db, NOW_MS + CALL_SETTLED_AFTER_MS - 1);
    await launches.close(launchId, 'refused', REFUSED);
    expect(await stateOf(db, launchId)).toBe('open');
    await stopClock(db, NOW_MS + CALL_SETTLED_AFTER_MS);
    await launches.close(launchId, 'refused', REFUSED);
    expect(await stateOf(db, launchId)).toBe('refused');
  });

  test.for([
    ['in the air', null],
    ['of unknown outcome', { kind: 'unknown', code: 'TimeoutError', message: '' }],
    ['answered to a process that died', { kind: 'launched', instances: instances(1) }],
  ] as const)('at its deadline waits for a call that is %s, until the grace is over', async ([, outcome], { db }) => {
    await stopClock(db);
    const { launchId } = await aLaunchOf(db, 1);
    const launches = createLaunchStore(db);
    const call = await begin(launches, launchId);
    if (outcome !== null) await launches.finishCall(call, outcome);
    const overMs = NOW_MS + LAUNCH_DEADLINE_MS + LAUNCH_GRACE_MS;
    await stopClock(db, overMs - 1);
    expect(await launches.close(launchId, 'expired', EXPIRED)).toBe(false);
    await stopClock(db, overMs);
    expect(await launches.close(launchId, 'expired', EXPIRED)).toBe(true);
    expect(await stateOf(db, launchId)).toBe('expired');
  });

  test('at its deadline happens at once when EC2 was never asked, but not while the database has lost commits', async ({
    db,
  }) => {
    const { launchId } = await aLaunchOf(db, 1);
    const launches = createLaunchStore(db);
    await db.updateTable('amnesia').set({ since: dbNow(), reason: 'lost-lease' }).execute();
    expect(await launches.close(launchId, 'expired', EXPIRED)).toBe(false);
    await db.updateTable('amnesia').set({ since: null, reason: null }).execute();
    expect(await launches.close(launchId, 'expired', EXPIRED)).toBe(true);
  });

  test('for a refusal sees a call that a twin begins at the same moment', async ({ db }) => {
    const { launchId } = await aLaunchOf(db, 1);
    await withOpenTransaction(db, async (twin) => {
      await twin.selectFrom('launches').select('id').where('id', '=', launchId).forUpdate().execute();
      const close = createLaunchStore(db).close(launchId, 'refused', REFUSED);
      await untilBlocked(db);
      await twin.insertInto('launch_calls').values({ launch_id: launchId, attempt: 1 }).execute();
      await twin.commit().execute();
      await close;
    });

    expect(await stateOf(db, launchId)).toBe('open');
    expect(await machinesOf(db, launchId)).toMatchObject([{ state: 'launching' }]);
  });
});
