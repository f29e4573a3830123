import { sql } from 'kysely';
import { describe, expect } from 'vitest';
import { CLEAN_LISTINGS_MIN, CLEAN_SPAN_MS } from '../../src/model/amnesia.ts';
import { createAgentStore } from '../../src/store/agents.ts';
import { createMemoryStore } from '../../src/store/memory.ts';
import type { Db } from '../../src/store/database.ts';
import { createLaunchStore } from '../../src/store/launches.ts';
import { createMachineStore } from '../../src/store/machines.ts';
import { createPlanningStore } from '../../src/store/planning.ts';
import { createTaskStore } from '../../src/store/tasks.ts';
import { aLaunch, aMachine, anAgent, NOW_MS, passTime, someHex, stopClock } from '../support/builders.ts';
import { test } from '../support/database.ts';
import { untilBlocked, withOpenTransaction } from './blocked.ts';
import { aCommit, aNewLaunch, counts, lead, machineOf, step } from './planning-commits.ts';

const FINDING = { reason: 'lost-lease', evidence: { epochNow: 1 } } as const;
const MINUTE_MS = 60_000;

/** The transaction that declares an amnesia, as far as it goes before its commit. */
const declareIn = async (tx: Db): Promise<unknown> =>
  await tx.updateTable('amnesia').set({ since: new Date(), reason: 'lost-lease' }).execute();

