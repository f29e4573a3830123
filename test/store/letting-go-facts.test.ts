import { describe, expect } from 'vitest';
import type { MachineId } from '../../src/model/ids.ts';
import type { MachineState } from '../../src/model/machine.ts';
import { createMachineStore } from '../../src/store/machines.ts';
import { createPlanningStore } from '../../src/store/planning.ts';
import type { Db } from '../../src/store/database.ts';
import { aMachine, anAgent, aPolicy, NOW_MS, passTime, stopClock } from '../support/builders.ts';
import { test } from '../support/database.ts';

async function move(db: Db, id: MachineId, to: MachineState, reason = 'a step'): Promise<void> {
  const machines = createMachineStore(db);
  const record = await machines.read(id);
  const endReason = to === 'draining' ? { endReason: 'scale-down' as const } : {};
  expect(await machines.transition(record!.machine, { to, actor: 'test', reason, ...endReason })).toBe(true);
}

/** A machine that is ready after a start of so long. */
async function start(db: Db, startMs: number): Promise<MachineId> {
  const { id } = await aMachine(db, 'launching', { instanceId: 'i-0123456789abcdef0' });
  await move(db, id, 'booting');
  await passTime(db, startMs - 1);
  await move(db, id, 'joining');
  await passTime(db, 1);
  const agentId = await anAgent(db, { machineId: id });
  await db.updateTable('machines').set({ agent_id: agentId }).where('id', '=', id).execute();
  await move(db, id, 'ready');
  return id;
}

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
