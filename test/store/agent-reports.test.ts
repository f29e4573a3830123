import { describe, expect } from 'vitest';
import type { AgentId, TaskId } from '../../src/model/ids.ts';
import type { AgentReport, ReportedTask } from '../../src/ports/agent-gateway.ts';
import type { ReportResult } from '../../src/ports/tasks.ts';
import type { Db } from '../../src/store/database.ts';
import { createAgentStore } from '../../src/store/agents.ts';
import { setCordon } from '../../src/store/cordon.ts';
import { createTaskStore } from '../../src/store/tasks.ts';
import {
  aMachine,
  anAgent,
  anId,
  aReport,
  aTask,
  BOOT,
  NOW_MS,
  OTHER_BOOT,
  passTime,
  stopClock,
} from '../support/builders.ts';
import { test } from '../support/database.ts';
import { untilBlocked, withOpenTransaction } from './blocked.ts';

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

/** As the agents' interface writes it: with the credential that came along. */
async function reportWith(db: Db, agentId: AgentId, tokenHash: string): Promise<ReportResult['kind'] | undefined> {
  const [result] = await createAgentStore(db).writeReports([{ agentId, tokenHash, report: aReport() }], LEASE_MS);
  return result?.kind;
}

const agentOf = async (db: Db, id: AgentId) =>
  await db.selectFrom('agents').selectAll().where('id', '=', id).executeTakeFirstOrThrow();
const taskOf = async (db: Db, id: TaskId) =>
  await db.selectFrom('tasks').selectAll().where('id', '=', id).executeTakeFirstOrThrow();

describe('which report counts', () => {
  test("with a credential that is not the agent's own changes nothing, and is not taken for an old one", async ({
    db,
  }) => {
    const id = await anAgent(db);
    const { token_hash: own, last_seen_at: before } = await agentOf(db, id);
    const other = await agentOf(db, await anAgent(db));
    expect(await reportWith(db, id, other.token_hash)).toBe('unknown-agent');
    expect((await agentOf(db, id)).last_seen_at).toEqual(before);
    expect(await reportWith(db, id, own)).toBe('accepted');
    expect(await reportWith(db, id, own)).toBe('superseded');
  });

  test('a newer one of the same boot, and each once', async ({ db }) => {
    const agentId = await anAgent(db);

    const kinds: string[] = [];
    for (const seq of [3, 2, 3, 7]) {
      kinds.push((await report(db, agentId, { seq, capacity: { cpuMilli: seq, memoryMib: 1, gpus: 0 } })).kind);
    }

    expect(kinds).toEqual(['accepted', 'superseded', 'superseded', 'accepted']);
    expect(await agentOf(db, agentId)).toMatchObject({ seq: 7, capacity_cpu_milli: 7 });
  });

  test('a new boot counts from 1 again, and the boot before it is over', async ({ db }) => {
    const agentId = await anAgent(db);
    await report(db, agentId, { seq: 9 });

    expect(await report(db, agentId, { bootId: OTHER_BOOT, seq: 1 })).toMatchObject({ kind: 'accepted' });
    expect(await report(db, agentId, { bootId: BOOT, seq: 10 })).toMatchObject({ kind: 'superseded' });
    expect(await report(db, agentId, { bootId: OTHER_BOOT, seq: 2 })).toMatchObject({ kind: 'accepted' });
  });

  test('a boot is over for good however many come after it, within reason', async ({ db }) => {
    const agentId = await anAgent(db);
    const boots = Array.from({ length: 12 }, (_, index) => `${BOOT.slice(0, -2)}${index + 10}`);

    for (const bootId of boots) expect(await report(db, agentId, { bootId })).toMatchObject({ kind: 'accepted' });

    for (const bootId of boots.slice(-8, -1)) {
      expect(await report(db, agentId, { bootId, seq: 99 })).toMatchObject({ kind: 'superseded' });
    }
    expect((await agentOf(db, agentId)).earlier_boots).toHaveLength(8);
  });

  test('of two that arrive at once the newer one stands', async ({ db }) => {
    const agentId = await anAgent(db);

    await withOpenTransaction(db, async (tx) => {
      await tx.updateTable('agents').set({ seq: 5 }).where('id', '=', agentId).execute();
      const older = report(db, agentId, { seq: 4 });
      await untilBlocked(db);
      await tx.commit().execute();

      expect(await older).toMatchObject({ kind: 'superseded' });
    });
  });

  test('none of an agent that was removed or never was', async ({ db }) => {
    const removed = await anAgent(db, { removed: true });

    expect(await report(db, removed)).toMatchObject({ kind: 'unknown-agent' });
    expect(await report(db, anId('ag'))).toMatchObject({ kind: 'unknown-agent' });
    expect(await db.selectFrom('samples').selectAll().execute()).toEqual([]);
  });

  test('one that does not count changes nothing', async ({ db }) => {
    const agentId = await anAgent(db);
    const taskId = await aTask(db, { agentId, state: 'running' });
    await report(db, agentId, { seq: 5, tasks: [running(taskId)] });

    expect(await report(db, agentId, { seq: 4, tasks: [exited(taskId, 0)] })).toEqual({
      agentId,
      kind: 'superseded',
      cordoned: false,
      cordonGeneration: 0,
      leave: false,
      waitingMachineId: null,
      held: [],
      ended: [],
      foreign: [],
      lost: [],
    });
    expect(await taskOf(db, taskId)).toMatchObject({ state: 'running' });
    expect(await db.selectFrom('samples').selectAll().execute()).toHaveLength(1);
  });
});

