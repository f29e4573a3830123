import { sql } from 'kysely';

import type { LaunchId, MachineId, PlanId } from '../model/ids.ts';
import { STATE_DEADLINE_MS } from '../model/machine.ts';
import type { CloudInstance } from '../ports/cloud.ts';
import type { Lease } from '../ports/leadership.ts';
import type { RebuiltLaunch } from '../ports/memory.ts';
import { dbNow, dbNowPlus, type Tx } from './database.ts';
import { writeMachineEvent } from './machine-events.ts';

const ACTOR = 'sweeper';
const REASON = 'rebuilt';

interface Rebuild {
  readonly lease: Lease;
  readonly planId: PlanId;
  readonly launches: readonly RebuiltLaunch[];
}

/** Rows for instances that EC2 has and that no row names. What is there already stays as it is. */
export async function rebuildLaunches(tx: Tx, rebuild: Rebuild): Promise<readonly MachineId[]> {
  const made: MachineId[] = [];
  await insertPlan(tx, rebuild);
  for (const launch of rebuild.launches) {
    const known = await ensureLaunch(tx, rebuild, launch);
    for (const { id, instance } of launch.machines) {
      if (await insertMachine(tx, { launch, known, id, instance })) made.push(id);
    }
    await countMachines(tx, known.id);
  }
  await tx
    .updateTable('amnesia')
    .set((eb) => ({ rebuilt: eb('rebuilt', '+', made.length) }))
    .where('since', 'is not', null)
    .execute();
  return made;
}

/** The plan of a lost launch is lost, too; its place takes one that saw nothing and decided nothing. */
async function insertPlan(tx: Tx, { lease, planId }: Rebuild): Promise<void> {
  await sql`
    insert into spillway.plans (id, epoch, decided_at, input, outcome, digest)
    select ${planId}, ${lease.epoch}, now,
      jsonb_build_object('nowMs', ms, 'workloads', '[]'::jsonb, 'agents', '[]'::jsonb, 'machines', '[]'::jsonb),
      jsonb_build_object('decidedAtMs', ms, 'workloads', '[]'::jsonb), ${REASON}
    from (select n.now, floor(extract(epoch from n.now) * 1000)::bigint as ms from (select spillway.now() as now) n) clock`.execute(
    tx,
  );
}

interface KnownLaunch {
  readonly id: LaunchId;
  readonly planId: PlanId;
}

async function ensureLaunch(tx: Tx, { lease, planId }: Rebuild, launch: RebuiltLaunch): Promise<KnownLaunch> {
  for (const id of [launch.id, launch.spareId]) {
    const known = await findLaunch(tx, launch.nonce);
    if (known !== null) return known;
    await tx
      .insertInto('launches')
      .values({
        id,
        plan_id: planId,
        workload: launch.workload,
        // EC2 has acted upon it: no call follows, whatever is missing in the body.
        state: 'fulfilled',
        nonce: launch.nonce,
        attempt: launch.attempt,
        token: launch.token,
        body: JSON.stringify(launch.body),
        zone: launch.zone,
        instance_count: Math.min(100, launch.machines.length),
        price_usd_per_hour: launch.priceUsdPerHour.toFixed(6),
        epoch: lease.epoch,
        // So that it counts in the hour in which it was launched.
        created_at: dateOr(launchTimeOf(launch)),
        deadline_at: dbNow(),
        wake_at: dbNow(),
      })
      .onConflict((conflict) => conflict.doNothing())
      .execute();
  }
  const made = await findLaunch(tx, launch.nonce);
  if (made === null) throw new Error(`bug: launch ${launch.spareId} could not be rebuilt under either of its ids`);
  return made;
}

async function findLaunch(tx: Tx, nonce: string): Promise<KnownLaunch | null> {
  const row = await tx.selectFrom('launches').select(['id', 'plan_id']).where('nonce', '=', nonce).executeTakeFirst();
  return row === undefined ? null : { id: row.id as LaunchId, planId: row.plan_id as PlanId };
}

interface MachineToMake {
  readonly launch: RebuiltLaunch;
  readonly known: KnownLaunch;
  readonly id: MachineId;
  readonly instance: CloudInstance;
}

/** As if it had just been launched: it is joined anew, and charged from EC2's own launch time. */
async function insertMachine(tx: Tx, { launch, known, id, instance }: MachineToMake): Promise<boolean> {
  const launchTime = dateOrNull(instance.launchTimeMs);
  const row = await tx
    .insertInto('machines')
    .values({
      id,
      launch_id: known.id,
      plan_id: known.planId,
      workload: launch.workload,
      state: 'booting',
      instance_type: instance.instanceType,
      cpu_milli: launch.resources.cpuMilli,
      memory_mib: launch.resources.memoryMib,
      zone: instance.zone,
      market: instance.market,
      volume_gib: launch.body.volumeGib,
      price_usd_per_hour: launch.priceUsdPerHour.toFixed(6),
      created_at: dbNow(),
      state_since: dbNow(),
      deadline_at: dbNowPlus(STATE_DEADLINE_MS.booting ?? 0),
      wake_at: dbNow(),
      instance_id: instance.instanceId,
      private_ip: instance.privateIp,
      observed_state: instance.state,
      observed_at: new Date(launch.listedAtMs),
      launch_time: launchTime,
      // Nobody saw when it began to run. From its launch on, the seconds of `pending` are charged too much and nothing too little.
      running_seen_at: instance.state === 'pending' ? null : launchTime,
      ended_at: dateOrNull(instance.endedAtMs),
      end_code: instance.endCode,
    })
    .onConflict((conflict) => conflict.doNothing())
    .returning('id')
    .executeTakeFirst();
  if (row === undefined) return false;
  await writeMachineEvent(tx, {
    machineId: id,
    from: null,
    to: 'booting',
    actor: ACTOR,
    reason: REASON,
    planId: known.planId,
    detail: { instanceId: instance.instanceId, launchId: known.id, attempt: launch.attempt, launchTime },
  });
  return true;
}

/** Instances of one launch may come to light one after the other. */
async function countMachines(tx: Tx, id: LaunchId): Promise<void> {
  await sql`
    update spillway.launches l set instance_count = least(100, greatest(l.instance_count,
      (select count(*)::int from spillway.machines m where m.launch_id = l.id)))
    where l.id = ${id}`.execute(tx);
}

function launchTimeOf({ machines }: RebuiltLaunch): number | null {
  const times = machines.flatMap(({ instance }) => instance.launchTimeMs ?? []);
  return times.length === 0 ? null : Math.min(...times);
}

function dateOr(ms: number | null) {
  return dateOrNull(ms) ?? dbNow();
}

function dateOrNull(ms: number | null): Date | null {
  return ms === null ? null : new Date(ms);
}
