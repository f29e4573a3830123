/**
 * Goal: a machine that is not needed is stopped, costs its volume only, and comes back before anything is bought; whoever starts
 * or stops instances by hand meets a defined next step.
 * Method: whole lives in the simulated world, judged by the region and its bill.
 */
import { describe, expect } from 'vitest';
import type { WorkloadPolicy } from '../../src/model/policy.ts';
import { nanoUsdFromDecimal, nanoUsdToNumber } from '../../src/model/money.ts';
import { checkMemory } from '../../src/loops/recollection.ts';
import { test } from '../support/database.ts';
import { takeSnapshot, type Snapshot } from '../support/world-restore.ts';
import { worldPolicy, type PolicyChanges } from '../support/world-policy.ts';
import { onlyInstanceId, onlyMachine, readyInstance } from '../support/world-rows.ts';
import { CALM, World } from '../support/world.ts';

const MINUTE = 60_000;
const MAX_AGE_MS = 90 * MINUTE;
const HOUR = 60 * MINUTE;
type Pool = Parameters<typeof World.create>[0];

function pooled(max: number, changes: PolicyChanges = {}): WorkloadPolicy {
  return worldPolicy({ ...changes, burst: { ...changes.burst, warmPool: { max, maxAgeMs: MAX_AGE_MS } } });
}

async function aWorld(pool: Pool, policy = pooled(2)): Promise<World> {
  return await World.create(pool, { policies: [policy], ...CALM, everyS: { ...CALM.everyS, prices: 900 } });
}

async function untilCount(world: World, state: string, count: number): Promise<void> {
  await world.runUntil(`${count} are ${state}`, async () => (await world.count('machines', state)) === count, 2 * HOUR);
}

async function untilDone(world: World, count: number): Promise<void> {
  await world.runUntil(`${count} tasks are done`, async () => (await world.count('tasks', 'done')) === count, HOUR);
}

/** One machine that has worked and is stopped. */
async function stoppedWorld(pool: Pool, policy = pooled(2)): Promise<World> {
  const world = await aWorld(pool, policy);
  await world.submit(1, 30);
  await untilDone(world, 1);
  await untilCount(world, 'stopped', 1);
  return world;
}

async function expectLedgerIsBill(world: World): Promise<void> {
  await world.turn('account');
  const rows = await world.db.selectFrom('charges').select('amount_usd').execute();
  const ledgerUsd = nanoUsdToNumber(rows.reduce((sum, row) => sum + nanoUsdFromDecimal(row.amount_usd), 0n));
  const billUsd = nanoUsdToNumber(world.region.bill().totalNanoUsd);
  expect(billUsd).toBeGreaterThan(0);
  expect(Math.abs(ledgerUsd - billUsd)).toBeLessThan(0.005);
}