describe('what a report says of tasks', () => {
  test('runs: the lease is renewed from now on, the start is kept, the progress is stored', async ({ db }) => {
    await stopClock(db);
    const agentId = await anAgent(db);
    const taskId = await aTask(db, { agentId, state: 'leased', leaseToken: 'k' });

    const result = await report(db, agentId, { tasks: [running(taskId, 1, 'YQ==')] });

    expect(result.held).toMatchObject([{ id: taskId, state: 'running', attempt: 1, leaseToken: 'k', agentId }]);
    await passTime(db, 10_000);
    await report(db, agentId, { seq: 2, tasks: [running(taskId)] });
    expect(await taskOf(db, taskId)).toMatchObject({
      state: 'running',
      started_at: new Date(NOW_MS),
      lease_expires_at: new Date(NOW_MS + 10_000 + LEASE_MS),
      progress_base64: 'YQ==',
    });
  });

  test('not started yet: it stays the agent’s own, but its lease is not renewed', async ({ db }) => {
    await stopClock(db);
    const agentId = await anAgent(db);
    const taskId = await aTask(db, { agentId, state: 'leased', leaseMs: 50_000 });

    const result = await report(db, agentId);

    expect(result).toMatchObject({ held: [{ id: taskId, state: 'leased', leaseLeftMs: 50_000 }], lost: [] });
    expect(await taskOf(db, taskId)).toMatchObject({ state: 'leased', lease_expires_at: new Date(NOW_MS + 50_000) });
  });

  test('not started yet, and the agent’s own fence would come after the end of the lease: it runs elsewhere', async ({
    db,
  }) => {
    await stopClock(db);
    const agentId = await anAgent(db);
    // Two thirds of the lease, and five seconds to kill.
    const intime = await aTask(db, { agentId, state: 'leased', leaseMs: 45_000 });
    const late = await aTask(db, { agentId, state: 'leased', leaseMs: 44_999 });

    const result = await report(db, agentId);

    expect(result).toMatchObject({ held: [{ id: intime }], lost: [{ id: late }] });
    expect(await taskOf(db, late)).toMatchObject({ state: 'pending', agent_id: null, lease_token: null });
  });

  test('ended: done or failed by its exit code, with the last progress, also when its start was never heard of', async ({
    db,
  }) => {
    await stopClock(db);
    const agentId = await anAgent(db);
    const done = await aTask(db, { agentId, state: 'leased' });
    const failed = await aTask(db, { agentId, state: 'running' });

    const result = await report(db, agentId, { tasks: [exited(done, 0, 1, 'Yg=='), exited(failed, 137)] });

    expect(result.held).toEqual([]);
    expect(result.ended).toMatchObject([
      { taskId: done, attempt: 1, lease: { id: done } },
      { taskId: failed, attempt: 1, lease: { id: failed } },
    ]);
    const over = {
      finished_at: new Date(NOW_MS),
      started_at: new Date(NOW_MS),
      lease_token: null,
      lease_expires_at: null,
    };
    expect(await taskOf(db, done)).toMatchObject({ ...over, state: 'done', exit_code: 0, progress_base64: 'Yg==' });
    expect(await taskOf(db, failed)).toMatchObject({ ...over, state: 'failed', exit_code: 137, agent_id: agentId });
  });

  test('ended, once more: it may be forgotten, and nothing is written again', async ({ db }) => {
    const agentId = await anAgent(db);
    const taskId = await aTask(db, { agentId, state: 'running' });
    await report(db, agentId, { tasks: [exited(taskId, 0)] });
    const before = await taskOf(db, taskId);

    const result = await report(db, agentId, { seq: 2, tasks: [exited(taskId, 1)] });

    expect(result.ended).toEqual([{ taskId, attempt: 1, lease: null }]);
    expect(await taskOf(db, taskId)).toEqual(before);
  });

  test('of an attempt that is over: an exit may be forgotten, a run has to stop', async ({ db }) => {
    const agentId = await anAgent(db);
    const other = await anAgent(db);
    const moved = await aTask(db, { agentId: other, state: 'running', attempt: 2 });
    const again = await aTask(db, { agentId, state: 'running', attempt: 2 });

    const result = await report(db, agentId, {
      tasks: [exited(moved, 0, 1), running(again, 1), running(again, 2), running(anId('tk'))],
    });

    expect(result.ended).toEqual([{ taskId: moved, attempt: 1, lease: null }]);
    expect(result.foreign).toMatchObject([{ taskId: again, attempt: 1 }, { attempt: 1 }]);
    expect(result.held).toMatchObject([{ id: again, attempt: 2 }]);
    expect(await taskOf(db, moved)).toMatchObject({ state: 'running', agent_id: other, attempt: 2 });
  });

  test('nothing of one that ran there: it is lost to this agent and runs elsewhere', async ({ db }) => {
    await stopClock(db);
    const agentId = await anAgent(db);
    const taskId = await aTask(db, { agentId, state: 'running', attempt: 4, ageMs: 90_000 });

    const result = await report(db, agentId);

    expect(result).toMatchObject({ held: [], lost: [{ id: taskId, attempt: 4 }] });
    expect(await taskOf(db, taskId)).toMatchObject({
      state: 'pending',
      attempt: 4,
      agent_id: null,
      lease_token: null,
      pending_since: new Date(NOW_MS),
      submitted_at: new Date(NOW_MS - 90_000),
    });
  });
});

