import { sql } from 'kysely';
import type pg from 'pg';
import { REBUILT_REASON } from '../../src/model/machine.ts';
import type { Market } from '../../src/model/offering.ts';
import type { Ec2Action, Ec2Input, Ec2Output, Region } from '../../src/simulator/region.ts';
import { SIMULATED_IMAGES, SIMULATED_SUBNETS } from '../../src/simulator/world.ts';
import { createCredentials } from '../../src/wiring/credentials.ts';
import { aLaunch } from './builders.ts';
import { worldPolicy } from './world-policy.ts';
import { WORLD_KEY, WORLD_OWNER } from './world-process.ts';
import { World } from './world.ts';

/** As many as the product asks for in one launch. */
const PER_LAUNCH = 100;
/** EC2 gives two instances a second beyond the first thousand. */
const REFILL_MS = (PER_LAUNCH / 2) * 1000;
const MINUTE_MS = 60_000;
const NEVER = Infinity;
/** A fleet of 2,500 goes with ten a second, which is our share of EC2's bucket, after the first five hundred. */
const ENDING_MINUTES_MAX = 15;

/** Calls by EC2's own names of them. */
export type CallCounts = Readonly<Record<string, number>>;

export interface FleetCalls {
  /** Calls in each minute. */
  readonly minutes: readonly CallCounts[];
  /** Calls that the region refused because they were too many. */
  readonly throttled: number;
}

/**
 * What a fleet that stands asks of EC2 in a minute, by the region's own count: all loops run at their default intervals, and every
 * machine has its step. `pool` is that of an empty database; EC2's own buckets are in force.
 */
export async function measureStanding(
  pool: pg.Pool,
  machines: number,
  market: Market = 'on-demand',
): Promise<FleetCalls> {
  const world = await openFleet(pool, machines, market);
  const calls = countCalls(world.region);
  await liveMinute(world);
  return { minutes: [calls.take()], throttled: calls.throttled() };
}

/** The same while all machines end at the same moment, until the last one is gone. */
export async function measureEnding(pool: pg.Pool, machines: number): Promise<FleetCalls> {
  const world = await openFleet(pool, machines);
  const calls = countCalls(world.region);
  await world.db.transaction().execute(async (tx) => {
    await tx
      .updateTable('machines')
      .set({ state: 'terminating', revision: 2, end_reason: 'operator' })
      .set({ state_since: sql<Date>`spillway.now()`, wake_at: sql<Date>`spillway.now()` })
      .execute();
    await sql`
      insert into spillway.machine_events (machine_id, from_state, to_state, actor, reason, plan_id)
      select id, 'ready', 'terminating', 'fleet', 'operator', plan_id from spillway.machines`.execute(tx);
  });
  const minutes: CallCounts[] = [];
  while ((await world.liveMachines()) > 0) {
    if (minutes.length > ENDING_MINUTES_MAX) throw new Error(`machines live after ${minutes.length} minutes`);
    await liveMinute(world);
    minutes.push(calls.take());
  }
  if (world.truth.living().length > 0) throw new Error('instances live without a row');
  return { minutes, throttled: calls.throttled() };
}

export function sumOf(counts: CallCounts): number {
  return Object.values(counts).reduce((sum, count) => sum + count, 0);
}

async function openFleet(pool: pg.Pool, machines: number, market: Market = 'on-demand'): Promise<World> {
  const policy = worldPolicy({ limits: { max: machines }, drain: { scaleDownUnneededMs: 24 * 60 * MINUTE_MS } });
  const world = await World.create(pool, {
    policies: [policy],
    // Turned by hand: nothing runs while the fleet is made.
    everyS: { plan: NEVER, sweep: NEVER, ring: NEVER, assign: NEVER, recover: NEVER, account: NEVER, prices: NEVER },
    region: { vcpusMax: 100_000 },
    pageSize: 1000,
  });
  for (let seeded = 0; seeded < machines; seeded += PER_LAUNCH) {
    await seedLaunch(world, { index: seeded / PER_LAUNCH, count: Math.min(PER_LAUNCH, machines - seeded), market });
    await world.time.run(REFILL_MS);
  }
  // What is asked once an hour is not what is measured.
  await world.turn('plan');
  await world.time.run(MINUTE_MS);
  return world;
}

