import { describe, expect } from 'vitest';
import type { Mandate } from '../../src/loops/lead.ts';
import { sweepTick } from '../../src/loops/sweep.ts';
import { AppError } from '../../src/model/errors.ts';
import type { Region } from '../../src/simulator/region.ts';
import { SIMULATED_IMAGES, SIMULATED_SUBNETS } from '../../src/simulator/world.ts';
import { createCredentials } from '../../src/wiring/credentials.ts';
import { aLaunch } from '../support/builders.ts';
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

/** A launch that is over without a row for the instance it made after all. */
async function closedLaunch(world: World, number: number): Promise<string> {
  const nonce = number.toString(16).padStart(32, '0');
  await aLaunch(world.db, { nonce, state: 'expired', workload: 'render' });
  return ourToken(number);
}

async function launchOrphan(world: World, number: number, region = world.region): Promise<string> {
  return launchUnknown(region, await closedLaunch(world, number));
}

async function sweepAfter(world: World, ms: number): Promise<number> {
  await world.run(ms);
  const results = await sweepTick(world.process.loops);
  return results.reduce((sum, { condemned }) => sum + condemned, 0);
}

describe('an orphan: an instance of ours that no row names, of a launch that is over', () => {
  test('is ended after three complete listings and a minute, and at the age of five minutes, not earlier', async ({
    pool,
  }) => {
    const world = await World.create(pool, { everyS: BY_HAND });
    const orphan = await launchOrphan(world, 1);
    for (let sweep = 0; sweep < 9; sweep += 1) expect(await sweepAfter(world, 30_000)).toBe(0);
    expect(await sweepAfter(world, 30_000)).toBe(1);
    await world.run(5000);
    expect(world.region.findInstance(orphan)?.state).toBe('terminated');
  });

  test('is not ended within a minute of the first look, however old it is', async ({ pool }) => {
    const world = await World.create(pool, { everyS: BY_HAND });
    await launchOrphan(world, 1);
    expect(await sweepAfter(world, 600_000)).toBe(0);
    // The third listing, but the mark is fifty seconds old.
    expect(await sweepAfter(world, 25_000)).toBe(0);
    expect(await sweepAfter(world, 25_000)).toBe(0);
    expect(await sweepAfter(world, 25_000)).toBe(1);
  });

  test('is not ended by two listings, however far apart', async ({ pool }) => {
    const world = await World.create(pool, { everyS: BY_HAND });
    await launchOrphan(world, 1);
    expect(await sweepAfter(world, 5000)).toBe(0);
    expect(await sweepAfter(world, 600_000)).toBe(0);
    expect(await sweepAfter(world, 1000)).toBe(1);
  });

  test('is ended in whatever region it lives', async ({ pool }) => {
    const world = await World.create(pool, { everyS: BY_HAND, otherRegions: [WEST] });
    addWest(world);
    const orphans: string[] = [];
    for (const [index, region] of [...world.regions.values()].entries()) {
      orphans.push(await launchOrphan(world, index + 1, region));
    }
    for (let sweep = 0; sweep < 4; sweep += 1) await sweepAfter(world, 120_000);
    await world.run(5000);
    const states = world.truth.instances().map(({ instanceId, state }) => [instanceId, state]);
    expect(states).toEqual(orphans.map((id) => [id, 'terminated']));
  });

  test('does not wait for another region whose calls fail', async ({ pool }) => {
    const world = await World.create(pool, { everyS: BY_HAND, otherRegions: [WEST] });
    addWest(world);
    for (const [index, region] of [...world.regions.values()].entries()) await launchOrphan(world, index + 1, region);
    world.region.faults.failNext('TerminateInstances', { code: 'UnauthorizedOperation', times: 10 });
    for (let sweep = 0; sweep < 4; sweep += 1) await sweepAfter(world, 120_000);
    await world.run(5000);
    expect(world.truth.living().map(({ zone }) => zone)).toEqual(['us-east-1a']);
  });

  test('is spared by a process that does not lead', async ({ pool }) => {
    const world = await World.create(pool, { everyS: BY_HAND });
    await launchOrphan(world, 1);
    await world.stores.leadership.acquire('another process', 3_600_000);
    for (let sweep = 0; sweep < 5; sweep += 1) expect(await sweepAfter(world, 60_000)).toBe(0);
    expect(world.truth.living()).toHaveLength(1);
  });

  test.for(['holds', 'signBefore'] as const)(
    'is spared by a leader that was stopped on the way (%s)',
    async (part, { pool }) => {
      const world = await World.create(pool, { everyS: BY_HAND });
      await launchOrphan(world, 1);
      const { loops } = world.process;
      // The mandate is good when the sweep begins; the process stands still before it acts, or before its call is signed.
      const stop = (mandate: Mandate): Mandate => ({
        lease: mandate.lease,
        holds: () => part !== 'holds' && mandate.holds(),
        signBefore: () => ({ wallMs: Infinity, monotonicMs: world.time.monotonicMs() - 1 }),
      });
      const take = async (): Promise<Mandate | null> => {
        const mandate = await loops.lead.take();
        return mandate === null ? null : stop(mandate);
      };
      for (let sweep = 0; sweep < 5; sweep += 1) {
        const results = await sweepTick({ ...loops, lead: { ...loops.lead, take } });
        expect(results.map(({ condemned }) => condemned)).toEqual([0]);
        await world.run(60_000);
      }
      expect(world.truth.terminateCalls).toBe(0);
      expect(world.truth.living()).toHaveLength(1);
      expect(await sweepAfter(world, 0)).toBe(1);
    },
  );

  test('is spared with ten others: so many at once say that we are wrong', async ({ pool }) => {
    const world = await World.create(pool, { everyS: BY_HAND });
    world.truth.livingMax = 11;
    for (let number = 1; number <= 11; number += 1) {
      await launchOrphan(world, number);
      // EC2's bucket for launches refills with time.
      await world.run(1000);
    }
    for (let sweep = 0; sweep < 5; sweep += 1) expect(await sweepAfter(world, 120_000)).toBe(0);
    expect(world.truth.terminateCalls).toBe(0);
    expect(world.log.lines.filter(({ level }) => level === 'error').length).toBeGreaterThan(0);
    world.region.shutDownFromInside(world.truth.living()[0]?.instanceId ?? '');
    expect(await sweepAfter(world, 60_000)).toBe(10);
  });

  test('is spared with ten others in two regions, as in one', async ({ pool }) => {
    const world = await World.create(pool, { everyS: BY_HAND, otherRegions: [WEST] });
    addWest(world);
    world.truth.livingMax = 11;
    const regions = [...world.regions.values()];
    for (let number = 1; number <= 11; number += 1) {
      await launchOrphan(world, number, regions[number % 2]);
      await world.run(1000);
    }
    for (let sweep = 0; sweep < 5; sweep += 1) expect(await sweepAfter(world, 120_000)).toBe(0);
    expect(world.truth.terminateCalls).toBe(0);
  });

  test('is spared when ten others went in sweeps before, until an hour has passed', async ({ pool }) => {
    const world = await World.create(pool, { everyS: BY_HAND });
    for (let number = 1; number <= 10; number += 1) {
      await launchOrphan(world, number);
      await world.run(1000);
    }
    for (let sweep = 0; sweep < 3; sweep += 1) await sweepAfter(world, 120_000);
    await world.run(10_000);
    expect(world.truth.living()).toHaveLength(0);
    await launchOrphan(world, 11);
    for (let sweep = 0; sweep < 10; sweep += 1) expect(await sweepAfter(world, 300_000)).toBe(0);
    expect(world.truth.terminateCalls).toBe(10);
    await world.run(900_000);
    expect(await sweepAfter(world, 1000)).toBe(1);
  });
});

