/**
 * Goal: no hand, not even one with a psql prompt, makes a machine or a launch do what the tables of the model do not allow, or
 * moves a machine without its event, or bends its history.
 * Method: hand-written SQL on real Postgres, generated from the states; the stores of the product take no part.
 */
import { sql } from 'kysely';
import { describe, expect } from 'vitest';
import type { LaunchId, MachineId } from '../../src/model/ids.ts';
import { isLaunchTransition, LAUNCH_STATES, LAUNCH_TRANSITIONS, type LaunchState } from '../../src/model/launch.ts';
import { isTransition, MACHINE_STATES, MACHINE_TRANSITIONS, type MachineState } from '../../src/model/machine.ts';
import type { Db } from '../../src/store/database.ts';
import { aBody, aLaunch, aMachine, anId, aPlanRow, eventsSince, someHex } from '../support/builders.ts';
import { test } from '../support/database.ts';

const REFUSED = { code: '23514' };
const FIXED = { code: '23001' };

type Tables = 'machine_transitions' | 'launch_transitions';

async function tableOf(db: Db, table: Tables): Promise<string[]> {
  const rows = await db.selectFrom(table).select(['from_state', 'to_state']).execute();
  return rows.map(({ from_state, to_state }) => `${from_state} > ${to_state}`).sort();
}

function pairs<S extends string>(states: readonly S[]): [S, S][] {
  return states.flatMap((from) => states.filter((to) => to !== from).map((to): [S, S] => [from, to]));
}

interface Told {
  readonly from: MachineState | null;
  readonly to: MachineState;
  readonly reason?: string;
}

async function tell(db: Db, machineId: MachineId, { from, to, reason = 'by-hand' }: Told): Promise<void> {
  await sql`insert into spillway.machine_events (machine_id, from_state, to_state, actor, reason)
    values (${machineId}, ${from}, ${to}, 'psql', ${reason})`.execute(db);
}

async function move(db: Db, id: MachineId, to: MachineState): Promise<void> {
  await sql`update spillway.machines set state = ${to}, revision = revision + 1 where id = ${id}`.execute(db);
}

/** A move with its event in one transaction, as the product writes it. */
async function moveAndTell(db: Db, id: MachineId, from: MachineState, to: MachineState): Promise<void> {
  await db.transaction().execute(async (tx) => {
    await move(tx, id, to);
    await tell(tx, id, { from, to });
  });
}

/** `done`, or Postgres' code of why not. */
async function outcomeOf(work: Promise<unknown>): Promise<string | undefined> {
  return await work.then(
    () => 'done',
    (error: { readonly code?: string }) => error.code,
  );
}

async function insertMachine(db: Db, state: MachineState, launchId: LaunchId): Promise<MachineId> {
  const id = anId('mc');
  await sql`insert into spillway.machines
      (id, launch_id, plan_id, workload, state, instance_type, cpu_milli, memory_mib, zone, market, volume_gib, price_usd_per_hour)
    select ${id}, id, plan_id, workload, ${state}, 'c6a.large', 2000, 4096, zone, 'on-demand', 20, 0.07
    from spillway.launches where id = ${launchId}`.execute(db);
  return id;
}

async function insertAndTell(db: Db, state: MachineState, reason: string): Promise<void> {
  const launchId = await aLaunch(db);
  await db.transaction().execute(async (tx) => {
    await tell(tx, await insertMachine(tx, state, launchId), { from: null, to: state, reason });
  });
}

const stateOf = async (db: Db, id: MachineId) =>
  (await db.selectFrom('machines').select('state').where('id', '=', id).executeTakeFirstOrThrow()).state;

test('the tables of transitions are the same in SQL as in the model', async ({ db }) => {
  const ofMachines = MACHINE_STATES.flatMap((from) => MACHINE_TRANSITIONS[from].map((to) => `${from} > ${to}`));
  const ofLaunches = LAUNCH_STATES.flatMap((from) => LAUNCH_TRANSITIONS[from].map((to) => `${from} > ${to}`));
  expect(await tableOf(db, 'machine_transitions')).toEqual(ofMachines.sort());
  expect(await tableOf(db, 'launch_transitions')).toEqual(ofLaunches.sort());
});

describe.each<Tables>(['machine_transitions', 'launch_transitions'])('the table %s', (table) => {
  test.for([
    `insert into spillway.${table} values ('terminated', 'ready')`,
    `update spillway.${table} set to_state = from_state`,
    `delete from spillway.${table}`,
    `truncate spillway.${table}`,
  ])('is changed by migrations only: %s', async (statement, { db }) => {
    const before = await tableOf(db, table);
    await expect(sql.raw(statement).execute(db)).rejects.toMatchObject(FIXED);
    expect(await tableOf(db, table)).toEqual(before);
  });
});

