import { describe, expect } from 'vitest';
import type { LaunchId, MachineId } from '../../src/model/ids.ts';
import type { LaunchedInstance } from '../../src/ports/cloud.ts';
import type { Db } from '../../src/store/database.ts';
import { createLaunchStore } from '../../src/store/launches.ts';
import { aLaunch, aMachine, anId, NOW_MS, passTime, someHex, stopClock, ZONE } from '../support/builders.ts';
import { test } from '../support/database.ts';
import { untilBlocked, withOpenTransaction } from './blocked.ts';

const MINUTE_MS = 60_000;
const REFUSED = { reason: 'launch-refused', code: 'InsufficientInstanceCapacity', detail: 'none left' } as const;

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
  const callId = await launches.beginCall(id);
  if (typeof callId !== 'number') throw new Error(`no call was begun: ${callId}`);
  return callId;
}

const stateOf = async (db: Db, launchId: LaunchId) => (await createLaunchStore(db).read(launchId))?.launch.state;

describe('a call', () => {
  test('is a row before it is made, and the machines wait for it as launching', async ({ db }) => {
    await stopClock(db);
    const { launchId } = await aLaunchOf(db, 2, 'requested');
    const launches = createLaunchStore(db);

    const callId = await launches.beginCall(launchId);

    const [call] = await db.selectFrom('launch_calls').selectAll().execute();
    expect(call).toMatchObject({ id: callId, launch_id: launchId, attempt: 1, outcome: null, finished_at: null });
    expect(await machinesOf(db, launchId)).toMatchObject([{ state: 'launching' }, { state: 'launching' }]);
    expect(await launches.read(launchId)).toMatchObject({ unsettledCalls: 1, nowMs: NOW_MS });
  });

  test('again finds the machines where they are', async ({ db }) => {
    const { launchId } = await aLaunchOf(db, 1, 'requested');
    const launches = createLaunchStore(db);

    const calls = [await launches.beginCall(launchId), await launches.beginCall(launchId)];

    expect(new Set(calls).size).toBe(2);
    expect(await machinesOf(db, launchId)).toMatchObject([{ state: 'launching', revision: 2 }]);
  });

  test('is not made for a launch that is over or that nobody knows', async ({ db }) => {
    const launches = createLaunchStore(db);

    expect(await launches.beginCall(await aLaunch(db, { state: 'expired' }))).toBeNull();
    expect(await launches.beginCall(anId('ln'))).toBeNull();
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

    expect(await createLaunchStore(db).fulfil(launchId, given)).toEqual(machines);

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
    await launches.fulfil(launchId, given);
    const before = await machinesOf(db, launchId);

    expect(await launches.fulfil(launchId, given)).toEqual([]);
    expect(await launches.fulfil(launchId, instances(2))).toEqual([]);

    expect(await machinesOf(db, launchId)).toEqual(before);
  });

  test('by two at once binds each instance once', async ({ db }) => {
    const { launchId } = await aLaunchOf(db, 3);
    const given = instances(3);
    const launches = createLaunchStore(db);

    const woken = await Promise.all([launches.fulfil(launchId, given), launches.fulfil(launchId, given)]);

    expect(woken.flat()).toHaveLength(3);
    expect(await db.selectFrom('machine_events').selectAll().where('to_state', '=', 'booting').execute()).toHaveLength(
      3,
    );
  });

  test('with fewer instances than asked for ends the machines that got none', async ({ db }) => {
    const { launchId } = await aLaunchOf(db, 3);
    const [given] = instances(1);

    await createLaunchStore(db).fulfil(launchId, [given!]);

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

    await createLaunchStore(db).fulfil(launchId, given);

    const rows = await machinesOf(db, launchId);
    expect(rows.map(({ instance_id }) => instance_id)).toEqual([given[0]!.instanceId]);
  });

  test('with the same instance told twice binds it once', async ({ db }) => {
    const { launchId } = await aLaunchOf(db, 2);
    const [given] = instances(1);

    await createLaunchStore(db).fulfil(launchId, [given!, given!]);

    expect(await machinesOf(db, launchId)).toMatchObject([{ state: 'booting' }, { state: 'terminated' }]);
  });

  test('finds machines whose call was never recorded and takes them through launching', async ({ db }) => {
    const { launchId, machines } = await aLaunchOf(db, 1, 'requested');

    expect(await createLaunchStore(db).fulfil(launchId, instances(1))).toEqual(machines);

    const events = await db.selectFrom('machine_events').select('to_state').orderBy('id').execute();
    expect(events.map(({ to_state }) => to_state)).toEqual(['launching', 'booting']);
  });

  test('after the launch was given up binds nothing', async ({ db }) => {
    const { launchId } = await aLaunchOf(db, 1);
    const launches = createLaunchStore(db);
    await launches.close(launchId, 'expired', { reason: 'launch-expired', code: 'X', detail: '' });

    expect(await launches.fulfil(launchId, instances(1))).toEqual([]);

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
    await launches.fulfil(launchId, instances(1));

    await launches.close(launchId, 'refused', REFUSED);

    expect(await stateOf(db, launchId)).toBe('fulfilled');
    expect(await machinesOf(db, launchId)).toMatchObject([{ state: 'booting' }]);
  });

  test('for a refusal does not happen while a twin’s call is in the air or its outcome is unknown', async ({ db }) => {
    const { launchId } = await aLaunchOf(db, 1);
    const launches = createLaunchStore(db);
    const twin = await begin(launches, launchId);

    await launches.close(launchId, 'refused', REFUSED);
    expect(await stateOf(db, launchId)).toBe('open');
    await launches.finishCall(twin, { kind: 'unknown', code: 'TimeoutError', message: '' });
    await launches.close(launchId, 'refused', REFUSED);
    expect(await stateOf(db, launchId)).toBe('open');

    await launches.close(launchId, 'expired', { ...REFUSED, reason: 'launch-expired' });
    expect(await stateOf(db, launchId)).toBe('expired');
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

describe('markUnavailable', () => {
  const offering = { instanceType: 'c6a.large', zone: ZONE, market: 'spot' };
  const leftAlone = async (db: Db, nowMs: number): Promise<number> => {
    const { until } = await db.selectFrom('unavailable_offerings').select('until').executeTakeFirstOrThrow();
    return (until.getTime() - nowMs) / MINUTE_MS;
  };

  test('leaves an offering alone for longer with every strike, up to half an hour', async ({ db }) => {
    await stopClock(db);
    const launches = createLaunchStore(db);
    let nowMs = NOW_MS;
    const minutes: number[] = [];
    for (let strike = 0; strike < 6; strike += 1) {
      await launches.markUnavailable(offering, 'InsufficientInstanceCapacity');
      minutes.push(await leftAlone(db, nowMs));
      await passTime(db, minutes.at(-1)! * MINUTE_MS);
      nowMs += minutes.at(-1)! * MINUTE_MS;
    }

    expect(minutes).toEqual([3, 6, 12, 24, 30, 30]);
  });

  test('forgives after a quiet half hour, and not a moment before', async ({ db }) => {
    await stopClock(db);
    const launches = createLaunchStore(db);
    await launches.markUnavailable(offering, 'a');
    await passTime(db, 33 * MINUTE_MS);
    await launches.markUnavailable(offering, 'b');
    expect(await leftAlone(db, NOW_MS + 33 * MINUTE_MS)).toBe(6);

    await passTime(db, 36 * MINUTE_MS + 1);
    await launches.markUnavailable(offering, 'c');

    expect(await leftAlone(db, NOW_MS + 69 * MINUTE_MS + 1)).toBe(3);
    expect(await db.selectFrom('unavailable_offerings').selectAll().execute()).toMatchObject([
      { strikes: 1, error_code: 'c' },
    ]);
  });

  test('means one market of one type in one zone', async ({ db }) => {
    const launches = createLaunchStore(db);
    for (const other of [{}, { market: 'on-demand' }, { zone: 'eu-central-1b' }, { instanceType: 'c6a.xlarge' }]) {
      await launches.markUnavailable({ ...offering, ...other }, 'x');
    }

    const rows = await db.selectFrom('unavailable_offerings').select('strikes').execute();
    expect(rows).toEqual([1, 2, 3, 4].map(() => ({ strikes: 1 })));
  });
});