describe('an agent that starts nothing any more', () => {
  test('gives back what it never started when it obeys the newest cordon', async ({ db }) => {
    const agentId = await anAgent(db, { cordoned: true });
    const waiting = await aTask(db, { agentId, state: 'leased' });
    const busy = await aTask(db, { agentId, state: 'running' });

    const early = await report(db, agentId, { tasks: [running(busy)] });
    expect(early).toMatchObject({ lost: [], held: [{ id: busy }, { id: waiting }] });
    const obeying = { cordon: { cordoned: true, generation: 1 }, tasks: [running(busy)] };
    const result = await report(db, agentId, { seq: 2, ...obeying });

    expect(result).toMatchObject({ lost: [{ id: waiting }], held: [{ id: busy }] });
    expect(await taskOf(db, waiting)).toMatchObject({ state: 'pending' });
  });

  test('gives everything back when it says goodbye, and is given nothing new', async ({ db }) => {
    await stopClock(db);
    const agentId = await anAgent(db);
    const staying = await anAgent(db);
    const tasks = [await aTask(db, { agentId, state: 'leased' }), await aTask(db, { agentId, state: 'running' })];

    const result = await report(db, agentId, { leaving: true });

    expect(result.lost.map(({ id }) => id)).toEqual(tasks);
    const free = await createTaskStore(db).listFreeAgents(LEASE_MS);
    expect(free.map(({ id }) => id)).toEqual([staying]);

    // Started again, with the identity it had: it is there at once.
    expect(await report(db, agentId, { bootId: OTHER_BOOT })).toMatchObject({ kind: 'accepted' });
    expect(await createTaskStore(db).listFreeAgents(LEASE_MS)).toHaveLength(2);
  });

  test('keeps what its last boot ran until the lease is over: that may run on, on a machine that it is a copy of', async ({
    db,
  }) => {
    await stopClock(db);
    const agentId = await anAgent(db);
    const ran = await aTask(db, { agentId, state: 'running' });
    const ordered = await aTask(db, { agentId, state: 'leased' });
    const kept = await aTask(db, { agentId, state: 'running' });
    await report(db, agentId, { tasks: [running(ran), running(kept)] });
    await passTime(db, 20_000);

    const reborn = { bootId: OTHER_BOOT, tasks: [running(kept)] };
    const first = await report(db, agentId, reborn);
    expect(first).toMatchObject({ lost: [], held: [{ id: kept }] });
    await passTime(db, 39_000);
    expect(await report(db, agentId, { ...reborn, seq: 2 })).toMatchObject({ lost: [], held: [{ id: kept }] });
    expect(await taskOf(db, ran)).toMatchObject({ state: 'running', agent_id: agentId });

    await passTime(db, 2000);
    const expired = await createTaskStore(db).expireLeases(10);
    expect(expired.map(({ id }) => id).sort()).toEqual([ran, ordered].sort());
  });

  test('gives back at once what it lost under one boot', async ({ db }) => {
    await stopClock(db);
    const agentId = await anAgent(db);
    await report(db, agentId, { bootId: OTHER_BOOT });
    await passTime(db, 1000);
    const lost = await aTask(db, { agentId, state: 'running' });

    expect((await report(db, agentId, { bootId: OTHER_BOOT, seq: 2 })).lost).toMatchObject([{ id: lost }]);
  });

  test('has been heard of when it says goodbye under a cordon, so that its machine need not wait for it', async ({
    db,
  }) => {
    await stopClock(db);
    const { agentId } = await aMachine(db, 'draining');

    await report(db, agentId!, { leaving: true, cordon: { cordoned: true, generation: 1 } });

    expect(await agentOf(db, agentId!)).toMatchObject({
      last_seen_at: new Date(NOW_MS),
      cordon_acked_at: new Date(NOW_MS),
    });
  });
});

