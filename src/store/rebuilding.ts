import { sql } from 'kysely';

import type { LaunchId, MachineId, PlanId } from '../model/ids.ts';
import { REBUILT_REASON, STATE_DEADLINE_MS } from '../model/machine.ts';
import type { CloudInstance } from '../ports/cloud.ts';
import type { Lease } from '../ports/leadership.ts';
import type { RebuiltLaunch } from '../ports/memory.ts';
import { dbNow, dbNowPlus, type Tx } from './database.ts';
import { fulfilLaunch, setOffering } from './launch-fulfil.ts';
import { endAttempt, lockMachines, LOST_CALL_CODE, setLaunchState } from './launch-rows.ts';
import { writeMachineEvent } from './machine-events.ts';

const ACTOR = 'sweeper';
const OVERTAKEN = {
  errorClass: 'ended',
  code: LOST_CALL_CODE,
  detail: 'a later attempt, whose row was lost, was found in EC2',
} as const;

/** Rows for instances that EC2 has and that no row names. What is there already stays as it is. */
export async function rebuildLaunches(
  tx: Tx,
  lease: Lease,
  launches: readonly RebuiltLaunch[],
): Promise<readonly MachineId[]> {
  const made: MachineId[] = [];
  const bound: MachineId[] = [];
  for (const launch of launches) {
    const known = await ensureLaunch(tx, lease, launch);
    if (known.state === 'open') {
      bound.push(...(await goOn(tx, known, launch)));
      continue;
    }
    await ensureAttempt(tx, lease, known, launch);
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
  return [...made, ...bound];
}

/** The plan of a lost launch is lost, too; its place takes one that saw nothing and decided nothing. */
async function ensurePlan(tx: Tx, lease: Lease, { planId, traceId }: RebuiltLaunch): Promise<void> {
  await sql`
    insert into spillway.plans (id, trace_id, epoch, decided_at, input, outcome, digest)
    select ${planId}, ${traceId}, ${lease.epoch}, now,
      jsonb_build_object('nowMs', ms, 'workloads', '[]'::jsonb, 'agents', '[]'::jsonb, 'machines', '[]'::jsonb),
      jsonb_build_object('decidedAtMs', ms, 'workloads', '[]'::jsonb), ${REBUILT_REASON}
    from (select n.now, floor(extract(epoch from n.now) * 1000)::bigint as ms from (select spillway.now() as now) n) clock
    on conflict (id) do nothing`.execute(tx);
}

interface KnownLaunch {
  readonly id: LaunchId;
  readonly planId: PlanId;
  readonly state: string;
  readonly attempt: number;
}

async function ensureLaunch(tx: Tx, lease: Lease, launch: RebuiltLaunch): Promise<KnownLaunch> {
  for (const id of [launch.id, launch.spareId]) {
    const known = await findLaunch(tx, launch.nonce);
    if (known !== null) return known;
    await ensurePlan(tx, lease, launch);
    const made = await tx
      .insertInto('launches')
      .values({
        id,
        plan_id: launch.planId,
        workload: launch.workload,
        state: 'open',
        nonce: launch.nonce,
        ...attemptColumns(launch),
        instance_count: Math.min(100, launch.machines.length),
        epoch: lease.epoch,
        // So that it counts in the hour in which it was launched.
        created_at: dateOr(launchTimeOf(launch)),
        deadline_at: dbNow(),
        wake_at: dbNow(),
      })
      .onConflict((conflict) => conflict.doNothing())
      .returning('id')
      .executeTakeFirst();
    if (made === undefined) continue;
    // EC2 has acted upon it: no call follows, whatever is missing in the body.
    await setLaunchState(tx, id, 'fulfilled');
    await endAttempt(tx, { id, attempt: launch.attempt }, 'fulfilled', null);
  }
  const made = await findLaunch(tx, launch.nonce);
  if (made === null) throw new Error(`bug: launch ${launch.spareId} could not be rebuilt under either of its ids`);
  return made;
}

function attemptColumns(launch: RebuiltLaunch) {
  return {
    attempt: launch.attempt,
    token: launch.token,
    body: JSON.stringify(launch.body),
    zone: launch.zone,
    cpu_milli: launch.resources.cpuMilli,
    memory_mib: launch.resources.memoryMib,
    gpus: launch.resources.gpus,
    arch: launch.arch,
    price_usd_per_hour: launch.priceUsdPerHour.toFixed(6),
  };
}

/** Locked, so that no step of it comes in between. */
async function findLaunch(tx: Tx, nonce: string): Promise<KnownLaunch | null> {
  const row = await tx
    .selectFrom('launches')
    .select(['id', 'plan_id', 'state', 'attempt'])
    .where('nonce', '=', nonce)
    .forUpdate()
    .executeTakeFirst();
  if (row === undefined) return null;
  return { id: row.id as LaunchId, planId: row.plan_id as PlanId, state: row.state, attempt: row.attempt };
}

/** What an attempt of a launch that is over was asked with, if its row was lost. */
async function ensureAttempt(tx: Tx, lease: Lease, { id }: KnownLaunch, launch: RebuiltLaunch): Promise<void> {
  await tx
    .insertInto('launch_attempts')
    .values({
      launch_id: id,
      ...attemptColumns(launch),
      epoch: lease.epoch,
      began_at: dateOr(launchTimeOf(launch)),
      ended_at: dbNow(),
      outcome: 'fulfilled',
    })
    .onConflict((conflict) => conflict.doNothing())
    .execute();
}

/**
 * An open launch whose newest attempt was lost: the earlier one is over, for the token of the next is only made then. It goes
 * on to that attempt, and its machines get the instances. Nothing is asked of EC2 any more.
 */
async function goOn(tx: Tx, known: KnownLaunch, launch: RebuiltLaunch): Promise<readonly MachineId[]> {
  const { id } = known;
  if (launch.attempt <= known.attempt) return [];
  await endAttempt(tx, { id, attempt: known.attempt }, 'refused', OVERTAKEN);
  await tx
    .updateTable('launches')
    .set({ ...attemptColumns(launch), ladder: '[]', wake_at: dbNow() })
    .where('id', '=', id)
    .execute();
  const waiting = (await lockMachines(tx, id)).filter((row) => row.instance_id === null && row.state !== 'terminated');
  if (waiting.length > 0) {
    await setOffering(
      tx,
      waiting.map((row) => row.id),
      { ...launch, priceUsdPerHour: launch.priceUsdPerHour.toFixed(6) },
    );
  }
  const instances = launch.machines.map(({ instance }) => instance);
  return await fulfilLaunch(tx, id, { attempt: launch.attempt, instances });
}

interface MachineToMake {
  readonly launch: RebuiltLaunch;
  readonly known: KnownLaunch;
  readonly id: MachineId;
  readonly instance: CloudInstance;
}

/** As if it had just been launched, or had just stopped: it is joined anew, and charged from EC2's own launch time. */
async function insertMachine(tx: Tx, { launch, known, id, instance }: MachineToMake): Promise<boolean> {
  const launchTime = dateOrNull(instance.launchTimeMs);
  const isStopped = instance.state === 'stopping' || instance.state === 'stopped';
  const state = isStopped ? 'stopped' : 'booting';
  const endedAt = dateOrNull(instance.endedAtMs);
  const row = await tx
    .insertInto('machines')
    .values({
      id,
      launch_id: known.id,
      plan_id: known.planId,
      workload: launch.workload,
      state,
      instance_type: instance.instanceType,
      cpu_milli: launch.resources.cpuMilli,
      memory_mib: launch.resources.memoryMib,
      gpus: launch.resources.gpus,
      arch: launch.arch,
      zone: instance.zone,
      market: instance.market,
      volume_gib: launch.body.volumeGib,
      price_usd_per_hour: launch.priceUsdPerHour.toFixed(6),
      created_at: dbNow(),
      state_since: dbNow(),
      deadline_at: dbNowPlus(STATE_DEADLINE_MS[state] ?? 0),
      wake_at: dbNow(),
      instance_id: instance.instanceId,
      private_ip: instance.privateIp,
      observed_state: instance.state,
      observed_at: new Date(launch.listedAtMs),
      launch_time: launchTime,
      run_launch_time: launchTime,
      // Nobody saw when it began to run. From its launch on, the seconds of `pending` are charged too much and nothing too little.
      running_seen_at: instance.state === 'pending' ? null : launchTime,
      ...(isStopped
        ? { stopped_at: endedAt ?? dbNow(), end_reason: 'scale-down' }
        : { ended_at: endedAt, end_code: instance.endCode }),
    })
    .onConflict((conflict) => conflict.doNothing())
    .returning('id')
    .executeTakeFirst();
  if (row === undefined) return false;
  await writeMachineEvent(tx, {
    machineId: id,
    from: null,
    to: state,
    actor: ACTOR,
    reason: REBUILT_REASON,
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
