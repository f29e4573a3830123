import { sql } from 'kysely';
import { describe, expect } from 'vitest';
import { ANYWHERE } from '../../src/model/constraints.ts';
import type { AgentId } from '../../src/model/ids.ts';
import type { PlanningFacts } from '../../src/ports/planning.ts';
import { createLaunchStore } from '../../src/store/launches.ts';
import { createMachineStore } from '../../src/store/machines.ts';
import type { Db } from '../../src/store/database.ts';
import { createAgentStore } from '../../src/store/agents.ts';
import { createPlanningStore } from '../../src/store/planning.ts';
import {
  aLaunch,
  aMachine,
  anAgent,
  aPolicy,
  aTask,
  NOW_MS,
  passTime,
  stopClock,
  WORKLOAD,
  ZONE,
  aReport,
} from '../support/builders.ts';
import { test } from '../support/database.ts';

const SHAPE = { cpuMilli: 1000, memoryMib: 1024, gpus: 0 };
const LARGE = { cpuMilli: 8000, memoryMib: 4096, gpus: 0 };

async function factsOf(db: Db, policy = aPolicy()): Promise<PlanningFacts> {
  return await createPlanningStore(db).readFacts([policy]);
}

async function aSample(db: Db, agentId: AgentId, ageMs: number, used: [number, number] | null): Promise<void> {
  await db
    .insertInto('samples')
    .values({
      agent_id: agentId,
      at: new Date(NOW_MS - ageMs),
      used_cpu_milli: used === null ? null : used[0],
      used_memory_mib: used === null ? null : used[1],
      allocated_cpu_milli: 0,
      allocated_memory_mib: 0,
      running_tasks: 0,
    })
    .execute();
}

describe('pending work', () => {
  test('is grouped by shape, with how many have waited too long and since when', async ({ db }) => {
    await stopClock(db);
    const demand = { queue: { source: 'bullmq', name: 'q', task: SHAPE, maxWaitMs: 90_000 } } as const;
    await aTask(db, { ageMs: 120_000 });
    await aTask(db, { ageMs: 90_000 });
    await aTask(db, { ageMs: 89_999 });
    await aTask(db, { shape: LARGE, ageMs: 10 });
    await aTask(db, { workload: 'other', ageMs: 999_999 });
    await aTask(db, { state: 'done', ageMs: 999_999 });
    await aTask(db, { state: 'running', agentId: await anAgent(db), ageMs: 999_999 });

    const { workloads, nowMs } = await factsOf(db, aPolicy({ demand }));

    expect(nowMs).toBe(NOW_MS);
    expect(workloads.get(WORKLOAD)?.pending).toEqual([
      { shape: SHAPE, ...ANYWHERE, runTimeS: null, count: 3, overdue: 2, oldestPendingSinceMs: NOW_MS - 120_000 },
      { shape: LARGE, ...ANYWHERE, runTimeS: null, count: 1, overdue: 0, oldestPendingSinceMs: NOW_MS - 10 },
    ]);
  });

  test('is apart by GPUs and constraints, each with the run times that were said', async ({ db }) => {
    const shape = { ...SHAPE, gpus: 2 };
    for (const runTimeS of [10, 20, 30, 40, 1000]) await aTask(db, { runTimeS, constraints: { spotOk: false } });
    await aTask(db, { constraints: { spotOk: false } });
    await aTask(db, { constraints: { localOnly: true } });
    await aTask(db, { constraints: { arch: 'arm64' } });
    await aTask(db, { shape });

    expect((await factsOf(db)).workloads.get(WORKLOAD)?.pending).toMatchObject([
      { shape: SHAPE, ...ANYWHERE, arch: 'arm64', count: 1 },
      { shape: SHAPE, ...ANYWHERE, spotOk: false, count: 6, runTimeS: { p50: 30, p95: 1000 } },
      { shape: SHAPE, ...ANYWHERE, localOnly: true, count: 1, runTimeS: null },
      { shape, ...ANYWHERE, count: 1 },
    ]);
  });

  test('of a policy without a wait is overdue at once', async ({ db }) => {
    await stopClock(db);
    await aTask(db);

    expect((await factsOf(db)).workloads.get(WORKLOAD)?.pending).toMatchObject([{ count: 1, overdue: 1 }]);
  });
});

