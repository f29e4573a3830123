/** Goal: EC2's own word about a spot machine is enough. Method: lives of machines whose agents read no notice, on a virtual clock. */
import { describe, expect } from 'vitest';
import { sweepTick } from '../../src/loops/sweep.ts';
import { test } from '../support/database.ts';
import { worldPolicy } from '../support/world-policy.ts';
import { endReasons, onlyInstanceId, onlyMachine } from '../support/world-rows.ts';
import { CALM, World } from '../support/world.ts';

const SPOT = worldPolicy({ burst: { market: { spot: 1, onDemandBase: 0 } }, limits: { max: 1 } });

/** A spot machine that works, and how often EC2 was asked who is marked. */
async function working(pool: Parameters<typeof World.create>[0], policy = SPOT) {
  const world = await World.create(pool, { policies: [policy], ...CALM });
  world.truth.killsAllowed = true;
  await world.turn('prices');
  let asked = 0;
  const perform = world.region.perform.bind(world.region);
  world.region.perform = (action, input) => {
    if (action === 'DescribeSpotInstanceRequests') asked += 1;
    return perform(action, input);
  };
  await world.submit(1, 1800);
  await world.runUntil('a task runs', async () => (await world.count('tasks', 'running')) > 0);
  return { world, asked: () => asked };
}

describe('a spot machine that EC2 has marked for termination', () => {
  test('drains with the next sweep, until the end of the notice, though its agent says nothing', async ({ pool }) => {
    const { world } = await working(pool);
    const instanceId = await onlyInstanceId(world);
    expect(world.region.interrupt(instanceId)).toBe(true);
    const endMs = world.time.nowMs() + world.region.settings.spotNoticeMs;
    await world.turn('sweep');
    const machine = await onlyMachine(world);
    expect(machine).toMatchObject({ state: 'draining', endReason: 'spot-interrupted', deadlineAtMs: endMs });
    const shown = await world.stores.reports.showMachine(machine.id);
    expect(shown?.drain?.interruptedAt).toBe(new Date(endMs).toISOString());
    expect(shown?.events.at(-1)).toMatchObject({ actor: 'ec2', reason: 'spot-interrupted' });
    expect(shown?.drain?.blockers.map(({ kind }) => kind)).toContain('task');

    await world.turn('sweep');
    expect((await world.stores.reports.showMachine(machine.id))?.events).toHaveLength(shown?.events.length ?? 0);
    await world.runUntil('it is over', async () => (await world.count('machines', 'terminated')) === 1, 600_000);
    expect(await endReasons(world.db)).toEqual(['spot-interrupted']);
  });

  test('ends at once while it has no agent yet', async ({ pool }) => {
    const world = await World.create(pool, { policies: [SPOT], ...CALM });
    world.hosts.manners.agentMute = true;
    await world.turn('prices');
    await world.submit(1, 60);
    await world.runUntil('it joins', async () => (await world.count('machines', 'joining')) === 1);
    const { id } = await onlyMachine(world);
    world.region.interrupt(await onlyInstanceId(world));
    await world.turn('sweep');
    const { state, endReason } = (await world.stores.reports.showMachine(id))!;
    expect({ state, endReason }).toEqual({ state: 'terminating', endReason: 'spot-interrupted' });
  });

  test('has its end no later than EC2 gives notice, whatever the clock of EC2 says', async ({ pool }) => {
    const { world } = await working(pool);
    const instanceId = await onlyInstanceId(world);
    const { cloud } = world.process.loops;
    const late = world.time.nowMs() + 3_600_000;
    const loops = {
      ...world.process.loops,
      cloud: { ...cloud, listInterruptions: async () => new Map([[instanceId, late]]) },
    };
    world.process = { ...world.process, loops };
    await world.turn('sweep');
    const { deadlineAtMs } = await onlyMachine(world);
    expect(deadlineAtMs).toBeLessThanOrEqual(world.time.nowMs() + 120_000);
  });
});

describe('EC2 is asked who is marked', () => {
  test('once per sweep while spot machines live, and never for others', async ({ pool }) => {
    const { world, asked } = await working(pool);
    const before = asked();
    for (let sweep = 1; sweep <= 3; sweep += 1) {
      await world.turn('sweep');
      expect(asked()).toBe(before + sweep);
    }
  });

  test('never for machines on demand', async ({ pool }) => {
    const { world, asked } = await working(pool, worldPolicy({ limits: { max: 1 } }));
    await world.turn('sweep');
    expect(asked()).toBe(0);
  });

  test('and an answer that does not come hides nothing of the listing, but is told', async ({ pool }) => {
    const { world } = await working(pool);
    const { id } = await onlyMachine(world);
    world.region.interrupt(await onlyInstanceId(world));
    world.region.faults.failNext('DescribeSpotInstanceRequests', { code: 'UnauthorizedOperation', times: 1 });
    const { observedAt: before } = (await world.stores.reports.showMachine(id))!;
    await world.time.run(1000);
    await expect(sweepTick(world.process.loops)).rejects.toMatchObject({ code: 'AWS_AUTH' });
    const { observedAt, state } = (await world.stores.reports.showMachine(id))!;
    expect(Date.parse(observedAt ?? '')).toBeGreaterThan(Date.parse(before ?? ''));
    expect(state).toBe('ready');
    await sweepTick(world.process.loops);
    expect((await onlyMachine(world)).state).toBe('draining');
  });
});
