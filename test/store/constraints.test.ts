/** GPUs and constraints in the rows: what is leased to whom, what is counted. */
import { describe, expect } from 'vitest';
import type { Constraints } from '../../src/model/constraints.ts';
import { ANYWHERE } from '../../src/model/constraints.ts';
import type { AgentId, TaskId } from '../../src/model/ids.ts';
import { createAgentStore } from '../../src/store/agents.ts';
import type { Db } from '../../src/store/database.ts';
import { createReports } from '../../src/store/reports.ts';
import { createTaskStore } from '../../src/store/tasks.ts';
import { aMachine, anAgent, anId, aReport, aTask, WORKLOAD } from '../support/builders.ts';
import { test } from '../support/database.ts';

const LEASE_MS = 60_000;
const SHAPE = { cpuMilli: 1000, memoryMib: 1024, gpus: 0 };
const ONE_GPU = { ...SHAPE, gpus: 1 };
const CAPACITY = { cpuMilli: 8000, memoryMib: 16_384, gpus: 0 };

async function lease(db: Db, agentId: AgentId, ...taskIds: TaskId[]): Promise<number> {
  const leases = taskIds.map((taskId) => ({ taskId, token: `token-of-${taskId}` }));
  return (await createTaskStore(db).lease(agentId, leases, LEASE_MS)).size;
}

describe('a lease', () => {
  test('gives no GPU twice, however many give at once', async ({ db }) => {
    const agentId = await anAgent(db, { capacity: { ...CAPACITY, gpus: 2 } });
    const tasks: TaskId[] = [];
    for (let index = 0; index < 5; index += 1) tasks.push(await aTask(db, { shape: ONE_GPU }));

    const won = await Promise.all(tasks.map((taskId) => lease(db, agentId, taskId)));

    expect(won.reduce((sum, count) => sum + count, 0)).toBe(2);
    expect(await lease(db, agentId, await aTask(db))).toBe(1);
    expect(await lease(db, await anAgent(db), tasks[4]!)).toBe(0);
  });

  test.for<[string, Partial<Constraints>, string[]]>([
    ['without constraints', {}, ['local', 'arm', 'spot', 'onDemand']],
    ['that stays local', { localOnly: true }, ['local', 'arm']],
    ['that must not be interrupted', { spotOk: false }, ['local', 'arm', 'onDemand']],
    ['for arm64', { arch: 'arm64' }, ['arm', 'onDemand']],
    ['for x86_64', { arch: 'x86_64' }, ['spot']],
    ['with all of them', { arch: 'arm64', localOnly: true, spotOk: false }, ['arm']],
  ])('gives work %s only to agents where it may run', async ([, constraints, takers], { db }) => {
    const agents = {
      // Says nothing of its architecture.
      local: await anAgent(db),
      arm: await anAgent(db, { arch: 'arm64' }),
      spot: (await aMachine(db, 'ready', { market: 'spot', agent: { arch: 'x86_64' } })).agentId!,
      // Older than the word: its machine was launched as what it is.
      onDemand: (await aMachine(db, 'ready', { arch: 'arm64' })).agentId!,
    };
    const given: string[] = [];
    for (const [name, agentId] of Object.entries(agents)) {
      if ((await lease(db, agentId, await aTask(db, { constraints }))) > 0) given.push(name);
    }

    expect(given).toEqual(takers);
  });
});

describe('submitted tasks', () => {
  test('keep GPUs, constraints and run time, and each kind has a group and ids of its own', async ({ db }) => {
    const tasks = createTaskStore(db);
    const constraints = { arch: 'arm64', localOnly: true, spotOk: false } as const;
    const ids = [anId('tk'), anId('tk')];
    await tasks.insert({ ids, workload: WORKLOAD, command: ['true'], shape: ONE_GPU, constraints, runTimeS: 1800 });
    const plain = anId('tk');
    await tasks.insert({ ids: [plain], workload: WORKLOAD, command: ['true'], shape: ONE_GPU });

    const kind = { workload: WORKLOAD, shape: ONE_GPU, constraints };
    const groups = await tasks.listPending();
    expect(groups).toHaveLength(2);
    expect(groups).toContainEqual(expect.objectContaining({ ...kind, count: 2 }));
    expect(await tasks.listPendingIds(kind, 10)).toEqual(ids);
    expect(await tasks.listPendingIds({ ...kind, constraints: ANYWHERE }, 10)).toEqual([plain]);
    expect(await createReports(db).showTask(ids[0]!)).toMatchObject({ shape: ONE_GPU, constraints, runTimeS: 1800 });
  });
});

describe('an agent', () => {
  test('is free with the GPUs that its tasks leave, and known to have some when none are left', async ({ db }) => {
    const agentId = await anAgent(db, { capacity: { ...CAPACITY, gpus: 1 } });
    await aTask(db, { agentId, state: 'running', shape: ONE_GPU });

    expect(await createTaskStore(db).listFreeAgents(LEASE_MS)).toMatchObject([{ free: { gpus: 0 }, hasGpus: true }]);
  });

  test('has the GPUs of its last report; its architecture stays when an older version reports', async ({ db }) => {
    const agentId = await anAgent(db);
    const report = async (seq: number, said: object) =>
      await createAgentStore(db).writeReports([{ agentId, report: aReport({ seq, ...said }) }], LEASE_MS);
    const row = async () =>
      await db.selectFrom('agents').select(['capacity_gpus', 'arch']).where('id', '=', agentId).executeTakeFirst();

    await report(1, { capacity: { ...CAPACITY, gpus: 4 }, arch: 'arm64' });
    expect(await row()).toEqual({ capacity_gpus: 4, arch: 'arm64' });
    await report(2, { capacity: CAPACITY });
    expect(await row()).toEqual({ capacity_gpus: 0, arch: 'arm64' });
  });
});