describe('an amnesia', () => {
  test('is declared once, and seen by everyone who looks', async ({ db }) => {
    await stopClock(db);
    const memory = createMemoryStore(db);
    expect((await memory.look([])).amnesia).toBeNull();
    expect(await memory.declare(FINDING)).toBe(true);
    await passTime(db, MINUTE_MS);
    expect(await memory.declare({ reason: 'unknown-launch', evidence: {} })).toBe(false);
    expect((await memory.look([])).amnesia).toEqual({
      ...FINDING,
      sinceMs: NOW_MS,
      rebuilt: 0,
      cleanListings: 0,
      cleanSinceMs: null,
    });
  });

  test('keeps its evidence small', async ({ db }) => {
    const memory = createMemoryStore(db);
    await memory.declare({ reason: 'lost-lease', evidence: { long: 'x'.repeat(100_000) } });
    expect((await memory.look([])).amnesia?.evidence).toEqual({});
  });

  test('ends after enough clean listings over enough time; one that is not clean begins the count anew', async ({
    db,
  }) => {
    await stopClock(db);
    const memory = createMemoryStore(db);
    const lease = { ...(await lead(db)), expiresAtMs: 0 };
    await db
      .updateTable('leases')
      .set({ expires_at: new Date(NOW_MS + 3_600_000) })
      .execute();
    await memory.declare(FINDING);
    let nowMs = NOW_MS;
    const list = async (clean: boolean) => {
      await passTime(db, MINUTE_MS);
      nowMs += MINUTE_MS;
      return await memory.noteListing(lease, { clean, startedAtMs: nowMs });
    };
    for (let listing = 1; listing < CLEAN_LISTINGS_MIN; listing += 1) expect(await list(true)).toBeNull();
    expect(await list(false)).toBeNull();
    const last = CLEAN_SPAN_MS / MINUTE_MS;
    expect(last).toBeGreaterThanOrEqual(CLEAN_LISTINGS_MIN);
    for (let listing = 0; listing < last; listing += 1) expect(await list(true)).toBeNull();
    expect(await list(true)).toMatchObject({ ...FINDING, cleanListings: last + 1 });
    expect((await memory.look([])).amnesia).toBeNull();
    // And without one there is nothing to end.
    expect(await list(true)).toBeNull();
  });

  test('gives machines their deadlines anew when it ends', async ({ db }) => {
    await stopClock(db);
    const memory = createMemoryStore(db);
    const machine = await aMachine(db, 'joining');
    await db
      .updateTable('machines')
      .set({ deadline_at: new Date(NOW_MS - 1) })
      .execute();
    await memory.declare(FINDING);
    await db
      .updateTable('amnesia')
      .set({ clean_listings: 9, clean_since: new Date(NOW_MS - CLEAN_SPAN_MS) })
      .execute();

    expect(await memory.noteListing(await lead(db), { clean: true, startedAtMs: NOW_MS })).not.toBeNull();
    expect((await machineOf(db, machine.id)).deadline_at?.getTime()).toBeGreaterThan(NOW_MS + MINUTE_MS);
  });

  test('is rebuilt and ended by the leader alone', async ({ db }) => {
    const memory = createMemoryStore(db);
    const lease = await lead(db);
    await memory.declare(FINDING);
    const other = { ...lease, epoch: lease.epoch + 1 };

    expect(await memory.rebuild(other, [])).toBeNull();
    expect(await memory.noteListing(other, { clean: true, startedAtMs: NOW_MS })).toBeNull();
    expect((await memory.look([])).amnesia).toMatchObject({ cleanListings: 0 });
  });

  test('can be looked for by a role that may not ask about the server', async ({ db, databaseUrl }) => {
    const role = `plain_${someHex(8)}`;
    const url = new URL(databaseUrl);
    expect(url.pathname).not.toBe('');
    await sql`create role ${sql.id(role)}`.execute(db);
    try {
      await sql`grant usage on schema spillway to ${sql.id(role)}`.execute(db);
      await sql`grant select on all tables in schema spillway to ${sql.id(role)}`.execute(db);
      await sql`revoke execute on function pg_control_system() from public`.execute(db);
      const [server] = await db.connection().execute(async (connection) => {
        await sql`set role ${sql.id(role)}`.execute(connection);
        const facts = await createMemoryStore(connection).look([]);
        await sql`reset role`.execute(connection);
        return [facts.server];
      });
      expect(server).toBeNull();
    } finally {
      await sql`drop owned by ${sql.id(role)}`.execute(db);
      await sql`drop role ${sql.id(role)}`.execute(db);
    }
  });

  test('names the server it looks at, and the launches that are there', async ({ db }) => {
    const nonce = someHex(32);
    await aLaunch(db, { nonce });
    const lease = await lead(db);
    await lead(db);

    const facts = await createMemoryStore(db).look([nonce, someHex(32)]);
    expect(facts).toEqual({ epoch: lease.epoch, turns: 2, nonces: [nonce], server: facts.server, amnesia: null });
    expect(facts.server).toMatch(/^\d+\/\d+$/);
  });
});

