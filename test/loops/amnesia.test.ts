/**
 * Goal: a database that lost commits costs nothing but time. Nothing is launched twice, nothing is killed, everything EC2 has
 * gets its rows back, and the ledger is the bill.
 * Method: the database goes back to a snapshot while the world (EC2, hosts, agents) stays as it is; what came of it is read from
 * the region and not from the rows, and `WorldTruth` throws the moment a machine at work is ended or a task runs twice.
 */
import { sql } from 'kysely';
import { describe, expect } from 'vitest';
import { checkMemory } from '../../src/loops/recollection.ts';
import { sweepTick } from '../../src/loops/sweep.ts';
import { nanoUsdFromDecimal } from '../../src/model/money.ts';
import { test } from '../support/database.ts';
import { worldPolicy } from '../support/world-policy.ts';
import { callOutcomes } from '../support/world-rows.ts';
import { takeSnapshot, type Snapshot } from '../support/world-restore.ts';
import { World, type WorldOptions } from '../support/world.ts';

const NONE_IN_A = [{ instanceType: '*', zone: 'us-east-1a', market: '*' as const, instancesMax: 0 }];
const CENT = nanoUsdFromDecimal('0.01');
/** Machines of two CPUs; looks are rare enough that an hour takes seconds. */
const TWO_CPUS = {
  types: ['c5.large'],
  heartbeatS: 10,
  everyS: { plan: 10, sweep: 15, ring: 10, assign: 10, recover: 15, account: 600, prices: Infinity },
} as const;

async function amnesia(world: World) {
  const { since, ...rest } = await world.db.selectFrom('amnesia').selectAll().executeTakeFirstOrThrow();
  return since === null ? null : { since, ...rest };
}

/** The service finds the database restored when it starts, as it does before its first step. */
async function restart(world: World, snapshot: Snapshot): Promise<void> {
  await snapshot.restore();
  world.crash();
  await checkMemory(world.process.loops);
}

/** Looks twice a virtual minute; a look each second would be most of the test's work. */
async function runUntil(world: World, what: string, holds: () => Promise<boolean>): Promise<void> {
  for (let look = 0; look < 480; look += 1) {
    if (await holds()) return;
    await world.run(30_000);
  }
  throw new Error(`waited four virtual hours in vain until ${what}`);
}

async function untilRecovered(world: World): Promise<void> {
  await runUntil(world, 'the memory is back', async () => (await amnesia(world)) === null);
}

async function untilGone(world: World): Promise<void> {
  await runUntil(world, 'all tasks are done and all machines are gone', async () => {
    const { rows } = await sql<{ left: number }>`
      select (select count(*)::int from spillway.tasks where state in ('pending', 'leased', 'running'))
        + (select count(*)::int from spillway.machines where state <> 'terminated') as left`.execute(world.db);
    return rows[0]?.left === 0;
  });
  await world.run(60_000);
  await world.turn('account');
}

async function distanceFromBill(world: World): Promise<bigint> {
  const rows = await world.db.selectFrom('charges').select('amount_usd').execute();
  const ledger = rows.reduce((sum, row) => sum + nanoUsdFromDecimal(row.amount_usd), 0n);
  const distance = ledger - world.region.bill().totalNanoUsd;
  return distance < 0n ? -distance : distance;
}

const livingIds = (world: World): readonly string[] =>
  world.truth
    .living()
    .map(({ instanceId }) => instanceId)
    .sort();

async function rowsOfInstances(world: World, state: string): Promise<readonly (string | null)[]> {
  const rows = await world.db
    .selectFrom('machines')
    .select('instance_id')
    .where('state', '=', state)
    .orderBy('instance_id')
    .execute();
  return rows.map((row) => row.instance_id);
}

/** Four tasks of twenty minutes on two machines, all of it after the snapshot. */
async function busyWorld(pool: Parameters<typeof World.create>[0], options: WorldOptions = {}) {
  const world = await World.create(pool, { ...TWO_CPUS, ...options });
  await world.submit(4, 1200);
  await world.process.loops.planning.recordPolicies(world.process.loops.policies.current());
  const snapshot = await takeSnapshot(world.db);
  await world.runUntil('all tasks run', async () => (await world.count('tasks', 'running')) === 4, 600_000);
  await world.run(60_000);
  const instances = livingIds(world);
  expect(instances).toHaveLength(2);
  return { world, snapshot, instances };
}

