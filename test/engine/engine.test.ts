import { describe, expect } from 'vitest';
import type { TaskId } from '../../src/model/ids.ts';
import type { Db } from '../../src/store/database.ts';
import { anAgent, passTime, stopClock } from '../support/builders.ts';
import { test } from '../support/database.ts';
import { until } from '../support/wait.ts';
import { startEngine, TIMING } from './start-engine.ts';

const LEASE_MS = TIMING.leaseS * 1000;

/** State and attempt of every task, in the order in which they were submitted. */
async function statesOf(db: Db): Promise<[string, number][]> {
  const rows = await db.selectFrom('tasks').select(['state', 'attempt']).orderBy('submitted_at').execute();
  return rows.map(({ state, attempt }) => [state, attempt]);
}
const sorted = (ids: readonly string[]): string[] => [...ids].sort();

describe('a task', () => {
  test('is submitted, leased, run and done', async ({ db, databaseUrl }) => {
    await using engine = await startEngine(db, databaseUrl);
    const agent = engine.agent(await anAgent(db));
    const [taskId] = await engine.submit(1, { command: ['printf', '%s', "it's"] });
    expect(engine.woken).toEqual({ assigner: 1, planner: 1 });

    expect(await engine.assign()).toBe(true);
    const orders = await agent.beat();
    expect(orders).toMatchObject({ timing: TIMING, stop: [], ack: [], leave: false, cordon: { cordoned: false } });
    expect(orders.run).toEqual([
      {
        taskId,
        attempt: 1,
        shape: { cpuMilli: 1000, memoryMib: 1024, gpus: 0 },
        script: String.raw`exec 'printf' '%s' 'it'\''s'` + '\n',
        progressBase64: null,
      },
    ]);

    agent.obey(orders);
    expect((await agent.beat()).run).toEqual([]);
    agent.finish();
    const last = await agent.beat();

    expect(last.ack).toEqual([{ taskId, attempt: 1 }]);
    expect(await statesOf(db)).toEqual([['done', 1]]);
    expect(engine.woken).toEqual({ assigner: 2, planner: 2 });
    agent.obey(last);
    expect(await agent.beat()).toMatchObject({ run: [], ack: [], stop: [] });
    expect(await engine.assign()).toBe(false);
  });

  test('that failed is over too, and is not run again', async ({ db, databaseUrl }) => {
    await using engine = await startEngine(db, databaseUrl);
    const agent = engine.agent(await anAgent(db));
    await engine.submit(1);
    await engine.assign();
    agent.obey(await agent.beat());
    agent.finish(3);
    await agent.beat();

    await engine.recover();

    expect(await engine.assign()).toBe(false);
    expect(await statesOf(db)).toEqual([['failed', 1]]);
  });

  test('whose order was lost on the way is ordered again until it is seen to run', async ({ db, databaseUrl }) => {
    await using engine = await startEngine(db, databaseUrl);
    const agent = engine.agent(await anAgent(db));
    await engine.submit(1);
    await engine.assign();

    const [first, second] = [await agent.beat(), await agent.beat()];

    expect(second.run).toEqual(first.run);
    expect(await statesOf(db)).toEqual([['leased', 1]]);
  });
});

describe('an agent that falls silent', () => {
  test('loses its task to another, and its late word is answered with stop', async ({ db, databaseUrl }) => {
    await stopClock(db);
    await using engine = await startEngine(db, databaseUrl);
    const silent = engine.agent(await anAgent(db));
    const [taskId] = await engine.submit(1);
    await engine.assign();
    silent.obey(await silent.beat());
    silent.tasks = [{ taskId: taskId!, attempt: 1, state: 'running', progressBase64: 'aGFsZg==' }];
    await silent.beat();
    const other = engine.agent(await anAgent(db));

    await passTime(db, LEASE_MS - 1);
    expect(await engine.recover()).toBe(0);
    await passTime(db, 1);
    expect(await engine.recover()).toBe(1);
    await other.beat();
    expect(await engine.assign()).toBe(true);

    const orders = await other.beat();
    expect(orders.run).toMatchObject([{ taskId, attempt: 2, progressBase64: 'aGFsZg==' }]);
    expect((await silent.beat()).stop).toEqual([{ taskId, attempt: 1 }]);
    silent.finish();
    expect((await silent.beat()).ack).toEqual([{ taskId, attempt: 1 }]);
    expect(await statesOf(db)).toEqual([['leased', 2]]);

    other.obey(orders);
    other.finish();
    await other.beat();
    expect(await statesOf(db)).toEqual([['done', 2]]);
  });

  test('and comes back before anyone else took its task gets it as a new attempt', async ({ db, databaseUrl }) => {
    await stopClock(db);
    await using engine = await startEngine(db, databaseUrl);
    const agent = engine.agent(await anAgent(db));
    const [taskId] = await engine.submit(1);
    await engine.assign();
    agent.obey(await agent.beat());
    await agent.beat();
    await passTime(db, LEASE_MS);
    await engine.recover();

    const orders = await agent.beat();
    expect(orders).toMatchObject({ run: [], stop: [{ taskId, attempt: 1 }] });
    agent.obey(orders);
    await engine.assign();

    expect((await agent.beat()).run).toMatchObject([{ taskId, attempt: 2 }]);
  });

  test('but reports again before its leases are taken back keeps them', async ({ db, databaseUrl }) => {
    await stopClock(db);
    await using engine = await startEngine(db, databaseUrl);
    const agent = engine.agent(await anAgent(db));
    await engine.submit(1);
    await engine.assign();
    agent.obey(await agent.beat());
    await agent.beat();
    await passTime(db, LEASE_MS + 5000);

    expect((await agent.beat()).stop).toEqual([]);

    expect(await engine.recover()).toBe(0);
    expect(await statesOf(db)).toEqual([['running', 1]]);
  });

  test('for good leaves no task behind in a queue that only time would open', async ({ db, databaseUrl }) => {
    await stopClock(db);
    await using engine = await startEngine(db, databaseUrl);
    const [lost, found] = [engine.agent(await anAgent(db)), engine.agent(await anAgent(db))];
    await engine.submit(8);
    while (await engine.assign()) await lost.beat();
    const mine = await found.beat();
    await passTime(db, LEASE_MS);
    await engine.recover();

    const seen = new Set<TaskId>();
    await found.beat();
    await until('all tasks have run', async () => {
      await engine.recover();
      await engine.assign();
      const orders = await found.beat();
      found.obey(orders);
      for (const { taskId } of orders.run) seen.add(taskId);
      found.finish();
      found.obey(await found.beat());
      return seen.size === 8;
    });

    expect(mine.run).toHaveLength(4);
    expect((await statesOf(db)).every(([state]) => state === 'done')).toBe(true);
  });
});

