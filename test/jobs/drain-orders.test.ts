/** What keeps machines, what hurries them, and who goes first: lives of machines on a virtual clock. */
import { describe, expect } from 'vitest';
import type { MachineId } from '../../src/model/ids.ts';
import { createMachineStore } from '../../src/store/machines.ts';
import { aMachine } from '../support/builders.ts';
import { test } from '../support/database.ts';
import { worldPolicy, type PolicyChanges } from '../support/world-policy.ts';
import { drainByHand, endReasons, onlyInstanceId, onlyMachine, readyInstance } from '../support/world-rows.ts';
import { CALM, World } from '../support/world.ts';

const ONE = { limits: { max: 1 } } as const;
const SPOT = { burst: { market: { spot: 1, onDemandBase: 0 } }, ...ONE } as const;
const MINUTE = 60_000;
const ADA = { by: 'ada', reason: null };
const TAG = 'spillway:protected';

/** A world with one machine that has done its only task. */
async function idleWorld(pool: Parameters<typeof World.create>[0], changes: PolicyChanges = ONE) {
  const world = await World.create(pool, { policies: [worldPolicy(changes)], ...CALM });
  await world.submit(1, 10);
  const instanceId = await readyInstance(world);
  const { id } = await onlyMachine(world);
  await world.runUntil('the task is done', async () => (await world.count('tasks', 'done')) === 1);
  return { world, instanceId, id };
}

const reasonsOf = async (world: World, id: MachineId): Promise<string[]> => {
  const rows = await world.db
    .selectFrom('machine_events')
    .select('reason')
    .where('machine_id', '=', id)
    .orderBy('id')
    .execute();
  return rows.map(({ reason }) => reason);
};

async function untilTerminated(world: World, withinMs = 10 * MINUTE): Promise<void> {
  await world.runUntil('it is gone', async () => (await world.count('machines', 'terminated')) === 1, withinMs);
}

describe('a protected machine', () => {
  test('stays without work until its protection is over, and the plan says so', async ({ pool }) => {
    const { world, id } = await idleWorld(pool);
    await world.stores.orders.protect(id, ADA, 30 * MINUTE);
    await world.run(29 * MINUTE);
    expect((await onlyMachine(world)).state).toBe('ready');
    const said = world.plans.at(-1);
    const [plan] = said?.kind === 'planned' ? said.outcome.workloads : [];
    expect(plan?.report.reasons).toContainEqual({
      code: 'protected',
      detail: expect.stringContaining(`1 machine without work: ${id} until `) as string,
    });
    await untilTerminated(world);
    expect(await endReasons(world.db)).toEqual(['scale-down']);
  });

  test('stays when its policy is removed, and goes when it is unprotected', async ({ pool }) => {
    const { world, id } = await idleWorld(pool);
    await world.stores.orders.protect(id, ADA, null);
    world.policies = [];
    await world.run(20 * MINUTE);
    expect((await onlyMachine(world)).state).toBe('ready');
    await world.stores.orders.unprotect(id, ADA);
    await untilTerminated(world);
    expect(await endReasons(world.db)).toEqual(['policy-removed']);
  });

  test('may be protected by a tag of its instance alone, for as long as it bears it', async ({ pool }) => {
    const { world, id, instanceId } = await idleWorld(pool);
    world.region.tagInstance(instanceId, TAG, 'true');
    await world.run(20 * MINUTE);
    expect((await onlyMachine(world)).state).toBe('ready');
    world.region.tagInstance(instanceId, TAG, null);
    await untilTerminated(world);
    expect((await reasonsOf(world, id)).filter((reason) => reason.includes('protected'))).toEqual([
      'protected',
      'unprotected',
    ]);
  });

  test('comes back from a drain of the planner when its tag is seen before its work was touched', async ({ pool }) => {
    const world = await World.create(pool, { policies: [worldPolicy(ONE)], ...CALM });
    await world.submit(1, 900);
    await world.runUntil('a task runs', async () => (await world.count('tasks', 'running')) > 0);
    const order = { to: 'draining', actor: 'planner', reason: 'underutilized', endReason: 'scale-down' } as const;
    await world.stores.machines.transition(await onlyMachine(world), {
      ...order,
      deadlineMs: 30 * MINUTE,
      cordon: true,
    });
    world.region.tagInstance(await onlyInstanceId(world), TAG, 'true');
    await world.runUntil('it is back', async () => (await onlyMachine(world)).state === 'ready', 2 * MINUTE);
    expect((await world.history())[0]).toContain('draining>ready protected');
    await world.submit(1, 10);
    await world.runUntil('it takes work again', async () => (await world.count('tasks', 'running')) === 2, 5 * MINUTE);
  });
});

