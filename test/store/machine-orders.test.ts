import { describe, expect } from 'vitest';
import type { MachineId } from '../../src/model/ids.ts';
import type { OrderOutcome } from '../../src/ports/machine-orders.ts';
import type { Db } from '../../src/store/database.ts';
import { createMachineOrders } from '../../src/store/machine-orders.ts';
import { createMachineStore } from '../../src/store/machines.ts';
import { createMemoryStore } from '../../src/store/memory.ts';
import { createPlanningStore } from '../../src/store/planning.ts';
import { createReports } from '../../src/store/reports.ts';
import { aMachine, eventsSince, NOW_MS, passTime, stopClock } from '../support/builders.ts';
import { test } from '../support/database.ts';

const ADA = { by: 'ada', reason: 'debugging' };
const HOUR = 3_600_000;

function rowOf(db: Db, id: MachineId) {
  return db
    .selectFrom('machines as m')
    .leftJoin('agents as a', 'a.machine_id', 'm.id')
    .select(['m.state', 'm.end_reason', 'm.deadline_at', 'm.interrupted_at', 'a.cordoned'])
    .where('m.id', '=', id)
    .executeTakeFirstOrThrow();
}

const protectionOf = async (db: Db, id: MachineId) => (await createReports(db).showMachine(id))?.protection ?? null;
const says = (outcome: OrderOutcome): string =>
  outcome.kind === 'done' ? `${outcome.state}${outcome.changed ? '' : ' as before'}` : JSON.stringify(outcome);
const refused = (because: string) => ({ kind: 'refused', because });

describe('a protected machine', () => {
  test('says who protects it, why and until when, and is free again when that time has come', async ({ db }) => {
    await stopClock(db);
    const { id } = await aMachine(db, 'ready');
    expect(await createMachineOrders(db).protect(id, ADA, HOUR)).toMatchObject({ kind: 'done', changed: true });
    const until = new Date(NOW_MS + HOUR).toISOString();
    const protection = {
      by: 'operator',
      who: 'ada',
      reason: 'debugging',
      since: new Date(NOW_MS).toISOString(),
      until,
    };
    expect(await protectionOf(db, id)).toEqual(protection);
    expect(await eventsSince(db, id)).toMatchObject([
      { from_state: 'ready', to_state: 'ready', actor: 'operator', reason: 'protected', detail: { by: 'ada', until } },
    ]);
    await passTime(db, HOUR - 1);
    expect(await protectionOf(db, id)).not.toBeNull();
    await passTime(db, 1);
    expect(await protectionOf(db, id)).toBeNull();
    expect((await createMachineStore(db).read(id))?.isProtected).toBe(false);
  });

  test('is shown to the planner with who and until when', async ({ db }) => {
    await stopClock(db);
    const [own, free] = [await aMachine(db, 'ready'), await aMachine(db, 'ready')];
    await createMachineOrders(db).protect(own.id, ADA, null);
    const seen = async () =>
      new Map((await createPlanningStore(db).readFacts([])).machines.map((m) => [m.id, m.protection]));
    expect(await seen()).toEqual(
      new Map([
        [own.id, { by: 'operator', untilMs: null }],
        [free.id, undefined],
      ]),
    );
    await db.updateTable('machines').set({ tag_protected: true }).where('id', '=', own.id).execute();
    expect((await seen()).get(own.id)).toEqual({ by: 'tag', untilMs: null });
  });

  test('is not drained by a plan that was made before it was protected', async ({ db }) => {
    const { id } = await aMachine(db, 'ready');
    const machines = createMachineStore(db);
    const before = await machines.read(id);
    await createMachineOrders(db).protect(id, ADA, null);
    const drain = {
      to: 'draining',
      actor: 'planner',
      reason: 'unneeded',
      endReason: 'scale-down',
      cordon: true,
    } as const;
    expect(await machines.transition(before!.machine, { ...drain, unlessProtected: true })).toBe(false);
    await createMachineOrders(db).unprotect(id, ADA);
    expect(await machines.transition(before!.machine, { ...drain, unlessProtected: true })).toBe(true);
  });

  test('refuses orders that would end it, also by force', async ({ db }) => {
    const orders = createMachineOrders(db);
    const { id } = await aMachine(db, 'ready');
    await orders.protect(id, ADA, null);
    expect(await orders.drain(id, ADA, HOUR)).toMatchObject(refused('protected'));
    expect(await orders.terminate(id, ADA, true)).toMatchObject(refused('protected'));
    expect(says(await orders.unprotect(id, ADA))).toBe('ready');
    expect(says(await orders.unprotect(id, ADA))).toBe('ready as before');
    expect(says(await orders.drain(id, ADA, HOUR))).toBe('draining');
  });

  test('comes back from a drain that touched no work, and from no other', async ({ db }) => {
    const orders = createMachineOrders(db);
    const { id } = await aMachine(db, 'draining');
    expect(says(await orders.protect(id, ADA, null))).toBe('ready');
    expect(await rowOf(db, id)).toMatchObject({ state: 'ready', end_reason: null, cordoned: false });
    expect((await eventsSince(db, id)).map(({ reason }) => reason)).toEqual(['drain-cancelled', 'protected']);
    const touched = await aMachine(db, 'draining', { drainIrrevocable: true });
    expect(await orders.protect(touched.id, ADA, null)).toMatchObject(refused('work-touched'));
    const gone = await aMachine(db, 'leaving');
    expect(await orders.protect(gone.id, ADA, null)).toMatchObject(refused('leaving'));
    expect(await protectionOf(db, touched.id)).toBeNull();
  });
});

