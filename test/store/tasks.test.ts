import { describe, expect } from 'vitest';
import { ANYWHERE } from '../../src/model/constraints.ts';
import type { AgentId, TaskId } from '../../src/model/ids.ts';
import type { Db } from '../../src/store/database.ts';
import { transitionMachine } from '../../src/store/machines.ts';
import { createTaskStore } from '../../src/store/tasks.ts';
import { aMachine, anAgent, anId, aTask, NOW_MS, passTime, stopClock, WORKLOAD } from '../support/builders.ts';
import { test } from '../support/database.ts';
import { untilBlocked, withOpenTransaction } from './blocked.ts';

const SHAPE = { cpuMilli: 1000, memoryMib: 1024, gpus: 0 };
const KIND = { workload: WORKLOAD, shape: SHAPE, constraints: ANYWHERE };
const LARGE = { cpuMilli: 3000, memoryMib: 1024, gpus: 0 };
const LEASE_MS = 60_000;

const asLeases = (...taskIds: TaskId[]) => taskIds.map((taskId) => ({ taskId, token: `token-of-${taskId}` }));
const taskOf = async (db: Db, id: TaskId) =>
  await db.selectFrom('tasks').selectAll().where('id', '=', id).executeTakeFirstOrThrow();

async function lease(db: Db, agentId: AgentId, ...taskIds: TaskId[]): Promise<TaskId[]> {
  return [...(await createTaskStore(db).lease(agentId, asLeases(...taskIds), LEASE_MS))];
}

describe('submitted tasks', () => {
  test('wait in the order in which they were submitted, within a batch too', async ({ db }) => {
    await stopClock(db);
    const tasks = createTaskStore(db);
    const ids = [anId('tk'), anId('tk'), anId('tk')].toReversed();
    const late = anId('tk');
    const submit = async (taskIds: readonly TaskId[], shape = SHAPE) =>
      await tasks.insert({ ids: taskIds, workload: WORKLOAD, command: ['echo', "it's", '\n'], shape });

    await submit(ids);
    await passTime(db, 1);
    await submit([late]);
    await submit([anId('tk')], LARGE);

    expect(await tasks.listPendingIds(KIND, 10)).toEqual([...ids, late]);
    expect(await tasks.listPendingIds(KIND, 2)).toEqual(ids.slice(0, 2));
    expect(await taskOf(db, ids[0]!)).toMatchObject({ command: ['echo', "it's", '\n'], attempt: 0, agent_id: null });
  });

  test('are grouped by queue, the group that waits longest first', async ({ db }) => {
    await stopClock(db);
    await aTask(db, { ageMs: 10 });
    await aTask(db, { ageMs: 30, shape: LARGE });
    await aTask(db, { ageMs: 5, shape: LARGE });
    await aTask(db, { ageMs: 20, workload: 'other' });
    await aTask(db, { ageMs: 99, state: 'cancelled' });

    expect(await createTaskStore(db).listPending()).toEqual([
      { ...KIND, shape: LARGE, count: 2, oldestPendingSinceMs: NOW_MS - 30 },
      { ...KIND, workload: 'other', count: 1, oldestPendingSinceMs: NOW_MS - 20 },
      { ...KIND, count: 1, oldestPendingSinceMs: NOW_MS - 10 },
    ]);
  });

  test('that came back are the oldest still', async ({ db }) => {
    await stopClock(db);
    const first = await aTask(db, { ageMs: 50 });
    const second = await aTask(db, { ageMs: 40 });
    await db
      .updateTable('tasks')
      .set({ pending_since: new Date(NOW_MS) })
      .where('id', '=', first)
      .execute();

    expect(await createTaskStore(db).listPendingIds(KIND, 10)).toEqual([first, second]);
  });
});

describe('free agents', () => {
  test('are those heard of lately, with what their tasks leave free', async ({ db }) => {
    await stopClock(db);
    const local = await anAgent(db, { capacity: { cpuMilli: 4000, memoryMib: 2048, gpus: 0 } });
    await aTask(db, { agentId: local, state: 'leased' });
    await aTask(db, { agentId: local, state: 'running', shape: { cpuMilli: 500, memoryMib: 4096, gpus: 0 } });
    await aTask(db, { agentId: local, state: 'failed' });
    const cloud = await aMachine(db, 'ready');
    await anAgent(db, { silentMs: LEASE_MS });
    await anAgent(db, { silentMs: null });
    await anAgent(db, { cordoned: true });
    await anAgent(db, { removed: true });

    expect(await createTaskStore(db).listFreeAgents(LEASE_MS)).toEqual([
      {
        id: local,
        site: 'on-prem',
        labels: { pool: 'media' },
        workload: null,
        arch: null,
        market: null,
        hasGpus: false,
        // More promised than there is: nothing is free, not less than nothing.
        free: { cpuMilli: 2500, memoryMib: 0, gpus: 0 },
      },
      expect.objectContaining({ id: cloud.agentId, site: 'aws', workload: WORKLOAD }),
    ]);
  });

  test('in the cloud are those whose machine is ready', async ({ db }) => {
    const joining = await aMachine(db, 'joining');
    await anAgent(db, { machineId: joining.id });
    const ending = await aMachine(db, 'terminating');
    await anAgent(db, { machineId: ending.id });
    await aMachine(db, 'draining', { agent: { cordoned: false } });

    expect(await createTaskStore(db).listFreeAgents(LEASE_MS)).toEqual([]);
  });
});

