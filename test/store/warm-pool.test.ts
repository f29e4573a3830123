import { describe, expect } from 'vitest';
import type { MachineId } from '../../src/model/ids.ts';
import type { Machine } from '../../src/model/machine.ts';
import type { Db } from '../../src/store/database.ts';
import { createLedgerStore } from '../../src/store/ledger.ts';
import { createMachineStore } from '../../src/store/machines.ts';
import { createSweepStore } from '../../src/store/sweeping.ts';
import { aMachine, anInstance, NOW_MS, passTime, REGION, stopClock } from '../support/builders.ts';
import { test } from '../support/database.ts';

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;

async function read(db: Db, id: MachineId): Promise<Machine> {
  const record = await createMachineStore(db).read(id);
  if (record === null) throw new Error(`${id} is not there`);
  return record.machine;
}

describe('the pool', () => {
  test('takes no more machines than it has room for, however many leave at once', async ({ db }) => {
    await stopClock(db);
    await aMachine(db, 'stopped');
    await aMachine(db, 'stopped', { workload: 'other' });
    const leaving = await Promise.all([1, 2, 3].map(async () => await read(db, (await aMachine(db, 'leaving')).id)));
    const machines = createMachineStore(db);
    const taken = await Promise.all(leaving.map(async (machine) => await machines.stopInPool(machine, 2)));
    expect(taken.filter(Boolean)).toHaveLength(1);
    const rows = await db.selectFrom('machines').select('state').where('state', '=', 'stopping').execute();
    expect(rows).toHaveLength(1);
  });

  test('lets one caller at a time ask EC2, until its time is over or the machine moved', async ({ db }) => {
    await stopClock(db);
    const { id } = await aMachine(db, 'stopping');
    const machines = createMachineStore(db);
    const machine = await read(db, id);
    expect(await machines.claimPowerCall(machine, MINUTE_MS)).toBe(true);
    expect(await machines.claimPowerCall(machine, MINUTE_MS)).toBe(false);
    await machines.putOffPowerCall(machine, 5000);
    await passTime(db, 5000);
    expect(await machines.claimPowerCall(machine, MINUTE_MS)).toBe(true);
    await machines.transition(machine, { to: 'stopped', actor: 'test', reason: 'test', endReason: 'scale-down' });
    expect(await machines.claimPowerCall(machine, MINUTE_MS)).toBe(false);
    const stopped = await read(db, id);
    await machines.transition(stopped, { to: 'booting', actor: 'test', reason: 'test' });
    expect(await machines.claimPowerCall(await read(db, id), MINUTE_MS)).toBe(true);
  });
});

describe('what a listing shows of runs', () => {
  const pair = async (db: Db) => {
    await stopClock(db);
    const { id, instanceId } = await aMachine(db, 'ready');
    const sweep = createSweepStore(db);
    const look = async (changes: Parameters<typeof anInstance>[0]): Promise<void> => {
      const instances = [anInstance({ instanceId: instanceId ?? '', endedAtMs: null, ...changes })];
      await sweep.observe(REGION, { instances, complete: true, startedAtMs: NOW_MS });
    };
    const row = async () => await db.selectFrom('machines').selectAll().where('id', '=', id).executeTakeFirstOrThrow();
    return { id, look, row };
  };

  test('is kept apart by LaunchTime: a start begins a run, and the one before is closed', async ({ db }) => {
    const { id, look, row } = await pair(db);
    await look({ state: 'running', launchTimeMs: NOW_MS - HOUR_MS });
    await look({ state: 'stopped', launchTimeMs: NOW_MS - HOUR_MS, endedAtMs: NOW_MS - 50_000, endCode: 'Client.X' });
    expect(await row()).toMatchObject({
      run: 1,
      stopped_at: new Date(NOW_MS - 50_000),
      ended_at: null,
      end_code: null,
    });
    await look({ state: 'pending', launchTimeMs: NOW_MS });
    expect(await row()).toMatchObject({
      run: 2,
      run_launch_time: new Date(NOW_MS),
      launch_time: new Date(NOW_MS - HOUR_MS),
      running_seen_at: null,
      stopped_at: null,
    });
    const [chargeable] = await createLedgerStore(db).listChargeable(NOW_MS, 10);
    expect(chargeable).toBeUndefined();
    await look({ state: 'running', launchTimeMs: NOW_MS });
    await db
      .updateTable('machines')
      .set({ charged_through: new Date(NOW_MS - HOUR_MS) })
      .where('id', '=', id)
      .execute();
    expect(await createLedgerStore(db).listChargeable(NOW_MS, 10)).toMatchObject([
      {
        run: 2,
        pastRuns: [{ run: 1, launchAtMs: NOW_MS - HOUR_MS, runningSeenAtMs: NOW_MS, stoppedAtMs: NOW_MS - 50_000 }],
      },
    ]);
  });

  test('of an older run changes nothing of the one that goes on', async ({ db }) => {
    const { look, row } = await pair(db);
    await look({ state: 'running', launchTimeMs: NOW_MS - HOUR_MS });
    await look({ state: 'running', launchTimeMs: NOW_MS });
    await look({ state: 'stopped', launchTimeMs: NOW_MS - HOUR_MS, endedAtMs: NOW_MS - 1000 });
    expect(await row()).toMatchObject({ run: 2, stopped_at: null, running_seen_at: new Date(NOW_MS) });
  });

  test('is one run although its LaunchTime is told a little differently', async ({ db }) => {
    const { look, row } = await pair(db);
    await look({ state: 'pending', launchTimeMs: NOW_MS - 2000 });
    await look({ state: 'running', launchTimeMs: NOW_MS });
    expect(await row()).toMatchObject({ run: 1, run_launch_time: new Date(NOW_MS - 2000) });
  });
});