describe('a machine that is let go', () => {
  test('stops, is started when demand is back, works again, and costs what the region bills', async ({ pool }) => {
    const world = await stoppedWorld(pool);
    const instanceId = await onlyInstanceId(world);
    expect(world.region.findInstance(instanceId)?.state).toBe('stopped');
    expect(world.truth.living()).toEqual([]);
    await world.run(70 * MINUTE);
    await world.turn('account');
    await world.submit(2, 30);
    await untilDone(world, 3);
    expect(world.region.instances()).toHaveLength(1);
    expect(world.hosts.commandsOn(instanceId)).toEqual(['(join)', '(join)']);
    await untilCount(world, 'stopped', 1);
    world.policies = [worldPolicy()];
    await untilCount(world, 'terminated', 1);
    await expectLedgerIsBill(world);
    const [life = []] = await world.history();
    expect(life).toEqual([
      '>requested launch',
      'requested>launching ec2-call',
      'launching>booting instance-launched',
      'booting>joining ssh-open',
      'joining>joining host-key-pinned',
      'joining>joining host-key-confirmed',
      'joining>ready agent-reported',
      'ready>draining unneeded',
      'draining>leaving work-gone',
      'leaving>stopping kept-stopped',
      'stopping>stopped instance-stopped',
      'stopped>booting machine-started',
      'booting>joining ssh-open',
      'joining>ready agent-reported',
      'ready>draining unneeded',
      'draining>leaving work-gone',
      'leaving>stopping kept-stopped',
      'stopping>stopped instance-stopped',
      'stopped>terminating pool-above-max',
      'terminating>terminated pool-retired',
    ]);
  });

  test('comes back with an agent that takes work: no cordon is left over', async ({ pool }) => {
    const world = await stoppedWorld(pool);
    await world.submit(1, 600);
    await untilCount(world, 'ready', 1);
    const agents = await world.db
      .selectFrom('agents')
      .select(['cordoned', 'removed_at'])
      .where('machine_id', '=', (await onlyMachine(world)).id)
      .orderBy('registered_at')
      .execute();
    expect(agents.map(({ cordoned, removed_at: removedAt }) => [cordoned, removedAt === null])).toEqual([
      [true, false],
      [false, true],
    ]);
  });

  test('is terminated when as many as the policy wants are stopped', async ({ pool }) => {
    const world = await aWorld(pool, pooled(1));
    await world.submit(4, 60);
    await untilDone(world, 4);
    await untilCount(world, 'terminated', 1);
    await untilCount(world, 'stopped', 1);
    expect(
      world.region
        .instances()
        .map(({ state }) => state)
        .sort(),
    ).toEqual(['stopped', 'terminated']);
  });

  test('is terminated when it is a spot one, which cannot be stopped', async ({ pool }) => {
    const market = { spot: 1, onDemandBase: 0 };
    const world = await aWorld(pool, pooled(2, { burst: { market } }));
    await world.turn('prices');
    await world.submit(1, 30);
    await untilCount(world, 'terminated', 1);
    expect(world.region.instances().map(({ market: of, state }) => [of, state])).toEqual([['spot', 'terminated']]);
  });
});

describe('a stopped machine', () => {
  test('costs its volume only', async ({ pool }) => {
    const world = await stoppedWorld(pool);
    const before = world.region.bill().lines.map(({ instanceNanoUsd }) => instanceNanoUsd);
    await world.run(70 * MINUTE);
    const after = world.region.bill().lines;
    expect(after.map(({ instanceNanoUsd }) => instanceNanoUsd)).toEqual(before);
    expect(after[0]?.volumeNanoUsd).toBeGreaterThan(0n);
    await expectLedgerIsBill(world);
  });

  test('does not count for limits.max until it is started, and then it does', async ({ pool }) => {
    const world = await stoppedWorld(pool, pooled(1, { limits: { max: 1 } }));
    await world.submit(4, 120);
    await untilDone(world, 5);
    expect(world.region.instances()).toHaveLength(1);
  });

  test('goes when it was stopped for longer than maxAge', async ({ pool }) => {
    const world = await stoppedWorld(pool);
    await world.run(MAX_AGE_MS - 10 * MINUTE);
    expect(await world.count('machines', 'stopped')).toBe(1);
    await world.run(20 * MINUTE);
    expect(await world.count('machines', 'terminated')).toBe(1);
  });

  test.for([
    ['no pool', worldPolicy(), 'stopped>terminating pool-above-max'],
    [
      'another image',
      pooled(2, { burst: { image: { x86_64: 'ami-05b111a0000000009' } } }),
      'stopped>terminating pool-unfit',
    ],
    [
      'other types',
      pooled(2, {
        burst: { instances: { cpu: null, memoryMib: null, memoryMibPerCpu: null, families: ['m5'], exclude: [] } },
      }),
      'stopped>terminating pool-unfit',
    ],
  ] as const)('goes when its policy has %s', async ([, policy, event], { pool }) => {
    const world = await stoppedWorld(pool);
    world.policies = [policy];
    await untilCount(world, 'terminated', 1);
    expect((await world.history())[0]).toContain(event);
  });

  test('goes when its policy is removed', async ({ pool }) => {
    const world = await stoppedWorld(pool);
    world.policies = [];
    await untilCount(world, 'terminated', 1);
    expect((await world.history())[0]).toContain('stopped>terminating policy-removed');
  });

  test('that EC2 has no room for stays stopped, and another one is launched', async ({ pool }) => {
    const world = await stoppedWorld(pool);
    const instanceType = world.region.instances()[0]?.instanceType ?? '';
    world.region.faults.setCapacity([{ instanceType, zone: '*', market: '*', instancesMax: 0 }]);
    await world.submit(1, 30);
    await untilDone(world, 2);
    const lives = await world.history();
    expect(lives[0]).toContain('booting>stopped start-refused');
    expect(lives[0]?.filter((event) => event.startsWith('stopped>booting'))).toHaveLength(1);
    expect(world.region.instances().map((instance) => instance.instanceType)).toEqual([instanceType, 'c5.xlarge']);
  });

  test('that somebody starts by hand is joined, and stops again when nothing needs it', async ({ pool }) => {
    const world = await stoppedWorld(pool);
    world.region.perform('StartInstances', { InstanceIds: [await onlyInstanceId(world)] });
    await untilCount(world, 'ready', 1);
    await untilCount(world, 'stopped', 1);
    expect((await world.history())[0]).toContain('stopped>booting started-by-others');
  });

  test('is started once although the answer of EC2 is lost', async ({ pool }) => {
    const world = await stoppedWorld(pool);
    world.region.faults.loseReply('StartInstances', 1);
    await world.submit(1, 30);
    await untilDone(world, 2);
    await untilCount(world, 'stopped', 1);
    const starts = world.region.eventsSince(0).filter(({ kind }) => kind === 'pending');
    expect(starts).toHaveLength(2);
    world.policies = [];
    await untilCount(world, 'terminated', 1);
    await expectLedgerIsBill(world);
  });
});

