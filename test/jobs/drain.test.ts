import { describe, expect } from 'vitest';
import { test } from '../support/database.ts';
import { worldPolicy } from '../support/world-policy.ts';
import { drainByHand, endReasons, onlyMachine, readyInstance } from '../support/world-rows.ts';
import { CALM, World } from '../support/world.ts';

const ONE = { limits: { max: 1 } } as const;
const MINUTE = 60_000;

async function untilState(world: World, state: string, withinMs = 600_000): Promise<void> {
  await world.runUntil(`a machine is ${state}`, async () => (await world.count('machines', state)) > 0, withinMs);
}

async function untilWorking(world: World): Promise<void> {
  await world.runUntil('a task runs', async () => (await world.count('tasks', 'running')) > 0, 120_000);
}

describe('a drain', () => {
  test('that passes its deadline waits for the work, and says so', async ({ pool }) => {
    const world = await World.create(pool, {
      policies: [worldPolicy({ ...ONE, drain: { deadlineMs: 2 * MINUTE } })],
      ...CALM,
    });
    await world.submit(1, 600);
    await untilWorking(world);
    await drainByHand(world, 2 * MINUTE);
    await world.run(8 * MINUTE);
    expect((await onlyMachine(world)).state).toBe('draining');
    const extended = await world.db
      .selectFrom('machine_events')
      .select('id')
      .where('reason', '=', 'drain-deadline-extended')
      .execute();
    expect(extended.length).toBeGreaterThanOrEqual(3);
    expect(extended.length).toBeLessThanOrEqual(4);
    await untilState(world, 'terminated');
    expect(await world.count('tasks', 'done')).toBe(1);
    expect(await endReasons(world.db)).toEqual(['operator']);
  });

  test('that passes its deadline ends the machine where the policy says so; the work runs elsewhere', async ({
    pool,
  }) => {
    const policy = worldPolicy({ ...ONE, drain: { deadlineMs: 2 * MINUTE, onDeadline: 'terminate' } });
    const world = await World.create(pool, { policies: [policy], ...CALM });
    world.truth.killsAllowed = true;
    await world.submit(1, 600);
    await untilWorking(world);
    await drainByHand(world, 2 * MINUTE);
    await world.run(MINUTE);
    expect((await onlyMachine(world)).state).toBe('draining');
    await untilState(world, 'terminated', 3 * MINUTE);
    expect(await endReasons(world.db)).toEqual(['drain-deadline']);
    await world.runUntil(
      'the task is done elsewhere',
      async () => (await world.count('tasks', 'done')) === 1,
      30 * MINUTE,
    );
  });

  test('runs each hook once, in its place', async ({ pool }) => {
    const hooks = { beforeDrain: 'save', beforeTerminate: 'bye' };
    const world = await World.create(pool, { policies: [worldPolicy({ ...ONE, drain: { hooks } })] });
    await world.submit(1, 10);
    const instanceId = await readyInstance(world);
    await untilState(world, 'terminated');
    expect(world.hosts.commandsOn(instanceId)).toEqual(['(join)', 'save', 'bye']);
  });

  test('goes on when beforeDrain fails, and repeats beforeTerminate until its own deadline', async ({ pool }) => {
    const hooks = { beforeDrain: 'save', beforeTerminate: 'bye' };
    const world = await World.create(pool, { policies: [worldPolicy({ ...ONE, drain: { hooks } })], ...CALM });
    world.hosts.manners.exits.set('save', 1).set('bye', 1);
    await world.submit(1, 10);
    const instanceId = await readyInstance(world);
    await untilState(world, 'leaving');
    await world.run(9 * MINUTE);
    expect((await onlyMachine(world)).state).toBe('leaving');
    await untilState(world, 'terminated', 3 * MINUTE);
    const commands = world.hosts.commandsOn(instanceId);
    expect(commands.filter((command) => command === 'save')).toHaveLength(1);
    expect(commands.filter((command) => command === 'bye').length).toBeGreaterThan(10);
  });

  test('is called off when work comes back, before anything is launched', async ({ pool }) => {
    const world = await World.create(pool, { policies: [worldPolicy()] });
    await world.submit(1, 10);
    await readyInstance(world);
    const agent = world.hosts.listAgents()[0];
    await world.run(60_000);
    // The agent does not answer, so that the drain lasts until the work is there.
    if (agent !== undefined) agent.silent = true;
    await untilState(world, 'draining');
    await world.submit(1, 10);
    if (agent !== undefined) agent.silent = false;
    await world.runUntil('the work is done', async () => (await world.count('tasks', 'done')) === 2, 120_000);
    expect(world.truth.instances()).toHaveLength(1);
    expect((await world.history())[0]).toContain('draining>ready drain-cancelled');
    expect((await onlyMachine(world)).state).toBe('ready');
  });

  test('whose hook has touched work is not called off: something new is launched', async ({ pool }) => {
    const hooks = { beforeDrain: 'save', beforeTerminate: null };
    const world = await World.create(pool, { policies: [worldPolicy({ drain: { hooks } })] });
    await world.submit(1, 10);
    await readyInstance(world);
    const agent = world.hosts.listAgents()[0];
    await world.run(60_000);
    if (agent !== undefined) agent.silent = true;
    await untilState(world, 'draining');
    await world.runUntil(
      'the hook ran',
      async () => {
        const { machine, drainIrrevocable } = (await world.stores.machines.read((await onlyMachine(world)).id)) ?? {};
        return machine?.state === 'draining' && drainIrrevocable === true;
      },
      60_000,
    );
    await world.submit(1, 10);
    if (agent !== undefined) agent.silent = false;
    await world.runUntil('the work is done', async () => (await world.count('tasks', 'done')) === 2, 300_000);
    expect(world.truth.instances()).toHaveLength(2);
    expect((await world.history())[0]).not.toContain('draining>ready drain-cancelled');
  });
});