describe('an instance that bears our tag', () => {
  test('without a token of ours is told and never touched, in a hundred sweeps', async ({ pool }) => {
    const world = await World.create(pool, { everyS: BY_HAND });
    const forged = ourToken(1).replace(/.$/, (last) => (last === 'A' ? 'B' : 'A'));
    const others = [
      forged,
      'somebody-elses-token',
      createCredentials(Buffer.alloc(32, 9)).makeToken('0'.repeat(32), 1),
    ];
    for (const token of others) launchUnknown(world.region, token);
    for (let sweep = 0; sweep < 100; sweep += 1) {
      const [result] = await sweepTick(world.process.loops);
      expect(result).toMatchObject({ listed: 3, foreign: 3, condemned: 0 });
      await world.run(60_000);
    }
    expect(world.truth.living()).toHaveLength(3);
    expect(world.truth.terminateCalls).toBe(0);
    expect(await world.liveMachines()).toBe(0);
    expect(world.log.lines.filter(({ level }) => level === 'warn')).toHaveLength(3);
  });

  test('of another owner is not even seen, although the token is ours', async ({ pool }) => {
    const world = await World.create(pool, { everyS: BY_HAND });
    launchUnknown(world.region, await closedLaunch(world, 1), 'another-deployment');
    for (let sweep = 0; sweep < 5; sweep += 1) expect(await sweepAfter(world, 120_000)).toBe(0);
    expect(world.truth.living()).toHaveLength(1);
  });
});

describe('an incomplete listing', () => {
  test('condemns nothing, and is no picture to drain by', async ({ pool }) => {
    const world = await World.create(pool, { everyS: BY_HAND });
    for (let number = 1; number <= 6; number += 1) {
      await launchOrphan(world, number);
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
    await launchOrphan(world, 1);
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
    await launchOrphan(world, 1);
    await world.submit(1, 3600);
    const { loops } = world.process;
    const ring = async (): Promise<void> => {
      throw new AppError('QUEUE_UNREACHABLE', 'Redis is away', { remedy: 'wait' });
    };
    const alone = { ...loops, wake: { ...loops.wake, ring } };
    world.process = { ...world.process, loops: alone };
    await world.turn('plan');
    for (let sweep = 0; sweep < 4; sweep += 1) await sweepAfter(world, 120_000);
    expect(world.outlived).toEqual([]);
    expect(loops.view.isFresh('us-east-1', world.time.monotonicMs(), 1000)).toBe(true);
    expect(world.truth.terminateCalls).toBe(1);
  });
});
