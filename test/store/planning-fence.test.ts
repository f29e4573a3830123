import { describe, expect } from 'vitest';
import { createLeadership } from '../../src/store/leadership.ts';
import { createPlanningStore } from '../../src/store/planning.ts';
import { aMachine, anId, eventsSince, NOW_MS, passTime, stopClock } from '../support/builders.ts';
import { test } from '../support/database.ts';
import { untilBlocked, withOpenTransaction } from './blocked.ts';
import { TTL_MS, lead, aNewLaunch, aCommit, step, counts, agentOf, machineOf } from './planning-commits.ts';

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
    const events = await eventsSince(db);
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
    expect(await eventsSince(db)).toEqual([]);
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