describe('a silent agent', () => {
  test('is given up after fifteen minutes, not before', async ({ pool }) => {
    const policy = worldPolicy({ limits: { min: 1, max: 1 } });
    const world = await World.create(pool, { policies: [policy], ...CALM });
    const instanceId = await readyInstance(world);
    const agent = world.hosts.agentOn(instanceId);
    if (agent !== null) agent.silent = true;
    await world.run(14.5 * MINUTE);
    expect((await onlyMachine(world)).state).toBe('ready');
    await untilState(world, 'terminated', 3 * MINUTE);
    expect(await endReasons(world.db)).toEqual(['agent-lost']);
  });

  test('is never given up while our own table says that it holds work', async ({ pool }) => {
    // Without the loop that takes leases back, the task stays its own.
    const world = await World.create(pool, {
      policies: [worldPolicy(ONE)],
      ...CALM,
      everyS: { ...CALM.everyS, recover: Infinity },
    });
    await world.submit(1, 7200);
    await untilWorking(world);
    const agent = world.hosts.listAgents()[0];
    if (agent !== undefined) agent.silent = true;
    await world.run(40 * MINUTE);
    expect((await onlyMachine(world)).state).toBe('ready');
  });
});

describe('terminating', () => {
  test('asks again once a minute while EC2 is slow, and ends by the word of EC2', async ({ pool }) => {
    const world = await World.create(pool, { policies: [worldPolicy(ONE)], region: { terminateMs: 5 * MINUTE } });
    await world.submit(1, 10);
    await readyInstance(world);
    await untilState(world, 'terminating');
    const asked = world.truth.terminateCalls;
    await world.run(4 * MINUTE);
    expect((await onlyMachine(world)).state).toBe('terminating');
    expect(world.truth.terminateCalls - asked).toBeGreaterThanOrEqual(3);
    expect(world.truth.terminateCalls - asked).toBeLessThanOrEqual(6);
    await untilState(world, 'terminated');
  });

  test('goes on until EC2 hears of it', async ({ pool }) => {
    const world = await World.create(pool, { policies: [worldPolicy(ONE)] });
    world.region.faults.failNext('TerminateInstances', { code: 'ServiceUnavailable', times: 3 });
    await world.submit(1, 10);
    await readyInstance(world);
    await untilState(world, 'terminated');
    expect(world.truth.living()).toEqual([]);
    expect(world.truth.terminateCalls).toBe(4);
  });

  test('ends when EC2 does not know the instance any more, by three complete listings', async ({ pool }) => {
    const region = { terminatedVisibleMs: -1, terminateMs: 0 };
    const world = await World.create(pool, { policies: [worldPolicy(ONE)], region });
    await world.submit(1, 300);
    const instanceId = await readyInstance(world);
    await world.runUntil(
      'it terminates',
      async () => (await world.count('machines', 'terminating')) === 1,
      20 * MINUTE,
    );
    const began = world.time.nowMs();
    await untilState(world, 'terminated');
    expect(world.region.findInstance(instanceId)?.state).toBe('terminated');
    expect(world.time.nowMs() - began).toBeGreaterThanOrEqual(20_000);
  });

  test('of an instance that ended by itself needs no call, and its work runs elsewhere', async ({ pool }) => {
    const world = await World.create(pool, { policies: [worldPolicy(ONE)] });
    await world.submit(1, 60);
    await untilWorking(world);
    world.region.shutDownFromInside(world.truth.living()[0]?.instanceId ?? '');
    await untilState(world, 'terminated');
    expect(await endReasons(world.db)).toEqual(['instance-gone']);
    expect(world.truth.terminateCalls).toBe(0);
    await world.runUntil('the task is done', async () => (await world.count('tasks', 'done')) === 1, 600_000);
  });
});

describe('every step twice at the same time', () => {
  test('makes one life of it', async ({ pool }) => {
    const hooks = { beforeDrain: 'save', beforeTerminate: 'bye' };
    const world = await World.create(pool, { policies: [worldPolicy({ ...ONE, drain: { hooks } })], twins: true });
    world.wake.faults.push(...Array.from({ length: 50 }, () => 'double' as const));
    await world.submit(2, 20);
    await untilState(world, 'terminated', 1_200_000);
    expect(world.truth.instances()).toHaveLength(1);
    expect(await world.history()).toEqual([
      [
        '>requested launch',
        'requested>launching ec2-call',
        'launching>booting instance-launched',
        'booting>joining ssh-open',
        'joining>joining host-key-pinned',
        'joining>joining host-key-confirmed',
        'joining>ready agent-reported',
        'ready>draining unneeded',
        'draining>leaving work-gone',
        'leaving>terminating scale-down',
        'terminating>terminated scale-down',
      ],
    ]);
    expect(await world.count('tasks', 'done')).toBe(2);
  });
});
