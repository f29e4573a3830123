import { sql } from 'kysely';

import type { LaunchId } from '../model/ids.ts';
import { isLaunchTransition, type LadderRung, type LaunchBody, type LaunchEnd } from '../model/launch.ts';
import type { EndReason } from '../model/machine.ts';
import { CALL_SETTLED_AFTER_MS, LAUNCH_GRACE_MS } from '../model/state-waits.ts';
import { dbNow, dbNowPlus, type Tx } from './database.ts';
import { machineColumns, toMachine, type MachineRow } from './machine-rows.ts';
import { transitionMachine } from './machines.ts';

/** Who moves machines that wait for their launch. */
export const LAUNCH_ACTOR = 'launch-step';

/**
 * Calls of an attempt that may still have an effect, or have had one that is not written to the machines yet: we never heard of
 * it, or whoever heard died. For whoever holds a newer refusal of the same token: a call without an answer that was begun longer
 * ago than {@link CALL_SETTLED_AFTER_MS} is settled by it.
 */
export async function countUnsettled(tx: Tx, id: LaunchId, attempt: number): Promise<number> {
  const { unsettled } = await tx
    .selectFrom('launch_calls')
    .select(sql<number>`count(*)::int`.as('unsettled'))
    .where('launch_id', '=', id)
    .where('attempt', '=', attempt)
    .where((eb) =>
      eb.or([
        eb('outcome', '=', 'launched'),
        eb(eb.fn.coalesce('outcome', sql.lit('unknown')), '=', 'unknown').and(
          'started_at',
          '>',
          dbNowPlus(-CALL_SETTLED_AFTER_MS),
        ),
      ]),
    )
    .executeTakeFirstOrThrow();
  return unsettled;
}

/** True while nothing rules out that the current attempt has instances, and the grace beyond the deadline is not over. */
export async function mayHaveInstances(tx: Tx, id: LaunchId, attempt: number): Promise<boolean> {
  const hopeful = await tx
    .selectFrom('launch_calls as c')
    .innerJoin('launches as l', 'l.id', 'c.launch_id')
    .select('c.id')
    .where('c.launch_id', '=', id)
    .where('c.attempt', '=', attempt)
    .where((eb) => eb.or([eb('c.outcome', 'is', null), eb('c.outcome', 'in', ['unknown', 'launched'])]))
    .where('l.deadline_at', '>', dbNowPlus(-LAUNCH_GRACE_MS))
    .limit(1)
    .executeTakeFirst();
  return hopeful !== undefined;
}

/** Code of the call that stands for one whose row was lost: EC2 shows instances of this very attempt. */
export const LOST_CALL_CODE = 'AMNESIA';

/**
 * In a database that has lost commits: true when the attempt's token cannot make more than was asked for. A call of it was
 * begun, and no attempt after it can have been made since: there is no rung for one, or EC2 shows instances of this one.
 */
export async function mayRepeat(tx: Tx, id: LaunchId, { attempt, ladder }: OpenLaunch): Promise<boolean> {
  if ((await countUnsettled(tx, id, attempt)) === 0) return false;
  return ladder.length === 0 || (await isCallNoted(tx, id, attempt));
}

/** True when the call that stands for a lost one is noted. */
export async function isCallNoted(tx: Tx, id: LaunchId, attempt: number): Promise<boolean> {
  const noted = await tx
    .selectFrom('launch_calls')
    .select('id')
    .where('launch_id', '=', id)
    .where('attempt', '=', attempt)
    .where('error_code', '=', LOST_CALL_CODE)
    .limit(1)
    .executeTakeFirst();
  return noted !== undefined;
}

export interface OpenLaunch {
  readonly attempt: number;
  readonly workload: string;
  readonly body: LaunchBody;
  readonly zone: string;
  readonly ladder: readonly LadderRung[];
  /** Its deadline has passed: nothing new is tried for it. */
  readonly overdue: boolean;
}

/** Locks a launch that is open for the rest of the transaction; null when it is not. */
export async function lockOpenLaunch(tx: Tx, id: LaunchId): Promise<OpenLaunch | null> {
  const row = await tx
    .selectFrom('launches')
    .select(['attempt', 'workload', 'body', 'zone', 'ladder'])
    .select(sql<boolean>`deadline_at <= ${dbNow()}`.as('overdue'))
    .where('id', '=', id)
    .where('state', '=', 'open')
    .forUpdate()
    .executeTakeFirst();
  if (row === undefined) return null;
  return { ...row, body: row.body as LaunchBody, ladder: row.ladder as readonly LadderRung[] };
}

export async function lockMachines(tx: Tx, id: LaunchId): Promise<readonly MachineRow[]> {
  return await tx
    .selectFrom('machines as m')
    .select(machineColumns('m'))
    .where('m.launch_id', '=', id)
    .orderBy('m.id')
    .forUpdate()
    .execute();
}

/** Why a launch ended without its machines. */
export interface LaunchEnding {
  readonly reason: EndReason;
  readonly errorClass?: string;
  readonly code: string;
  readonly detail: string;
}

/** The one compare-and-set of a launch's state. Under the lock of {@link lockOpenLaunch} nobody else can have been first. */
export async function setLaunchState(
  tx: Tx,
  id: LaunchId,
  to: LaunchEnd,
  error: { readonly error_code?: string; readonly error_detail?: string } = {},
): Promise<void> {
  if (!isLaunchTransition('open', to)) throw new Error(`bug: launch ${id} cannot go from open to ${to}`);
  await tx
    .updateTable('launches')
    .set({ state: to, ...error })
    .where('id', '=', id)
    .where('state', '=', 'open')
    .execute();
}

/** Ends a launch that the caller has locked, its attempt, and its machines that have no instance. */
export async function endLaunch(
  tx: Tx,
  { id, attempt }: { readonly id: LaunchId; readonly attempt: number },
  state: Exclude<LaunchEnd, 'fulfilled'>,
  end: LaunchEnding,
): Promise<void> {
  await setLaunchState(tx, id, state, { error_code: end.code, error_detail: end.detail.slice(0, 1000) });
  await endAttempt(tx, { id, attempt }, state, end);
  for (const row of await lockMachines(tx, id)) {
    if (row.instance_id === null && row.state !== 'terminated')
      await endWithoutInstance(tx, row, end.reason, end.detail);
  }
}

/** Writes how an attempt ended; what was written first stands. */
export async function endAttempt(
  tx: Tx,
  { id, attempt }: { readonly id: LaunchId; readonly attempt: number },
  outcome: 'fulfilled' | 'partial' | 'refused' | 'expired',
  error: { readonly errorClass?: string; readonly code: string; readonly detail: string } | null,
): Promise<void> {
  await tx
    .updateTable('launch_attempts')
    .set({
      ended_at: dbNow(),
      outcome,
      error_class: error?.errorClass ?? null,
      error_code: error?.code ?? null,
      error_detail: error?.detail.slice(0, 1000) ?? null,
    })
    .where('launch_id', '=', id)
    .where('attempt', '=', attempt)
    .where('outcome', 'is', null)
    .execute();
}

/** A machine whose launch brought it no instance. */
export async function endWithoutInstance(tx: Tx, row: MachineRow, reason: EndReason, detail: string): Promise<void> {
  await tx
    .updateTable('machines')
    .set({ end_detail: detail.slice(0, 1000) })
    .where('id', '=', row.id)
    .execute();
  await transitionMachine(tx, toMachine(row), {
    to: 'terminated',
    actor: LAUNCH_ACTOR,
    reason,
    endReason: reason,
    detail: { detail },
  });
}
