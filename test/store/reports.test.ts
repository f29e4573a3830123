import { describe } from 'vitest';
import { sql } from 'kysely';
import { createDatabase } from '../../src/store/database.ts';
import { createPool } from '../../src/store/pool.ts';
import { createMachineStore } from '../../src/store/machines.ts';
import { createReports } from '../../src/store/reports.ts';
import { aMachine, passTime, stopClock } from '../support/builders.ts';
import { test } from '../support/database.ts';
import { quietLog } from '../support/log.ts';
import { ids, TRACE, seedFleet } from './reports-fleet.ts';

const FIRST_PAGE = { limit: 100, cursor: null };
const ALL_MACHINES = { workload: null, state: null, all: true } as const;
const ALL_TASKS = { workload: null, state: null } as const;

describe('machines', () => {
  test('lists living machines newest first, with price, cost, load and the newest reason', async ({ db, expect }) => {
    await seedFleet(db);
    const { items, nextCursor } = await createReports(db).listMachines(
      { workload: null, state: null, all: false },
      FIRST_PAGE,
    );
    expect(nextCursor).toBeNull();
    expect(items.map((machine) => machine.id)).toEqual([ids.booting, ids.ready]);
    expect(items[1]).toEqual({
      id: ids.ready,
      workload: 'transcode',
      state: 'ready',
      instanceType: 'c6a.2xlarge',
      resources: { cpuMilli: 8000, memoryMib: 16384, gpus: 0 },
      zone: 'eu-central-1a',
      market: 'spot',
      instanceId: 'i-0abc',
      privateIp: '10.0.0.7',
      agentId: ids.cloud,
      allocated: { cpuMilli: 0, memoryMib: 0, gpus: 0 },
      priceUsdPerHour: '0.340000',
      costUsd: '0.342000000',
      chargedThrough: '2026-11-22T09:00:00.000Z',
      createdAt: '2026-11-22T08:00:00.123Z',
      stateSince: '2026-11-22T08:01:30.000Z',
      deadlineAt: null,
      reason: 'agent reports',
      endReason: null,
      endDetail: null,
      protection: null,
    });
  });

  test('filters by state and workload; asking for terminated ones needs no further flag', async ({ db, expect }) => {
    await seedFleet(db);
    const reports = createReports(db);
    const ended = await reports.listMachines({ workload: 'transcode', state: 'terminated', all: false }, FIRST_PAGE);
    expect(ended.items.map((machine) => machine.id)).toEqual([ids.ended]);
    expect((await reports.listMachines({ workload: 'other', state: null, all: true }, FIRST_PAGE)).items).toEqual([]);
  });

  test('pages through machines of one microsecond apart without losing or repeating any', async ({ db, expect }) => {
    await seedFleet(db);
    await sql`update spillway.machines set created_at = '2026-11-22T08:00:00.000001Z'::timestamptz + right(id, 1)::int * interval '1 microsecond'`.execute(
      db,
    );
    const reports = createReports(db);
    const seen: string[] = [];
    let cursor: string | null = null;
    do {
      const page: Awaited<ReturnType<typeof reports.listMachines>> = await reports.listMachines(ALL_MACHINES, {
        limit: 1,
        cursor,
      });
      seen.push(...page.items.map((machine) => machine.id));
      cursor = page.nextCursor;
    } while (cursor !== null);
    expect(seen).toEqual([ids.ended, ids.booting, ids.ready]);
  });

  test('refuses a cursor whose row is gone instead of ending the list early', async ({ db, expect }) => {
    const lost = createReports(db).listMachines(ALL_MACHINES, { limit: 1, cursor: 'mc-zzzzzzzzzzzz' });
    await expect(lost).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });

  test('shows one machine with its cost by kind and its events in order', async ({ db, expect }) => {
    await seedFleet(db);
    const machine = await createReports(db).showMachine(ids.ready);
    expect(machine?.costByKind).toEqual([
      { kind: 'compute', seconds: 3600, amountUsd: '0.340000000' },
      { kind: 'volume', seconds: 3600, amountUsd: '0.002000000' },
    ]);
    expect(machine?.events.map((event) => `${event.at} ${event.toState} ${event.reason}`)).toEqual([
      '2026-11-22T08:00:00.000Z requested unserved-work',
      '2026-11-22T08:00:02.000Z launching run-instances',
      '2026-11-22T08:00:03.000Z booting instance-launched',
      '2026-11-22T08:00:40.000Z joining ssh-open',
      '2026-11-22T08:01:30.000Z ready agent reports',
    ]);
    expect(machine).toMatchObject({ planId: ids.plan, traceId: TRACE });
    expect(new Set(machine?.events.map(({ planId, traceId }) => `${planId} ${traceId}`))).toEqual(
      new Set([`${ids.plan} ${TRACE}`]),
    );
    expect(await createReports(db).showMachine('mc-zzzzzzzzzzzz')).toBeNull();
  });
});

