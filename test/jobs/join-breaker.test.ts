/** Machines that do not join, again and again: launches of such machines pause, and one finds out whether it is over. */
import { describe, expect } from 'vitest';
import { test } from '../support/database.ts';
import { worldPolicy } from '../support/world-policy.ts';
import { World } from '../support/world.ts';

const MINUTE = 60_000;
const KEY = 'join:render/ami-05b111a0000000001/c5.large';

/** Two tasks that fill two machines of the only type there is; every join fails. */
async function failingWorld(pool: Parameters<typeof World.create>[0]): Promise<World> {
  const world = await World.create(pool, { policies: [worldPolicy({ limits: { max: 2 } })], types: ['c5.large'] });
  world.hosts.manners.joinExit = 1;
  await world.submit(4, 600);
  return world;
}

const launched = async (world: World): Promise<number> =>
  (await world.db.selectFrom('machines').select('id').execute()).length;
const holds = async (world: World) => await world.stores.launches.listHolds();
const pauseOf = async (world: World): Promise<number> => {
  const [hold] = await holds(world);
  return hold?.untilMs === null || hold === undefined ? NaN : hold.untilMs - world.time.nowMs();
};

async function untilOpen(world: World): Promise<void> {
  await world.runUntil('joins are held', async () => (await holds(world))[0]?.state === 'open', 10 * MINUTE);
}

describe('joins that fail three times in a row', () => {
  test('hold further launches of such machines, and the plan says why', async ({ pool }) => {
    const world = await failingWorld(pool);
    await untilOpen(world);
    expect(await holds(world)).toMatchObject([
      {
        scope: 'join',
        errorClass: 'join',
        errorCode: 'join-failed',
        detail: expect.stringMatching(/^3 joins in a row failed, the last one that of mc-/) as string,
      },
    ]);
    const before = await launched(world);
    expect(before).toBeLessThanOrEqual(4);
    await world.run(2 * MINUTE);
    expect(await launched(world)).toBe(before);
    const said = world.plans.at(-1);
    const [plan] = said?.kind === 'planned' ? said.outcome.workloads : [];
    expect(plan?.report.reasons.find(({ code }) => code === 'held-join')?.detail).toMatch(
      new RegExp(`^${KEY}: join-failed, \\d+ s left$`),
    );
  });

  test('let one machine try after the pause, and pause for longer when that fails too', async ({ pool }) => {
    const world = await failingWorld(pool);
    await untilOpen(world);
    expect(await pauseOf(world)).toBeLessThanOrEqual(3 * MINUTE);
    const before = await launched(world);
    // The agent of the canary says nothing for the whole time that a join may take: nobody follows it meanwhile.
    Object.assign(world.hosts.manners, { joinExit: 0, agentMute: true });
    await world.runUntil('one tries', async () => (await holds(world))[0]?.state === 'probing', 5 * MINUTE);
    await world.runUntil('it failed', async () => (await holds(world))[0]?.state === 'open', 10 * MINUTE);
    expect(await launched(world)).toBe(before + 1);
    const pauseMs = await pauseOf(world);
    expect(pauseMs).toBeGreaterThan(5 * MINUTE);
    expect(pauseMs).toBeLessThanOrEqual(6 * MINUTE);
  });

  test('are forgotten when one has joined', async ({ pool }) => {
    const world = await failingWorld(pool);
    await untilOpen(world);
    world.hosts.manners.joinExit = 0;
    await world.runUntil('all is done', async () => (await world.count('tasks', 'done')) === 4, 60 * MINUTE);
    expect(await holds(world)).toEqual([]);
  });

  test('hold nothing under another policy', async ({ pool }) => {
    const world = await failingWorld(pool);
    await untilOpen(world);
    const before = await launched(world);
    world.hosts.manners.joinExit = 0;
    world.policies = [worldPolicy({ limits: { max: 2 }, recipe: { env: { MENDED: 'yes' } } })];
    await world.runUntil('another is launched', async () => (await launched(world)) > before, MINUTE);
    expect(await holds(world)).toEqual([]);
  });
});

describe('joins that fail now and then', () => {
  test('hold nothing: two failures are bad luck', async ({ pool }) => {
    const world = await World.create(pool, { policies: [worldPolicy({ limits: { max: 1 } })], types: ['c5.large'] });
    world.hosts.manners.joinExit = 1;
    await world.submit(1, 10);
    await world.runUntil('two ended', async () => (await world.count('machines', 'terminated')) === 2, 20 * MINUTE);
    world.hosts.manners.joinExit = 0;
    await world.runUntil('the work is done', async () => (await world.count('tasks', 'done')) === 1, 10 * MINUTE);
    expect(await launched(world)).toBe(3);
    expect(await holds(world)).toEqual([]);
  });
});
