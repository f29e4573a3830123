import { sql } from 'kysely';

import type { LaunchId, MachineId, PlanId } from '../model/ids.ts';
import type { Launch, LaunchBody, LaunchState } from '../model/launch.ts';
import type { EndReason } from '../model/machine.ts';
import { MINUTE_MS } from '../model/time.ts';
import type { LaunchedInstance } from '../ports/cloud.ts';
import type { LaunchStore } from '../ports/machines.ts';
import { hasForgotten } from './amnesia.ts';
import { dbNow, dbNowPlus, inTransaction, toMs, type Db, type Tx } from './database.ts';
import { machineColumns, toMachine, type MachineRow } from './machine-rows.ts';
import { transitionMachine } from './machines.ts';

/** How long an offering without capacity is left alone: 3 min (Karpenter's figure), doubled per strike up to 30 min. */
const UNAVAILABLE_MIN_MS = 3 * MINUTE_MS;
const UNAVAILABLE_MAX_MS = 30 * MINUTE_MS;
const ACTOR = 'launch-step';

/** Launches as rows: intent, the calls made for it, and what came of them. */
export function createLaunchStore(db: Db): LaunchStore {
  return {
    read: async (id) => await readLaunch(db, id),
    beginCall: async (id) => await inTransaction(db, async (tx) => await beginCall(tx, id)),

    async finishCall(callId, outcome) {
      await db
        .updateTable('launch_calls')
        .set({
          finished_at: dbNow(),
          outcome: outcome.kind,
          error_code: outcome.kind === 'launched' ? null : outcome.code,
        })
        .where('id', '=', callId)
        .where('outcome', 'is', null)
        .execute();
    },

    fulfil: async (id, instances) => await inTransaction(db, async (tx) => await fulfilLaunch(tx, id, instances)),
    close: async (id, state, end) => await inTransaction(db, async (tx) => await closeLaunch(tx, id, state, end)),

    async wakeAfter(id, ms) {
      await db
        .updateTable('launches')
        .set({ wake_at: dbNowPlus(ms) })
        .where('id', '=', id)
        .execute();
    },

    async markUnavailable(offering, code) {
      const strikeMs = sql<number>`least(${UNAVAILABLE_MAX_MS}::float8, ${UNAVAILABLE_MIN_MS}::float8 * power(2, least(unavailable_offerings.strikes, 10)))`;
      await db
        .insertInto('unavailable_offerings')
        .values({
          instance_type: offering.instanceType,
          zone: offering.zone,
          market: offering.market,
          until: dbNowPlus(UNAVAILABLE_MIN_MS),
          error_code: code,
        })
        .onConflict((conflict) =>
          conflict
            .columns(['instance_type', 'zone', 'market'])
            .doUpdateSet({
              // Strikes count only while they come soon after each other; a quiet half hour forgives them.
              strikes: sql<number>`case when unavailable_offerings.until < spillway.now() - ${UNAVAILABLE_MAX_MS} * interval '1 millisecond' then 1 else unavailable_offerings.strikes + 1 end`,
              until: sql<Date>`spillway.now() + (case when unavailable_offerings.until < spillway.now() - ${UNAVAILABLE_MAX_MS} * interval '1 millisecond' then ${UNAVAILABLE_MIN_MS}::float8 else ${strikeMs} end) * interval '1 millisecond'`,
              error_code: code,
            })
            // Launches refused at the same moment met one shortage, not several.
            .where(sql<boolean>`unavailable_offerings.until <= spillway.now()`),
        )
        .execute();
    },
  };
}

async function readLaunch(
  db: Db,
  id: LaunchId,
): Promise<{ launch: Launch; nowMs: number; unsettledCalls: number } | null> {
  const row = await db
    .selectFrom('launches as l')
    .selectAll('l')
    .select(dbNow().as('now'))
    .select((eb) =>
      eb
        .selectFrom('launch_calls as c')
        .select(sql<number>`count(*)::int`.as('n'))
        .whereRef('c.launch_id', '=', 'l.id')
        .where((w) => w.or([w('c.outcome', 'is', null), w('c.outcome', '=', 'unknown')]))
        .as('unsettled'),
    )
    .where('l.id', '=', id)
    .executeTakeFirst();
  if (row === undefined) return null;
  const machines = await db.selectFrom('machines').select('id').where('launch_id', '=', id).orderBy('id').execute();
  return {
    nowMs: toMs(row.now),
    unsettledCalls: row.unsettled ?? 0,
    launch: {
      id: row.id as LaunchId,
      planId: row.plan_id as PlanId,
      workload: row.workload,
      state: row.state as LaunchState,
      nonce: row.nonce,
      attempt: row.attempt,
      token: row.token,
      body: row.body as LaunchBody,
      zone: row.zone,
      priceUsdPerHour: Number(row.price_usd_per_hour),
      machineIds: machines.map((machine) => machine.id as MachineId),
      epoch: row.epoch,
      createdAtMs: toMs(row.created_at),
      deadlineAtMs: toMs(row.deadline_at),
    },
  };
}

/** Calls that may still have an effect, or have had one that we never heard of. */
async function countUnsettled(tx: Tx, id: LaunchId): Promise<number> {
  const { unsettled } = await tx
    .selectFrom('launch_calls')
    .select(sql<number>`count(*)::int`.as('unsettled'))
    .where('launch_id', '=', id)
    .where((eb) => eb.or([eb('outcome', 'is', null), eb('outcome', '=', 'unknown')]))
    .executeTakeFirstOrThrow();
  return unsettled;
}

