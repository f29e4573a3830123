import { describe, expect } from 'vitest';
import type { AgentId, MachineId, TaskId } from '../../src/model/ids.ts';
import type { AgentReport, ReportedTask } from '../../src/ports/agent-gateway.ts';
import type { ReportOf, ReportResult } from '../../src/ports/tasks.ts';
import type { Db } from '../../src/store/database.ts';
import { createAgentStore } from '../../src/store/agents.ts';
import { createMemoryStore } from '../../src/store/memory.ts';
import { aMachine, anAgent, anId, aReport, aTask, NOW_MS, passTime, stopClock } from '../support/builders.ts';
import { test } from '../support/database.ts';

const LEASE_MS = 60_000;

async function report(db: Db, agentId: AgentId, overrides: Partial<AgentReport> = {}): Promise<ReportResult> {
  const [result] = await createAgentStore(db).writeReports([{ agentId, report: aReport(overrides) }], LEASE_MS);
  return result!;
}

function running(taskId: TaskId, attempt = 1, progressBase64: string | null = null): ReportedTask {
  return { taskId, attempt, state: 'running', progressBase64 };
}

function exited(taskId: TaskId, exitCode: number, attempt = 1, progressBase64: string | null = null): ReportedTask {
  return { taskId, attempt, state: 'exited', exitCode, progressBase64 };
}

const agentOf = async (db: Db, id: AgentId) =>
  await db.selectFrom('agents').selectAll().where('id', '=', id).executeTakeFirstOrThrow();
const machineOf = async (db: Db, id: MachineId) =>
  await db.selectFrom('machines').selectAll().where('id', '=', id).executeTakeFirstOrThrow();

describe('the idle clock of a machine', () => {
  const idleSince = async (db: Db, id: MachineId) => (await machineOf(db, id)).idle_since?.getTime() ?? null;

  test('starts with the first report without work, and any work stops it', async ({ db }) => {
    await stopClock(db);
    const { id, agentId } = await aMachine(db, 'ready');
    const leased = await aTask(db, { agentId: agentId!, state: 'leased' });
    const seen: (number | null)[] = [];
    const reports: readonly (readonly ReportedTask[])[] = [
      [],
      [running(leased)],
      [exited(leased, 0)],
      [],
      [running(anId('tk'))],
      [],
    ];
    for (const [index, tasks] of reports.entries()) {
      await report(db, agentId!, { seq: index + 1, tasks });
      seen.push(await idleSince(db, id));
      await passTime(db, 1000);
    }

    expect(seen).toEqual([null, null, NOW_MS + 2000, NOW_MS + 2000, null, NOW_MS + 5000]);
  });

  test('is no reason to wake a ready machine, but each report wakes one that drains', async ({ db }) => {
    await stopClock(db);
    const ready = await aMachine(db, 'ready', { dueMs: -60_000 });
    const draining = await aMachine(db, 'draining', { dueMs: -60_000 });

    expect(await report(db, ready.agentId!)).toMatchObject({ waitingMachineId: null, leave: false });
    expect(await report(db, draining.agentId!)).toMatchObject({ waitingMachineId: draining.id, leave: false });

    expect(await machineOf(db, ready.id)).toMatchObject({ wake_at: new Date(NOW_MS + 60_000) });
    expect(await machineOf(db, draining.id)).toMatchObject({ wake_at: new Date(NOW_MS) });
  });

  test('of a machine that is leaving stands beside the word that its agent may go', async ({ db }) => {
    const { agentId } = await aMachine(db, 'leaving');

    expect(await report(db, agentId!)).toMatchObject({ leave: true, cordoned: true, waitingMachineId: null });
  });
});

describe('samples', () => {
  test('tell what was used, what was promised and how much ran', async ({ db }) => {
    await stopClock(db);
    const agentId = await anAgent(db);
    const taskId = await aTask(db, { agentId, state: 'running', shape: { cpuMilli: 700, memoryMib: 300, gpus: 0 } });
    await report(db, agentId, { tasks: [running(taskId)] });
    await passTime(db, 1000);
    await report(db, agentId, { seq: 2, used: null, tasks: [exited(taskId, 0)] });

    const samples = await db.selectFrom('samples').selectAll().orderBy('at').execute();
    expect(samples).toMatchObject([
      {
        agent_id: agentId,
        at: new Date(NOW_MS),
        used_cpu_milli: 500,
        used_memory_mib: 1024,
        allocated_cpu_milli: 700,
        allocated_memory_mib: 300,
        running_tasks: 1,
      },
      { used_cpu_milli: null, used_memory_mib: null, running_tasks: 0 },
    ]);
    expect(await agentOf(db, agentId)).toMatchObject({ used_cpu_milli: null, running_tasks: 0 });
  });
});