describe('agents', () => {
  test('tell a fresh agent from a silent one by the clock of the database', async ({ db, expect }) => {
    await seedFleet(db);
    const { items } = await createReports(db, { freshnessMs: 30_000 }).listAgents(FIRST_PAGE);
    expect(items.map(({ name, freshness, lastSeenAgeS }) => [name, freshness, lastSeenAgeS])).toEqual([
      ['ip-10-0-0-7', 'fresh', 5],
      ['rack-1', 'fresh', 3],
      ['rack-2', 'stale', 600],
    ]);
    expect(items[1]).toMatchObject({
      allocated: { cpuMilli: 2000, memoryMib: 4096, gpus: 0 },
      used: { cpuMilli: 1500, memoryMib: 2048 },
      labels: { pool: 'media' },
    });
  });

  test('are listed page by page in the order of their names, removed ones left out', async ({ db, expect }) => {
    await seedFleet(db);
    await sql`update spillway.agents set removed_at = spillway.now() where id = ${ids.silent}`.execute(db);
    const reports = createReports(db);
    const first = await reports.listAgents({ limit: 1, cursor: null });
    const second = await reports.listAgents({ limit: 1, cursor: first.nextCursor });
    expect([...first.items, ...second.items].map((agent) => agent.name)).toEqual(['ip-10-0-0-7', 'rack-1']);
    expect(second.nextCursor).toBeNull();
  });
});

describe('tasks', () => {
  test('tell where each task is and how long it waited and ran', async ({ db, expect }) => {
    await seedFleet(db);
    const { items } = await createReports(db).listTasks(ALL_TASKS, FIRST_PAGE);
    expect(
      items.map(({ id, state, agentName, waitedS, ranS, exitCode }) => [id, state, agentName, waitedS, ranS, exitCode]),
    ).toEqual([
      [ids.running, 'running', 'rack-1', 30, 90, null],
      [ids.pending, 'pending', null, 252, null, null],
      [ids.done, 'done', 'rack-1', 20, 60, 0],
    ]);
  });

  test('can be narrowed to a workload and a state', async ({ db, expect }) => {
    await seedFleet(db);
    const { items } = await createReports(db).listTasks({ workload: 'transcode', state: 'pending' }, FIRST_PAGE);
    expect(items.map((task) => task.id)).toEqual([ids.pending]);
  });

  test('give their log piece by piece, the newest attempt first, from any byte on', async ({ db, expect }) => {
    await seedFleet(db);
    const reports = createReports(db);
    const read = async (attempt: number | null, offset: number) => {
      const log = await reports.readTaskLog(ids.done, attempt, offset);
      return {
        text: Buffer.from(log?.contentBase64 ?? '', 'base64').toString(),
        next: log?.nextOffset,
        ended: log?.ended,
      };
    };
    expect(await read(null, 0)).toEqual({ text: 'hello wörld\n', next: 13, ended: false });
    expect(await read(null, 3)).toEqual({ text: 'lo wörld\n', next: 13, ended: false });
    expect(await read(null, 13)).toEqual({ text: '', next: 13, ended: true });
    expect(await read(1, 0)).toMatchObject({ text: 'first try\n' });
    const running = await reports.readTaskLog(ids.running, null, 7);
    expect(running).toMatchObject({ ended: false, nextOffset: 7, taskState: 'running' });
    expect(await reports.readTaskLog('tk-zzzzzzzzzzzz', null, 0)).toBeNull();
  });
});

