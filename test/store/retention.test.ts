import { describe, expect } from 'vitest';
import { readAgentEvents } from '../../src/store/agent-events.ts';
import { createAgentOrdering } from '../../src/store/agent-orders.ts';
import { createLaunchStore } from '../../src/store/launches.ts';
import { createRetentionStore } from '../../src/store/retention.ts';
import { aLaunch, anAgent, aPlanRow, aTask, NOW_MS, passTime, stopClock } from '../support/builders.ts';
import { test } from '../support/database.ts';

const DAY_MS = 86_400_000;

describe('forget', () => {
  test('deletes old samples, logs of tasks long over and plans that did nothing, and nothing else', async ({ db }) => {
    await stopClock(db);
    const agentId = await anAgent(db);
    const quiet = await aPlanRow(db);
    const acting = await aPlanRow(db);
    // However old it is: a launch that is not there any more would say that commits were lost.
    const launchId = await aLaunch(db, { planId: acting, state: 'refused' });
    const over = await aTask(db, { agentId, state: 'done' });
    const long = await aTask(db, { agentId, state: 'running' });
    await db
      .updateTable('tasks')
      .set({ finished_at: new Date(NOW_MS) })
      .where('id', '=', over)
      .execute();
    for (const [task_id, text] of [
      [over, 'old'],
      [long, 'alive'],
    ] as const) {
      await db
        .insertInto('task_logs')
        .values({ task_id, attempt: 1, byte_offset: 0, content: Buffer.from(text) })
        .execute();
    }
    const sample = { agent_id: agentId, allocated_cpu_milli: 0, allocated_memory_mib: 0, running_tasks: 0 };
    await db
      .insertInto('samples')
      .values({ ...sample, at: new Date(NOW_MS) })
      .execute();
    await passTime(db, DAY_MS + 1);
    await db
      .insertInto('samples')
      .values({ ...sample, at: new Date(NOW_MS + DAY_MS) })
      .execute();
    const fresh = await aPlanRow(db);

    expect(await createRetentionStore(db).forget(DAY_MS, 100)).toBe(3);

    expect(await db.selectFrom('launches').select('id').execute()).toEqual([{ id: launchId }]);
    const plans = await db.selectFrom('plans').select('id').orderBy('id').execute();
    expect(plans.map(({ id }) => id)).toEqual([acting, fresh]);
    expect(plans.map(({ id }) => id)).not.toContain(quiet);
    expect(await db.selectFrom('task_logs').select('task_id').execute()).toEqual([{ task_id: long }]);
    expect(await db.selectFrom('samples').select('at').execute()).toEqual([{ at: new Date(NOW_MS + DAY_MS) }]);
    expect(await createRetentionStore(db).forget(DAY_MS, 100)).toBe(0);
  });

  test('deletes holds that ended long ago, but not those of a workload', async ({ db }) => {
    await stopClock(db);
    const launches = createLaunchStore(db);
    const launchId = await aLaunch(db);
    const terms = { errorClass: 'quota', errorCode: 'x', detail: '', minMs: 1000, maxMs: 1000 } as const;
    await launches.hold(launchId, { ...terms, scope: 'region', name: 'eu-central-1' });
    await launches.hold(launchId, { ...terms, scope: 'workload', name: 'transcode' });
    await passTime(db, DAY_MS + 1001);

    expect(await createRetentionStore(db).forget(DAY_MS, 100)).toBe(1);

    expect(await db.selectFrom('launch_holds').select('scope').execute()).toEqual([{ scope: 'workload' }]);
  });

  test('deletes old orders to agents, but not the newest of an agent that is there: it says why it is cordoned', async ({
    db,
  }) => {
    await stopClock(db);
    const ordering = createAgentOrdering(db);
    const ada = { by: 'ada', reason: null };
    const [stays, goes] = [await anAgent(db, { name: 'stays' }), await anAgent(db, { name: 'goes' })];
    await ordering.setCordon('stays', 'cordon', ada);
    await ordering.setCordon('stays', 'uncordon', ada);
    await ordering.setCordon('stays', 'drain', ada);
    await ordering.remove('goes', false, ada);
    await passTime(db, DAY_MS + 1);

    expect(await createRetentionStore(db).forget(DAY_MS, 100)).toBe(3);

    expect(await readAgentEvents(db, stays)).toMatchObject([{ event: 'drain' }]);
    expect(await readAgentEvents(db, goes)).toEqual([]);
  });

  test('deletes at most so many of each kind at a time', async ({ db }) => {
    await stopClock(db);
    for (let index = 0; index < 5; index += 1) await aPlanRow(db);
    await passTime(db, DAY_MS + 1);
    const retention = createRetentionStore(db);

    expect([
      await retention.forget(DAY_MS, 2),
      await retention.forget(DAY_MS, 2),
      await retention.forget(DAY_MS, 2),
    ]).toEqual([2, 2, 1]);
  });
});
