/**
 * Goal: a launch that moves down its ladder never has two attempts that may both bring instances, keeps every attempt, and
 * never spends past a limit. Method: the store on real Postgres, its races forced by locks held open.
 */
import { describe, expect } from 'vitest';
import type { LaunchId, MachineId } from '../../src/model/ids.ts';
import type { LadderRung, LaunchLimits } from '../../src/model/launch.ts';
import { CALL_SETTLED_AFTER_MS, LAUNCH_DEADLINE_MS, LAUNCH_GRACE_MS } from '../../src/model/state-waits.ts';
import type { NextAttempt } from '../../src/ports/machines.ts';
import type { Db } from '../../src/store/database.ts';
import { createLaunchStore } from '../../src/store/launches.ts';
import { createPlanningStore } from '../../src/store/planning.ts';
import { createSweepStore } from '../../src/store/sweeping.ts';
import {
  aLaunch,
  aMachine,
  anInstance as aCloudInstance,
  eventsSince,
  NOW_MS,
  someHex,
  stopClock,
  WORKLOAD,
  ZONE,
} from '../support/builders.ts';
import { test } from '../support/database.ts';
import { untilBlocked, withOpenTransaction } from './blocked.ts';
import { aCommit, aNewLaunch, lead } from './planning-commits.ts';

const LIMITS: LaunchLimits = { machinesMax: 20, vcpusMax: null, hourlyUsdMax: null };

function aRung(overrides: Partial<LadderRung> = {}): LadderRung {
  return {
    instanceType: 'm6a.xlarge',
    resources: { cpuMilli: 4000, memoryMib: 16_384, gpus: 1 },
    arch: 'arm64',
    zone: 'eu-central-1b',
    subnetId: 'subnet-2',
    market: 'on-demand',
    priceUsdPerHour: 0.2,
    imageId: 'ami-2',
    rootDeviceName: '/dev/sda1',
    volumeGib: 30,
    ...overrides,
  };
}

function refusal(overrides: Partial<NextAttempt> = {}): NextAttempt {
  const refused = { errorClass: 'capacity', code: 'InsufficientInstanceCapacity', detail: 'none left' };
  return { token: `sw1.${someHex(16)}.next`, limits: LIMITS, refusal: refused, settlesCalls: false, ...overrides };
}

async function aLadderLaunch(db: Db, rungs: readonly LadderRung[], count = 1) {
  const launchId = await aLaunch(db, { count });
  await db
    .updateTable('launches')
    .set({ ladder: JSON.stringify(rungs) })
    .where('id', '=', launchId)
    .execute();
  const machines: MachineId[] = [];
  for (let made = 0; made < count; made += 1) machines.push((await aMachine(db, 'launching', { launchId })).id);
  return { launchId, machines };
}

const anInstance = () => ({ instanceId: `i-${someHex(17)}`, privateIp: '10.0.0.9', zone: ZONE, launchTimeMs: NOW_MS });

const launchOf = async (db: Db, id: LaunchId) => (await createLaunchStore(db).read(id))!.launch;

const attemptsOf = async (db: Db, id: LaunchId) =>
  await db.selectFrom('launch_attempts').selectAll().where('launch_id', '=', id).orderBy('attempt').execute();

const machinesOf = async (db: Db, id: LaunchId) =>
  await db.selectFrom('machines').selectAll().where('launch_id', '=', id).orderBy('id').execute();

