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