describe('a batch', () => {
  test('of two hundred reports gives each its own answer, in the order it was asked', async ({ db }) => {
    const reports: ReportOf[] = [];
    const tasks: TaskId[] = [];
    for (let index = 0; index < 200; index += 1) {
      const agentId = index % 50 === 7 ? anId('ag') : await anAgent(db, { removed: index % 50 === 8 });
      const taskId = index % 50 === 7 ? anId('tk') : await aTask(db, { agentId, state: 'leased' });
      tasks.push(taskId);
      const word = index % 2 === 0 ? running(taskId) : exited(taskId, 0);
      reports.push({ agentId, report: aReport({ tasks: [word] }) });
    }
    reports.reverse();
    tasks.reverse();

    const results = await createAgentStore(db).writeReports(reports, LEASE_MS);

    expect(results.map(({ agentId }) => agentId)).toEqual(reports.map(({ agentId }) => agentId));
    const kinds = Object.groupBy(results, ({ kind }) => kind);
    expect(kinds.accepted).toHaveLength(192);
    expect(kinds['unknown-agent']).toHaveLength(8);
    for (const [index, result] of results.entries()) {
      if (result.kind !== 'accepted') continue;
      const mine = result.held.length === 1 ? result.held[0]?.id : result.ended[0]?.taskId;
      expect(mine).toBe(tasks[index]);
    }
    const states = await db.selectFrom('tasks').select('state').where('state', 'in', ['running', 'done']).execute();
    expect(states).toHaveLength(192);
    expect(await db.selectFrom('samples').selectAll().execute()).toHaveLength(192);
  });

  test('and another with the same agents in another order wait for each other instead of deadlocking', async ({
    db,
  }) => {
    const agents: AgentId[] = [];
    for (let index = 0; index < 40; index += 1) {
      const { agentId } = await aMachine(db, 'ready');
      await aTask(db, { agentId: agentId!, state: 'leased' });
      agents.push(agentId!);
    }
    const store = createAgentStore(db);
    const batch = (seq: number): ReportOf[] => agents.map((agentId) => ({ agentId, report: aReport({ seq }) }));

    const results = await Promise.all(
      [1, 2, 3, 4].map((seq) => store.writeReports(seq % 2 === 0 ? batch(seq).reverse() : batch(seq), LEASE_MS)),
    );

    expect(results.flat().filter(({ kind }) => kind === 'accepted').length).toBeGreaterThanOrEqual(agents.length);
    expect(await db.selectFrom('agents').select('seq').distinct().execute()).toEqual([{ seq: 4 }]);
  });
});

describe('while the database knows that it lost commits', () => {
  const forget = async (db: Db) => await createMemoryStore(db).declare({ reason: 'lost-lease', evidence: {} });
  const taskOf = async (db: Db, id: TaskId) =>
    await db
      .selectFrom('tasks')
      .select(['state', 'attempt', 'agent_id'])
      .where('id', '=', id)
      .executeTakeFirstOrThrow();

  test('what an agent runs belongs to it, whatever attempt it is', async ({ db }) => {
    const agentId = await anAgent(db);
    const pending = await aTask(db, { state: 'pending', attempt: 1 });
    await forget(db);

    const result = await report(db, agentId, { tasks: [running(pending, 3)] });

    expect(result).toMatchObject({ foreign: [], held: [{ id: pending, attempt: 3, state: 'running' }] });
    expect(await taskOf(db, pending)).toEqual({ state: 'running', attempt: 3, agent_id: agentId });
    expect(await report(db, agentId, { seq: 2, tasks: [exited(pending, 0, 3)] })).toMatchObject({ foreign: [] });
    expect(await taskOf(db, pending)).toMatchObject({ state: 'done' });
  });

  test('the agent of a machine that was joined anew has the work of the one before it', async ({ db }) => {
    const { id, agentId } = await aMachine(db, 'joining', { agent: { removed: true } });
    const before = agentId ?? (await anAgent(db, { machineId: id, removed: true }));
    const task = await aTask(db, { state: 'running', agentId: before });
    const after = await anAgent(db, { machineId: id });
    await forget(db);

    expect(await report(db, after, { tasks: [running(task)] })).toMatchObject({ foreign: [] });
    expect(await taskOf(db, task)).toMatchObject({ state: 'running', agent_id: after });
  });

  test('work that another has, that has a later attempt, or that is over, is not given back', async ({ db }) => {
    const agentId = await anAgent(db);
    const other = await anAgent(db);
    const tasks = [
      await aTask(db, { state: 'leased', agentId: other }),
      await aTask(db, { state: 'pending', attempt: 2 }),
      await aTask(db, { state: 'done', agentId: other }),
    ];
    const rows = await Promise.all(tasks.map(async (id) => await taskOf(db, id)));
    await forget(db);

    const result = await report(db, agentId, { tasks: tasks.map((id) => running(id)) });

    expect(result.foreign.map(({ taskId }) => taskId)).toEqual(tasks);
    expect(await Promise.all(tasks.map(async (id) => await taskOf(db, id)))).toEqual(rows);
  });

  test('and only then: a task that is pending otherwise was taken from its agent', async ({ db }) => {
    const agentId = await anAgent(db);
    const pending = await aTask(db, { state: 'pending', attempt: 1 });

    expect(await report(db, agentId, { tasks: [running(pending)] })).toMatchObject({
      foreign: [{ taskId: pending, attempt: 1 }],
    });
  });
});
