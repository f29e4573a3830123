/**
 * Goal: a refused launch goes on by itself where that helps, stops where it does not, and says why; no refusal, however it
 * is timed, brings an instance too many. Method: whole lives in the simulated world, with the region refusing on purpose.
 */
import { describe, expect } from 'vitest';
import type { RunOutcome, RunRequest } from '../../src/ports/cloud.ts';
import { SIMULATED_SUBNETS } from '../../src/simulator/world.ts';
import { test } from '../support/database.ts';
import { worldPolicy } from '../support/world-policy.ts';
import { callOutcomes, endReasons } from '../support/world-rows.ts';
import { CALM, World, type WorldOptions } from '../support/world.ts';

const MINUTE_MS = 60_000;
const TWO_TYPES = { types: ['c5.large', 'c5.xlarge'] };
/** Every plan makes at most one launch. */
const ONE_OFFERING = {
  types: ['c5.large'],
  policies: [worldPolicy({ burst: { subnets: [SIMULATED_SUBNETS.a] } })],
};
const NONE_OF = (instanceType: string) => [{ instanceType, zone: '*', market: '*' as const, instancesMax: 0 }];

async function untilDone(world: World, tasks: number): Promise<void> {
  await world.runUntil('the tasks are done', async () => (await world.count('tasks', 'done')) === tasks, 7_200_000);
}

async function untilGone(world: World): Promise<void> {
  await world.runUntil('all machines are gone', async () => (await world.liveMachines()) === 0, 2_400_000);
  await world.run(300_000);
  expect(world.truth.living()).toEqual([]);
}

const attempts = async (world: World) =>
  await world.db.selectFrom('launch_attempts').selectAll().orderBy('began_at').orderBy('attempt').execute();

async function tried(world: World): Promise<string[]> {
  const nameOf = ({ instanceType, market }: { instanceType: string; market: string }): string =>
    market === 'spot' ? `${instanceType} spot` : instanceType;
  return (await attempts(world)).map(({ body, zone }) => `${nameOf(body as never)} ${zone.at(-1)}`);
}

const calls = async (world: World): Promise<number> => (await callOutcomes(world.db)).length;

async function holdNames(world: World): Promise<string[]> {
  return (await world.stores.launches.listHolds()).map(({ scope, name, state }) => `${scope}:${name} ${state}`);
}

/** Reason codes of the newest plan that was made. */
function reasons(world: World): readonly string[] {
  const last = world.plans.findLast(({ kind }) => kind === 'planned');
  return last?.kind === 'planned'
    ? last.outcome.workloads.flatMap(({ report }) => report.reasons.map(({ code }) => code))
    : [];
}

/** The process believes of its next calls that they were refused for want of capacity, though EC2 acted. */
function misreport(world: World, times: number): void {
  const { steps, loops } = world.process;
  let left = times;
  const cloud = {
    ...steps.cloud,
    async runInstances(request: RunRequest): Promise<RunOutcome> {
      const outcome = await steps.cloud.runInstances(request);
      left -= 1;
      if (left < 0) return outcome;
      return { kind: 'refused', errorClass: 'capacity', code: 'InsufficientInstanceCapacity', message: 'a lie' };
    },
  };
  world.process = { steps: { ...steps, cloud }, loops };
}

