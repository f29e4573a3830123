import { describe, expect } from 'vitest';
import type { MachineId } from '../../src/model/ids.ts';
import { createPlanningStore } from '../../src/store/planning.ts';
import { aMachine, NOW_MS, passTime, stopClock, WORKLOAD } from '../support/builders.ts';
import { test } from '../support/database.ts';
import { lead, aNewLaunch, aCommit, step, counts, machineOf } from './planning-commits.ts';

describe('planning.commit: launches', () => {
  test('plan, launches, machines and their events appear together', async ({ db }) => {
    await stopClock(db);
    const launch = aNewLaunch(2);
    const commit = aCommit(await lead(db), { launches: [launch, aNewLaunch(1)] });

    expect(await createPlanningStore(db).commit(commit)).toEqual({
      kind: 'committed',
      stored: true,
      drained: [],
      undrained: [],
      ofPool: [],
    });

    expect(await counts(db)).toEqual({ plans: 1, launches: 2, machines: 3, machine_events: 3 });
    const row = await db.selectFrom('launches').selectAll().where('id', '=', launch.id).executeTakeFirstOrThrow();
    expect(row).toMatchObject({
      plan_id: commit.planId,
      state: 'open',
      nonce: launch.nonce,
      token: launch.token,
      attempt: 1,
      epoch: 1,
      instance_count: 2,
      price_usd_per_hour: '0.032100',
      deadline_at: new Date(NOW_MS + 600_000),
      body: launch.body,
    });
    const [machine] = await db.selectFrom('machines').selectAll().where('launch_id', '=', launch.id).execute();
    expect(machine).toMatchObject({
      state: 'requested',
      revision: 1,
      market: 'spot',
      instance_type: 'c6a.large',
      volume_gib: 20,
      instance_id: null,
    });
    const events = await db.selectFrom('machine_events').select(['from_state', 'to_state', 'plan_id']).execute();
    const made = { from_state: null, to_state: 'requested', plan_id: commit.planId };
    expect(events).toEqual([made, made, made]);
  });

  test('a failing row takes everything else back with it', async ({ db }) => {
    const good = aNewLaunch(1);
    const commit = aCommit(await lead(db), { launches: [good, aNewLaunch(1, { nonce: good.nonce })] });

    await expect(createPlanningStore(db).commit(commit)).rejects.toMatchObject({ code: '23505' });

    expect(await counts(db)).toEqual({ plans: 0, launches: 0, machines: 0, machine_events: 0 });
  });

  test('a limit that would break by what is live now makes the plan outdated and writes nothing', async ({ db }) => {
    const ready = await aMachine(db, 'ready');
    await aMachine(db, 'launching');
    await aMachine(db, 'terminated');
    await aMachine(db, 'ready', { workload: 'other' });
    const before = await counts(db);
    const store = createPlanningStore(db);
    const lease = await lead(db);
    const limit = { limits: new Map([[WORKLOAD, { machinesMax: 4, vcpusMax: null, hourlyUsdMax: null }]]) };

    const refused = await store.commit(
      aCommit(lease, { ...limit, launches: [aNewLaunch(2), aNewLaunch(1)], drains: [step(ready.id)] }),
    );

    expect(refused).toEqual({ kind: 'outdated', detail: 'transcode: 5 machines would live, the limit is 4' });
    expect(await counts(db)).toEqual(before);
    expect(await machineOf(db, ready.id)).toMatchObject({ state: 'ready', revision: 1 });
    expect(await store.commit(aCommit(lease, { ...limit, launches: [aNewLaunch(2)] }))).toMatchObject({
      kind: 'committed',
    });
  });
});

