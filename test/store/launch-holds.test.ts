import { describe, expect } from 'vitest';
import type { Hold } from '../../src/model/holds.ts';
import type { NewHold } from '../../src/ports/machines.ts';
import type { Db } from '../../src/store/database.ts';
import { createLaunchStore } from '../../src/store/launches.ts';
import { createPlanningStore } from '../../src/store/planning.ts';
import {
  aLaunch,
  aMachine,
  aPolicy,
  NOW_MS,
  passTime,
  someHex,
  stopClock,
  WORKLOAD,
  ZONE,
} from '../support/builders.ts';
import { test } from '../support/database.ts';
import { aCommit, aNewLaunch, counts, lead } from './planning-commits.ts';

const MINUTE_MS = 60_000;
const OFFERING: NewHold = {
  scope: 'offering',
  name: `c6a.large/${ZONE}/on-demand`,
  errorClass: 'capacity',
  errorCode: 'InsufficientInstanceCapacity',
  detail: 'none left',
  minMs: 3 * MINUTE_MS,
  maxMs: 30 * MINUTE_MS,
};
const CONFIG: NewHold = {
  scope: 'workload',
  name: WORKLOAD,
  errorClass: 'config',
  errorCode: 'InvalidAMIID.NotFound',
  detail: '',
  minMs: null,
  maxMs: null,
};
const AUTH: NewHold = {
  ...CONFIG,
  errorClass: 'auth',
  errorCode: 'UnauthorizedOperation',
  minMs: 120_000,
  maxMs: 600_000,
};

async function hold(db: Db, what: NewHold = OFFERING, policyHash: string | null = null): Promise<void> {
  const launchId = await aLaunch(db, { state: 'refused' });
  await db.updateTable('launches').set({ policy_hash: policyHash }).where('id', '=', launchId).execute();
  await createLaunchStore(db).hold(launchId, what);
}

const holds = async (db: Db): Promise<readonly Hold[]> => await createLaunchStore(db).listHolds();

async function inForce(db: Db, hash: string): Promise<string> {
  await createPlanningStore(db).recordPolicies([{ policy: aPolicy({ limits: { max: hash.length } }), hash }]);
  return hash;
}

describe('a hold', () => {
  test('is longer with every strike after its time, up to its most', async ({ db }) => {
    await stopClock(db);
    let nowMs = NOW_MS;
    const minutes: number[] = [];
    for (let strike = 0; strike < 6; strike += 1) {
      await hold(db);
      const [held] = await holds(db);
      minutes.push((held!.untilMs! - nowMs) / MINUTE_MS);
      await passTime(db, minutes.at(-1)! * MINUTE_MS);
      nowMs = held!.untilMs!;
    }

    expect(minutes).toEqual([3, 6, 12, 24, 30, 30]);
  });

  test('counts refusals of the same moment once', async ({ db }) => {
    await stopClock(db);
    await Promise.all([hold(db), hold(db), hold(db)]);

    expect(await holds(db)).toMatchObject([{ state: 'open', untilMs: NOW_MS + 3 * MINUTE_MS }]);
    expect(await db.selectFrom('launch_holds').select('strikes').execute()).toEqual([{ strikes: 1 }]);
  });

  test('is forgotten after a quiet half hour, and not a moment before', async ({ db }) => {
    await stopClock(db);
    await hold(db);
    await passTime(db, 33 * MINUTE_MS);
    expect(await holds(db)).toMatchObject([{ state: 'half-open' }]);

    await passTime(db, 1);
    expect(await holds(db)).toEqual([]);
    await hold(db);

    expect(await db.selectFrom('launch_holds').select('strikes').execute()).toEqual([{ strikes: 1 }]);
  });

  test('after a wrong configuration lasts until the policy changes', async ({ db }) => {
    await stopClock(db);
    await hold(db, CONFIG, await inForce(db, 'a'.repeat(64)));
    await passTime(db, 365 * 24 * 60 * MINUTE_MS);
    expect(await holds(db)).toMatchObject([{ state: 'open', errorClass: 'config', untilMs: null }]);

    await inForce(db, 'b'.repeat(64));
    expect(await holds(db)).toEqual([]);

    await inForce(db, 'a'.repeat(64));
    expect(await holds(db)).toMatchObject([{ state: 'open' }]);
  });

  test('of a former policy gives way to one of the policy in force', async ({ db }) => {
    await stopClock(db);
    await hold(db, CONFIG, await inForce(db, 'a'.repeat(64)));
    await hold(db, AUTH, await inForce(db, 'b'.repeat(64)));

    expect(await holds(db)).toMatchObject([{ errorClass: 'auth', untilMs: NOW_MS + 120_000 }]);
  });

  test('for good is not shortened by one for a while', async ({ db }) => {
    const hash = await inForce(db, 'a'.repeat(64));
    await hold(db, AUTH, hash);
    await hold(db, CONFIG, hash);
    await hold(db, AUTH, hash);

    expect(await holds(db)).toMatchObject([{ errorClass: 'config', untilMs: null }]);
  });
});