async function lockOpenLaunch(tx: Tx, id: LaunchId): Promise<{ attempt: number } | null> {
  const row = await tx
    .selectFrom('launches')
    .select('attempt')
    .where('id', '=', id)
    .where('state', '=', 'open')
    .forUpdate()
    .executeTakeFirst();
  return row ?? null;
}

async function lockMachines(tx: Tx, id: LaunchId): Promise<readonly MachineRow[]> {
  return await tx
    .selectFrom('machines as m')
    .select(machineColumns('m'))
    .where('m.launch_id', '=', id)
    .orderBy('m.id')
    .forUpdate()
    .execute();
}

async function beginCall(tx: Tx, id: LaunchId): Promise<number | 'held' | null> {
  const forgotten = await hasForgotten(tx);
  const launch = await lockOpenLaunch(tx, id);
  if (launch === null) return null;
  if (forgotten && (await countUnsettled(tx, id)) === 0) return 'held';
  for (const row of await lockMachines(tx, id)) {
    if (row.state !== 'requested') continue;
    await transitionMachine(tx, toMachine(row), { to: 'launching', actor: ACTOR, reason: 'ec2-call' });
  }
  const call = await tx
    .insertInto('launch_calls')
    .values({ launch_id: id, attempt: launch.attempt, started_at: dbNow() })
    .returning('id')
    .executeTakeFirstOrThrow();
  return call.id;
}

async function fulfilLaunch(
  tx: Tx,
  id: LaunchId,
  instances: readonly LaunchedInstance[],
): Promise<readonly MachineId[]> {
  const launch = await lockOpenLaunch(tx, id);
  if (launch === null) return [];
  const rows = await lockMachines(tx, id);
  const bound = new Set(rows.map((row) => row.instance_id));
  // By id, because an instance told twice would be bound twice.
  const told = new Map(instances.map((instance) => [instance.instanceId, instance]));
  const fresh = [...told.values()].filter((instance) => !bound.has(instance.instanceId));
  const waiting = rows.filter(
    (row) => row.instance_id === null && (row.state === 'launching' || row.state === 'requested'),
  );
  const woken: MachineId[] = [];
  for (const [index, row] of waiting.entries()) {
    const instance = fresh[index];
    if (instance === undefined) {
      await endWithoutInstance(tx, row, 'launch-refused', 'EC2 gave fewer instances than asked for');
      continue;
    }
    await bindInstance(tx, row, instance);
    woken.push(row.id as MachineId);
  }
  await tx.updateTable('launches').set({ state: 'fulfilled' }).where('id', '=', id).execute();
  return woken;
}

async function bindInstance(tx: Tx, row: MachineRow, instance: LaunchedInstance): Promise<void> {
  await tx
    .updateTable('machines')
    .set({
      instance_id: instance.instanceId,
      private_ip: instance.privateIp,
      launch_time: instance.launchTimeMs === null ? null : new Date(instance.launchTimeMs),
    })
    .where('id', '=', row.id)
    .execute();
  const machine = toMachine(row);
  const launching = machine.state === 'requested' ? await viaLaunching(tx, row) : machine;
  await transitionMachine(tx, launching, {
    to: 'booting',
    actor: ACTOR,
    reason: 'instance-launched',
    detail: { instanceId: instance.instanceId, zone: instance.zone },
  });
}

/** An instance may be adopted before the row of its call was written: the machine then passes `launching` on the way. */
async function viaLaunching(tx: Tx, row: MachineRow): Promise<ReturnType<typeof toMachine>> {
  await transitionMachine(tx, toMachine(row), { to: 'launching', actor: ACTOR, reason: 'adopted' });
  return toMachine({ ...row, state: 'launching', revision: row.revision + 1 });
}

async function closeLaunch(
  tx: Tx,
  id: LaunchId,
  state: Exclude<LaunchState, 'open' | 'fulfilled'>,
  end: { readonly reason: EndReason; readonly code: string; readonly detail: string },
): Promise<boolean> {
  const launch = await lockOpenLaunch(tx, id);
  if (launch === null) return true;
  // A twin may have begun a call since the caller looked; under the launch's lock no other can begin. It stays open then.
  if (state === 'refused' && (await countUnsettled(tx, id)) > 0) return false;
  await tx
    .updateTable('launches')
    .set({ state, error_code: end.code, error_detail: end.detail.slice(0, 1000) })
    .where('id', '=', id)
    .execute();
  for (const row of await lockMachines(tx, id)) {
    if (row.instance_id === null && row.state !== 'terminated')
      await endWithoutInstance(tx, row, end.reason, end.detail);
  }
  return true;
}

async function endWithoutInstance(tx: Tx, row: MachineRow, reason: EndReason, detail: string): Promise<void> {
  await tx
    .updateTable('machines')
    .set({ end_detail: detail.slice(0, 1000) })
    .where('id', '=', row.id)
    .execute();
  await transitionMachine(tx, toMachine(row), {
    to: 'terminated',
    actor: ACTOR,
    reason,
    endReason: reason,
    detail: { detail },
  });
}