describe('a database that lost commits', () => {
  test(
    'launches nothing twice and kills nothing; its rows come back from EC2, work goes on, and the ledger is the bill',
    { timeout: 120_000 },
    async ({ pool }) => {
      const { world, snapshot, instances } = await busyWorld(pool);
      await restart(world, snapshot);
      expect(await amnesia(world)).toMatchObject({ reason: 'lost-launch' });
      expect(await world.liveMachines()).toBe(0);
      await untilRecovered(world);
      // The same machines, no other, and none was touched.
      expect(livingIds(world)).toEqual(instances);
      expect(world.truth.instances()).toHaveLength(2);
      expect(world.truth.terminateCalls).toBe(0);
      expect(await rowsOfInstances(world, 'ready')).toEqual(instances);
      expect((await world.history()).map(([birth]) => birth)).toEqual(['>booting rebuilt', '>booting rebuilt']);
      await untilGone(world);
      const tasks = await world.db.selectFrom('tasks').select(['state', 'attempt']).execute();
      // No task began a second time.
      expect(tasks).toEqual(Array.from({ length: 4 }, () => ({ state: 'done', attempt: 1 })));
      expect(world.truth.instances()).toHaveLength(2);
      expect(await distanceFromBill(world)).toBeLessThan(CENT);
      const ends = world.log.lines.filter(({ message }) => message.startsWith('the rows are rebuilt'));
      expect(ends).toHaveLength(1);
    },
  );

  test('is told by EC2 alone when no witness is left', async ({ pool }) => {
    const { world, snapshot } = await busyWorld(pool);
    world.witness.said = null;
    await restart(world, snapshot);
    expect(await amnesia(world)).toBeNull();
    await sweepTick(world.process.loops);
    expect(await amnesia(world)).toMatchObject({ reason: 'unknown-launch', rebuilt: 2 });
  });

  test('gives nobody a task that may still run where it was leased to', async ({ pool }) => {
    const { world, snapshot } = await busyWorld(pool, { everyS: { ...TWO_CPUS.everyS, sweep: Infinity } });
    await restart(world, snapshot);
    const local = await world.addLocalAgent(4);
    const lost = (): number => world.hosts.listAgents().flatMap((agent) => agent.runningTasks()).length;
    // Half a lease: the agents of the lost rows get no answer and go on with their work.
    await world.run(30_000);
    expect([lost(), local.runningTasks().length]).toEqual([4, 0]);
    // `WorldTruth` throws at a task that starts here while it runs there.
    await world.runUntil('the local agent works', () => local.runningTasks().length === 4, 240_000);
    expect(lost()).toBe(0);
  });

  test(
    'does not act on what rows said of machines that have moved on since',
    { timeout: 120_000 },
    async ({ pool }) => {
      const world = await World.create(pool, TWO_CPUS);
      await world.submit(2, 3600);
      await world.runUntil('a machine boots', async () => (await world.count('machines', 'booting')) === 1, 60_000);
      const snapshot = await takeSnapshot(world.db);
      await world.runUntil('all tasks run', async () => (await world.count('tasks', 'running')) === 2, 600_000);
      // By now every deadline of the rows of then has passed.
      await world.run(1_200_000);
      const instances = livingIds(world);
      await restart(world, snapshot);
      expect(await amnesia(world)).toMatchObject({ reason: 'lost-lease' });
      // Joined anew at once, within the lease of what runs there.
      await world.run(60_000);
      expect(await rowsOfInstances(world, 'ready')).toEqual(instances);
      await untilRecovered(world);
      expect(livingIds(world)).toEqual(instances);
      expect(await rowsOfInstances(world, 'ready')).toEqual(instances);
      expect(world.truth.terminateCalls).toBe(0);
      expect(world.hosts.listAgents().flatMap((agent) => agent.runningTasks())).toHaveLength(2);
    },
  );

  test(
    'holds every plan and says why, ends nothing that leaves, and sends no drain after a policy that is gone',
    { timeout: 120_000 },
    async ({ pool }) => {
      const { world, snapshot, instances } = await busyWorld(pool);
      // An operator takes the policy away, and the machines are drained by that rule; but not while memory is missing.
      await restart(world, snapshot);
      await world.run(60_000);
      expect(await world.count('machines', 'ready')).toBe(2);
      const last = world.plans.at(-1);
      expect(last).toMatchObject({
        kind: 'planned',
        acted: false,
        outcome: { workloads: [{ actions: [], report: { verdict: 'hold', reasons: [{ code: 'amnesia' }] } }] },
      });
      world.policies = [];
      await world.run(60_000);
      expect(await world.count('machines', 'ready')).toBe(2);
      await untilRecovered(world);
      expect(livingIds(world)).toEqual(instances);
      await world.runUntil('both drain', async () => (await world.count('machines', 'draining')) === 2, 120_000);
      await untilGone(world);
      expect(world.truth.instances()).toHaveLength(2);
      expect(await world.count('tasks', 'done')).toBe(4);
    },
  );

  test('finds machines in regions that no policy and no row names any more', { timeout: 120_000 }, async ({ pool }) => {
    const { world, snapshot, instances } = await busyWorld(pool);
    world.policies = [];
    await restart(world, snapshot);
    await untilRecovered(world);
    expect([livingIds(world), world.truth.terminateCalls]).toEqual([instances, 0]);
    // Joined again, and by now draining, because their policy is gone.
    const lives = await world.history();
    expect(lives.map((life) => life.includes('joining>ready agent-reported'))).toEqual([true, true]);
  });

  test('regains the cost of machines that came and went in the lost time', { timeout: 120_000 }, async ({ pool }) => {
    const world = await World.create(pool, TWO_CPUS);
    const snapshot = await takeSnapshot(world.db);
    await world.submit(2, 600);
    await untilGone(world);
    expect(world.truth.instances()).toHaveLength(1);
    const { terminateCalls } = world.truth;
    await restart(world, snapshot);
    await untilRecovered(world);
    await world.turn('account');
    expect(world.truth.instances()).toHaveLength(1);
    expect(world.truth.terminateCalls).toBe(terminateCalls);
    expect(await rowsOfInstances(world, 'terminated')).toHaveLength(1);
    expect(await distanceFromBill(world)).toBeLessThan(CENT);
  });

  test('lets the open launch whose call it forgot repeat its token', { timeout: 120_000 }, async ({ pool }) => {
    const world = await World.create(pool, TWO_CPUS);
    world.wake.deaf = true;
    await world.submit(2, 600);
    await world.runUntil('a launch is open', async () => (await world.count('launches', 'open')) === 1, 60_000);
    const snapshot = await takeSnapshot(world.db);
    world.wake.deaf = false;
    await world.runUntil('a machine is ready', async () => (await world.count('machines', 'ready')) === 1, 120_000);
    await restart(world, snapshot);
    await untilRecovered(world);
    expect(world.truth.instances()).toHaveLength(1);
    expect(await rowsOfInstances(world, 'ready')).toEqual(livingIds(world));
    const outcomes = await world.db.selectFrom('launch_calls').select('outcome').orderBy('id').execute();
    expect(outcomes).toEqual([{ outcome: 'unknown' }, { outcome: 'launched' }]);
  });

  test('is led on by the trace and the attempts that EC2 still tells of', { timeout: 120_000 }, async ({ pool }) => {
    const world = await World.create(pool, TWO_CPUS);
    const snapshot = await takeSnapshot(world.db);
    world.region.faults.setCapacity(NONE_IN_A);
    await world.submit(2, 1200);
    await world.runUntil('all tasks run', async () => (await world.count('tasks', 'running')) === 2, 600_000);
    const launchesNow = async () =>
      await world.db.selectFrom('launches').select(['id', 'trace_id', 'attempt', 'token', 'zone', 'state']).execute();
    const before = await launchesNow();
    expect(before).toMatchObject([{ attempt: 2, zone: 'us-east-1b', state: 'fulfilled' }]);
    await restart(world, snapshot);
    await untilRecovered(world);
    expect(await launchesNow()).toEqual(before);
    const attempts = await world.db.selectFrom('launch_attempts').select(['attempt', 'token', 'outcome']).execute();
    expect(attempts).toEqual([{ attempt: 2, token: before[0]?.token, outcome: 'fulfilled' }]);
    const machines = await world.db.selectFrom('machines').select(['trace_id', 'volume_gib']).execute();
    expect(machines).toEqual([{ trace_id: before[0]?.trace_id, volume_gib: 20 }]);
    await untilGone(world);
    expect(await distanceFromBill(world)).toBeLessThan(CENT);
  });

  test(
    'takes an open launch to the attempt that it forgot, and does not ask with the token of an earlier one',
    { timeout: 120_000 },
    async ({ pool }) => {
      const world = await World.create(pool, TWO_CPUS);
      const snapshots: Snapshot[] = [];
      const { steps, loops } = world.process;
      const runInstances: typeof steps.cloud.runInstances = async (request) => {
        // While the first call is under way.
        if (snapshots.length === 0) snapshots.push(await takeSnapshot(world.db));
        return await steps.cloud.runInstances(request);
      };
      world.process = { steps: { ...steps, cloud: { ...steps.cloud, runInstances } }, loops };
      await world.submit(2, 1200);
      world.region.faults.setCapacity(NONE_IN_A);
      await world.runUntil('all tasks run', async () => (await world.count('tasks', 'running')) === 2, 600_000);
      const instances = livingIds(world);
      // What the first token was refused for is over: repeated now, it would bring a second instance.
      world.region.faults.setCapacity([]);
      await restart(world, snapshots[0]!);
      expect(await world.count('launches', 'open')).toBe(1);
      expect(await callOutcomes(world.db)).toEqual([null]);
      await untilRecovered(world);
      expect(livingIds(world)).toEqual(instances);
      expect(world.truth.instances()).toHaveLength(1);
      expect(await rowsOfInstances(world, 'ready')).toEqual(instances);
      const launches = await world.db.selectFrom('launches').select(['attempt', 'zone', 'state']).execute();
      expect(launches).toEqual([{ attempt: 2, zone: 'us-east-1b', state: 'fulfilled' }]);
      await untilGone(world);
      expect(world.truth.instances()).toHaveLength(1);
      expect(await distanceFromBill(world)).toBeLessThan(CENT);
    },
  );

  test('does not end its amnesia while a region is not seen whole', { timeout: 120_000 }, async ({ pool }) => {
    const { world, snapshot } = await busyWorld(pool);
    await restart(world, snapshot);
    world.region.faults.failNext('DescribeInstances', { code: 'ServiceUnavailable', times: 100_000 });
    await world.run(900_000);
    expect(await amnesia(world)).toMatchObject({ clean_listings: 0 });
    expect(world.truth.terminateCalls).toBe(0);
  });
});

