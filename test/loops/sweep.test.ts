import { describe, expect } from 'vitest';
import type { Mandate } from '../../src/loops/lead.ts';
import { sweepTick } from '../../src/loops/sweep.ts';
import { AppError } from '../../src/model/errors.ts';
import type { Region } from '../../src/simulator/region.ts';
import { SIMULATED_IMAGES, SIMULATED_SUBNETS } from '../../src/simulator/world.ts';
import { createCredentials } from '../../src/wiring/credentials.ts';
import { test } from '../support/database.ts';
import { worldPolicy } from '../support/world-policy.ts';
import { WORLD_KEY, WORLD_OWNER } from '../support/world-process.ts';
import { callOutcomes } from '../support/world-rows.ts';
import { World } from '../support/world.ts';

const BY_HAND = { plan: Infinity, ring: Infinity, sweep: Infinity, account: Infinity, prices: Infinity } as const;
const OUR_CREDENTIALS = createCredentials(WORLD_KEY);
const WEST = 'us-west-2';

function ourToken(number: number): string {
  return OUR_CREDENTIALS.makeToken(number.toString(16).padStart(32, '0'), 1);
}

/** An instance that no row of ours knows. */
function launchUnknown(region: Region, token: string, owner = WORLD_OWNER): string {
  const answer = region.perform('RunInstances', {
    ClientToken: token,
    ImageId: SIMULATED_IMAGES.x86_64,
    InstanceType: 'c5.large',
    SubnetId: SIMULATED_SUBNETS.a,
    MinCount: 1,
    InstanceInitiatedShutdownBehavior: 'terminate',
    MaxCount: 1,
    TagSpecifications: [{ ResourceType: 'instance', Tags: [{ Key: 'spillway:owner', Value: owner }] }],
  });
  return answer.Instances?.[0]?.InstanceId ?? '';
}

function addWest(world: World): void {
  const west = worldPolicy({ name: 'west', burst: { region: WEST } });
  world.policies = [...world.policies, west];
}

async function sweepAfter(world: World, ms: number): Promise<number> {
  await world.run(ms);
  const results = await sweepTick(world.process.loops);
  return results.reduce((sum, { condemned }) => sum + condemned, 0);
}

