import { describe, expect } from 'vitest';
import { test } from '../support/database.ts';
import { World } from '../support/world.ts';

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
