import { sql } from 'kysely';
import { describe, expect } from 'vitest';
import type { AgentId } from '../../src/model/ids.ts';
import type { Db } from '../../src/store/database.ts';
import { createPlanningStore } from '../../src/store/planning.ts';
import { createLearningStore } from '../../src/store/workload-times.ts';
import { NOW_MS, WORKLOAD, aMachine, aPolicy, aTask, anAgent, stopClock } from '../support/builders.ts';
import { test } from '../support/database.ts';

/** Ended tasks that ran for so many seconds each. */
async function ranFor(db: Db, seconds: readonly number[]): Promise<void> {
  for (const [index, ranS] of seconds.entries()) {
    const id = await aTask(db);
    await sql`update spillway.tasks set state = 'done', attempt = 1, exit_code = 0,
        started_at = ${new Date(NOW_MS - 1000 * (ranS + index))}, finished_at = ${new Date(NOW_MS - 1000 * index)}
      where id = ${id}`.execute(db);
  }
}

/** A machine that became ready just now. */
async function joined(db: Db, tookS: number): Promise<void> {
  const { id } = await aMachine(db, 'joining', { ageMs: tookS * 1000 });
  const agentId = await anAgent(db, { machineId: id });
  await db.transaction().execute(async (tx) => {
    await sql`update spillway.machines set state = 'ready', revision = revision + 1, state_since = spillway.now(), agent_id = ${agentId}
      where id = ${id}`.execute(tx);
    await sql`insert into spillway.machine_events (machine_id, at, from_state, to_state, actor, reason)
      values (${id}, spillway.now(), 'joining', 'ready', 'test', 'agent-reported')`.execute(tx);
  });
}

async function timesOf(db: Db) {
  await createLearningStore(db).learnTimes([WORKLOAD]);
  const facts = await createPlanningStore(db).readFacts([aPolicy()]);
  return facts.workloads.get(WORKLOAD)?.times;
}

describe('the times of a workload', () => {
  test('are quantiles over its newest ended tasks', async ({ db }) => {
    await stopClock(db);
    await ranFor(
      db,
      Array.from({ length: 21 }, (_unused, index) => 100 + index * 10),
    );
    expect(await timesOf(db)).toEqual({ runP50S: 200, runP95S: 290, joinP50S: null });
  });

  test('are not told of a handful of tasks', async ({ db }) => {
    await stopClock(db);
    await ranFor(db, [100, 100, 100]);
    expect(await timesOf(db)).toEqual({ runP50S: null, runP95S: null, joinP50S: null });
  });

  test('know how long machines took to join, from the wish to the first moment of work', async ({ db }) => {
    await stopClock(db);
    for (const tookS of [50, 70, 300]) await joined(db, tookS);
    expect(await timesOf(db)).toMatchObject({ joinP50S: 70 });
  });

  test('are learned anew, and forgotten of nobody who is not asked about', async ({ db }) => {
    await stopClock(db);
    const learning = createLearningStore(db);
    await ranFor(
      db,
      Array.from({ length: 20 }, () => 60),
    );
    await learning.learnTimes([WORKLOAD]);
    await ranFor(
      db,
      Array.from({ length: 30 }, () => 600),
    );
    expect(await timesOf(db)).toMatchObject({ runP50S: 600 });
    await learning.learnTimes(['another']);
    const facts = await createPlanningStore(db).readFacts([aPolicy()]);
    expect(facts.workloads.get(WORKLOAD)?.times).toMatchObject({ runP50S: 600 });
  });
});

describe('what running tasks will give back', () => {
  const shape = { cpuMilli: 2000, memoryMib: 1024, gpus: 0 };

  async function running(db: Db, agentId: AgentId, sinceS: number, runTimeS: number | null): Promise<void> {
    const id = await aTask(db, { state: 'running', agentId, shape, ...(runTimeS === null ? {} : { runTimeS }) });
    await sql`update spillway.tasks set started_at = ${new Date(NOW_MS - sinceS * 1000)} where id = ${id}`.execute(db);
  }

  async function freeingOf(db: Db, agentId: AgentId) {
    const { agents } = await createPlanningStore(db).readFacts([aPolicy()]);
    return agents.find(({ id }) => id === agentId)?.freeing;
  }

  test('is told in steps of a quarter of a minute, never sooner than declared', async ({ db }) => {
    await stopClock(db);
    const agentId = await anAgent(db);
    await running(db, agentId, 100, 131);
    await running(db, agentId, 100, 145);
    await running(db, agentId, 100, 160);
    expect(await freeingOf(db, agentId)).toEqual([
      { inS: 45, resources: { cpuMilli: 4000, memoryMib: 2048, gpus: 0 } },
      { inS: 60, resources: shape },
    ]);
  });

  test('is unknown of tasks that are over their time, that end in hours, or that run in the cloud', async ({ db }) => {
    await stopClock(db);
    const agentId = await anAgent(db);
    await running(db, agentId, 100, 90);
    await running(db, agentId, 100, 9000);
    await running(db, agentId, 100, null);
    const { agentId: cloudAgent } = await aMachine(db, 'ready');
    if (cloudAgent !== null) await running(db, cloudAgent, 100, 131);
    const { agents } = await createPlanningStore(db).readFacts([aPolicy()]);
    expect(agents.map(({ freeing }) => freeing)).toEqual([undefined, undefined]);
  });

  test.for([
    ['alike', 110, [{ inS: 15, resources: shape }]],
    ['unlike', 1000, undefined],
  ] as const)('is learned of a workload whose tasks are %s', async ([, longestS, expected], { db }) => {
    await stopClock(db);
    await ranFor(
      db,
      Array.from({ length: 40 }, (_unused, index) => (index % 2 === 0 ? 100 : longestS)),
    );
    await createLearningStore(db).learnTimes([WORKLOAD]);
    const agentId = await anAgent(db);
    await running(db, agentId, 95, null);
    expect(await freeingOf(db, agentId)).toEqual(expected);
  });
});