describe('lease', () => {
  test('gives a pending task to the agent as a new attempt', async ({ db }) => {
    await stopClock(db);
    const { id, agentId } = await aMachine(db, 'ready', { dueMs: -60_000 });
    await db
      .updateTable('machines')
      .set({ idle_since: new Date(NOW_MS) })
      .execute();
    const taskId = await aTask(db, { attempt: 2 });

    expect(await lease(db, agentId!, taskId)).toEqual([taskId]);

    expect(await taskOf(db, taskId)).toMatchObject({
      state: 'leased',
      attempt: 3,
      agent_id: agentId,
      lease_token: `token-of-${taskId}`,
      lease_expires_at: new Date(NOW_MS + LEASE_MS),
    });
    const machine = await db.selectFrom('machines').selectAll().where('id', '=', id).executeTakeFirstOrThrow();
    expect(machine).toMatchObject({ idle_since: null, wake_at: new Date(NOW_MS) });
  });

  test('gives one task to one of two agents', async ({ db }) => {
    const agents = [await anAgent(db), await anAgent(db), await anAgent(db)];
    const taskId = await aTask(db);

    const won = await Promise.all(agents.map((agentId) => lease(db, agentId, taskId)));

    expect(won.flat()).toEqual([taskId]);
    expect(await taskOf(db, taskId)).toMatchObject({
      attempt: 1,
      agent_id: agents[won.findIndex((ids) => ids.length > 0)],
    });
  });

  test('gives what fits and skips what does not, by the room that is left now', async ({ db }) => {
    const agentId = await anAgent(db, { capacity: { cpuMilli: 4000, memoryMib: 8192, gpus: 0 } });
    await aTask(db, { agentId, state: 'running' });
    const [large, tooLarge, small] = [
      await aTask(db, { shape: { cpuMilli: 2000, memoryMib: 10, gpus: 0 } }),
      await aTask(db, { shape: LARGE }),
      await aTask(db),
    ];

    expect(await lease(db, agentId, large, tooLarge, small)).toEqual([large, small]);
    expect(await lease(db, agentId, await aTask(db, { shape: { cpuMilli: 1, memoryMib: 1, gpus: 0 } }))).toEqual([]);
  });

  test('never gives an agent more than it has room for, however many give at once', async ({ db }) => {
    const agentId = await anAgent(db, { capacity: { cpuMilli: 3000, memoryMib: 8192, gpus: 0 } });
    const tasks: TaskId[] = [];
    for (let index = 0; index < 8; index += 1) tasks.push(await aTask(db));

    const won = await Promise.all([0, 2, 4, 6].map((at) => lease(db, agentId, ...tasks.slice(at, at + 2))));

    expect(won.flat()).toHaveLength(3);
  });

  test('gives nothing to an agent that is cordoned, removed or unknown', async ({ db }) => {
    const taskId = await aTask(db);

    expect(await lease(db, await anAgent(db, { cordoned: true }), taskId)).toEqual([]);
    expect(await lease(db, await anAgent(db, { removed: true }), taskId)).toEqual([]);
    expect(await lease(db, anId('ag'), taskId)).toEqual([]);
    expect(await taskOf(db, taskId)).toMatchObject({ state: 'pending', attempt: 0 });
  });

  test('gives nothing to an agent that is being cordoned at this moment', async ({ db }) => {
    const agentId = await anAgent(db);
    const taskId = await aTask(db);

    await withOpenTransaction(db, async (drain) => {
      await drain.updateTable('agents').set({ cordoned: true }).where('id', '=', agentId).execute();
      const won = lease(db, agentId, taskId);
      await untilBlocked(db);
      await drain.commit().execute();

      expect(await won).toEqual([]);
    });
  });

  test('gives nothing to an agent whose machine stopped being ready since it was listed', async ({ db }) => {
    const { id, agentId } = await aMachine(db, 'ready');
    const taskId = await aTask(db);

    await withOpenTransaction(db, async (ending) => {
      await transitionMachine(
        ending,
        { id, state: 'ready', revision: 1 },
        { to: 'terminating', actor: 'test', reason: 'lost', endReason: 'agent-lost' },
      );
      const won = lease(db, agentId!, taskId);
      await untilBlocked(db);
      await ending.commit().execute();

      expect(await won).toEqual([]);
    });
  });

  test('gives no task that is not pending', async ({ db }) => {
    const agentId = await anAgent(db);
    const other = await anAgent(db);
    const tasks = [
      await aTask(db, { agentId: other, state: 'leased' }),
      await aTask(db, { agentId, state: 'running' }),
      await aTask(db, { state: 'done' }),
      await aTask(db, { state: 'cancelled' }),
      anId('tk'),
    ] as const;

    expect(await lease(db, agentId, ...tasks)).toEqual([]);
    expect(await taskOf(db, tasks[0])).toMatchObject({ agent_id: other, attempt: 1 });
  });
});

