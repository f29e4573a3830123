/** Two workloads on the same local agents, from submission to who runs what, in the world of virtual time. */
import { describe, expect } from 'vitest';
import { submitTasks } from '../../src/engine/intake.ts';
import type { AgentsPolicy, WorkloadPolicy } from '../../src/model/policy.ts';
import { test } from '../support/database.ts';
import { worldPolicy } from '../support/world-policy.ts';
import { World } from '../support/world.ts';

function localOnly(name: string, rules: Partial<AgentsPolicy>): WorkloadPolicy {
  const policy = worldPolicy({ name, limits: { max: 0 } });
  return { ...policy, agents: { ...policy.agents, ...rules } };
}

async function submit(world: World, workload: string, count: number, seconds: number): Promise<void> {
  await submitTasks(world.engine, { workload, command: ['sleep', String(seconds)], shape: null, count });
}

/** Tasks that run, by workload. */
async function running(world: World): Promise<Record<string, number>> {
  const rows = await world.db.selectFrom('tasks').select('workload').where('state', '=', 'running').execute();
  return Object.fromEntries(
    [...Map.groupBy(rows, ({ workload }) => workload)].map(([name, list]) => [name, list.length]),
  );
}

describe('two workloads on the same local agents', () => {
  test('run by their weights as soon as what the first had taken is done, although its tasks are the older', async ({
    pool,
  }) => {
    const world = await World.create(pool, { policies: [localOnly('a', {}), localOnly('b', { weight: 3 })] });
    await world.addLocalAgent(4);
    await submit(world, 'a', 8, 60);
    await world.runUntil('the first fills all', async () => (await running(world))['a'] === 4);
    await submit(world, 'b', 8, 60);
    await world.runUntil('both run', async () => (await running(world))['b'] !== undefined);
    await world.run(20_000);
    expect(await running(world)).toEqual({ a: 1, b: 3 });
  });

  test('run by their priorities: the lower one gets what the higher one leaves', async ({ pool }) => {
    const world = await World.create(pool, { policies: [localOnly('a', {}), localOnly('b', { priority: 5 })] });
    await world.addLocalAgent(4);
    await submit(world, 'a', 8, 60);
    await submit(world, 'b', 3, 60);
    await world.runUntil('all is full', async () => (await world.count('tasks', 'running')) === 4);
    expect(await running(world)).toEqual({ a: 1, b: 3 });
  });
});

test('local room goes to the tasks that would be dearest in the cloud, older as the others are', async ({ pool }) => {
  const world = await World.create(pool, { policies: [localOnly('a', {})] });
  await world.addLocalAgent(4);
  await submit(world, 'a', 4, 30);
  await world.runUntil('all is full', async () => (await world.count('tasks', 'running')) === 4);
  for (const memoryMib of [1024, 12 * 1024]) {
    await submitTasks(world.engine, {
      workload: 'a',
      command: ['sleep', '60'],
      shape: { cpuMilli: 4000, memoryMib },
      count: 2,
    });
    await world.run(2000);
  }
  await world.runUntil('one of them runs', async () => {
    const running = await world.db.selectFrom('tasks').select('memory_mib').where('state', '=', 'running').execute();
    return running.length === 1;
  });

  const rows = await world.db
    .selectFrom('tasks')
    .select(['memory_mib', 'cpu_milli'])
    .where('state', '=', 'running')
    .execute();
  expect(rows).toEqual([{ memory_mib: 12 * 1024, cpu_milli: 4000 }]);
});