describe('status', () => {
  test('adds up layers, waiting work, machines and money of one moment', async ({ db, expect }) => {
    await seedFleet(db);
    const status = await createReports(db).status();
    expect(status.at).toBe('2026-11-22T10:00:00.000Z');
    expect(status.layers[0]).toEqual({
      layer: 'local',
      agents: 2,
      ready: 1,
      stale: 1,
      draining: 0,
      usdPerHour: null,
      capacity: { cpuMilli: 4000, memoryMib: 8192, gpus: 0 },
      allocated: { cpuMilli: 2000, memoryMib: 4096, gpus: 0 },
      free: { cpuMilli: 2000, memoryMib: 4096, gpus: 0 },
    });
    expect(status.layers[1]).toMatchObject({
      layer: 'cloud',
      agents: 1,
      ready: 1,
      usdPerHour: '0.680000',
      free: { cpuMilli: 8000, memoryMib: 16384, gpus: 0 },
    });
    expect(status.waiting).toEqual([
      { workload: 'transcode', tasks: 1, resources: { cpuMilli: 1000, memoryMib: 1024, gpus: 0 }, oldestWaitS: 252 },
    ]);
    expect(status.tasks).toEqual({ running: 1, pending: 1, done: 1 });
    expect(status.machines.map(({ state, count }) => [state, count])).toEqual([
      ['booting', 1],
      ['ready', 1],
    ]);
    expect(status.spend).toEqual({ todayUsd: '0.342000000', monthUsd: '0.362000000' });
    expect(status.lastPlan).toEqual({ id: ids.plan, decidedAt: '2026-11-22T09:59:20.000Z' });
  });

  test('counts a drain as overdue from its first deadline on, and what an earlier drain of the machine was is over', async ({
    db,
    expect,
  }) => {
    await stopClock(db);
    const reports = createReports(db);
    const { id } = await aMachine(db, 'draining', { workload: 'render' });
    await aMachine(db, 'ready', { workload: 'other' });
    const machines = createMachineStore(db);
    const read = async () => (await machines.read(id))!.machine;
    const extension = { ms: 60_000, reason: 'drain-deadline-extended', detail: {} } as const;
    await machines.extendDeadline(await read(), extension);
    await passTime(db, 30_000);
    const none = { heldByHealth: 0, heldByTurn: 0 };
    expect((await reports.status()).drains).toEqual([
      { workload: 'render', machines: 1, overdue: 1, oldestOverdueS: 30, ...none },
    ]);
    await machines.transition(await read(), {
      to: 'ready',
      actor: 'planner',
      reason: 'drain-cancelled',
      deadlineMs: null,
    });
    expect((await reports.status()).drains).toEqual([]);
    const again = { to: 'draining', actor: 'planner', reason: 'unneeded', endReason: 'scale-down' } as const;
    await machines.transition(await read(), { ...again, deadlineMs: 10_000 });
    const [calm] = (await reports.status()).drains;
    expect(calm).toEqual({ workload: 'render', machines: 1, overdue: 0, oldestOverdueS: null, ...none });
    // No step has looked at it since.
    await passTime(db, 12_000);
    expect((await reports.status()).drains).toEqual([{ ...calm, overdue: 1, oldestOverdueS: 2 }]);
  });

  test('of an empty installation is all zeroes and no plan', async ({ db, expect }) => {
    const status = await createReports(db).status();
    expect(status).toMatchObject({
      waiting: [],
      machines: [],
      drains: [],
      tasks: {},
      usdPerHour: '0.000000',
      spend: { todayUsd: '0.000000000' },
      lastPlan: null,
      amnesia: null,
    });
    expect(status.layers.map((layer) => layer.agents)).toEqual([0, 0]);
  });
});

describe('charges', () => {
  test('come with the machines that cost money beyond the ledger', async ({ db, expect }) => {
    await seedFleet(db);
    const facts = await createReports(db).readCharges(
      Date.parse('2026-11-22T00:00:00Z'),
      Date.parse('2026-11-23T00:00:00Z'),
    );
    expect(facts.charges.map(({ kind, amountUsd, quantitySeconds }) => [kind, amountUsd, quantitySeconds])).toEqual([
      ['compute', '0.340000000', 3600],
      ['volume', '0.002000000', 3600],
    ]);
    expect(facts.open.map(({ machineId, chargedThroughMs }) => [machineId, chargedThroughMs])).toEqual([
      [ids.ready, Date.parse('2026-11-22T09:00:00Z')],
    ]);
    expect(facts.nowMs).toBe(Date.parse('2026-11-22T10:00:00Z'));
  });
});

test('says in one sentence that the database is away', async ({ expect }) => {
  const pool = createPool('postgres://nobody@127.0.0.1:1/none', {
    applicationName: 'spillway-test',
    max: 1,
    log: quietLog,
  });
  await expect(createReports(createDatabase(pool)).status()).rejects.toMatchObject({ code: 'DATABASE_UNREACHABLE' });
  await pool.end();
});
