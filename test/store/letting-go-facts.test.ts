import { describe, expect } from 'vitest';
import type { MachineId } from '../../src/model/ids.ts';
import type { MachineState } from '../../src/model/machine.ts';
import { createMachineStore } from '../../src/store/machines.ts';
import { createPlanningStore } from '../../src/store/planning.ts';
import type { Db } from '../../src/store/database.ts';
import { aMachine, anAgent, aPolicy, NOW_MS, passTime, someHex, stopClock, WORKLOAD } from '../support/builders.ts';
import { test } from '../support/database.ts';

async function move(db: Db, id: MachineId, to: MachineState, reason = 'a step'): Promise<void> {
  const machines = createMachineStore(db);
  const record = await machines.read(id);
  const endReason = to === 'draining' ? { endReason: 'scale-down' as const } : {};
  expect(await machines.transition(record!.machine, { to, actor: 'test', reason, ...endReason })).toBe(true);
}

/** A machine that is ready after a start of so long. */
async function start(db: Db, startMs: number): Promise<MachineId> {
  const { id } = await aMachine(db, 'launching', { instanceId: `i-${someHex(17)}` });
  await move(db, id, 'booting');
  await passTime(db, startMs - 1);
  await move(db, id, 'joining');
  await passTime(db, 1);
  const agentId = await anAgent(db, { machineId: id });
  await db.updateTable('machines').set({ agent_id: agentId }).where('id', '=', id).execute();
  await move(db, id, 'ready');
  return id;
}

/** A machine whose start took so long was let go, and so much later this many of a size are wanted. */
async function replace(
  db: Db,
  startMs: number,
  afterMs: number,
  instances: readonly ('same' | 'larger' | 'other')[],
): Promise<void> {
  const id = await start(db, startMs);
  await passTime(db, 600_000);
  await move(db, id, 'draining');
  await passTime(db, afterMs);
  for (const kind of instances) {
    const made = await aMachine(db, 'requested', kind === 'other' ? { workload: 'other' } : {});
    if (kind === 'larger')
      await db.updateTable('machines').set({ memory_mib: 8192 }).where('id', '=', made.id).execute();
  }
}

describe('a machine that was let go', () => {
  const churnOf = async (db: Db) =>
    (await createPlanningStore(db).readFacts([aPolicy()])).workloads.get(WORKLOAD)?.churn;
  const msAfter = async (db: Db) => (await createPlanningStore(db).readFacts([])).nowMs;

  test('is missed when one of its size is wanted before the time that its start took', async ({ db }) => {
    await stopClock(db);
    await replace(db, 90_000, 90_000, ['same']);
    expect(await churnOf(db)).toEqual({ letGo: 1, missed: 1, lastMissedAtMs: await msAfter(db) });
  });

  test('is not missed any more after that time', async ({ db }) => {
    await stopClock(db);
    await replace(db, 90_000, 90_001, ['same']);
    expect(await churnOf(db)).toEqual({ letGo: 1, missed: 0, lastMissedAtMs: null });
  });

  test('is missed within the minute that EC2 bills at least, however fast it starts', async ({ db }) => {
    await stopClock(db);
    await replace(db, 5000, 60_000, ['same']);
    expect(await churnOf(db)).toMatchObject({ letGo: 1, missed: 1 });
  });

  test('is not missed because one of another size or workload is wanted', async ({ db }) => {
    await stopClock(db);
    await replace(db, 90_000, 1000, ['larger', 'other']);
    expect(await churnOf(db)).toMatchObject({ letGo: 1, missed: 0 });
  });

  test('and another one need two replacements to be missed both', async ({ db }) => {
    await stopClock(db);
    await replace(db, 90_000, 0, []);
    await replace(db, 90_000, 1000, ['same']);
    expect(await churnOf(db)).toMatchObject({ letGo: 2, missed: 1 });
  });

  test('counts for an hour', async ({ db }) => {
    await stopClock(db);
    await replace(db, 90_000, 1000, ['same']);
    await passTime(db, 3_598_999);
    expect(await churnOf(db)).toMatchObject({ letGo: 1, missed: 1 });
    await passTime(db, 1);
    expect(await churnOf(db)).toEqual({ letGo: 0, missed: 0, lastMissedAtMs: null });
  });

  test('is none when its drain was called off, or was not the planner’s', async ({ db }) => {
    await stopClock(db);
    const back = await start(db, 90_000);
    await move(db, back, 'draining');
    await move(db, back, 'ready');
    const sent = await start(db, 90_000);
    await move(db, sent, 'draining');
    await db.updateTable('machines').set({ end_reason: 'operator' }).where('id', '=', sent).execute();
    await aMachine(db, 'requested');
    expect(await churnOf(db)).toMatchObject({ letGo: 0, missed: 0 });
  });
});

describe('the start of a machine', () => {
  const machinesOf = async (db: Db) => (await createPlanningStore(db).readFacts([aPolicy()])).machines;

  test('is counted from when EC2 had it to its first being ready, whatever comes after', async ({ db }) => {
    await stopClock(db);
    const id = await start(db, 70_000);
    await passTime(db, 1000);
    await move(db, id, 'draining');
    await passTime(db, 1000);
    await move(db, id, 'ready');

    expect(await machinesOf(db)).toMatchObject([{ id, startedAtMs: NOW_MS, startMs: 70_000 }]);
  });

  test('is not known before the end of it', async ({ db }) => {
    await stopClock(db);
    const { id } = await aMachine(db, 'launching', { instanceId: 'i-0123456789abcdef0' });
    expect(await machinesOf(db)).toMatchObject([{ startedAtMs: null, startMs: null }]);
    await move(db, id, 'booting');
    expect(await machinesOf(db)).toMatchObject([{ startedAtMs: NOW_MS, startMs: null }]);
  });

  test('of a machine whose row was rebuilt is not made up', async ({ db }) => {
    const { id } = await aMachine(db, 'draining');
    await move(db, id, 'ready');
    expect(await machinesOf(db)).toMatchObject([{ startedAtMs: null, startMs: null }]);
  });
});