describe('an instance of ours that no row names', () => {
  test('is ended after three complete listings and a minute, not earlier', async ({ pool }) => {
    const world = await World.create(pool, { everyS: BY_HAND });
    const orphan = launchUnknown(world.region, ourToken(1));
    expect(await sweepAfter(world, 5000)).toBe(0);
    expect(await sweepAfter(world, 25_000)).toBe(0);
    // The third listing, but the mark is fifty seconds old.
    expect(await sweepAfter(world, 25_000)).toBe(0);
    expect(await sweepAfter(world, 25_000)).toBe(1);
    await world.run(5000);
    expect(world.region.findInstance(orphan)?.state).toBe('terminated');
  });

  test('is not ended by two listings, however far apart', async ({ pool }) => {
    const world = await World.create(pool, { everyS: BY_HAND });
    launchUnknown(world.region, ourToken(1));
    expect(await sweepAfter(world, 5000)).toBe(0);
    expect(await sweepAfter(world, 600_000)).toBe(0);
    expect(await sweepAfter(world, 1000)).toBe(1);
  });

  test('is ended in whatever region it lives', async ({ pool }) => {
    const world = await World.create(pool, { everyS: BY_HAND, otherRegions: [WEST] });
    addWest(world);
    const orphans = [...world.regions.values()].map((region, index) => launchUnknown(region, ourToken(index + 1)));
    for (let sweep = 0; sweep < 4; sweep += 1) await sweepAfter(world, 30_000);
    await world.run(5000);
    const states = world.truth.instances().map(({ instanceId, state }) => [instanceId, state]);
    expect(states).toEqual(orphans.map((id) => [id, 'terminated']));
  });

  test('does not wait for another region whose calls fail', async ({ pool }) => {
    const world = await World.create(pool, { everyS: BY_HAND, otherRegions: [WEST] });
    addWest(world);
    for (const [index, region] of [...world.regions.values()].entries()) launchUnknown(region, ourToken(index + 1));
    world.region.faults.failNext('TerminateInstances', { code: 'UnauthorizedOperation', times: 10 });
    for (let sweep = 0; sweep < 4; sweep += 1) await sweepAfter(world, 30_000);
    await world.run(5000);
    expect(world.truth.living().map(({ zone }) => zone)).toEqual(['us-east-1a']);
  });

  test('is spared by a process that does not lead', async ({ pool }) => {
    const world = await World.create(pool, { everyS: BY_HAND });
    launchUnknown(world.region, ourToken(1));
    await world.stores.leadership.acquire('another process', 3_600_000);
    for (let sweep = 0; sweep < 5; sweep += 1) expect(await sweepAfter(world, 60_000)).toBe(0);
    expect(world.truth.living()).toHaveLength(1);
  });

  test.for(['holds', 'signBefore'] as const)(
    'is spared by a leader that was stopped on the way (%s)',
    async (part, { pool }) => {
      const world = await World.create(pool, { everyS: BY_HAND });
      launchUnknown(world.region, ourToken(1));
      const { loops } = world.process;
      // The mandate is good when the sweep begins; the process stands still before it acts, or before its call is signed.
      const stopped: Mandate = {
        lease: { holder: 'process-1', epoch: 1, expiresAtMs: 0 },
        holds: () => part !== 'holds',
        signBefore: () => ({ wallMs: Infinity, monotonicMs: world.time.monotonicMs() - 1 }),
      };
      const lead = { take: async () => stopped, renew: async () => undefined, release: async () => undefined };
      for (let sweep = 0; sweep < 5; sweep += 1) {
        expect((await sweepTick({ ...loops, lead })).map(({ condemned }) => condemned)).toEqual([0]);
        await world.run(60_000);
      }
      expect(world.truth.terminateCalls).toBe(0);
      expect(world.truth.living()).toHaveLength(1);
      expect(await sweepAfter(world, 0)).toBe(1);
    },
  );

  test('is never touched when it bears our tag without a token of ours, but told', async ({ pool }) => {
    const world = await World.create(pool, { everyS: BY_HAND });
    const forged = ourToken(1).replace(/.$/, (last) => (last === 'A' ? 'B' : 'A'));
    const others = [
      forged,
      'somebody-elses-token',
      createCredentials(Buffer.alloc(32, 9)).makeToken('0'.repeat(32), 1),
    ];
    for (const token of others) launchUnknown(world.region, token);
    for (let sweep = 0; sweep < 5; sweep += 1) {
      const [result] = await sweepTick(world.process.loops);
      expect(result).toMatchObject({ listed: 3, foreign: 3, condemned: 0 });
      await world.run(60_000);
    }
    expect(world.truth.living()).toHaveLength(3);
    expect(world.truth.terminateCalls).toBe(0);
  });

  test('is not even seen when it bears our token under another owner', async ({ pool }) => {
    const world = await World.create(pool, { everyS: BY_HAND });
    launchUnknown(world.region, ourToken(1), 'another-deployment');
    for (let sweep = 0; sweep < 5; sweep += 1) expect(await sweepAfter(world, 60_000)).toBe(0);
    expect(world.truth.living()).toHaveLength(1);
  });

  test('is spared with ten others: so many at once say that we are wrong', async ({ pool }) => {
    const world = await World.create(pool, { everyS: BY_HAND });
    world.truth.livingMax = 11;
    for (let number = 1; number <= 11; number += 1) {
      launchUnknown(world.region, ourToken(number));
      // EC2's bucket for launches refills with time.
      await world.run(1000);
    }
    for (let sweep = 0; sweep < 5; sweep += 1) expect(await sweepAfter(world, 60_000)).toBe(0);
    expect(world.truth.terminateCalls).toBe(0);
    expect(world.log.lines.filter(({ level }) => level === 'error').length).toBeGreaterThan(0);
    world.region.shutDownFromInside(world.truth.living()[0]?.instanceId ?? '');
    expect(await sweepAfter(world, 60_000)).toBe(10);
  });
});