describe('a database that lost commits', () => {
  const remembers = async (world: World): Promise<boolean> =>
    (await world.db.selectFrom('amnesia').select('since').executeTakeFirstOrThrow()).since === null;

  async function forget(world: World, snapshot: Snapshot): Promise<void> {
    await snapshot.restore();
    world.crash();
    await checkMemory(world.process.loops);
    expect(await remembers(world)).toBe(false);
  }

  async function restore(world: World, snapshot: Snapshot): Promise<void> {
    await forget(world, snapshot);
    await world.runUntil('the memory is back', async () => await remembers(world), 4 * HOUR, MINUTE);
  }

  test('stops no machine that was started since and works', async ({ pool }) => {
    const world = await stoppedWorld(pool);
    const snapshot = await takeSnapshot(world.db);
    await world.submit(1, 2 * 3600);
    await world.runUntil('it works', async () => (await world.count('tasks', 'running')) === 1, HOUR);
    await forget(world, snapshot);
    await untilCount(world, 'ready', 1);
    // At once, so that it keeps what it works on.
    expect(await remembers(world)).toBe(false);
    expect((await world.history())[0]).toContain('stopped>booting started-by-others');
    expect(world.truth.instances().map(({ state }) => state)).toEqual(['running']);
  });

  test('finds what it stopped, and starts it when it is wanted', async ({ pool }) => {
    const world = await aWorld(pool);
    await world.process.loops.planning.recordPolicies(world.process.loops.policies.current());
    await world.turn('plan');
    const snapshot = await takeSnapshot(world.db);
    await world.submit(1, 30);
    await untilDone(world, 1);
    await untilCount(world, 'stopped', 1);
    await restore(world, snapshot);
    expect((await world.history()).map(([birth]) => birth)).toEqual(['>stopped rebuilt']);
    await world.submit(1, 30);
    await untilDone(world, 1);
    expect(world.truth.instances()).toHaveLength(1);
  });
});

test('a machine that somebody stops by hand while it is ready is replaced', async ({ pool }) => {
  const world = await aWorld(pool);
  await world.submit(1, 1800);
  const instanceId = await readyInstance(world);
  await world.runUntil('it works', async () => (await world.count('tasks', 'running')) === 1, HOUR);
  world.truth.killsAllowed = true;
  world.region.perform('StopInstances', { InstanceIds: [instanceId] });
  await untilDone(world, 1);
  const lives = await world.history();
  expect(lives[0]).toContain('ready>terminating instance-stopped');
  expect(lives.length).toBeGreaterThan(1);
  expect(world.region.findInstance(instanceId)?.state).toBe('terminated');
});