describe('a drain whose deadline is extended', () => {
  test('expects so many extensions, alerts after them, and never ends the work', async ({ pool }) => {
    const drain = { deadlineMs: 2 * MINUTE, onDeadline: 'extend', extensions: 2 } as const;
    const world = await World.create(pool, { policies: [worldPolicy({ ...ONE, drain })], ...CALM });
    await world.submit(1, 900);
    await world.runUntil('a task runs', async () => (await world.count('tasks', 'running')) > 0);
    const { id } = await onlyMachine(world);
    await drainByHand(world, 2 * MINUTE);
    await world.run(5 * MINUTE);
    const calm = { workload: 'render', machines: 1, overdue: 0, oldestOverdueS: null, heldByHealth: 0, heldByTurn: 0 };
    expect((await world.stores.reports.status()).drains).toEqual([calm]);
    await world.run(4 * MINUTE);
    // Its third deadline, which was one too many, passed after six minutes, give or take a visit.
    const [drains] = (await world.stores.reports.status()).drains;
    expect(drains).toEqual({ ...calm, overdue: 1, oldestOverdueS: expect.any(Number) as number });
    expect(drains?.oldestOverdueS).toBeGreaterThan(150);
    expect(drains?.oldestOverdueS).toBeLessThanOrEqual(180);
    const shown = await world.stores.reports.showMachine(id);
    expect(shown?.drain).toMatchObject({ extensions: 4, blockers: [{ kind: 'task', workload: 'render' }] });
    const moved = shown?.events.filter(({ reason }) => /deadline-extended|overdue/.test(reason)) ?? [];
    expect(
      moved.map(({ reason, detail }) => `${reason} ${String(detail['extension'])} of ${String(detail['expected'])}`),
    ).toEqual([
      'drain-deadline-extended 1 of 2',
      'drain-deadline-extended 2 of 2',
      'drain-overdue 3 of 2',
      'drain-overdue 4 of 2',
    ]);
    expect(moved[0]?.detail).toMatchObject({ tasks: 1, cordonAcknowledged: true });
    expect(world.log.lines.filter(({ level }) => level === 'error')).toHaveLength(2);
    await untilTerminated(world, 30 * MINUTE);
    expect(await world.count('tasks', 'done')).toBe(1);
  });
});

describe('a machine that EC2 takes back', () => {
  test('saves what it has within the notice; its work runs elsewhere', async ({ pool }) => {
    const hooks = { beforeDrain: 'save', beforeTerminate: 'bye', checkpoint: 'checkpoint' };
    const world = await World.create(pool, { policies: [worldPolicy({ ...SPOT, drain: { hooks } })], ...CALM });
    // EC2 cuts the work short, and so do we when its time has come.
    world.truth.killsAllowed = true;
    await world.turn('prices');
    await world.submit(1, 900);
    await world.runUntil('a task runs', async () => (await world.count('tasks', 'running')) > 0);
    const { id } = await onlyMachine(world);
    const [instance] = world.truth.living();
    expect(world.region.interrupt(instance!.instanceId)).toBe(true);
    const noticeMs = world.region.settings.spotNoticeMs;
    expect(await world.stores.orders.noteInterruption(id, world.time.nowMs() + noticeMs)).toBe(true);
    await world.run(30_000);
    expect(world.hosts.commandsOn(instance!.instanceId)).toEqual(['(join)', 'checkpoint']);
    await world.run(noticeMs);
    expect(await reasonsOf(world, id)).toContain('spot-interrupted');
    await world.runUntil(
      'the task is done elsewhere',
      async () => (await world.count('tasks', 'done')) === 1,
      60 * MINUTE,
    );
    expect((await endReasons(world.db))[0]).toBe('spot-interrupted');
  });

  test('works on until EC2 takes it, though its drain had less time left', async ({ pool }) => {
    const world = await World.create(pool, { policies: [worldPolicy(SPOT)], ...CALM });
    await world.turn('prices');
    await world.submit(1, 900);
    await world.runUntil('a task runs', async () => (await world.count('tasks', 'running')) > 0);
    const { id } = await onlyMachine(world);
    await drainByHand(world, 10_000);
    expect(await world.stores.orders.noteInterruption(id, world.time.nowMs() + 2 * MINUTE)).toBe(true);
    await world.run(2 * MINUTE - 10_000);
    expect((await onlyMachine(world)).state).toBe('draining');
    expect(await world.count('tasks', 'running')).toBe(1);
    world.truth.killsAllowed = true;
    await world.run(20_000);
    expect(await reasonsOf(world, id)).toContain('spot-interrupted');
    expect((await onlyMachine(world)).state).toBe('terminating');
  });

  test('leaves before its time when its work is gone', async ({ pool }) => {
    const { world, id } = await idleWorld(pool, SPOT);
    await world.stores.orders.noteInterruption(id, world.time.nowMs() + 120_000);
    await world.runUntil('it leaves', async () => (await onlyMachine(world)).state === 'terminating', 60_000);
  });
});

