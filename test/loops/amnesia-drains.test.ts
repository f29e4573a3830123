/**
 * Goal: a row on its way out that is older than what became of its machine ends no work. Lost commits may have called its drain off,
 * or stopped the machine, started it again and put it to work.
 * Method: as in `amnesia.test.ts`: the rows go back to a snapshot while the world stays as it is, and `WorldTruth` throws the
 * moment a machine at work is stopped or ended.
 */
import { sql } from 'kysely';
import { describe, expect } from 'vitest';
import { checkMemory } from '../../src/loops/recollection.ts';
import type { MachineState } from '../../src/model/machine.ts';
import { test } from '../support/database.ts';
import { takeSnapshot, type Snapshot } from '../support/world-restore.ts';
import { worldPolicy } from '../support/world-policy.ts';
import { onlyInstanceId, onlyMachine } from '../support/world-rows.ts';
import { CALM, World } from '../support/world.ts';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const HOLD = 'hold-on';
/** One machine, which is stopped when it is let go, and whose hooks can hold it on its way. */
const POOLED = worldPolicy({
  limits: { max: 1 },
  burst: { warmPool: { max: 1, maxAgeMs: HOUR } },
  drain: { hooks: { beforeDrain: null, beforeTerminate: HOLD } },
});
const HEALTHY_FIRST = worldPolicy({
  limits: { max: 1 },
  demand: { freshnessMs: HOUR },
  drain: { hooks: { beforeDrain: null, beforeTerminate: null, health: HOLD } },
});

type Pool = Parameters<typeof World.create>[0];

async function untilState(world: World, state: MachineState): Promise<void> {
  await world.runUntil(`it is ${state}`, async () => (await world.count('machines', state)) === 1, 2 * HOUR);
}

async function untilTask(world: World, state: 'running' | 'done', count: number): Promise<void> {
  await world.runUntil(`${count} are ${state}`, async () => (await world.count('tasks', state)) === count, HOUR);
}

async function restart(world: World, snapshot: Snapshot): Promise<void> {
  await snapshot.restore();
  world.crash();
  await checkMemory(world.process.loops);
  expect(await isForgetful(world)).toBe(true);
}

async function isForgetful(world: World): Promise<boolean> {
  const row = await world.db.selectFrom('amnesia').select('since').executeTakeFirstOrThrow();
  return row.since !== null;
}

async function untilRecovered(world: World): Promise<void> {
  await world.runUntil('the memory is back', async () => !(await isForgetful(world)), HOUR, 5000);
}

/** Every task of the world, as often as it was begun. */
async function attempts(world: World): Promise<readonly object[]> {
  return await world.db.selectFrom('tasks').select(['state', 'attempt']).orderBy('id').execute();
}

/** A machine that is at work after a stop and a start, and a snapshot in which it is still in `state` and its work waits. */
async function startedSince(pool: Pool, state: 'ready' | 'draining' | 'leaving') {
  const world = await World.create(pool, { policies: [POOLED], ...CALM, types: ['c5.large'] });
  world.hosts.manners.exits.set(HOLD, 1);
  await world.submit(1, 30);
  await untilTask(world, 'done', 1);
  await untilState(world, state);
  let snapshot = await takeSnapshot(world.db);
  await untilState(world, 'leaving');
  await world.submit(1, 1200);
  // Of the machine the snapshot knows what it knew then, of the work that it waits.
  if (state === 'leaving') snapshot = await takeSnapshot(world.db);
  else
    await sql`insert into ${sql.id(snapshot.schema, 'tasks')} select * from spillway.tasks t
    where not exists (select from ${sql.id(snapshot.schema, 'tasks')} b where b.id = t.id)`.execute(world.db);
  world.hosts.manners.exits.clear();
  await untilTask(world, 'running', 1);
  expect((await world.history())[0]).toContain('stopped>booting machine-started');
  return { world, snapshot, instanceId: await onlyInstanceId(world) };
}

describe.each(['ready', 'draining', 'leaving'] as const)(
  'a machine that lost commits had stopped, started and put to work, and whose row says %s',
  (state) => {
    test('is joined anew, keeps its work, and is not ended', { timeout: 60_000 }, async ({ pool }) => {
      const { world, snapshot, instanceId } = await startedSince(pool, state);
      await restart(world, snapshot);
      expect((await onlyMachine(world)).state).toBe(state);
      const { terminateCalls } = world.truth;
      await untilRecovered(world);
      expect(await onlyMachine(world)).toMatchObject({ state: 'ready', instanceId });
      expect((await world.history())[0]).toContain(`${state}>booting started-by-others`);
      await untilTask(world, 'done', 2);
      expect(await attempts(world)).toEqual([
        { state: 'done', attempt: 1 },
        { state: 'done', attempt: 1 },
      ]);
      expect(world.truth.terminateCalls).toBe(terminateCalls);
      expect(world.truth.instances()).toHaveLength(1);
    });
  },
);

describe('a machine whose drain lost commits had called off, and which works', () => {
  test('is not ended before its agent has told again what it runs', { timeout: 60_000 }, async ({ pool }) => {
    // Its lease is so long that it works on through an amnesia in which nothing is heard of it.
    const world = await World.create(pool, {
      policies: [HEALTHY_FIRST],
      ...CALM,
      heartbeatS: 300,
      types: ['c5.large'],
    });
    world.hosts.manners.exits.set(HOLD, 1);
    await world.submit(1, 30);
    await untilTask(world, 'done', 1);
    await untilState(world, 'draining');
    await world.runUntil('the cordon is acknowledged', async () => {
      const agents = await world.db.selectFrom('agents').select('cordon_acked_at').execute();
      return agents.some(({ cordon_acked_at: ackedAt }) => ackedAt !== null);
    });
    await world.run(MINUTE);
    const snapshot = await takeSnapshot(world.db);
    await world.submit(1, 1200);
    await untilTask(world, 'running', 1);
    const [agent] = world.hosts.listAgents();
    if (agent === undefined) throw new Error('no agent');
    agent.silent = true;
    await restart(world, snapshot);
    world.hosts.manners.exits.clear();
    await untilRecovered(world);
    await world.run(2 * MINUTE);
    expect((await onlyMachine(world)).state).toBe('draining');
    expect(agent.runningTasks()).toHaveLength(1);
    expect(world.truth.terminateCalls).toBe(0);
  });

  test('must pass the hook `health` anew', { timeout: 60_000 }, async ({ pool }) => {
    const world = await World.create(pool, { policies: [HEALTHY_FIRST], ...CALM, types: ['c5.large'] });
    world.hosts.manners.exits.set(HOLD, 1);
    await world.submit(1, 30);
    await untilTask(world, 'done', 1);
    await untilState(world, 'draining');
    await world.process.loops.memory.declare({ reason: 'lost-lease', evidence: {} });
    await sql`update spillway.machines set drain_done = '{health}'`.execute(world.db);
    expect(await isForgetful(world)).toBe(true);
    await untilRecovered(world);
    await world.run(10 * MINUTE);
    expect((await onlyMachine(world)).state).toBe('draining');
    world.hosts.manners.exits.clear();
    await untilState(world, 'terminated');
  });
});
