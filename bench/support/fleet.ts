import { randomBytes } from 'node:crypto';
import type { Pool } from 'pg';
import { toRunInput } from '../../src/cloud/run-input.ts';
import { makeLaunchToken } from '../../src/cloud/launch-token.ts';
import { REBUILT_REASON } from '../../src/model/machine.ts';
import type { LaunchBody } from '../../src/model/launch.ts';
import type { InstanceView, Region } from '../../src/simulator/region.ts';
import {
  SIMULATED_IMAGES,
  SIMULATED_REGION,
  SIMULATED_SECURITY_GROUP,
  SIMULATED_SUBNETS,
} from '../../src/simulator/world.ts';

const PER_LAUNCH = 100;

export interface FleetOptions {
  readonly owner: string;
  readonly workload: string;
  readonly machines: number;
  readonly deploymentKey: Buffer;
}

/**
 * Machines as they are after their join, in the region and in the rows: launched by tokens of ours, ready, each with an agent.
 * Written at once, because a thousand joins are not what is measured.
 */
export async function seedFleet(pool: Pool, region: Region, options: FleetOptions): Promise<void> {
  await pool.query(
    `insert into spillway.plans (id, trace_id, epoch, decided_at, input, outcome, digest)
     values ('pl-000000000000', repeat('a', 32), 1, spillway.now(), '{}', '{}', 'seed')`,
  );
  for (let made = 0; made < options.machines; made += PER_LAUNCH) {
    await seedLaunch(pool, region, {
      ...options,
      number: made / PER_LAUNCH,
      count: Math.min(PER_LAUNCH, options.machines - made),
    });
  }
  await pool.query('analyze spillway.machines, spillway.agents, spillway.launches');
}

interface LaunchOptions extends FleetOptions {
  readonly number: number;
  readonly count: number;
}

async function seedLaunch(pool: Pool, region: Region, options: LaunchOptions): Promise<void> {
  const { owner, workload, deploymentKey, number, count } = options;
  const nonce = randomBytes(16).toString('hex');
  const token = makeLaunchToken(deploymentKey, nonce, 1);
  const body: LaunchBody = {
    region: SIMULATED_REGION,
    imageId: SIMULATED_IMAGES.x86_64,
    instanceType: 'c6a.large',
    subnetId: SIMULATED_SUBNETS.a,
    securityGroupIds: [SIMULATED_SECURITY_GROUP],
    instanceProfile: null,
    market: 'on-demand',
    count,
    volumeGib: 20,
    rootDeviceName: '/dev/sda1',
    tags: { 'spillway:owner': owner, 'spillway:workload': workload },
    sshUser: 'ubuntu',
    authorizedKey: 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAQ',
    userDataSha256: '0'.repeat(64),
  };
  const request = {
    region: SIMULATED_REGION,
    token,
    body,
    userData: '',
    signBefore: { wallMs: Infinity, monotonicMs: Infinity },
  };
  region.perform('RunInstances', toRunInput(request));
  const launchId = `ln-${String(number).padStart(12, '0')}`;
  await pool.query(
    `insert into spillway.launches (id, plan_id, workload, state, nonce, attempt, token, body, zone, instance_count,
       price_usd_per_hour, epoch, deadline_at)
     values ($1, 'pl-000000000000', $2, 'open', $3, 1, $4, $5, $6, $7, 0.0765, 1, spillway.now() + interval '15 minutes')`,
    [launchId, workload, nonce, token, JSON.stringify(body), `${SIMULATED_REGION}a`, count],
  );
  await pool.query(`update spillway.launches set state = 'fulfilled' where id = $1`, [launchId]);
  await seedMachines(pool, {
    launchId,
    options,
    views: region.instances().filter((view) => view.clientToken === token),
  });
}

async function seedMachines(
  pool: Pool,
  {
    launchId,
    options,
    views,
  }: { readonly launchId: string; readonly options: LaunchOptions; readonly views: readonly InstanceView[] },
): Promise<void> {
  const names = views.map((_, index) => String(options.number * PER_LAUNCH + index).padStart(12, '0'));
  const client = await pool.connect();
  // As rows that were rebuilt: nothing else may begin in another state than `requested`.
  await client.query('begin');
  await client.query(
    `insert into spillway.machines (id, launch_id, plan_id, workload, state, instance_type, cpu_milli, memory_mib, zone, market,
       volume_gib, price_usd_per_hour, instance_id, private_ip, launch_time, observed_state, observed_at)
     select 'mc-' || name, $1, 'pl-000000000000', $2, 'ready', 'c6a.large', 2000, 4096, $3, 'on-demand', 20, 0.0765,
       instance, ip::inet, spillway.now(), 'running', spillway.now()
     from unnest($4::text[], $5::text[], $6::text[]) as m(name, instance, ip)`,
    [
      launchId,
      options.workload,
      `${SIMULATED_REGION}a`,
      names,
      views.map((v) => v.instanceId),
      views.map((v) => v.privateIp),
    ],
  );
  await client.query(
    `insert into spillway.machine_events (machine_id, from_state, to_state, actor, reason, plan_id)
     select id, null, state, 'bench', $2, plan_id from spillway.machines where launch_id = $1`,
    [launchId, REBUILT_REASON],
  );
  await client.query('commit');
  client.release();
  await pool.query(
    `insert into spillway.agents (id, name, site, labels, token_hash, machine_id, capacity_cpu_milli, capacity_memory_mib, last_seen_at)
     select 'ag-' || name, name, 'aws', '{}', encode(sha256(name::bytea), 'hex'), 'mc-' || name, 2000, 4096, spillway.now()
     from unnest($1::text[]) as a(name)`,
    [names],
  );
  await pool.query(
    `update spillway.machines m set agent_id = a.id from spillway.agents a where a.machine_id = m.id and m.agent_id is null`,
  );
}