describe('expireLeases', () => {
  test('takes back what nobody renewed, and tells under which lock it was given', async ({ db }) => {
    await stopClock(db);
    const agentId = await anAgent(db);
    const late = await aTask(db, { agentId, state: 'running', leaseMs: -1, leaseToken: 'a', ageMs: 9000, attempt: 2 });
    const justNow = await aTask(db, { agentId, state: 'leased', leaseMs: 0, leaseToken: 'b', shape: LARGE });
    await aTask(db, { agentId, state: 'running', leaseMs: 1 });
    await aTask(db, { agentId, state: 'done' });

    const expired = await createTaskStore(db).expireLeases(10);

    expect([...expired].sort((a, b) => (a.id < b.id ? -1 : 1))).toEqual([
      { id: late, ...KIND, leaseToken: 'a' },
      { id: justNow, ...KIND, shape: LARGE, leaseToken: 'b' },
    ]);
    expect(await taskOf(db, late)).toMatchObject({
      state: 'pending',
      attempt: 2,
      agent_id: null,
      lease_token: null,
      lease_expires_at: null,
      pending_since: new Date(NOW_MS),
    });
    expect(await createTaskStore(db).expireLeases(10)).toEqual([]);
  });

  test('ends a task that was interrupted ten times while it ran, and counts no order that was never obeyed', async ({
    db,
  }) => {
    const agentId = await anAgent(db);
    const interrupted = { agentId, leaseMs: -1, attempt: 20, interruptions: 9 } as const;
    const [ninth, tenth, unheard] = [
      await aTask(db, { ...interrupted, state: 'running', interruptions: 8 }),
      await aTask(db, { ...interrupted, state: 'running' }),
      await aTask(db, { ...interrupted, state: 'leased' }),
    ];
    const hopeless = await aTask(db, { ...interrupted, state: 'leased', attempt: 100 });

    await createTaskStore(db).expireLeases(10);

    expect(await taskOf(db, ninth)).toMatchObject({ state: 'pending', finished_at: null, interruptions: 9 });
    expect(await taskOf(db, unheard)).toMatchObject({ state: 'pending', interruptions: 9 });
    for (const id of [tenth, hopeless]) {
      expect(await taskOf(db, id)).toMatchObject({ state: 'failed', exit_code: null, agent_id: null });
      expect((await taskOf(db, id)).finished_at).not.toBeNull();
    }
  });

  test('takes the latest first and no more than asked for', async ({ db }) => {
    await stopClock(db);
    const agentId = await anAgent(db);
    await aTask(db, { agentId, state: 'running', leaseMs: -1 });
    const latest = await aTask(db, { agentId, state: 'running', leaseMs: -9 });

    expect(await createTaskStore(db).expireLeases(1)).toMatchObject([{ id: latest }]);
  });

  test('passes over a task whose lease is being renewed at this moment', async ({ db }) => {
    const agentId = await anAgent(db);
    const taskId = await aTask(db, { agentId, state: 'running', leaseMs: -1 });

    await withOpenTransaction(db, async (report) => {
      await report.selectFrom('tasks').select('id').where('id', '=', taskId).forUpdate().execute();

      expect(await createTaskStore(db).expireLeases(10)).toEqual([]);
    });
    expect(await createTaskStore(db).expireLeases(10)).toMatchObject([{ id: taskId }]);
  });
});

describe('listOrders', () => {
  test('tells what an agent holds and what is asked of it', async ({ db }) => {
    const { agentId } = await aMachine(db, 'leaving');
    const held = await aTask(db, { agentId: agentId!, state: 'leased', command: ['sleep', '1'] });
    await aTask(db, { agentId: agentId!, state: 'done' });

    expect(await createTaskStore(db).listOrders(agentId!)).toMatchObject({
      cordoned: true,
      cordonGeneration: 1,
      leave: true,
      held: [{ id: held, command: ['sleep', '1'], shape: SHAPE, state: 'leased' }],
    });
    expect(await createTaskStore(db).listOrders(await anAgent(db))).toMatchObject({ leave: false, held: [] });
    expect(await createTaskStore(db).listOrders(await anAgent(db, { removed: true }))).toBeNull();
  });
});