describe('moving on', () => {
  test('gives the launch, its machines and the money the next offering, and keeps the attempt before', async ({
    db,
  }) => {
    const { launchId } = await aLadderLaunch(db, [aRung(), aRung({ zone: 'c' })], 2);
    const before = await launchOf(db, launchId);
    const next = refusal();

    expect(await createLaunchStore(db).moveOn(launchId, 1, next)).toBe('moved');

    const after = await launchOf(db, launchId);
    expect(after).toMatchObject({
      state: 'open',
      attempt: 2,
      token: next.token,
      zone: 'eu-central-1b',
      priceUsdPerHour: 0.2,
    });
    expect(after.body).toEqual({
      ...before.body,
      instanceType: 'm6a.xlarge',
      subnetId: 'subnet-2',
      imageId: 'ami-2',
      rootDeviceName: '/dev/sda1',
      volumeGib: 30,
      // What the ledger is rebuilt from, when the rows are lost, is that of this attempt.
      tags: { ...before.body.tags, 'spillway:price': '0.200000', 'spillway:volume': '30' },
    });
    expect(after.ladder).toEqual([aRung({ zone: 'c' })]);
    const hardware = { cpu_milli: 4000, memory_mib: 16_384, gpus: 1, arch: 'arm64' };
    const row = { instance_type: 'm6a.xlarge', zone: 'eu-central-1b', ...hardware };
    const rows = await machinesOf(db, launchId);
    expect(rows).toMatchObject(
      [1, 2].map(() => ({ ...row, state: 'launching', volume_gib: 30, price_usd_per_hour: '0.200000' })),
    );
    expect(await attemptsOf(db, launchId)).toMatchObject([
      {
        attempt: 1,
        token: before.token,
        body: before.body,
        outcome: 'refused',
        error_code: 'InsufficientInstanceCapacity',
      },
      { attempt: 2, token: next.token, body: after.body, outcome: null, epoch: 1, ...hardware },
    ]);
    expect((await eventsSince(db)).map(({ reason }) => reason)).toEqual(['next-offering', 'next-offering']);
  });

  test('ends at the end of the ladder: launch and machines are refused', async ({ db }) => {
    const { launchId } = await aLadderLaunch(db, []);

    expect(await createLaunchStore(db).moveOn(launchId, 1, refusal())).toBe('exhausted');

    expect((await launchOf(db, launchId)).state).toBe('refused');
    expect(await machinesOf(db, launchId)).toMatchObject([{ state: 'terminated', end_reason: 'launch-refused' }]);
    expect(await attemptsOf(db, launchId)).toMatchObject([{ outcome: 'refused', error_class: 'capacity' }]);
  });

  test('does not happen while a call of the attempt may still have an effect', async ({ db }) => {
    const { launchId } = await aLadderLaunch(db, [aRung()]);
    const launches = createLaunchStore(db);
    const twin = await launches.beginCall(launchId, 1);

    expect(await launches.moveOn(launchId, 1, refusal())).toBe('unsettled');
    await launches.finishCall(Number(twin), { kind: 'unknown', code: 'TimeoutError', message: '' });
    expect(await launches.moveOn(launchId, 1, refusal())).toBe('unsettled');
    expect((await launchOf(db, launchId)).attempt).toBe(1);
  });

  test('does not happen, however late, once a call of the attempt was answered with instances', async ({ db }) => {
    await stopClock(db);
    const { launchId } = await aLadderLaunch(db, [aRung()]);
    const launches = createLaunchStore(db);
    const twin = await launches.beginCall(launchId, 1);
    await launches.finishCall(Number(twin), { kind: 'launched', instances: [anInstance()] });
    await stopClock(db, NOW_MS + CALL_SETTLED_AFTER_MS);

    expect(await launches.moveOn(launchId, 1, refusal())).toBe('unsettled');
    expect(await launches.close(launchId, 'refused', { reason: 'launch-refused', code: 'x', detail: '' })).toBe(false);
  });

  test('happens in spite of calls of unknown outcome when EC2 says that their instances have ended', async ({ db }) => {
    const { launchId } = await aLadderLaunch(db, [aRung(), aRung({ zone: 'c' })]);
    const launches = createLaunchStore(db);
    const call = await launches.beginCall(launchId, 1);
    await launches.finishCall(Number(call), { kind: 'unknown', code: 'TimeoutError', message: '' });

    expect(await launches.moveOn(launchId, 1, refusal({ settlesCalls: true }))).toBe('moved');

    // What was unknown of the first attempt does not hold up the second.
    expect((await launches.read(launchId))?.unsettledCalls).toBe(0);
    expect(await launches.moveOn(launchId, 2, refusal())).toBe('moved');
  });

  test('sees a call that a twin begins at the same moment', async ({ db }) => {
    const { launchId } = await aLadderLaunch(db, [aRung()]);
    await withOpenTransaction(db, async (twin) => {
      await twin.selectFrom('launches').select('id').where('id', '=', launchId).forUpdate().execute();
      const move = createLaunchStore(db).moveOn(launchId, 1, refusal());
      await untilBlocked(db);
      await twin.insertInto('launch_calls').values({ launch_id: launchId, attempt: 1 }).execute();
      await twin.commit().execute();
      expect(await move).toBe('unsettled');
    });
  });

  test('by two deliveries is one move, and a late one begins no call with the former token', async ({ db }) => {
    const { launchId } = await aLadderLaunch(db, [aRung(), aRung({ zone: 'c' })]);
    const launches = createLaunchStore(db);

    const moves = await Promise.all([launches.moveOn(launchId, 1, refusal()), launches.moveOn(launchId, 1, refusal())]);

    expect(moves.sort()).toEqual(['lost', 'moved']);
    expect((await launchOf(db, launchId)).attempt).toBe(2);
    expect(await launches.beginCall(launchId, 1)).toBeNull();
    expect(await db.selectFrom('launch_calls').selectAll().execute()).toEqual([]);
  });

  test('passes over rungs that are held, of a subnet or quota family too', async ({ db }) => {
    const rungs = [
      aRung({ instanceType: 'c6a.large' }),
      aRung({ subnetId: 'subnet-full' }),
      aRung({ market: 'spot' }),
      aRung({ instanceType: 'g5.xlarge', zone: 'eu-central-1c' }),
    ];
    const { launchId } = await aLadderLaunch(db, rungs);
    const launches = createLaunchStore(db);
    const terms = { errorClass: 'capacity', errorCode: 'x', detail: '', minMs: 180_000, maxMs: 1_800_000 } as const;
    await launches.hold(launchId, { ...terms, scope: 'offering', name: 'c6a.large/eu-central-1b/on-demand' });
    await launches.hold(launchId, { ...terms, scope: 'subnet', name: 'subnet-full' });
    await launches.hold(launchId, { ...terms, scope: 'quota', name: 'eu-central-1/standard/spot' });

    expect(await launches.moveOn(launchId, 1, refusal())).toBe('moved');

    expect((await launchOf(db, launchId)).body.instanceType).toBe('g5.xlarge');
  });

  test.for([
    ['the budget', { ...LIMITS, hourlyUsdMax: 0.5 }, aRung({ priceUsdPerHour: 0.26 })],
    ['vCPUs', { ...LIMITS, vcpusMax: 11 }, aRung({ resources: { cpuMilli: 8000, memoryMib: 1, gpus: 0 } })],
  ] as const)('passes over a rung that does not fit %s with what lives now', async ([, limits, dear], { db }) => {
    await aMachine(db, 'ready');
    const { launchId } = await aLadderLaunch(db, [dear, aRung({ zone: 'fits' })], 2);

    expect(await createLaunchStore(db).moveOn(launchId, 1, refusal({ limits }))).toBe('moved');

    expect((await launchOf(db, launchId)).zone).toBe('fits');
  });

  test('waits for a plan that reserves money at the same moment, and counts it', async ({ db }) => {
    const { launchId } = await aLadderLaunch(db, [aRung({ priceUsdPerHour: 0.3 })]);
    const lease = await lead(db);
    const limits: LaunchLimits = { ...LIMITS, hourlyUsdMax: 0.4 };
    const other = aNewLaunch(1, { priceUsdPerHour: 0.2 });
    await withOpenTransaction(db, async (blocker) => {
      // Both stop at the machines' table, the plan with the money's lock in its hand.
      await blocker
        .insertInto('plans')
        .values({
          id: other.id.replace('ln', 'pl'),
          trace_id: someHex(32),
          epoch: 1,
          decided_at: new Date(),
          input: '{}',
          outcome: '{}',
          digest: '',
        })
        .execute();
      const commit = createPlanningStore(db).commit(
        aCommit(lease, { planId: `pl-${other.id.slice(3)}`, launches: [other], limits: new Map([[WORKLOAD, limits]]) }),
      );
      await untilBlocked(db);
      const move = createLaunchStore(db).moveOn(launchId, 1, refusal({ limits }));
      await untilBlocked(db, 2);
      await blocker.rollback().execute();
      expect(await commit).toMatchObject({ kind: 'committed' });
      expect(await move).toBe('exhausted');
    });
  });
});