describe('a machine', () => {
  test('goes every legal way, and no other, by whatever hand', async ({ db }) => {
    const went: string[] = [];
    for (const [from, to] of pairs(MACHINE_STATES)) {
      const { id } = await aMachine(db, from);
      const outcome = await outcomeOf(moveAndTell(db, id, from, to));
      if (outcome === 'done') went.push(`${from} > ${to}`);
      expect(['done', REFUSED.code]).toContain(outcome);
      expect(await stateOf(db, id)).toBe(outcome === 'done' ? to : from);
    }
    const legal = pairs(MACHINE_STATES).filter(([from, to]) => isTransition(from, to));
    expect(went).toEqual(legal.map(([from, to]) => `${from} > ${to}`));
  });

  test('that moves without an event is not committed, whichever way it goes', async ({ db }) => {
    for (const [from, to] of pairs(MACHINE_STATES).filter(([before, after]) => isTransition(before, after))) {
      const { id } = await aMachine(db, from);
      await expect(move(db, id, to)).rejects.toMatchObject({ ...REFUSED, message: expect.stringContaining('event') });
      expect(await stateOf(db, id)).toBe(from);
    }
  });

  test('that moves twice needs both events', async ({ db }) => {
    const { id } = await aMachine(db, 'requested');
    const both = db.transaction().execute(async (tx) => {
      await move(tx, id, 'launching');
      await move(tx, id, 'booting');
      await tell(tx, id, { from: 'launching', to: 'booting' });
    });
    await expect(both).rejects.toMatchObject(REFUSED);
    expect(await eventsSince(db, id)).toEqual([]);
  });

  test('has a new revision if and only if it has a new state', async ({ db }) => {
    const { id } = await aMachine(db, 'joining');
    const idle = sql`update spillway.machines set revision = revision + 1 where id = ${id}`.execute(db);
    await expect(idle).rejects.toMatchObject(REFUSED);
    const still = sql`update spillway.machines set state = 'terminating' where id = ${id}`.execute(db);
    await expect(still).rejects.toMatchObject(REFUSED);
  });

  test.for(MACHINE_STATES)('begins as requested, and as %s only when it was rebuilt', async (state, { db }) => {
    const outcome = state === 'requested' ? 'done' : REFUSED.code;
    expect(await outcomeOf(insertAndTell(db, state, 'launch'))).toBe(outcome);
    expect(await outcomeOf(insertAndTell(db, state, 'rebuilt'))).toBe('done');
  });

  test.for(MACHINE_STATES)('does not begin as %s without an event', async (state, { db }) => {
    const launchId = await aLaunch(db);
    await expect(insertMachine(db, state, launchId)).rejects.toMatchObject(REFUSED);
  });

  test('is never removed, nor is a launch', async ({ db }) => {
    const { id, launchId } = await aMachine(db, 'terminated');
    for (const statement of [
      sql`delete from spillway.machines where id = ${id}`,
      sql`delete from spillway.launches where id = ${launchId}`,
      sql`truncate spillway.machines cascade`,
      sql`truncate spillway.launches cascade`,
    ]) {
      await expect(statement.execute(db)).rejects.toMatchObject(FIXED);
    }
    expect(await stateOf(db, id)).toBe('terminated');
  });
});