describe('appendLog', () => {
  const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
  const logOf = async (db: Db, taskId: TaskId): Promise<string> => {
    const parts = await db
      .selectFrom('task_logs')
      .selectAll()
      .where('task_id', '=', taskId)
      .orderBy('byte_offset')
      .execute();
    for (const [index, part] of parts.entries()) {
      const before = parts.slice(0, index).reduce((sum, { content }) => sum + content.length, 0);
      expect(part.byte_offset).toBe(before);
    }
    return Buffer.concat(parts.map(({ content }) => content)).toString();
  };

  test('keeps one gapless text, whatever is sent twice, overlapping or too early', async ({ db }) => {
    const agentId = await anAgent(db);
    const taskId = await aTask(db, { agentId, state: 'running' });
    const send = async (byteOffset: number, text: string) =>
      await createTaskStore(db).appendLog(agentId, { taskId, attempt: 1, byteOffset, content: bytes(text) });

    expect(await send(0, 'hello ')).toEqual({ kind: 'stored', nextByteOffset: 6 });
    expect(await send(0, 'hello ')).toEqual({ kind: 'stored', nextByteOffset: 6 });
    expect(await send(9, 'too early')).toEqual({ kind: 'stored', nextByteOffset: 6 });
    expect(await send(2, 'llo wörld')).toEqual({ kind: 'stored', nextByteOffset: 12 });
    expect(await send(1, 'ell')).toEqual({ kind: 'stored', nextByteOffset: 12 });
    expect(await send(12, '!')).toEqual({ kind: 'stored', nextByteOffset: 13 });

    expect(await logOf(db, taskId)).toBe('hello wörld!');
  });

  test('of two that send the same part at once keeps one', async ({ db }) => {
    const agentId = await anAgent(db);
    const taskId = await aTask(db, { agentId, state: 'running' });
    const part = { taskId, attempt: 1, byteOffset: 0, content: bytes('once') };
    const tasks = createTaskStore(db);

    const outcomes = await Promise.all([1, 2, 3, 4].map(() => tasks.appendLog(agentId, part)));

    const kept = { kind: 'stored', nextByteOffset: 4 };
    expect(outcomes).toEqual([kept, kept, kept, kept]);
    expect(await logOf(db, taskId)).toBe('once');
  });

  test('takes the last words of a task that has ended', async ({ db }) => {
    const agentId = await anAgent(db);
    const taskId = await aTask(db, { agentId, state: 'done' });

    const part = { taskId, attempt: 1, byteOffset: 0, content: bytes('bye') };
    expect(await createTaskStore(db).appendLog(agentId, part)).toMatchObject({ kind: 'stored' });
  });

  test('takes nothing of another attempt, from another agent or for a task that moved on', async ({ db }) => {
    const agentId = await anAgent(db);
    const taskId = await aTask(db, { agentId, state: 'running', attempt: 2 });
    const pending = await aTask(db, { attempt: 1 });
    const tasks = createTaskStore(db);
    const part = { taskId, attempt: 2, byteOffset: 0, content: bytes('x') };

    expect(await tasks.appendLog(agentId, { ...part, attempt: 1 })).toEqual({ kind: 'not-yours' });
    expect(await tasks.appendLog(await anAgent(db), part)).toEqual({ kind: 'not-yours' });
    expect(await tasks.appendLog(agentId, { ...part, taskId: pending, attempt: 1 })).toEqual({ kind: 'not-yours' });
    expect(await tasks.appendLog(agentId, { ...part, taskId: anId('tk') })).toEqual({ kind: 'not-yours' });
    expect(await db.selectFrom('task_logs').selectAll().execute()).toEqual([]);
  });

  test('keeps four mebibytes of an attempt, and as much of the next one', async ({ db }) => {
    const agentId = await anAgent(db);
    const taskId = await aTask(db, { agentId, state: 'running' });
    const tasks = createTaskStore(db);
    const content = Buffer.alloc(64 * 1024, 'x');
    const send = async (attempt: number, byteOffset: number) =>
      await tasks.appendLog(agentId, { taskId, attempt, byteOffset, content });
    for (let part = 0; part < 64; part += 1)
      expect(await send(1, part * content.length)).toMatchObject({ kind: 'stored' });

    expect(await send(1, 64 * content.length)).toEqual({ kind: 'full' });
    await db.updateTable('tasks').set({ attempt: 2 }).execute();
    expect(await send(2, 0)).toEqual({ kind: 'stored', nextByteOffset: content.length });
  });
});