describe('an empty database in the place of the one that was', () => {
  test('kills none of fifty machines, and gets all of them back', { timeout: 240_000 }, async ({ pool }) => {
    const policy = worldPolicy({ limits: { max: 50, maxScaleUp: 50 }, demand: { freshnessMs: 120_000 } });
    const everyS = { plan: 30, sweep: 30, ring: 15, assign: 20, recover: 60, account: Infinity, prices: Infinity };
    const world = await World.create(pool, { ...TWO_CPUS, policies: [policy], everyS, heartbeatS: 30 });
    world.truth.livingMax = 50;
    world.truth.instancesPerTokenMax = 50;
    const empty = await takeSnapshot(world.db);
    await world.submit(100, 3600);
    await world.runUntil('all tasks run', async () => (await world.count('tasks', 'running')) === 100, 1_800_000);
    const instances = livingIds(world);
    expect(instances).toHaveLength(50);
    // Nothing is left of the service but the deployment key.
    world.witness.said = null;
    await restart(world, empty);
    await world.runUntil('the amnesia is known', async () => (await amnesia(world)) !== null, 60_000);
    await untilRecovered(world);
    expect(livingIds(world)).toEqual(instances);
    expect(await rowsOfInstances(world, 'ready')).toEqual(instances);
    expect(world.truth.terminateCalls).toBe(0);
    expect(world.truth.instances()).toHaveLength(50);
  });
});
