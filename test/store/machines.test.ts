import { describe, expect } from 'vitest';
import { STATE_DEADLINE_MS, type MachineState } from '../../src/model/machine.ts';
import type { MachineId } from '../../src/model/ids.ts';
import type { MachineRecord } from '../../src/ports/machines.ts';
import type { Db } from '../../src/store/database.ts';
import { createMachineStore } from '../../src/store/machines.ts';
import { createTaskStore } from '../../src/store/tasks.ts';
import {
  aLaunch,
  aMachine,
  anAgent,
  anId,
  aTask,
  eventsSince,
  NOW_MS,
  passTime,
  someHex,
  stopClock,
} from '../support/builders.ts';
import { test } from '../support/database.ts';
import { untilBlocked, withOpenTransaction } from './blocked.ts';

const actor = 'test';

async function read(db: Db, id: MachineId): Promise<MachineRecord> {
  const record = await createMachineStore(db).read(id);
  return record!;
}

describe('transition', () => {
  test('that is not in the table is a bug of the caller, not a lost race', async ({ db }) => {
    const machines = createMachineStore(db);
    const { machine } = await read(db, (await aMachine(db, 'booting')).id);

    await expect(machines.transition(machine, { to: 'ready', actor, reason: 'skip' })).rejects.toThrow(
      /bug: .* from booting to ready/,
    );
  });

  test('moves the machine and writes why, with the deadline of the new state', async ({ db }) => {
    await stopClock(db);
    const { id } = await aMachine(db, 'booting', { ageMs: 60_000 });
    const { machine } = await read(db, id);

    const moved = await createMachineStore(db).transition(machine, {
      to: 'joining',
      actor,
      reason: 'ssh-open',
      detail: { address: '10.0.0.7' },
    });

    expect(moved).toBe(true);
    expect((await read(db, id)).machine).toMatchObject({
      state: 'joining',
      revision: 2,
      stateSinceMs: NOW_MS,
      deadlineAtMs: NOW_MS + STATE_DEADLINE_MS.joining!,
      privateIp: '10.0.0.7',
    });
    expect(await eventsSince(db, id)).toMatchObject([
      { from_state: 'booting', to_state: 'joining', reason: 'ssh-open', detail: { address: '10.0.0.7' } },
    ]);
  });

  test('takes the caller’s deadline, and none where waiting is the purpose', async ({ db }) => {
    await stopClock(db);
    const machines = createMachineStore(db);
    const made = await aMachine(db, 'joining');
    const agentId = await anAgent(db, { machineId: made.id });
    await machines.transition((await read(db, made.id)).machine, { to: 'ready', actor, reason: 'joined', agentId });
    expect((await read(db, made.id)).machine).toMatchObject({ state: 'ready', deadlineAtMs: null, agentId });

    await machines.transition((await read(db, made.id)).machine, {
      to: 'draining',
      actor,
      reason: 'operator',
      endReason: 'operator',
      deadlineMs: 42_000,
    });
    expect((await read(db, made.id)).machine).toMatchObject({ deadlineAtMs: NOW_MS + 42_000, endReason: 'operator' });
  });

  test('of two that read the same revision one wins', async ({ db }) => {
    const machines = createMachineStore(db);
    const { id } = await aMachine(db, 'ready');
    const { machine } = await read(db, id);
    const end = { actor, reason: 'x', endReason: 'operator' } as const;

    const outcomes = await Promise.all([
      machines.transition(machine, { ...end, to: 'terminating' }),
      machines.transition(machine, { ...end, to: 'terminating' }),
      machines.transition(machine, { ...end, to: 'draining', cordon: true }),
    ]);

    expect(outcomes.filter(Boolean)).toHaveLength(1);
    expect(await eventsSince(db, id)).toHaveLength(1);
    expect((await read(db, id)).machine.revision).toBe(2);
  });

  test('to ready by an agent that a second join replaced meanwhile is a lost race', async ({ db }) => {
    const machines = createMachineStore(db);
    const { id } = await aMachine(db, 'joining');
    const first = await anAgent(db, { machineId: id });
    const { machine } = await read(db, id);
    await db.updateTable('agents').set({ removed_at: new Date() }).where('id', '=', first).execute();
    const second = await anAgent(db, { machineId: id });
    const ready = { to: 'ready', actor, reason: 'joined' } as const;

    expect(await machines.transition(machine, { ...ready, agentId: first })).toBe(false);
    expect(await machines.transition(machine, { ...ready, agentId: second })).toBe(true);
    expect((await read(db, id)).machine).toMatchObject({ state: 'ready', agentId: second });
  });

  test('of a machine that came back to the same state since it was read is a lost race', async ({ db }) => {
    const machines = createMachineStore(db);
    const { id } = await aMachine(db, 'ready');
    const { machine } = await read(db, id);
    await machines.transition(machine, { to: 'draining', actor, reason: 'x', endReason: 'scale-down' });
    await machines.transition((await read(db, id)).machine, { to: 'ready', actor, reason: 'x' });

    expect(await machines.transition(machine, { to: 'terminating', actor, reason: 'x', endReason: 'operator' })).toBe(
      false,
    );
  });

  test('cordons the machine’s agent in the same transaction', async ({ db }) => {
    const machines = createMachineStore(db);
    const { id } = await aMachine(db, 'ready');

    await machines.transition((await read(db, id)).machine, {
      to: 'draining',
      actor,
      reason: 'x',
      endReason: 'operator',
      cordon: true,
    });

    expect((await read(db, id)).agent).toMatchObject({ cordoned: true, cordonAckedAtMs: null });
  });

  test('to terminated forgets the agent, and what it held runs elsewhere', async ({ db }) => {
    await stopClock(db);
    const machines = createMachineStore(db);
    const { id, agentId } = await aMachine(db, 'leaving');
    const other = await anAgent(db);
    const held = [
      await aTask(db, { agentId: agentId!, state: 'leased' }),
      await aTask(db, { agentId: agentId!, state: 'running', attempt: 3 }),
    ];
    await aTask(db, { agentId: agentId!, state: 'done' });
    await aTask(db, { agentId: other, state: 'running' });
    await passTime(db, 1000);

    await machines.transition((await read(db, id)).machine, {
      to: 'terminated',
      actor,
      reason: 'gone',
      endReason: 'instance-gone',
    });

    const back = await db.selectFrom('tasks').selectAll().where('state', '=', 'pending').orderBy('id').execute();
    expect(back.map(({ id: taskId }) => taskId)).toEqual(held);
    const cleared = {
      agent_id: null,
      lease_token: null,
      lease_expires_at: null,
      pending_since: new Date(NOW_MS + 1000),
    };
    expect(back).toMatchObject([cleared, { ...cleared, attempt: 3 }]);
    expect(await createTaskStore(db).listOrders(agentId!)).toBeNull();
    expect((await read(db, id)).agent).toBeNull();
  });

  test('that forgets an agent waits for its report without holding what the report still needs', async ({ db }) => {
    const machines = createMachineStore(db);
    const { id, agentId } = await aMachine(db, 'leaving');
    const { machine } = await read(db, id);

    await withOpenTransaction(db, async (report) => {
      await report.updateTable('agents').set({ running_tasks: 0 }).where('id', '=', agentId).execute();
      const end = machines.transition(machine, { to: 'terminated', actor, reason: 'gone', endReason: 'instance-gone' });
      await untilBlocked(db);

      const clock = report.selectFrom('machines').select('id').where('id', '=', id).forUpdate().noWait();
      expect(await clock.execute()).toHaveLength(1);
      await report.commit().execute();
      expect(await end).toBe(true);
    });
  });
});