describe('an emptied queue', () => {
  test('loses no task', async ({ db, databaseUrl }) => {
    await using engine = await startEngine(db, databaseUrl);
    const agent = engine.agent(await anAgent(db));
    const ids = await engine.submit(3);
    await engine.emptyQueues();

    expect(await engine.assign()).toBe(true);

    expect(sorted((await agent.beat()).run.map(({ taskId }) => taskId))).toEqual(sorted(ids));
  });

  test('does not stop what runs: it ends as if nothing had been', async ({ db, databaseUrl }) => {
    await using engine = await startEngine(db, databaseUrl);
    const agent = engine.agent(await anAgent(db));
    await engine.submit(2);
    await engine.assign();
    agent.obey(await agent.beat());
    await engine.emptyQueues();

    expect(await agent.beat()).toMatchObject({ stop: [] });
    agent.finish();
    expect((await agent.beat()).ack).toHaveLength(2);

    expect(await statesOf(db)).toEqual([
      ['done', 1],
      ['done', 1],
    ]);
  });

  test('that is never found empty again, because work keeps coming, still gives up the oldest', async ({
    db,
    databaseUrl,
  }) => {
    await using engine = await startEngine(db, databaseUrl);
    const agent = engine.agent(await anAgent(db, { capacity: { cpuMilli: 1000, memoryMib: 1024, gpus: 0 } }));
    const capacity = { cpuMilli: 1000, memoryMib: 1024, gpus: 0 };
    const [oldest] = await engine.submit(1);
    await engine.emptyQueues();

    // One place, and two new tasks for each that ends: the queue never runs dry.
    const given: TaskId[] = [];
    await engine.submit(2);
    for (let turn = 0; turn < 6 && !given.includes(oldest!); turn += 1) {
      await engine.recover();
      await engine.assign();
      const orders = await agent.beat({ capacity });
      given.push(...orders.run.map(({ taskId }) => taskId));
      agent.obey(orders);
      agent.finish();
      agent.obey(await agent.beat({ capacity }));
      await engine.submit(2);
    }

    expect(given).toContain(oldest);
  });
});

describe('a job that its agent could not have', () => {
  test('goes back to the queue and is given to another', async ({ db, databaseUrl }) => {
    await using engine = await startEngine(db, databaseUrl);
    const first = await anAgent(db, { capacity: { cpuMilli: 1000, memoryMib: 1024, gpus: 0 } });
    const agents = new Set<string>();
    // The agent is cordoned between the look for room and the lease, as a drain does it.
    const { tasks } = engine.ports;
    const cordoning = {
      ...tasks,
      lease: async (...args: Parameters<typeof tasks.lease>) => {
        agents.add(args[0]);
        if (agents.size === 1) await db.updateTable('agents').set({ cordoned: true }).where('id', '=', first).execute();
        return await tasks.lease(...args);
      },
    };
    await using racing = await startEngine(db, databaseUrl, { tasks: cordoning });
    const [wanted] = await racing.submit(1);

    expect(await racing.assign()).toBe(false);
    expect(await statesOf(db)).toEqual([['pending', 0]]);
    const second = engine.agent(await anAgent(db));
    await engine.submit(1);
    await engine.assign();

    const run = (await second.beat()).run.map(({ taskId }) => taskId);
    expect(run).toHaveLength(2);
    expect(run).toContain(wanted);
  });
});