/** A minute of the service with its default intervals. */
async function liveMinute(world: World): Promise<void> {
  for (let second = 0; second < 60; second += 1) {
    if (second % 10 === 0) await world.turn('sweep');
    if (second % 5 === 0) await world.turn('plan');
    if (second % 5 === 0) await world.turn('account');
    await world.turn('ring');
    await world.time.run(1000);
  }
}

/** Watches what reaches the region. */
function countCalls(region: Region): { take(): CallCounts; throttled(): number } {
  let counts: Record<string, number> = {};
  let throttled = 0;
  const perform = region.perform.bind(region);
  region.perform = <A extends Ec2Action>(action: A, input: Ec2Input<A>): Ec2Output<A> => {
    counts[action] = (counts[action] ?? 0) + 1;
    try {
      return perform(action, input);
    } catch (error) {
      if ((error as { readonly code?: string }).code === 'RequestLimitExceeded') throttled += 1;
      throw error;
    }
  };
  return {
    take: () => {
      const taken = counts;
      counts = {};
      return taken;
    },
    throttled: () => throttled,
  };
}

/** A launch's instances, and the rows that are there when they work; written as they are, without living through it. */
async function seedLaunch(
  world: World,
  { index, count, market }: { readonly index: number; readonly count: number; readonly market: Market },
): Promise<void> {
  const token = createCredentials(WORLD_KEY).makeToken((index + 1).toString(16).padStart(32, '0'), 1);
  const answer = world.region.perform('RunInstances', {
    ClientToken: token,
    ImageId: SIMULATED_IMAGES.x86_64,
    InstanceType: 'c5.large',
    SubnetId: SIMULATED_SUBNETS.a,
    MinCount: count,
    MaxCount: count,
    InstanceInitiatedShutdownBehavior: 'terminate',
    ...(market === 'spot' ? { InstanceMarketOptions: { MarketType: 'spot' as const } } : {}),
    TagSpecifications: [{ ResourceType: 'instance', Tags: [{ Key: 'spillway:owner', Value: WORLD_OWNER }] }],
  });
  const region = world.region.settings.region;
  const launchId = await aLaunch(world.db, { state: 'fulfilled', token, count, workload: 'render', body: { region } });
  const instanceIds = (answer.Instances ?? []).map(({ InstanceId: id = '' }) => id);
  const suffixes = instanceIds.map((_id, place) => String(index * PER_LAUNCH + place).padStart(12, '0'));
  // As rows that were rebuilt: nothing else may begin in another state than `requested`.
  await world.db.transaction().execute(async (tx) => {
    await sql`
    insert into spillway.machines (id, launch_id, plan_id, workload, state, instance_type, cpu_milli, memory_mib, zone, market,
      volume_gib, price_usd_per_hour, instance_id, private_ip, launch_time, observed_state, wake_at)
    select 'mc-' || suffix, l.id, l.plan_id, 'render', 'ready', 'c5.large', 2000, 4096, 'us-east-1a', ${market}, 20, 0.085,
      instance_id, '10.0.0.7', spillway.now(), 'pending', spillway.now() + interval '1 hour'
    from unnest(${instanceIds}::text[], ${suffixes}::text[]) as i(instance_id, suffix), spillway.launches l
    where l.id = ${launchId}`.execute(tx);
    await sql`
    insert into spillway.machine_events (machine_id, from_state, to_state, actor, reason, plan_id)
    select id, null, state, 'fleet', ${REBUILT_REASON}, plan_id from spillway.machines where launch_id = ${launchId}`.execute(
      tx,
    );
  });
  await sql`
    insert into spillway.agents (id, name, site, labels, token_hash, machine_id, capacity_cpu_milli, capacity_memory_mib, last_seen_at)
    select 'ag-' || suffix, suffix, 'aws', '{"pool": "local"}', md5(suffix) || md5('b' || suffix), 'mc-' || suffix, 2000, 4096,
      spillway.now() + interval '1 day'
    from unnest(${suffixes}::text[]) as i(suffix)`.execute(world.db);
  await sql`
    update spillway.machines m set agent_id = a.id from spillway.agents a where a.machine_id = m.id and m.agent_id is null`.execute(
    world.db,
  );
}