describe('what else is written to a machine', () => {
  const stale = async (db: Db): Promise<MachineRecord['machine']> => {
    const { id } = await aMachine(db, 'draining');
    const { machine } = await read(db, id);
    await createMachineStore(db).transition(machine, { to: 'ready', actor, reason: 'undrain' });
    return machine;
  };

  test('a longer deadline, with an event that tells of it', async ({ db }) => {
    await stopClock(db);
    const { id } = await aMachine(db, 'draining');
    const { machine } = await read(db, id);

    expect(await createMachineStore(db).extendDeadline(machine, { ms: 9_000, reason: 'still-working' })).toBe(true);

    expect((await read(db, id)).machine).toMatchObject({ deadlineAtMs: NOW_MS + 9_000, revision: 1 });
    expect(await eventsSince(db, id)).toMatchObject([
      { from_state: 'draining', to_state: 'draining', reason: 'still-working' },
    ]);
  });

  test('nothing when the machine moved on since it was read', async ({ db }) => {
    const machines = createMachineStore(db);
    const machine = await stale(db);

    expect(await machines.extendDeadline(machine, { ms: 9_000, reason: 'late' })).toBe(false);
    expect(await machines.markDrainIrrevocable(machine)).toBe(false);

    expect(await read(db, machine.id)).toMatchObject({ drainIrrevocable: false, machine: { deadlineAtMs: null } });
  });

  test('that its drain touched work, and when it was installed', async ({ db }) => {
    await stopClock(db);
    const machines = createMachineStore(db);
    const { id } = await aMachine(db, 'draining');

    expect(await machines.markDrainIrrevocable((await read(db, id)).machine)).toBe(true);
    await machines.markInstalled(id);

    expect(await read(db, id)).toMatchObject({ drainIrrevocable: true, installedAtMs: NOW_MS });
  });
});

