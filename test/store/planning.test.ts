import { describe, expect } from 'vitest';
import type { MachineId } from '../../src/model/ids.ts';
import type { Lease } from '../../src/ports/leadership.ts';
import type { NewLaunch, PlanCommit } from '../../src/ports/planning.ts';
import type { Db } from '../../src/store/database.ts';
import { createLeadership } from '../../src/store/leadership.ts';
import { createPlanningStore } from '../../src/store/planning.ts';
import {
  aBody,
  aMachine,
  anId,
  aPolicy,
  NOW_MS,
  passTime,
  someHex,
  stopClock,
  WORKLOAD,
  ZONE,
} from '../support/builders.ts';
import { test } from '../support/database.ts';
import { untilBlocked, withOpenTransaction } from './blocked.ts';

const TTL_MS = 15_000;

async function lead(db: Db, holder = 'a'): Promise<Lease> {
  const lease = await createLeadership(db).acquire(holder, TTL_MS);
  return lease!;
}

function aNewLaunch(count: number, overrides: Partial<NewLaunch> = {}): NewLaunch {
  return {
    id: anId('ln'),
    workload: WORKLOAD,
    nonce: someHex(32),
    token: `sw1.${someHex(16)}.1.test`,
    body: aBody({ count, market: 'spot' }),
    zone: ZONE,
    priceUsdPerHour: 0.0321,
    resources: { cpuMilli: 2000, memoryMib: 4096 },
    machineIds: Array.from({ length: count }, () => anId('mc')),
    deadlineMs: 600_000,
    ...overrides,
  };
}

function aCommit(lease: Lease, overrides: Partial<PlanCommit> = {}): PlanCommit {
  return {
    lease,
    planId: anId('pl'),
    input: { nowMs: NOW_MS },
    outcome: { workloads: [] },
    digest: 'digest-1',
    launches: [],
    drains: [],
    undrains: [],
    limits: new Map([[WORKLOAD, { machinesMax: 20, hourlyUsdMax: null }]]),
    ...overrides,
  };
}

function step(machineId: MachineId, revision = 1): PlanCommit['drains'][number] {
  return { machineId, revision, reason: 'unneeded', endReason: 'scale-down', deadlineMs: 90_000 };
}

async function counts(db: Db): Promise<Record<'plans' | 'launches' | 'machines' | 'machine_events', number>> {
  const count = async (table: 'plans' | 'launches' | 'machines' | 'machine_events'): Promise<number> =>
    (await db.selectFrom(table).selectAll().execute()).length;
  return {
    plans: await count('plans'),
    launches: await count('launches'),
    machines: await count('machines'),
    machine_events: await count('machine_events'),
  };
}

const agentOf = async (db: Db, id: string | null) =>
  await db
    .selectFrom('agents')
    .select(['cordoned', 'cordon_generation', 'cordon_acked_at'])
    .where('id', '=', id)
    .executeTakeFirstOrThrow();

const machineOf = async (db: Db, id: MachineId) =>
  await db.selectFrom('machines').selectAll().where('id', '=', id).executeTakeFirstOrThrow();

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
    const limit = { limits: new Map([[WORKLOAD, { machinesMax: 4, hourlyUsdMax: null }]]) };

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