describe('while it lasts', () => {
  test.for([
    ['launches', async (db: Db) => ({ launches: [aNewLaunch(1)], db })],
    ['drains', async (db: Db) => ({ drains: [step((await aMachine(db, 'ready')).id)] })],
    ['takes back', async (db: Db) => ({ undrains: [step((await aMachine(db, 'draining')).id)] })],
  ] as const)('a plan that %s is not committed, however late it was declared', async ([, build], { db }) => {
    const { db: _, ...acts } = { db, ...(await build(db)) };
    const lease = await lead(db);
    const before = await counts(db);
    await withOpenTransaction(db, async (declaring) => {
      await declareIn(declaring);
      const commit = createPlanningStore(db).commit(aCommit(lease, acts));
      await untilBlocked(db);
      await declaring.commit().execute();

      expect(await commit).toEqual({ kind: 'amnesia' });
    });
    expect(await counts(db)).toEqual(before);
  });

  test('a plan that does nothing is stored, so that its reasons can be read', async ({ db }) => {
    const lease = await lead(db);
    await createMemoryStore(db).declare(FINDING);

    expect(await createPlanningStore(db).commit(aCommit(lease))).toMatchObject({ kind: 'committed', stored: true });
  });

  test('it cannot be declared between the look of a commit and its end', async ({ db }) => {
    const lease = await lead(db);
    const machine = await aMachine(db, 'ready');
    await withOpenTransaction(db, async (blocker) => {
      await blocker.selectFrom('machines').select('id').where('id', '=', machine.id).forUpdate().execute();
      const commit = createPlanningStore(db).commit(aCommit(lease, { drains: [step(machine.id)] }));
      await untilBlocked(db);
      const declared = createMemoryStore(db).declare(FINDING);
      await untilBlocked(db, 2);
      await blocker.commit().execute();

      expect(await commit).toMatchObject({ drained: [machine.id] });
      expect(await declared).toBe(true);
    });
  });

  test('no first call of a launch begins, also when it is declared at that moment', async ({ db }) => {
    const launchId = await aLaunch(db);
    await withOpenTransaction(db, async (declaring) => {
      await declareIn(declaring);
      const began = createLaunchStore(db).beginCall(launchId, 1);
      await untilBlocked(db);
      await declaring.commit().execute();

      expect(await began).toBe('held');
    });
    expect(await db.selectFrom('launch_calls').selectAll().execute()).toEqual([]);
  });

  test('a launch goes on whose earlier call is unsettled, or was lost with the commits', async ({ db }) => {
    const launches = createLaunchStore(db);
    const [called, lost, refused] = [await aLaunch(db), await aLaunch(db), await aLaunch(db)];
    await launches.beginCall(called, 1);
    const call = await launches.beginCall(refused, 1);
    await launches.finishCall(Number(call), { kind: 'throttled', code: 'RequestLimitExceeded', message: '' });
    const memory = createMemoryStore(db);
    await memory.declare(FINDING);
    expect(await launches.beginCall(called, 1)).toBeTypeOf('number');
    expect(await launches.beginCall(lost, 1)).toBe('held');
    expect(await launches.beginCall(refused, 1)).toBe('held');
    for (const id of [lost, lost, refused]) await memory.noteLostCall(id);
    expect(await launches.beginCall(lost, 1)).toBeTypeOf('number');
    expect(await launches.beginCall(refused, 1)).toBeTypeOf('number');
    expect(await db.selectFrom('launch_calls').select('id').where('error_code', '=', 'AMNESIA').execute()).toHaveLength(
      2,
    );
  });

  test.for([
    ['ready', 'draining'],
    ['draining', 'leaving'],
    ['booting', 'terminating'],
  ] as const)('no machine goes from %s to %s', async ([from, to], { db }) => {
    const { id } = await aMachine(db, from);
    const machines = createMachineStore(db);
    await createMemoryStore(db).declare(FINDING);
    const record = (await machines.read(id))!;
    expect(record.amnesia).toBe(true);
    const transition = { to, actor: 'test', reason: 'test', endReason: 'operator' } as const;

    expect(await machines.transition(record.machine, transition)).toBe(false);
    expect(await machineOf(db, id)).toMatchObject({ state: from, revision: record.machine.revision });
    await db.updateTable('amnesia').set({ since: null, reason: null }).execute();
    expect(await machines.transition(record.machine, transition)).toBe(true);
  });

  test('no machine is claimed for a termination, also when it is declared at that moment', async ({ db }) => {
    const { id, launchId, instanceId } = await aMachine(db, 'terminating');
    const machines = createMachineStore(db);
    const region = (await createLaunchStore(db).read(launchId))!.launch.body.region;
    const claim = { region, againAfterMs: MINUTE_MS, limit: 500 };
    await withOpenTransaction(db, async (declaring) => {
      await declareIn(declaring);
      const claimed = machines.claimTerminations(id, claim);
      await untilBlocked(db);
      await declaring.commit().execute();

      expect(await claimed).toEqual([]);
    });
    await db.updateTable('amnesia').set({ since: null, reason: null }).execute();
    expect(await machines.claimTerminations(id, claim)).toEqual([instanceId]);
  });

  test('a machine that EC2 says is gone ends all the same', async ({ db }) => {
    const { id } = await aMachine(db, 'booting');
    const machines = createMachineStore(db);
    await createMemoryStore(db).declare(FINDING);
    const transition = { to: 'terminated', actor: 'test', reason: 'test', endReason: 'instance-gone' } as const;

    expect(await machines.transition((await machines.read(id))!.machine, transition)).toBe(true);
  });

  test('nobody is offered work for one lease', async ({ db }) => {
    await stopClock(db);
    await anAgent(db);
    const tasks = createTaskStore(db);
    await createMemoryStore(db).declare(FINDING);
    await db
      .updateTable('agents')
      .set({ last_seen_at: new Date(NOW_MS + MINUTE_MS) })
      .execute();
    expect(await tasks.listFreeAgents(MINUTE_MS)).toEqual([]);
    await passTime(db, MINUTE_MS);
    expect(await tasks.listFreeAgents(MINUTE_MS)).toHaveLength(1);
  });

  test('an agent that is not known may have been forgotten', async ({ db }) => {
    const agents = createAgentStore(db);
    expect(await agents.mayBeForgotten()).toBe(false);
    await createMemoryStore(db).declare(FINDING);
    expect(await agents.mayBeForgotten()).toBe(true);
  });
});