describe("an operator's drain", () => {
  test('cordons the machine, names who wanted it, and has the deadline of the policy', async ({ db }) => {
    await stopClock(db);
    const { id } = await aMachine(db, 'ready');
    expect(says(await createMachineOrders(db).drain(id, ADA, 90_000))).toBe('draining');
    expect(await rowOf(db, id)).toMatchObject({
      end_reason: 'operator',
      cordoned: true,
      deadline_at: new Date(NOW_MS + 90_000),
    });
    expect(await eventsSince(db, id)).toMatchObject([{ actor: 'operator', reason: 'operator', detail: ADA }]);
    expect(says(await createMachineOrders(db).drain(id, ADA, 90_000))).toBe('draining as before');
  });

  test('takes over a drain of the planner, which then cannot take the machine back', async ({ db }) => {
    const { id } = await aMachine(db, 'draining');
    expect(says(await createMachineOrders(db).drain(id, ADA, 90_000))).toBe('draining');
    expect(await rowOf(db, id)).toMatchObject({ state: 'draining', end_reason: 'operator' });
  });

  test('of what has no agent yet, or nothing to give any more, is told apart', async ({ db }) => {
    const orders = createMachineOrders(db);
    expect(await orders.drain((await aMachine(db, 'joining')).id, ADA, HOUR)).toMatchObject(refused('not-ready'));
    expect(says(await orders.drain((await aMachine(db, 'leaving')).id, ADA, HOUR))).toBe('leaving as before');
    expect(await orders.drain('mc-zzzzzzzzzzzz', ADA, HOUR)).toEqual({ kind: 'unknown' });
  });

  test('is called off while no work was touched, and clearly refused afterwards', async ({ db }) => {
    const orders = createMachineOrders(db);
    const { id } = await aMachine(db, 'ready');
    await orders.drain(id, ADA, HOUR);
    expect(says(await orders.undrain(id, ADA))).toBe('ready');
    expect(await rowOf(db, id)).toMatchObject({ end_reason: null, cordoned: false });
    expect(says(await orders.undrain(id, ADA))).toBe('ready as before');
    const touched = await aMachine(db, 'draining', { drainIrrevocable: true });
    expect(await orders.undrain(touched.id, ADA)).toMatchObject(refused('work-touched'));
    expect(await orders.undrain((await aMachine(db, 'terminating')).id, ADA)).toMatchObject(refused('leaving'));
    const removed = await aMachine(db, 'draining');
    await db.updateTable('machines').set({ end_reason: 'policy-removed' }).where('id', '=', removed.id).execute();
    expect(await orders.undrain(removed.id, ADA)).toMatchObject(refused('leaving'));
  });

  test('is refused while the database has lost commits', async ({ db }) => {
    const { id } = await aMachine(db, 'ready');
    await createMemoryStore(db).declare({ reason: 'lost-lease', evidence: {} });
    expect(await createMachineOrders(db).drain(id, ADA, HOUR)).toMatchObject(refused('amnesia'));
    expect(await rowOf(db, id)).toMatchObject({ state: 'ready', cordoned: false });
  });
});