describe('a datacenter with more agents than are read at a time', () => {
  test('is seen whole, each agent once, with what was promised to it', async ({ db }) => {
    await stopClock(db);
    await sql`
      insert into spillway.agents (id, name, site, labels, token_hash, capacity_cpu_milli, capacity_memory_mib, last_seen_at)
      select id, id, 'on-prem', '{}', encode(sha256(id::bytea), 'hex'), 8000, 8192, spillway.now()
      from (select 'ag-' || lpad(number::text, 12, '0') as id from generate_series(1, 4000) as number) as numbered`.execute(
      db,
    );
    const last: AgentId = 'ag-000000004000';
    await aTask(db, { state: 'running', agentId: last });

    const { agents } = await factsOf(db);

    expect(agents).toHaveLength(4000);
    expect(new Set(agents.map(({ id }) => id)).size).toBe(4000);
    expect(agents.at(-1)).toMatchObject({ id: last, allocated: SHAPE, runningTasks: 1 });
    expect(agents.at(-2)).toMatchObject({ allocated: { cpuMilli: 0, memoryMib: 0, gpus: 0 }, runningTasks: 0 });
  });
});

describe('agents', () => {
  test('allocated is what is leased and running, and the larger count of tasks is believed', async ({ db }) => {
    await stopClock(db);
    const agentId = await anAgent(db, { silentMs: 45_000 });
    await aTask(db, { agentId, state: 'leased' });
    await aTask(db, { agentId, state: 'running', shape: { cpuMilli: 500, memoryMib: 100, gpus: 0 } });
    await aTask(db, { agentId, state: 'done' });
    const busier = await anAgent(db, { silentMs: null });
    await db.updateTable('agents').set({ running_tasks: 3 }).where('id', '=', busier).execute();
    await anAgent(db, { removed: true });

    const { agents } = await factsOf(db);

    expect(agents).toEqual([
      {
        id: agentId,
        site: 'on-prem',
        labels: { pool: 'media' },
        capacity: { cpuMilli: 4000, memoryMib: 8192, gpus: 0 },
        allocated: { cpuMilli: 1500, memoryMib: 1124, gpus: 0 },
        arch: null,
        runningTasks: 2,
        cordoned: false,
        lastSeenAtMs: NOW_MS - 45_000,
        machineId: null,
      },
      expect.objectContaining({ id: busier, runningTasks: 3, lastSeenAtMs: null }),
    ]);
  });
});

describe('GPUs and architectures', () => {
  test('of agents and machines are told, and GPUs that are promised are allocated', async ({ db }) => {
    const capacity = { cpuMilli: 8000, memoryMib: 8192, gpus: 4 };
    const machine = await aMachine(db, 'ready', { arch: 'x86_64', agent: { capacity, arch: 'x86_64' } });
    await db.updateTable('machines').set({ gpus: 4 }).where('id', '=', machine.id).execute();
    await aTask(db, { agentId: machine.agentId!, state: 'leased', shape: { ...SHAPE, gpus: 3 } });

    const { agents, machines } = await factsOf(db);

    expect(agents).toMatchObject([{ capacity, allocated: { gpus: 3 }, arch: 'x86_64' }]);
    expect(machines).toMatchObject([{ resources: { gpus: 4 }, arch: 'x86_64' }]);
  });
});

describe('machines', () => {
  test('all that live are told of, with why they leave', async ({ db }) => {
    await stopClock(db);
    const ready = await aMachine(db, 'ready');
    const draining = await aMachine(db, 'draining');
    await db.updateTable('machines').set({ end_reason: 'operator' }).where('id', '=', draining.id).execute();
    await aMachine(db, 'terminated');

    const { machines } = await factsOf(db);

    expect(machines).toMatchObject([
      { id: ready.id, state: 'ready', revision: 1, agentId: ready.agentId, priceUsdPerHour: 0.0765, endReason: null },
      { id: draining.id, state: 'draining', endReason: 'operator' },
    ]);
  });

  test('launches of the last hour are counted in machines', async ({ db }) => {
    await stopClock(db);
    await aLaunch(db, { count: 5, ageMs: 3_600_000 });
    await aLaunch(db, { count: 3, ageMs: 3_599_999, state: 'refused' });
    await aLaunch(db, { count: 2, ageMs: 7 });
    await aLaunch(db, { count: 50, workload: 'other' });

    expect((await factsOf(db)).workloads.get(WORKLOAD)).toMatchObject({
      launchedLastHour: 5,
      lastLaunchAtMs: NOW_MS - 7,
    });
  });

  test('the last drain is when a machine began to drain, not when its deadline was extended', async ({ db }) => {
    await stopClock(db);
    const machine = await aMachine(db, 'ready');
    const machines = createMachineStore(db);
    await machines.transition((await machines.read(machine.id))!.machine, {
      to: 'draining',
      actor: 'planner',
      reason: 'unneeded',
      endReason: 'scale-down',
    });
    await passTime(db, 60_000);
    const record = await machines.read(machine.id);
    expect(await machines.extendDeadline(record!.machine, { ms: 60_000, reason: 'drain-deadline-extended' })).toBe(
      true,
    );

    expect((await factsOf(db)).workloads.get(WORKLOAD)).toMatchObject({ lastDrainAtMs: NOW_MS });
  });

  test('of a workload that never launched nothing is made up', async ({ db }) => {
    expect((await factsOf(db)).workloads.get(WORKLOAD)).toEqual({
      pending: [],
      utilization: null,
      launchedLastHour: 0,
      lastLaunchAtMs: null,
      lastDrainAtMs: null,
      churn: { letGo: 0, missed: 0, lastMissedAtMs: null },
    });
  });
});