describe('planning.commit: stopped machines', () => {
  const start = (machineId: MachineId) => ({
    machineId,
    revision: 1,
    reason: 'machine-started',
    workload: WORKLOAD,
    resources: { cpuMilli: 2000, memoryMib: 4096, gpus: 0 },
    priceUsdPerHour: 0.0765,
  });

  test('are started and terminated, and those that moved meanwhile are left to the next plan', async ({ db }) => {
    const [one, other, moved] = [
      await aMachine(db, 'stopped'),
      await aMachine(db, 'stopped'),
      await aMachine(db, 'ready'),
    ];
    const retire = { machineId: other.id, revision: 1, reason: 'pool-aged', endReason: 'pool-retired' } as const;
    const commit = aCommit(await lead(db), { starts: [start(one.id), start(moved.id)], retires: [retire] });
    expect(await createPlanningStore(db).commit(commit)).toMatchObject({
      kind: 'committed',
      ofPool: [one.id, other.id],
    });
    expect(await machineOf(db, one.id)).toMatchObject({ state: 'booting', revision: 2, end_reason: null });
    expect(await machineOf(db, other.id)).toMatchObject({ state: 'terminating', end_reason: 'pool-retired' });
    expect(await machineOf(db, moved.id)).toMatchObject({ state: 'ready', revision: 1 });
  });

  test('count for the limits when they start, and not before', async ({ db }) => {
    const stopped = [await aMachine(db, 'stopped'), await aMachine(db, 'stopped')];
    await aMachine(db, 'ready');
    const lease = await lead(db);
    const within = (machinesMax: number) => ({
      limits: new Map([[WORKLOAD, { machinesMax, vcpusMax: null, hourlyUsdMax: null }]]),
    });
    const starts = stopped.map(({ id }) => start(id));
    const store = createPlanningStore(db);
    expect(await store.commit(aCommit(lease, { ...within(2), starts }))).toEqual({
      kind: 'outdated',
      detail: 'transcode: 3 machines would live, the limit is 2',
    });
    expect(await store.commit(aCommit(lease, { ...within(2), launches: [aNewLaunch(1)] }))).toMatchObject({
      kind: 'committed',
    });
  });
});

describe('planning.commit: money', () => {
  test('what all live machines would cost is checked once more, to the last place of a price', async ({ db }) => {
    await aMachine(db, 'ready');
    const { price } = await db.selectFrom('machines').select('price_usd_per_hour as price').executeTakeFirstOrThrow();
    const store = createPlanningStore(db);
    const lease = await lead(db);
    const launch = aNewLaunch(2);
    const cost = Number(price) + 2 * launch.priceUsdPerHour;
    const within = (hourlyUsdMax: number) => ({
      limits: new Map([[WORKLOAD, { machinesMax: 20, vcpusMax: null, hourlyUsdMax }]]),
    });

    expect(await store.commit(aCommit(lease, { ...within(cost - 0.001), launches: [launch] }))).toMatchObject({
      kind: 'outdated',
      detail: expect.stringMatching(/^transcode: all machines would cost /),
    });
    expect(await store.commit(aCommit(lease, { ...within(cost), launches: [launch] }))).toMatchObject({
      kind: 'committed',
    });
  });
});

describe('planning.commit: repetition', () => {
  test('a plan that says the same and does nothing is not stored twice', async ({ db }) => {
    await stopClock(db);
    const store = createPlanningStore(db);
    const lease = await lead(db);

    const stored: unknown[] = [];
    for (const digest of ['quiet', 'quiet', 'busy', 'quiet']) {
      await passTime(db, 1);
      const outcome = await store.commit(aCommit(lease, { digest }));
      stored.push(outcome.kind === 'committed' && outcome.stored);
    }

    expect(stored).toEqual([true, false, true, true]);
    expect((await counts(db)).plans).toBe(3);
  });

  test('a plan that acts is stored even when it says the same as the one before', async ({ db }) => {
    const store = createPlanningStore(db);
    const lease = await lead(db);

    await store.commit(aCommit(lease, { launches: [aNewLaunch(1)] }));
    await store.commit(aCommit(lease, { launches: [aNewLaunch(1)] }));

    expect(await counts(db)).toMatchObject({ plans: 2, launches: 2 });
  });
});