describe('an order to terminate', () => {
  test('ends what has no work yet, and what may work by force only', async ({ db }) => {
    const orders = createMachineOrders(db);
    expect(says(await orders.terminate((await aMachine(db, 'booting')).id, ADA, false))).toBe('terminating');
    expect(says(await orders.terminate((await aMachine(db, 'leaving')).id, ADA, false))).toBe('terminating');
    const { id } = await aMachine(db, 'ready');
    expect(await orders.terminate(id, ADA, false)).toMatchObject(refused('may-work'));
    expect(says(await orders.terminate(id, ADA, true))).toBe('terminating');
    expect(await rowOf(db, id)).toMatchObject({ end_reason: 'operator', cordoned: true });
    expect(await eventsSince(db, id)).toMatchObject([{ actor: 'operator', detail: { ...ADA, force: true } }]);
    expect(says(await orders.terminate(id, ADA, true))).toBe('terminating as before');
  });

  test('waits for an instance that EC2 has not given yet', async ({ db }) => {
    const { id } = await aMachine(db, 'launching');
    expect(await createMachineOrders(db).terminate(id, ADA, true)).toMatchObject(refused('no-instance'));
  });
});

describe('the word that EC2 takes an instance back', () => {
  const soon = NOW_MS + 120_000;

  test('begins a drain that ends by then, whatever protects the machine', async ({ db }) => {
    await stopClock(db);
    const { id, agentId } = await aMachine(db, 'ready');
    const orders = createMachineOrders(db);
    await orders.protect(id, ADA, null);
    expect(await orders.noteInterruption(agentId!, soon)).toBe(true);
    const end = { end_reason: 'spot-interrupted', deadline_at: new Date(soon), interrupted_at: new Date(soon) };
    expect(await rowOf(db, id)).toMatchObject({ state: 'draining', cordoned: true, ...end });
    expect(await orders.noteInterruption(id, soon)).toBe(false);
    expect(await orders.undrain(id, ADA)).toMatchObject(refused('leaving'));
  });

  test('shortens a drain that is under way, and never lengthens it', async ({ db }) => {
    await stopClock(db);
    const orders = createMachineOrders(db);
    const deadlineOf = async (id: MachineId) => (await rowOf(db, id)).deadline_at?.getTime();
    const [long, short] = [await aMachine(db, 'ready'), await aMachine(db, 'ready')];
    await orders.drain(long.id, ADA, HOUR);
    await orders.drain(short.id, ADA, 5000);
    expect(await orders.noteInterruption(long.id, soon)).toBe(true);
    expect(await orders.noteInterruption(short.id, soon)).toBe(true);
    expect([await deadlineOf(long.id), await deadlineOf(short.id)]).toEqual([soon, NOW_MS + 5000]);
    expect(await rowOf(db, long.id)).toMatchObject({ end_reason: 'spot-interrupted' });
  });

  test('ends at once what has no work yet, and means nothing to what is gone or unknown', async ({ db }) => {
    const orders = createMachineOrders(db);
    const { id } = await aMachine(db, 'joining');
    expect(await orders.noteInterruption(id, soon)).toBe(true);
    expect(await rowOf(db, id)).toMatchObject({ state: 'terminating', end_reason: 'spot-interrupted' });
    expect(await orders.noteInterruption((await aMachine(db, 'leaving')).id, soon)).toBe(false);
    expect(await orders.noteInterruption('ag-zzzzzzzzzzzz', soon)).toBe(false);
  });
});
