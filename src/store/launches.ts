import { sql } from 'kysely';

import type { LaunchId, MachineId, PlanId } from '../model/ids.ts';
import type { LadderRung, Launch, LaunchBody, LaunchEnd, LaunchState } from '../model/launch.ts';
import type { LaunchStore } from '../ports/machines.ts';
import { hasForgotten } from './amnesia.ts';
import { dbNow, inTransaction, toMs, type Db, type Tx } from './database.ts';
import { fulfilLaunch } from './launch-fulfil.ts';
import { forgetJoinHold, holdAfterJoins } from './join-breaker.ts';
import { listHolds, writeHold } from './launch-holds.ts';
import { moveOn } from './launch-ladder.ts';
import {
  countUnsettled,
  endLaunch,
  LAUNCH_ACTOR,
  lockMachines,
  lockOpenLaunch,
  mayHaveInstances,
  mayRepeat,
  type LaunchEnding,
} from './launch-rows.ts';
import { toMachine } from './machine-rows.ts';
import { transitionMachine } from './machines.ts';
import { recordStepFailure, wakeLaunchAfter } from './step-rows.ts';

/** Launches as rows: intent, the calls made for it, and what came of them. */
export function createLaunchStore(db: Db): LaunchStore {
  return {
    read: async (id) => await readLaunch(db, id),
    beginCall: async (id, attempt) => await inTransaction(db, async (tx) => await beginCall(tx, id, attempt)),

    async finishCall(callId, outcome) {
      await db
        .updateTable('launch_calls')
        .set({
          finished_at: dbNow(),
          outcome: outcome.kind,
          error_code: outcome.kind === 'launched' ? null : outcome.code,
          error_class: outcome.kind === 'refused' ? outcome.errorClass : null,
          instance_ids: outcome.kind === 'launched' ? outcome.instances.map(({ instanceId }) => instanceId) : [],
        })
        .where('id', '=', callId)
        .where('outcome', 'is', null)
        .execute();
    },

    fulfil: async (id, attempt, instances) =>
      await inTransaction(db, async (tx) => await fulfilLaunch(tx, id, { attempt, instances })),
    close: async (id, state, end) => await inTransaction(db, async (tx) => await closeLaunch(tx, id, state, end)),

    wakeAfter: async (id, ms) => await wakeLaunchAfter(db, id, ms),
    recordFailure: async (id, failure) => await recordStepFailure(db, 'launches', id, failure),

    noteJoin: async (id, end) =>
      await inTransaction(db, async (tx) => await (end === 'joined' ? forgetJoinHold(tx, id) : holdAfterJoins(tx, id))),
    listHolds: async () => await listHolds(db),
    hold: async (id, hold) => await writeHold(db, id, hold),
    moveOn: async (id, attempt, next) => await inTransaction(db, async (tx) => await moveOn(tx, id, { attempt, next })),
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
        .whereRef('c.attempt', '=', 'l.attempt')
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
      traceId: row.trace_id,
      workload: row.workload,
      state: row.state as LaunchState,
      nonce: row.nonce,
      attempt: row.attempt,
      token: row.token,
      body: row.body as LaunchBody,
      zone: row.zone,
      priceUsdPerHour: Number(row.price_usd_per_hour),
      machineIds: machines.map((machine) => machine.id as MachineId),
      ladder: row.ladder as readonly LadderRung[],
      epoch: row.epoch,
      createdAtMs: toMs(row.created_at),
      deadlineAtMs: toMs(row.deadline_at),
    },
  };
}

async function beginCall(tx: Tx, id: LaunchId, attempt: number): Promise<number | 'held' | null> {
  const forgotten = await hasForgotten(tx);
  const launch = await lockOpenLaunch(tx, id);
  // A delivery that read an earlier attempt would send that attempt's token under this one's row.
  if (launch === null || launch.attempt !== attempt) return null;
  if (forgotten && !(await mayRepeat(tx, id, launch))) return 'held';
  for (const row of await lockMachines(tx, id)) {
    if (row.state !== 'requested') continue;
    await transitionMachine(tx, toMachine(row), { to: 'launching', actor: LAUNCH_ACTOR, reason: 'ec2-call' });
  }
  const call = await tx
    .insertInto('launch_calls')
    .values({ launch_id: id, attempt, started_at: dbNow() })
    .returning('id')
    .executeTakeFirstOrThrow();
  return call.id;
}

async function closeLaunch(
  tx: Tx,
  id: LaunchId,
  state: Exclude<LaunchEnd, 'fulfilled'>,
  end: LaunchEnding,
): Promise<boolean> {
  const forgotten = await hasForgotten(tx);
  const launch = await lockOpenLaunch(tx, id);
  if (launch === null) return true;
  // A twin may have begun a call since the caller looked; under the launch's lock no other can begin. It stays open then.
  if (state === 'refused' && (await countUnsettled(tx, id, launch.attempt)) > 0) return false;
  if (state === 'expired' && (forgotten || (await mayHaveInstances(tx, id, launch.attempt)))) return false;
  await endLaunch(tx, { id, attempt: launch.attempt }, state, end);
  return true;
}