describe('an attempt', () => {
  test('cannot change what it asked for, nor the launch without a new attempt', async ({ db }) => {
    const { launchId } = await aLadderLaunch(db, []);
    const change = (table: 'launches' | 'launch_attempts') =>
      db
        .updateTable(table)
        .set({ body: '{}' })
        .where(table === 'launches' ? 'id' : 'launch_id', '=', launchId)
        .execute();

    await expect(change('launches')).rejects.toMatchObject({ code: '23001' });
    await expect(change('launch_attempts')).rejects.toMatchObject({ code: '23001' });
    await expect(db.deleteFrom('launch_attempts').execute()).rejects.toMatchObject({ code: '23001' });
  });

  test('is found by its nonce after the launch moved on', async ({ db }) => {
    const { launchId } = await aLadderLaunch(db, [aRung()]);
    const { nonce } = await launchOf(db, launchId);
    await createLaunchStore(db).moveOn(launchId, 1, refusal());

    const [found] = await createSweepStore(db).findUnbound([{ instance: aCloudInstance(), nonce, attempt: 1 }]);

    expect(found).toMatchObject({ attempt: 1, launch: { id: launchId, state: 'open', currentAttempt: 2 } });
  });
});

describe('instances of an earlier attempt', () => {
  test('are bound to their own launch as what they are, and the current attempt is over', async ({ db }) => {
    await stopClock(db);
    const { launchId, machines } = await aLadderLaunch(db, [aRung()]);
    await db.updateTable('launches').set({ cpu_milli: 2000, memory_mib: 4096 }).execute();
    const launches = createLaunchStore(db);
    await launches.moveOn(launchId, 1, refusal());
    const late = anInstance();

    expect(await launches.fulfil(launchId, 1, [late])).toEqual(machines);

    expect(await machinesOf(db, launchId)).toMatchObject([
      {
        state: 'booting',
        instance_id: late.instanceId,
        instance_type: 'c6a.large',
        zone: ZONE,
        price_usd_per_hour: '0.076500',
      },
    ]);
    expect((await launchOf(db, launchId)).state).toBe('fulfilled');
    expect(await attemptsOf(db, launchId)).toMatchObject([{ outcome: 'refused' }, { outcome: 'refused' }]);
    expect(await launches.beginCall(launchId, 2)).toBeNull();
  });

  test('wait while a call of the current attempt may bring others, and are then surplus', async ({ db }) => {
    const { launchId } = await aLadderLaunch(db, [aRung()]);
    const launches = createLaunchStore(db);
    await launches.moveOn(launchId, 1, refusal());
    const call = await launches.beginCall(launchId, 2);

    expect(await launches.fulfil(launchId, 1, [anInstance()])).toEqual([]);
    const own = anInstance();
    await launches.finishCall(Number(call), { kind: 'launched', instances: [own] });
    await launches.fulfil(launchId, 2, [own]);
    expect(await launches.fulfil(launchId, 1, [anInstance()])).toEqual([]);

    expect(await machinesOf(db, launchId)).toMatchObject([
      { instance_id: own.instanceId, instance_type: 'm6a.xlarge' },
    ]);
  });

  test('and those of the current one together are never more than the machines', async ({ db }) => {
    const { launchId } = await aLadderLaunch(db, [aRung()], 2);
    const launches = createLaunchStore(db);
    await launches.moveOn(launchId, 1, refusal());

    const both = await Promise.all([
      launches.fulfil(launchId, 1, [anInstance()]),
      launches.fulfil(launchId, 2, [anInstance(), anInstance()]),
    ]);

    const bound = (await machinesOf(db, launchId)).filter(({ instance_id }) => instance_id !== null);
    expect(both.flat()).toHaveLength(bound.length);
    expect(bound.length).toBeLessThanOrEqual(2);
  });
});

describe('an answer', () => {
  test('that comes after the launch expired is recorded with its instances and binds nothing', async ({ db }) => {
    await stopClock(db);
    const { launchId } = await aLadderLaunch(db, []);
    const launches = createLaunchStore(db);
    const call = await launches.beginCall(launchId, 1);
    await stopClock(db, NOW_MS + LAUNCH_DEADLINE_MS + LAUNCH_GRACE_MS);
    await launches.close(launchId, 'expired', { reason: 'launch-expired', code: 'LAUNCH_DEADLINE', detail: '' });
    const late = anInstance();

    await launches.finishCall(Number(call), { kind: 'launched', instances: [late] });
    expect(await launches.fulfil(launchId, 1, [late])).toEqual([]);

    expect(await db.selectFrom('launch_calls').select(['outcome', 'instance_ids']).execute()).toEqual([
      { outcome: 'launched', instance_ids: [late.instanceId] },
    ]);
    expect(await machinesOf(db, launchId)).toMatchObject([{ state: 'terminated', instance_id: null }]);
  });
});
