import { describe, expect } from 'vitest';
import { test } from '../support/database.ts';
import { World } from '../support/world.ts';
import { worldPolicy } from '../support/world-policy.ts';
import { submitTasks } from '../../src/engine/intake.ts';

describe('a wave of work', () => {
  test('fills local agents first, bursts, runs everything, and leaves nothing behind', async ({ pool }) => {
    const world = await World.create(pool);
    await world.addLocalAgent(2);
    await world.run(10_000);
    await world.submit(8, 120);
    await world.runUntil('the cloud works too', async () => (await world.count('tasks', 'running')) > 2, 120_000);
    expect(world.localAgents[0]?.runningTasks()).toHaveLength(2);
    await world.runUntil('all is done', async () => (await world.count('tasks', 'done')) === 8, 600_000);
    await world.runUntil('everything is gone', async () => (await world.liveMachines()) === 0, 600_000);
    expect(world.truth.living()).toEqual([]);
    expect(world.outlived).toEqual([]);
    expect(world.truth.instances().length).toBeLessThanOrEqual(3);
  });
});

describe('machines that are little used', () => {
  /** Two machines of two places each, with one long task on each. */
  async function halfUsed(pool: Parameters<typeof World.create>[0]): Promise<World> {
    const everyS = { plan: 10, sweep: 60, ring: 30, assign: 10, recover: 60, account: Infinity, prices: Infinity };
    const drain = { consolidation: 'whenEmptyOrUnderutilized' } as const;
    const world = await World.create(pool, { policies: [worldPolicy({ drain })], types: ['c5.large'], everyS });
    const untilRunning = async (tasks: number): Promise<void> =>
      await world.runUntil('all run', async () => (await world.count('tasks', 'running')) === tasks);
    await world.submit(1, 400);
    await untilRunning(1);
    await world.submit(1, 60);
    await untilRunning(2);
    await world.submit(1, 400);
    await untilRunning(3);
    await world.runUntil('the short one is done', async () => (await world.count('tasks', 'done')) === 1);
    await world.runUntil('one machine drains', async () => (await world.count('machines', 'draining')) === 1);
    expect(await world.count('tasks', 'running')).toBe(2);
    return world;
  }

  test('are let go when the policy wants it, and their work ends in peace', { timeout: 60_000 }, async ({ pool }) => {
    const world = await halfUsed(pool);
    await world.runUntil('everything is gone', async () => (await world.liveMachines()) === 0, 3_600_000);
    expect(await world.count('tasks', 'done')).toBe(3);
    expect(world.outlived).toEqual([]);
    expect(world.truth.instances()).toHaveLength(2);
    const runs = await world.db.selectFrom('tasks').select('attempt').execute();
    expect(runs.map(({ attempt }) => attempt)).toEqual([1, 1, 1]);
    const reasons = await world.db
      .selectFrom('machine_events')
      .select('reason')
      .where('to_state', '=', 'draining')
      .execute();
    expect(reasons.map(({ reason }) => reason)).toContain('underutilized');
  });

  test('are taken back when their room is wanted after all', { timeout: 60_000 }, async ({ pool }) => {
    const world = await halfUsed(pool);
    await world.submit(2, 600);
    await world.runUntil('all run', async () => (await world.count('tasks', 'running')) === 4);
    expect(world.truth.instances()).toHaveLength(2);
    expect(await world.count('machines', 'draining')).toBe(0);
  });
});

describe('a policy that is removed', () => {
  test('drains its machines: running work ends in peace, and then they leave', async ({ pool }) => {
    const world = await World.create(pool);
    await world.submit(1, 600);
    await world.runUntil('the task runs in the cloud', async () => (await world.count('tasks', 'running')) === 1);

    world.policies = [];
    await world.runUntil('its machine drains', async () => (await world.count('machines', 'draining')) === 1);
    expect(await world.count('tasks', 'running')).toBe(1);
    await world.runUntil('everything is gone', async () => (await world.liveMachines()) === 0);

    expect(await world.count('tasks', 'done')).toBe(1);
    expect(world.truth.living()).toEqual([]);
    const ends = await world.db.selectFrom('machines').select('end_reason').execute();
    expect(ends).toEqual([{ end_reason: 'policy-removed' }]);
  });
});

describe('work with GPUs, and work that stays local', () => {
  test('gets a machine with a GPU, and no machine at all', async ({ pool }) => {
    const policy = worldPolicy();
    const instances = { ...policy.burst.instances, families: ['c5', 'g4dn'] };
    const policies = [{ ...policy, burst: { ...policy.burst, instances } }];
    const world = await World.create(pool, { policies, types: ['c5.large', 'g4dn.xlarge', 'g4dn.12xlarge'] });
    await world.addLocalAgent(2);
    await world.run(10_000);
    const asked = { workload: policy.name, command: ['sleep', '60'], shape: null };
    await submitTasks(world.engine, { ...asked, count: 6, localOnly: true });
    const withGpu = await submitTasks(world.engine, { ...asked, count: 2, gpus: 1 });
    await world.runUntil('all is done', async () => (await world.count('tasks', 'done')) === 8, 900_000);
    await world.runUntil('everything is gone', async () => (await world.liveMachines()) === 0, 600_000);

    const tasks = await world.db
      .selectFrom('tasks as t')
      .innerJoin('agents as a', 'a.id', 't.agent_id')
      .leftJoin('machines as m', 'm.id', 'a.machine_id')
      .select(['t.id', 'm.instance_type', 'm.gpus'])
      .execute();
    const places = Map.groupBy(tasks, ({ id }) => (withGpu.some((taskId) => taskId === id) ? 'gpu' : 'local'));
    expect(places.get('local')?.map((task) => task.instance_type)).toEqual([null, null, null, null, null, null]);
    const typeOf = { instance_type: 'g4dn.xlarge', gpus: 1 };
    expect(places.get('gpu')).toMatchObject([typeOf, typeOf]);
    const machines = await world.db.selectFrom('machines').select(['instance_type', 'gpus', 'arch']).execute();
    expect(machines).toEqual([1, 2].map(() => ({ ...typeOf, arch: 'x86_64' })));
  });
});