describe('between a loss of commits and the pass that finds it', () => {
  /** This process saw the lease as it was before the failover. */
  async function failOver(db: Db): Promise<void> {
    await lead(db);
    const { epoch, turns } = await createMemoryStore(db).look([]);
    await createMemoryStore(db).expect({ epoch, turns });
    await db
      .updateTable('leases')
      .set({ turns: turns - 1 })
      .execute();
  }

  test('no machine is let go of', async ({ db }) => {
    const { id } = await aMachine(db, 'joining');
    const machines = createMachineStore(db);
    const { machine } = (await machines.read(id))!;
    const transition = { to: 'terminating', actor: 'test', reason: 'test', endReason: 'join-deadline' } as const;
    await failOver(db);
    expect(await machines.transition(machine, transition)).toBe(false);
    // Once it is found it is declared; what the process expects is then what is there.
    await createMemoryStore(db).expect(await createMemoryStore(db).look([]));
    expect(await machines.transition(machine, transition)).toBe(true);
  });

  test('none is claimed for a termination', async ({ db }) => {
    const { id, launchId } = await aMachine(db, 'terminating');
    const region = (await createLaunchStore(db).read(launchId))!.launch.body.region;
    await failOver(db);
    expect(await createMachineStore(db).claimTerminations(id, { region, againAfterMs: MINUTE_MS, limit: 500 })).toEqual(
      [],
    );
  });

  test('no plan acts, and no first call of a launch begins', async ({ db }) => {
    const launchId = await aLaunch(db);
    await failOver(db);
    const commit = aCommit(await lead(db), { launches: [aNewLaunch(1)] });
    await db.updateTable('leases').set({ turns: 0 }).execute();
    expect(await createPlanningStore(db).commit(commit)).toEqual({ kind: 'amnesia' });
    expect(await createLaunchStore(db).beginCall(launchId, 1)).toBe('held');
  });

  test('nobody is offered work, and an agent that is not known may have been forgotten', async ({ db }) => {
    await anAgent(db);
    const tasks = createTaskStore(db);
    expect(await tasks.listFreeAgents(MINUTE_MS)).toHaveLength(1);
    await failOver(db);
    expect(await tasks.listFreeAgents(MINUTE_MS)).toEqual([]);
    expect(await createAgentStore(db).mayBeForgotten()).toBe(true);
  });

  test('a database without any lease has lost the one that was seen', async ({ db }) => {
    await failOver(db);
    await db.deleteFrom('leases').execute();
    expect(await createAgentStore(db).mayBeForgotten()).toBe(true);
  });
});