describe('an event', () => {
  test('tells of every change once, with plan, trace and revision', async ({ db }) => {
    const { id } = await aMachine(db, 'booting');
    const decided = await aPlanRow(db);
    await moveAndTell(db, id, 'booting', 'joining');
    await moveAndTell(db, id, 'joining', 'ready');
    await db.transaction().execute(async (tx) => {
      await move(tx, id, 'draining');
      await sql`insert into spillway.machine_events (machine_id, from_state, to_state, actor, reason, plan_id)
        values (${id}, 'ready', 'draining', 'psql', 'unneeded', ${decided})`.execute(tx);
    });
    await moveAndTell(db, id, 'draining', 'leaving');

    const machine = await db.selectFrom('machines').selectAll().where('id', '=', id).executeTakeFirstOrThrow();
    const plans = await db.selectFrom('plans').select(['id', 'trace_id']).orderBy('id').execute();
    const traceOf = new Map(plans.map((plan) => [plan.id, plan.trace_id]));
    const { plan_id: born } = machine;
    expect(machine.trace_id).toBe(traceOf.get(born));
    const told = await eventsSince(db, id);
    expect(told.map(({ revision, plan_id }) => [revision, plan_id])).toEqual([
      [2, born],
      [3, born],
      [4, decided],
      // What a step does after a decision, it does in the name of that decision.
      [5, decided],
    ]);
    expect(told.map(({ trace_id }) => trace_id)).toEqual(told.map(({ plan_id }) => traceOf.get(plan_id)));
  });

  test.for<[string, Told, string]>([
    ['of a change that did not happen', { from: 'booting', to: 'joining' }, '23514'],
    ['of a change that is not legal', { from: 'requested', to: 'booting' }, '23514'],
    ['of a second beginning', { from: null, to: 'booting', reason: 'rebuilt' }, '23505'],
  ])('%s is refused', async ([, told, code], { db }) => {
    const { id } = await aMachine(db, 'booting');
    await expect(tell(db, id, told)).rejects.toMatchObject({ code });
  });

  test('of a change that was told of already is refused', async ({ db }) => {
    const { id } = await aMachine(db, 'booting');
    await moveAndTell(db, id, 'booting', 'joining');
    await expect(tell(db, id, { from: 'booting', to: 'joining' })).rejects.toMatchObject({ code: '23505' });
  });

  test('of another way than the machine went is refused with the change', async ({ db }) => {
    const { id } = await aMachine(db, 'draining');
    const change = db.transaction().execute(async (tx) => {
      await move(tx, id, 'terminating');
      await tell(tx, id, { from: 'ready', to: 'terminating' });
    });
    await expect(change).rejects.toMatchObject(REFUSED);
  });

  test('may tell of a longer wait, as often as it is prolonged', async ({ db }) => {
    const { id } = await aMachine(db, 'draining');
    await tell(db, id, { from: 'draining', to: 'draining' });
    await tell(db, id, { from: 'draining', to: 'draining' });
    expect(await eventsSince(db, id)).toMatchObject([{ revision: 1 }, { revision: 1 }]);
  });

  test.for([
    `update spillway.machine_events set reason = 'y'`,
    'delete from spillway.machine_events',
    'truncate spillway.machine_events',
  ])('stands as it was written: %s', async (statement, { db }) => {
    await aMachine(db, 'booting');
    await expect(sql.raw(statement).execute(db)).rejects.toMatchObject(FIXED);
  });
});

describe('a launch', () => {
  const setState = async (db: Db, id: LaunchId, state: LaunchState): Promise<void> => {
    await sql`update spillway.launches set state = ${state} where id = ${id}`.execute(db);
  };

  test('goes every legal way, and no other', async ({ db }) => {
    const went: string[] = [];
    for (const [from, to] of pairs(LAUNCH_STATES)) {
      const outcome = await outcomeOf(setState(db, await aLaunch(db, { state: from }), to));
      if (outcome === 'done') went.push(`${from} > ${to}`);
      expect(['done', REFUSED.code]).toContain(outcome);
    }
    const legal = pairs(LAUNCH_STATES).filter(([from, to]) => isLaunchTransition(from, to));
    expect(went).toEqual(legal.map(([from, to]) => `${from} > ${to}`));
  });

  test.for(LAUNCH_STATES)('begins open and not as %s', async (state, { db }) => {
    const insert = sql`insert into spillway.launches
        (id, plan_id, workload, state, nonce, attempt, token, body, zone, instance_count, price_usd_per_hour, epoch, deadline_at)
      values (${anId('ln')}, ${await aPlanRow(db)}, 'w', ${state}, ${someHex(32)}, 1, ${someHex(20)}, ${JSON.stringify(aBody())}, 'z', 1, 0.1, 1,
        spillway.now())`.execute(db);
    expect(await outcomeOf(insert)).toBe(state === 'open' ? 'done' : REFUSED.code);
  });

  test('has the trace of its plan, and a plan has no empty trace', async ({ db }) => {
    const planId = await aPlanRow(db);
    const id = await aLaunch(db, { planId });
    const row = await db
      .selectFrom('launches as l')
      .innerJoin('plans as p', 'p.id', 'l.plan_id')
      .select(['l.trace_id', 'p.trace_id as of_plan'])
      .where('l.id', '=', id)
      .executeTakeFirstOrThrow();
    expect(row.trace_id).toBe(row.of_plan);
    const empty = sql`update spillway.plans set trace_id = repeat('0', 32)`.execute(db);
    await expect(empty).rejects.toMatchObject(REFUSED);
  });
});