describe('a launch that meets no capacity', () => {
  test('goes to the next offering in the same job, with its machine and a new token', async ({ pool }) => {
    const world = await World.create(pool, { ...TWO_TYPES, everyS: { ring: Infinity } });
    world.region.faults.setCapacity(NONE_OF('c5.large'));
    await world.submit(1, 10);
    await untilDone(world, 1);
    expect(await tried(world)).toEqual(['c5.large a', 'c5.large b', 'c5.xlarge a']);
    const made = await attempts(world);
    expect(new Set(made.map(({ token }) => token)).size).toBe(3);
    expect(made.map(({ outcome }) => outcome)).toEqual(['refused', 'refused', 'fulfilled']);
    expect(new Set(made.map(({ launch_id }) => launch_id)).size).toBe(1);
    const machines = await world.db.selectFrom('machines').selectAll().execute();
    expect(machines).toMatchObject([{ instance_type: 'c5.xlarge', cpu_milli: 4000, price_usd_per_hour: '0.170000' }]);
    expect(world.truth.instances().map(({ instanceType }) => instanceType)).toEqual(['c5.xlarge']);
    await untilGone(world);
  });

  test('anywhere ends as refused; offerings are left alone, and later asked by one machine', async ({ pool }) => {
    const world = await World.create(pool, { ...TWO_TYPES, ...CALM });
    world.region.faults.setCapacity(NONE_OF('*'));
    await world.submit(6, 30);
    await world.run(2 * MINUTE_MS);
    expect(new Set(await endReasons(world.db))).toEqual(new Set(['launch-refused']));
    expect(await world.liveMachines()).toBe(0);
    const offerings = new Set(await tried(world));
    expect([...offerings].sort()).toEqual(['c5.large a', 'c5.large b', 'c5.xlarge a', 'c5.xlarge b']);
    // Two launches of the first plan may meet at an offering; nothing asks again after the hold.
    expect(await calls(world)).toBeLessThanOrEqual(6);
    expect(reasons(world)).toContain('offerings-held');

    const before = (await attempts(world)).length;
    await world.run(3 * MINUTE_MS);
    const probes = (await attempts(world)).slice(before);
    expect(probes.length).toBeGreaterThan(0);
    expect(probes.every(({ body }) => (body as { count: number }).count === 1)).toBe(true);

    world.region.faults.setCapacity([]);
    await untilDone(world, 6);
    expect((await holdNames(world)).filter((name) => !name.endsWith('half-open'))).toEqual([]);
    await untilGone(world);
  });

  test('does not go where the budget ends', async ({ pool }) => {
    const policies = [worldPolicy({ burst: { budget: { hourlyUsd: 0.1 } } })];
    const world = await World.create(pool, { ...TWO_TYPES, ...CALM, policies });
    world.region.faults.setCapacity(NONE_OF('c5.large'));
    await world.submit(1, 10);
    await world.run(MINUTE_MS);
    expect(await tried(world)).toEqual(['c5.large a', 'c5.large b']);
    expect(await endReasons(world.db)).toEqual(['launch-refused']);
  });

  test('in a full subnet blames the subnet and not the type', async ({ pool }) => {
    const world = await World.create(pool, TWO_TYPES);
    world.region.faults.failNext('RunInstances', { code: 'InsufficientFreeAddressesInSubnet' });
    await world.submit(1, 10);
    await untilDone(world, 1);
    expect(await tried(world)).toEqual(['c5.large a', 'c5.large b']);
    expect(await holdNames(world)).toEqual([`subnet:${SIMULATED_SUBNETS.a} open`]);
  });

  test('after its instance was made holds the offering, and the next one goes elsewhere', async ({ pool }) => {
    const world = await World.create(pool, { types: ['c5.large'] });
    world.region.faults.failStart('Server.InsufficientInstanceCapacity');
    await world.submit(1, 10);
    await untilDone(world, 1);
    expect(await tried(world)).toEqual(['c5.large a', 'c5.large b']);
    expect(await endReasons(world.db)).toEqual(['instance-gone']);
  });
});

describe('a quota', () => {
  test('of a market is passed over by the other market in the same job', async ({ pool }) => {
    const policies = [worldPolicy({ burst: { market: { spot: 1, onDemandBase: 0 } } })];
    const world = await World.create(pool, { ...TWO_TYPES, policies });
    await world.turn('prices');
    world.region.faults.failNext('RunInstances', { code: 'MaxSpotInstanceCountExceeded' });
    await world.submit(1, 10);
    await untilDone(world, 1);
    expect((await tried(world)).map((name) => name.includes('spot'))).toEqual([true, false]);
    expect(await world.count('launches', 'refused')).toBe(0);
  });

  test('that nothing helps against is left alone for ten minutes, told, and tried with one machine', async ({
    pool,
  }) => {
    const world = await World.create(pool, { ...ONE_OFFERING, ...CALM });
    world.region.faults.failNext('RunInstances', { code: 'VcpuLimitExceeded' });
    await world.submit(8, 30);
    await world.run(9 * MINUTE_MS);
    const before = await calls(world);
    expect(await holdNames(world)).toEqual(['quota:us-east-1/standard/on-demand open']);
    expect(reasons(world)).toContain('held-quota');
    expect((await callOutcomes(world.db)).filter((outcome) => outcome === 'refused')).toHaveLength(1);
    await untilDone(world, 8);
    expect(await calls(world)).toBeGreaterThan(before);
    expect(await holdNames(world)).toEqual([]);
    await untilGone(world);
  });
});