describe('the acknowledgement of a cordon', () => {
  test('counts only for the newest generation, and the first one is remembered', async ({ db }) => {
    await stopClock(db);
    const agentId = await anAgent(db, { cordoned: true });
    await db.updateTable('agents').set({ cordon_generation: 3 }).execute();
    const acked: (number | undefined)[] = [];
    const words = [
      { cordoned: false, generation: 3 },
      { cordoned: true, generation: 2 },
      { cordoned: true, generation: 4 },
      { cordoned: true, generation: 3 },
      { cordoned: true, generation: 3 },
    ];
    for (const [index, cordon] of words.entries()) {
      await passTime(db, 1000);
      await report(db, agentId, { seq: index + 1, cordon });
      acked.push((await agentOf(db, agentId)).cordon_acked_at?.getTime());
    }

    expect(acked).toEqual([undefined, undefined, undefined, NOW_MS + 4000, NOW_MS + 4000]);
  });

  test('of a cordon that was lifted says nothing about the next one', async ({ db }) => {
    await stopClock(db);
    const agentId = await anAgent(db);
    const set = async (cordoned: boolean) =>
      await db.transaction().execute(async (tx) => await setCordon(tx, agentId, cordoned));
    await set(true);
    const first = (await agentOf(db, agentId)).cordon_generation;
    await set(false);
    await set(true);

    // It has taken work in between and does not know of the second cordon yet.
    await report(db, agentId, { cordon: { cordoned: true, generation: first } });

    expect(await agentOf(db, agentId)).toMatchObject({ cordoned: true, cordon_acked_at: null });
  });

  test('of an agent that is not cordoned is none', async ({ db }) => {
    const agentId = await anAgent(db);

    const result = await report(db, agentId, { cordon: { cordoned: true, generation: 0 } });

    expect(result).toMatchObject({ cordoned: false, cordonGeneration: 0 });
    expect(await agentOf(db, agentId)).toMatchObject({ cordon_acked_at: null });
  });
});