describe('read', () => {
  test('tells what its agent said last and what it holds', async ({ db }) => {
    await stopClock(db);
    const { id, agentId, launchId } = await aMachine(db, 'ready', { agent: { silentMs: 5_000 } });
    await aTask(db, { agentId: agentId!, state: 'leased' });
    await aTask(db, { agentId: agentId!, state: 'done' });

    const record = await read(db, id);

    expect(record).toMatchObject({ nowMs: NOW_MS, launch: { id: launchId, state: 'fulfilled' } });
    expect(record.agent).toEqual({
      agentId,
      lastSeenAtMs: NOW_MS - 5_000,
      cordoned: false,
      cordonAckedAtMs: null,
      runningTasks: 0,
      heldTasks: 1,
    });
    expect(await createMachineStore(db).read(anId('mc'))).toBeNull();
  });
});

describe('listDue', () => {
  test('names what wants attention, oldest first whatever it is, and no more than asked for', async ({ db }) => {
    await stopClock(db);
    const machines = createMachineStore(db);
    const launchId = await aLaunch(db, { dueMs: 200 });
    const later = await aLaunch(db, { dueMs: -1 });
    const older = await aMachine(db, 'ready', { dueMs: 300 });
    const newer = await aMachine(db, 'requested', { dueMs: 100, launchId });
    await aMachine(db, 'terminated', { dueMs: 900 });
    await aMachine(db, 'ready', { dueMs: -1 });
    await aLaunch(db, { state: 'expired', dueMs: 900 });

    const due = [
      { kind: 'machine', id: older.id },
      { kind: 'launch', id: launchId },
      { kind: 'machine', id: newer.id },
    ];
    expect(await machines.listDue(10)).toEqual(due);
    expect(await machines.listDue(2)).toEqual(due.slice(0, 2));
    await passTime(db, 1);
    expect(await machines.listDue(10)).toContainEqual({ kind: 'launch', id: later });
    await machines.wakeAfter(older.id, 60_000);
    expect(await machines.listDue(10)).not.toContainEqual({ kind: 'machine', id: older.id });
  });
});

describe('issueEnrolment', () => {
  test('leaves the token of a join that was cut off usable', async ({ db }) => {
    const machines = createMachineStore(db);
    const { id } = await aMachine(db, 'joining');
    const tokens = [someHex(64), someHex(64)] as const;
    await machines.issueEnrolment(id, tokens[0], { workload: 'transcode' }, 60_000);
    await machines.issueEnrolment(id, tokens[1], { workload: 'transcode' }, 60_000);

    const rows = await db.selectFrom('enrolments').select(['token_hash', 'machine_id', 'site', 'labels']).execute();
    const row = { machine_id: id, site: 'aws', labels: { workload: 'transcode' } };
    expect(rows).toEqual(tokens.map((token) => ({ token_hash: token, ...row })));
  });
});

describe('a row that lacks what its state promises', () => {
  const broken: readonly [MachineState, Record<string, null>][] = [
    ['booting', { instance_id: null }],
    ['ready', { agent_id: null }],
    ['terminating', { end_reason: null }],
  ];
  for (const [state, change] of broken) {
    test(`is a bug that is not read over: ${state} without ${Object.keys(change).join()}`, async ({ db }) => {
      const { id } = await aMachine(db, state);
      await db.updateTable('machines').set(change).where('id', '=', id).execute();

      await expect(createMachineStore(db).read(id)).rejects.toThrow(/bug: machine/);
    });
  }
});