describe('missing rights', () => {
  test('hold the policy, are tried again with one machine, and end when they come back', async ({ pool }) => {
    const world = await World.create(pool, { ...ONE_OFFERING, ...CALM });
    world.region.faults.failNext('RunInstances', { code: 'UnauthorizedOperation', times: 2 });
    await world.submit(6, 60);
    await world.run(110_000);
    expect(await callOutcomes(world.db)).toEqual(['refused']);
    expect(await holdNames(world)).toEqual(['workload:render open']);
    expect(reasons(world)).toContain('held-auth');
    const errors = world.log.lines.filter(({ level }) => level === 'error');
    expect(errors).toMatchObject([
      { details: { code: 'UnauthorizedOperation', remedy: expect.stringContaining('sts') } },
    ]);

    // The second refusal comes with the first probe; then four minutes.
    await world.run(200_000);
    expect(await callOutcomes(world.db)).toEqual(['refused', 'refused']);
    await untilDone(world, 6);
    const counts = (await attempts(world)).map(({ body }) => (body as { count: number }).count);
    expect(counts.slice(1, 3)).toEqual([1, 1]);
    expect(await holdNames(world)).toEqual([]);
  });
});

describe('a policy that names what EC2 does not have', () => {
  test('launches nothing more until it changes', async ({ pool }) => {
    const world = await World.create(pool, { ...TWO_TYPES, ...CALM });
    world.region.faults.failNext('RunInstances', { code: 'InvalidGroup.NotFound' });
    await world.submit(1, 10);
    await world.run(20 * MINUTE_MS);
    expect(await callOutcomes(world.db)).toEqual(['refused']);
    expect(reasons(world)).toContain('held-config');

    world.policies = [worldPolicy({ limits: { max: 9 } })];
    await untilDone(world, 1);
    expect(reasons(world)).not.toContain('held-config');
  });
});

describe('a token', () => {
  test('whose request changed is never replaced: the policy is held, and the deadline ends the launch', async ({
    pool,
  }) => {
    const world = await World.create(pool, { ...TWO_TYPES, ...CALM });
    world.region.faults.failNext('RunInstances', { code: 'IdempotentParameterMismatch', times: 100 });
    await world.submit(1, 10);
    await world.run(9 * MINUTE_MS);
    expect(await world.count('machines', 'launching')).toBe(1);
    expect(reasons(world)).toContain('held-idempotency');
    await world.run(2 * MINUTE_MS);
    expect(await endReasons(world.db)).toEqual(['launch-expired']);
    expect(await tried(world)).toEqual(['c5.large a']);
    await world.run(30 * MINUTE_MS);
    expect(await world.count('launches', 'open')).toBe(0);
  });

  /** The answer to a launch is lost, and its instance has ended before the token could be repeated. */
  async function loseInstance(pool: Parameters<typeof World.create>[0], region: WorldOptions['region'] = {}) {
    const world = await World.create(pool, { types: ['c5.large'], everyS: { sweep: Infinity }, region });
    world.region.faults.loseReply('RunInstances');
    world.region.faults.failStart('Server.InternalError');
    // Throttled until the lost instance has ended.
    world.region.faults.failNext('RunInstances', { code: 'RequestLimitExceeded', after: 1, times: 4 });
    await world.submit(1, 10);
    await untilDone(world, 1);
    expect(world.truth.instances()).toHaveLength(2);
    return (await attempts(world)).map(({ error_code, outcome }) => [outcome, error_code]);
  }

  test('whose instance has ended unheard of gets it all the same, for what has run is billed; another launch follows', async ({
    pool,
  }) => {
    expect(await loseInstance(pool)).toEqual([
      ['fulfilled', null],
      ['fulfilled', null],
    ]);
  });

  test('whose instance EC2 does not show any more gives way to the next attempt', async ({ pool }) => {
    expect(await loseInstance(pool, { terminatedVisibleMs: 0 })).toEqual([
      ['refused', 'IdempotentInstanceTerminated'],
      ['fulfilled', null],
    ]);
  });
});