describe('machines that belong together', () => {
  const drain = { oneAtATime: true, hooks: { beforeDrain: null, beforeTerminate: 'bye', health: 'health' } };
  const pair = worldPolicy({ limits: { max: 2 }, drain });

  async function twoWorking(pool: Parameters<typeof World.create>[0]) {
    const world = await World.create(pool, { policies: [pair], ...CALM });
    await world.submit(4, 20);
    await world.runUntil('two are ready', async () => (await world.count('machines', 'ready')) === 2);
    const rows = await world.db.selectFrom('machines').select(['id', 'instance_id']).orderBy('id').execute();
    await world.runUntil('all is done', async () => (await world.count('tasks', 'done')) === 4);
    for (const { id } of rows) await world.stores.orders.drain(id as MachineId, ADA, 10 * MINUTE);
    return { world, rows };
  }

  test('go one after the other, whoever asked, each only when the health hook passes', async ({ pool }) => {
    const { world, rows } = await twoWorking(pool);
    let most = 0;
    const onTheirWay = async (): Promise<boolean> => {
      const going = (await world.count('machines', 'leaving')) + (await world.count('machines', 'terminating'));
      most = Math.max(most, going);
      return (await world.count('machines', 'terminated')) === 2;
    };
    await world.runUntil('both are gone', onTheirWay, 20 * MINUTE);
    expect(most).toBe(1);
    for (const { instance_id: instanceId } of rows)
      expect(world.hosts.commandsOn(instanceId ?? '')).toEqual(['(join)', 'health', 'bye']);
  });

  test('wait for one that is about to be stopped, too', async ({ db }) => {
    const [first, next] = [await aMachine(db, 'stopping'), await aMachine(db, 'draining')];
    const machines = createMachineStore(db);
    const { machine } = (await machines.read(next.id))!;
    expect(machine.workload).toBe((await machines.read(first.id))?.machine.workload);
    expect(await machines.takeTurn(machine)).toBe(false);
    await machines.transition((await machines.read(first.id))!.machine, {
      to: 'stopped',
      actor: 'machine-step',
      reason: 'instance-stopped',
    });
    expect(await machines.takeTurn(machine)).toBe(true);
  });

  test('stay while the health hook fails, beyond their deadline, and say so', async ({ pool }) => {
    const { world, rows } = await twoWorking(pool);
    world.hosts.manners.exits.set('health', 1);
    await world.run(15 * MINUTE);
    expect(await world.count('machines', 'draining')).toBe(2);
    const shown = await Promise.all(
      rows.map(async ({ id }) => await world.stores.reports.showMachine(id as MachineId)),
    );
    expect(shown.flatMap((machine) => machine?.drain?.blockers.map(({ kind }) => kind) ?? []).sort()).toEqual([
      'hook-failed',
      'other-machine',
    ]);
    const { drains } = await world.stores.reports.status();
    expect(drains).toMatchObject([{ workload: 'render', machines: 2, overdue: 2, heldByHealth: 1, heldByTurn: 1 }]);
    expect(drains[0]?.oldestOverdueS).toBeGreaterThan(4 * 60);
    expect(drains[0]?.oldestOverdueS).toBeLessThanOrEqual(5 * 60);
    world.hosts.manners.exits.set('health', 0);
    await world.runUntil('both are gone', async () => (await world.count('machines', 'terminated')) === 2, 30 * MINUTE);
  });
});