describe('an incomplete listing', () => {
  test('condemns nothing, and is no picture to drain by', async ({ pool }) => {
    const world = await World.create(pool, { everyS: BY_HAND });
    for (let number = 1; number <= 6; number += 1) {
      launchUnknown(world.region, ourToken(number));
      await world.run(1000);
    }
    world.region.faults.failNext('DescribeInstances', { code: 'ServiceUnavailable', after: 1, times: 1 });
    expect(await sweepTick(world.process.loops)).toMatchObject([{ listed: 5, complete: false, condemned: 0 }]);
    const { view } = world.process.loops;
    expect(view.isFresh('us-east-1', world.time.monotonicMs(), 3_600_000)).toBe(false);
    expect(await world.db.selectFrom('sweep_marks').selectAll().execute()).toEqual([]);
  });

  test('counts no machine as missing', async ({ pool }) => {
    const world = await World.create(pool);
    await world.submit(1, 3600);
    await world.run(400_000);
    world.process = {
      ...world.process,
      loops: {
        ...world.process.loops,
        cloud: {
          ...world.process.loops.cloud,
          listInstances: async () => ({ instances: [], complete: false, startedAtMs: world.time.nowMs() }),
        },
      },
    };
    await world.run(300_000);
    expect(await world.count('machines', 'ready')).toBe(1);
  });

  test('that fails altogether concludes nothing, and the turn says so', async ({ pool }) => {
    const world = await World.create(pool, { everyS: BY_HAND, otherRegions: [WEST] });
    addWest(world);
    launchUnknown(world.region, ourToken(1));
    for (let sweep = 0; sweep < 5; sweep += 1) {
      world.region.faults.failNext('DescribeInstances', { code: 'UnauthorizedOperation' });
      await expect(sweepTick(world.process.loops)).rejects.toMatchObject({ code: 'AWS_AUTH' });
      await world.run(60_000);
    }
    expect(world.truth.living()).toHaveLength(1);
    const { view } = world.process.loops;
    expect(view.isFresh('us-east-1', world.time.monotonicMs(), 3_600_000)).toBe(false);
    // The other region was seen all the same.
    expect(view.isFresh(WEST, world.time.monotonicMs(), 60_000)).toBe(true);
  });
});

describe('a complete listing that shows nothing', () => {
  test('ends a machine only when it is the third of its kind, and the machine is older than five minutes', async ({
    pool,
  }) => {
    const world = await World.create(pool, { everyS: { sweep: Infinity } });
    await world.submit(1, 3600);
    await world.run(60_000);
    const { loops } = world.process;
    const listInstances = async () => ({ instances: [], complete: true, startedAtMs: world.time.nowMs() });
    const blind = { ...loops, cloud: { ...loops.cloud, listInstances } };
    for (let sweep = 0; sweep < 5; sweep += 1) await sweepTick(blind);
    await world.run(10_000);
    expect(await world.count('machines', 'ready')).toBe(1);
    await world.run(300_000);
    for (let sweep = 0; sweep < 2; sweep += 1) await sweepTick(blind);
    await world.run(10_000);
    expect(await world.count('machines', 'ready')).toBe(1);
    await sweepTick(blind);
    await world.run(10_000);
    expect(await world.count('machines', 'terminated')).toBe(1);
  });
});

describe('an instance of an open launch', () => {
  test('is adopted by its own launch, through a replay of the token', async ({ pool }) => {
    const world = await World.create(pool, { everyS: { ring: Infinity, sweep: Infinity } });
    world.region.faults.loseReply('RunInstances');
    world.wake.faults.push('lose');
    await world.submit(1, 10);
    await world.run(1000);
    expect(await callOutcomes(world.db)).toEqual([]);
    await world.turn('ring');
    world.wake.deaf = true;
    await world.run(10_000);
    expect(await callOutcomes(world.db)).toEqual(['unknown']);
    world.wake.deaf = false;
    await world.turn('sweep');
    await world.run(1000);
    expect(await callOutcomes(world.db)).toEqual(['unknown', 'launched']);
    expect(await world.count('machines', 'booting')).toBe(1);
    expect(world.truth.instances()).toHaveLength(1);
  });
});

describe('a sweep while the queue is away', () => {
  test('still sees, marks and ends', async ({ pool }) => {
    const world = await World.create(pool, { everyS: BY_HAND });
    launchUnknown(world.region, ourToken(1));
    await world.submit(1, 3600);
    const { loops } = world.process;
    const ring = async (): Promise<void> => {
      throw new AppError('QUEUE_UNREACHABLE', 'Redis is away', { remedy: 'wait' });
    };
    const alone = { ...loops, wake: { ...loops.wake, ring } };
    world.process = { ...world.process, loops: alone };
    await world.turn('plan');
    for (let sweep = 0; sweep < 4; sweep += 1) await sweepAfter(world, 30_000);
    expect(world.outlived).toEqual([]);
    expect(loops.view.isFresh('us-east-1', world.time.monotonicMs(), 1000)).toBe(true);
    expect(world.truth.terminateCalls).toBe(1);
  });
});