describe('an instance of an attempt that was left behind', () => {
  test('is adopted by its own launch while that still seeks one', async ({ pool }) => {
    const world = await World.create(pool, { types: ['c5.large'] });
    misreport(world, 1);
    world.region.faults.failNext('RunInstances', { code: 'RequestLimitExceeded', after: 1, times: 10 });
    await world.submit(1, 10);
    await untilDone(world, 1);
    expect(await tried(world)).toEqual(['c5.large a', 'c5.large b']);
    expect(world.truth.instances()).toHaveLength(1);
    expect(await world.db.selectFrom('machines').select('zone').execute()).toEqual([{ zone: 'us-east-1a' }]);
    await untilGone(world);
  });

  test('is ended by its id when the launch has found another', async ({ pool }) => {
    const world = await World.create(pool, { types: ['c5.large'] });
    misreport(world, 1);
    await world.submit(1, 600);
    // No orphan is ended before it is five minutes old.
    await world.run(7 * MINUTE_MS);
    expect(world.truth.instances().map(({ zone, state }) => [zone.at(-1), state])).toEqual([
      ['a', 'terminated'],
      ['b', 'running'],
    ]);
    await untilDone(world, 1);
  });
});

describe('two deliveries of every job', () => {
  test('go down the ladder as one: nothing is launched twice', async ({ pool }) => {
    const world = await World.create(pool, { ...TWO_TYPES, twins: true });
    world.truth.livingMax = 4;
    world.region.faults.setCapacity(NONE_OF('c5.large'));
    world.region.faults.loseReply('RunInstances');
    await world.submit(8, 60);
    await untilDone(world, 8);
    expect(world.truth.instances().every(({ instanceType }) => instanceType === 'c5.xlarge')).toBe(true);
    await untilGone(world);
  });

  test('of which one is refused and the other served bring at most what was asked for', async ({ pool }) => {
    const world = await World.create(pool, { types: ['c5.large'], twins: true });
    world.truth.livingMax = 1;
    // The first to arrive is refused, its twin is served a moment later.
    world.region.faults.failNext('RunInstances', { code: 'InsufficientInstanceCapacity' });
    await world.submit(1, 10);
    await untilDone(world, 1);
    await untilGone(world);
    expect(world.truth.instances()).toHaveLength(1);
  });
});

const LAUNCHING =
  /^(?:launches|cloud\.runInstances|planning\.commit\(launches|planning\.readPolicy|wake\.ring\(launch)/;
const DECISIVE = [
  'cloud.runInstances',
  'launches.beginCall',
  'launches.finishCall',
  'launches.hold',
  'launches.moveOn',
];

describe.each([
  ['crash', 'before'],
  ['crash', 'after'],
  ['error', 'before'],
  ['error', 'after'],
] as const)('a %s %s each call of a launch that is refused twice', (kind, moment) => {
  test('costs time, and nothing else', { timeout: 180_000 }, async ({ pool }) => {
    const everyS = { plan: 20, sweep: 15, ring: 15, assign: 20, recover: 30, account: 300, prices: Infinity } as const;
    const world = await World.create(pool, { ...TWO_TYPES, everyS });
    world.truth.instancesPerTokenMax = 1;
    world.truth.livingMax = 2;
    world.region.faults.setCapacity(NONE_OF('c5.large'));
    for (let life = 1; life <= 100; life += 1) {
      await world.db.deleteFrom('launch_holds').execute();
      world.injector.arm(kind, moment, LAUNCHING);
      const done = await world.count('tasks', 'done');
      await world.submit(1, 30);
      await untilDone(world, done + 1);
      await world.runUntil('all is gone', async () => (await world.liveMachines()) === 0, 2_400_000);
      if (world.injector.struck === null) break;
    }
    for (const site of DECISIVE) expect([...world.injector.covered]).toContain(site);
    expect(world.injector.struck).toBeNull();
    await untilGone(world);
    expect(await world.count('launches', 'open')).toBe(0);
  });
});