describe('utilization', () => {
  const policy = aPolicy({ demand: { utilization: { metric: 'cpu', target: 0.75, windowMs: 120_000 } } });
  const utilization = async (db: Db) => (await factsOf(db, policy)).workloads.get(WORKLOAD)?.utilization;

  test('is the mean use over the capacity of the agents that serve the workload', async ({ db }) => {
    await stopClock(db);
    const local = await anAgent(db, { capacity: { cpuMilli: 6000, memoryMib: 6000, gpus: 0 } });
    const cloud = (await aMachine(db, 'ready', { agent: { capacity: { cpuMilli: 2000, memoryMib: 2000, gpus: 0 } } }))
      .agentId!;
    await aSample(db, local, 100_000, [2000, 600]);
    await aSample(db, local, 10_000, [4000, 600]);
    await aSample(db, cloud, 50_000, [1000, 1000]);
    // None of these serves the workload, or they are not of the window.
    await aSample(db, local, 120_000, [6000, 6000]);
    await aSample(db, await anAgent(db, { labels: { pool: 'ci' } }), 10, [4000, 4000]);
    await aSample(db, (await aMachine(db, 'ready', { workload: 'other' })).agentId!, 10, [4000, 4000]);
    await aSample(db, await anAgent(db, { removed: true }), 10, [4000, 4000]);

    expect(await utilization(db)).toEqual({
      cpu: (3000 + 1000) / 8000,
      memory: (600 + 1000) / 8000,
      capacity: { cpuMilli: 8000, memoryMib: 8000, gpus: 0 },
      oldestSampleAtMs: NOW_MS - 100_000,
      // Of the agent that has been silent longest.
      newestSampleAtMs: NOW_MS - 50_000,
    });
  });

  test('is not known without a sample in the window, and a sample without figures is none', async ({ db }) => {
    await stopClock(db);
    const agentId = await anAgent(db);
    await aSample(db, agentId, 120_000, [1000, 1000]);
    await aSample(db, agentId, 10, null);

    expect(await utilization(db)).toBeNull();
  });
});

describe('an agent that is not there', () => {
  test('because it said goodbye is away, not silent, until it reports again', async ({ db }) => {
    await stopClock(db);
    const agentId = await anAgent(db);
    const listed = async () => (await createPlanningStore(db).readFacts([])).agents.map(({ id }) => id);
    const report = async (seq: number, leaving: boolean) =>
      await createAgentStore(db).writeReports([{ agentId, report: { ...aReport(), seq, leaving } }], 60_000);

    await report(1, true);
    expect(await listed()).toEqual([]);
    await report(2, false);
    expect(await listed()).toEqual([agentId]);
  });

  test('and never heard of again is silent for an hour, and then gone: it must not hold scale-in for ever', async ({
    db,
  }) => {
    await stopClock(db);
    const silent = await anAgent(db, { silentMs: 3_599_000 });
    await anAgent(db, { silentMs: 3_600_000 });

    const { agents } = await createPlanningStore(db).readFacts([]);
    expect(agents.map(({ id }) => id)).toEqual([silent]);
  });
});

describe('what EC2 refused', () => {
  test('is named as held until its time is up, and then as to be tried', async ({ db }) => {
    await stopClock(db);
    await createLaunchStore(db).hold(await aLaunch(db), {
      scope: 'offering',
      name: `c6a.large/${ZONE}/spot`,
      errorClass: 'capacity',
      errorCode: 'InsufficientInstanceCapacity',
      detail: '',
      minMs: 180_000,
      maxMs: 1_800_000,
    });

    const seen: (string | undefined)[] = [];
    for (const ms of [0, 179_999, 1]) {
      await passTime(db, ms);
      seen.push((await factsOf(db)).holds[0]?.state);
    }

    expect(seen).toEqual(['open', 'open', 'half-open']);
  });
});