describe('planning.commit: money', () => {
  test('what all live machines would cost is checked once more, to the last place of a price', async ({ db }) => {
    await aMachine(db, 'ready');
    const { price } = await db.selectFrom('machines').select('price_usd_per_hour as price').executeTakeFirstOrThrow();
    const store = createPlanningStore(db);
    const lease = await lead(db);
    const launch = aNewLaunch(2);
    const cost = Number(price) + 2 * launch.priceUsdPerHour;
    const within = (hourlyUsdMax: number) => ({ limits: new Map([[WORKLOAD, { machinesMax: 20, hourlyUsdMax }]]) });

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

describe('planning.commit: the fence', () => {
  test('a lease that ran out is fenced although nobody took it over', async ({ db }) => {
    await stopClock(db);
    const lease = await lead(db);
    await passTime(db, TTL_MS);

    expect(await createPlanningStore(db).commit(aCommit(lease, { launches: [aNewLaunch(1)] }))).toEqual({
      kind: 'fenced',
    });
    expect(await counts(db)).toMatchObject({ plans: 0, launches: 0 });
  });

  test('an older epoch of the same holder is fenced', async ({ db }) => {
    await stopClock(db);
    const old = await lead(db);
    await passTime(db, TTL_MS);
    await lead(db);

    expect(await createPlanningStore(db).commit(aCommit(old))).toEqual({ kind: 'fenced' });
  });

  test('a takeover that is under way when the commit looks fences it', async ({ db }) => {
    const old = await lead(db);

    await withOpenTransaction(db, async (takeover) => {
      await takeover.updateTable('leases').set({ holder: 'new', epoch: 2 }).execute();
      const commit = createPlanningStore(db).commit(aCommit(old, { launches: [aNewLaunch(1)] }));
      await untilBlocked(db);
      await takeover.commit().execute();

      expect(await commit).toEqual({ kind: 'fenced' });
    });

    expect(await counts(db)).toMatchObject({ plans: 0, launches: 0 });
  });

  test('a takeover cannot come between the check and the writes', async ({ db }) => {
    await stopClock(db);
    const old = await lead(db);
    const machine = await aMachine(db, 'ready');

    await withOpenTransaction(db, async (blocker) => {
      await blocker.selectFrom('machines').select('id').where('id', '=', machine.id).forUpdate().execute();
      const commit = createPlanningStore(db).commit(aCommit(old, { drains: [step(machine.id)] }));
      await untilBlocked(db);
      await passTime(db, TTL_MS);
      const takeover = createLeadership(db).acquire('new', TTL_MS);
      await untilBlocked(db, 2);
      await blocker.commit().execute();

      expect(await commit).toMatchObject({ kind: 'committed', drained: [machine.id] });
      expect(await takeover).toMatchObject({ epoch: 2 });
    });
  });
});

describe('planning.commit: drains', () => {
  test('a ready machine drains: its agent is cordoned by a new generation that nobody acknowledged yet', async ({
    db,
  }) => {
    await stopClock(db);
    const machine = await aMachine(db, 'ready');
    await db
      .updateTable('agents')
      .set({ cordon_generation: 4, cordon_acked_generation: 3, cordon_acked_at: new Date(NOW_MS) })
      .execute();
    const commit = aCommit(await lead(db), { drains: [step(machine.id)] });

    expect(await createPlanningStore(db).commit(commit)).toMatchObject({ drained: [machine.id], stored: true });

    expect(await agentOf(db, machine.agentId)).toEqual({
      cordoned: true,
      cordon_generation: 5,
      cordon_acked_at: null,
    });
    expect(await machineOf(db, machine.id)).toMatchObject({
      state: 'draining',
      revision: 2,
      end_reason: 'scale-down',
      deadline_at: new Date(NOW_MS + 90_000),
    });
    const events = await db.selectFrom('machine_events').selectAll().execute();
    expect(events).toMatchObject([
      { from_state: 'ready', to_state: 'draining', actor: 'planner', reason: 'unneeded', plan_id: commit.planId },
    ]);
  });

  test('a machine that moved on, or is not ready, is left alone', async ({ db }) => {
    const moved = await aMachine(db, 'ready');
    const joining = await aMachine(db, 'joining');
    const drains = [step(moved.id, 2), step(joining.id), step(anId('mc'))];

    expect(await createPlanningStore(db).commit(aCommit(await lead(db), { drains }))).toMatchObject({ drained: [] });

    expect(await agentOf(db, moved.agentId)).toMatchObject({ cordoned: false });
    expect((await counts(db)).machine_events).toBe(0);
  });

  test('a drain is called off: the machine is ready and its agent takes work again', async ({ db }) => {
    const machine = await aMachine(db, 'draining');
    const { machineId, revision, reason } = step(machine.id);
    const commit = aCommit(await lead(db), { undrains: [{ machineId, revision, reason }] });

    expect(await createPlanningStore(db).commit(commit)).toMatchObject({ undrained: [machine.id] });

    expect(await machineOf(db, machine.id)).toMatchObject({
      state: 'ready',
      revision: 2,
      end_reason: null,
      deadline_at: null,
    });
    expect(await agentOf(db, machine.agentId)).toMatchObject({ cordoned: false, cordon_generation: 2 });
  });

  test('a drain that touched work is not called off', async ({ db }) => {
    const machine = await aMachine(db, 'draining', { drainIrrevocable: true });

    const outcome = await createPlanningStore(db).commit(aCommit(await lead(db), { undrains: [step(machine.id)] }));

    expect(outcome).toMatchObject({ undrained: [] });
    expect(await machineOf(db, machine.id)).toMatchObject({ state: 'draining', revision: 1 });
    expect(await agentOf(db, machine.agentId)).toMatchObject({ cordoned: true });
  });

  test('a drain waits for a report under way without holding what the report still needs', async ({ db }) => {
    const machine = await aMachine(db, 'ready');
    const lease = await lead(db);

    await withOpenTransaction(db, async (report) => {
      await report.updateTable('agents').set({ running_tasks: 0 }).where('id', '=', machine.agentId).execute();
      const commit = createPlanningStore(db).commit(aCommit(lease, { drains: [step(machine.id)] }));
      await untilBlocked(db);

      // A report locks its agent first and the machine's idle clock last. A drain in the other order would be a deadlock.
      const clock = report.selectFrom('machines').select('id').where('id', '=', machine.id).forUpdate().noWait();
      expect(await clock.execute()).toHaveLength(1);
      await report.commit().execute();
      expect(await commit).toMatchObject({ drained: [machine.id] });
    });
  });
});

describe('planning.recordPolicies', () => {
  const hash = (digit: string): string => digit.repeat(64);
  const versions = async (db: Db) =>
    await db
      .selectFrom('policies')
      .select(['workload', 'hash', 'active'])
      .orderBy('workload')
      .orderBy('hash')
      .execute();

  test('a changed policy replaces the one in force, and the old one stays on record', async ({ db }) => {
    const store = createPlanningStore(db);
    await store.recordPolicies([
      { policy: aPolicy(), hash: hash('a') },
      { policy: aPolicy({ name: 'ci' }), hash: hash('c') },
    ]);

    await store.recordPolicies([
      { policy: aPolicy({ limits: { max: 7 } }), hash: hash('b') },
      { policy: aPolicy({ name: 'ci' }), hash: hash('c') },
    ]);

    expect(await versions(db)).toEqual([
      { workload: 'ci', hash: hash('c'), active: true },
      { workload: WORKLOAD, hash: hash('a'), active: false },
      { workload: WORKLOAD, hash: hash('b'), active: true },
    ]);
    const read = await store.readPolicy(WORKLOAD);
    expect(read).toEqual({ policy: aPolicy({ limits: { max: 7 } }), active: true });
  });

  test('a policy that comes back is in force again without a second row', async ({ db }) => {
    await stopClock(db);
    const store = createPlanningStore(db);
    for (const digit of ['a', 'b', 'a']) {
      await store.recordPolicies([{ policy: aPolicy({ limits: { max: digit === 'a' ? 1 : 2 } }), hash: hash(digit) }]);
      await passTime(db, 1);
    }

    expect(await versions(db)).toEqual([
      { workload: WORKLOAD, hash: hash('a'), active: true },
      { workload: WORKLOAD, hash: hash('b'), active: false },
    ]);
    expect((await store.readPolicy(WORKLOAD))?.policy.burst.limits.max).toBe(1);
  });

  test('a policy whose file is gone is still known for the machines it left behind', async ({ db }) => {
    const store = createPlanningStore(db);
    await store.recordPolicies([{ policy: aPolicy(), hash: hash('a') }]);

    await store.recordPolicies([]);

    expect(await store.readPolicy(WORKLOAD)).toEqual({ policy: aPolicy(), active: false });
    expect(await store.readPolicy('never-heard-of')).toBeNull();
  });
});