describe('a probe', () => {
  const probing = (overrides = {}) => aNewLaunch(1, { probes: [`offering:${OFFERING.name}`], ...overrides });

  test('is one launch: a second one makes its plan outdated, and nothing of that is written', async ({ db }) => {
    await stopClock(db);
    const planning = createPlanningStore(db);
    await hold(db);
    await passTime(db, 3 * MINUTE_MS);
    const lease = await lead(db);
    const [first, second] = [probing(), probing()];

    expect(await planning.commit(aCommit(lease, { launches: [first] }))).toMatchObject({ kind: 'committed' });
    expect(await holds(db)).toMatchObject([{ state: 'probing' }]);
    const before = await counts(db);
    expect(await planning.commit(aCommit(lease, { launches: [second] }))).toMatchObject({ kind: 'outdated' });

    expect(await counts(db)).toEqual(before);
  });

  test('of two plans at the same moment one is committed', async ({ db }) => {
    await stopClock(db);
    const planning = createPlanningStore(db);
    await hold(db);
    await passTime(db, 3 * MINUTE_MS);
    const lease = await lead(db);

    const results = await Promise.all(
      [probing(), probing()].map(async (launch) => await planning.commit(aCommit(lease, { launches: [launch] }))),
    );

    expect(results.map(({ kind }) => kind).sort()).toEqual(['committed', 'outdated']);
  });

  test('does not happen while the hold still counts', async ({ db }) => {
    await stopClock(db);
    await hold(db);

    const commit = aCommit(await lead(db), { launches: [probing()] });
    expect(await createPlanningStore(db).commit(commit)).toMatchObject({ kind: 'outdated' });
  });

  test('that succeeds ends the hold; one that fails prolongs it', async ({ db }) => {
    await stopClock(db);
    const launches = createLaunchStore(db);
    await hold(db);
    await passTime(db, 3 * MINUTE_MS);
    const launch = probing();
    await createPlanningStore(db).commit(aCommit(await lead(db), { launches: [launch] }));

    await launches.hold(launch.id, OFFERING);
    expect(await holds(db)).toMatchObject([{ state: 'open', untilMs: NOW_MS + 9 * MINUTE_MS }]);

    await passTime(db, 6 * MINUTE_MS);
    const second = probing({ body: { ...launch.body, market: 'on-demand' } });
    await createPlanningStore(db).commit(aCommit(await lead(db), { launches: [second] }));
    await launches.fulfil(second.id, 1, [
      { instanceId: `i-${someHex(17)}`, privateIp: null, zone: ZONE, launchTimeMs: 0 },
    ]);
    expect(await holds(db)).toEqual([]);
  });

  test('that ended without an answer leaves the next one to try', async ({ db }) => {
    await stopClock(db);
    const launches = createLaunchStore(db);
    await hold(db);
    await passTime(db, 3 * MINUTE_MS);
    const launch = probing();
    await createPlanningStore(db).commit(aCommit(await lead(db), { launches: [launch] }));
    await launches.close(launch.id, 'expired', { reason: 'launch-expired', code: 'LAUNCH_DEADLINE', detail: '' });

    expect(await holds(db)).toMatchObject([{ state: 'half-open' }]);
  });

  test('a success that was asked for before the hold does not end it', async ({ db }) => {
    await stopClock(db);
    const { launchId } = await aMachine(db, 'launching');
    await hold(db);

    const instance = { instanceId: `i-${someHex(17)}`, privateIp: null, zone: ZONE, launchTimeMs: 0 };
    await createLaunchStore(db).fulfil(launchId, 1, [instance]);

    expect(await holds(db)).toMatchObject([{ state: 'open' }]);
  });
});
