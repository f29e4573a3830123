import { sql } from 'kysely';

import { joinHoldKey } from '../model/holds.ts';
import type { LaunchId, MachineId } from '../model/ids.ts';
import { DAY_MS, MINUTE_MS } from '../model/time.ts';
import type { Tx } from './database.ts';
import { writeHold } from './launch-holds.ts';

/** One join may fail by chance, and two by bad luck. */
const FAILURES_MAX = 3;
/** First and longest pause, as after shortages. */
const PAUSE = { minMs: 3 * MINUTE_MS, maxMs: 30 * MINUTE_MS } as const;

interface Joined {
  readonly launchId: string;
  readonly workload: string;
  readonly instanceType: string;
  readonly imageId: string;
}

/**
 * Holds launches of machines like this one when the newest joins of such machines all failed. What counts is the history of the
 * machines, so that no restart forgets a count.
 */
export async function holdAfterJoins(tx: Tx, id: MachineId): Promise<void> {
  const machine = await findMachine(tx, id);
  if (machine === null) return;
  const { rows } = await sql<{ id: string; reason: string; failed: boolean }>`
    select m.id, e.reason, e.to_state = 'terminating' as failed
    from spillway.launches own
    join spillway.machines m on m.workload = ${machine.workload} and m.instance_type = ${machine.instanceType}
      and m.created_at > spillway.now() - ${DAY_MS} * interval '1 millisecond'
    join spillway.launches l on l.id = m.launch_id and l.policy_hash is not distinct from own.policy_hash
      and l.body->>'imageId' = ${machine.imageId}
    join spillway.machine_events e on e.machine_id = m.id and e.from_state = 'joining'
      and (e.to_state = 'ready' or (e.to_state = 'terminating' and e.reason in ('join-failed', 'join-deadline')))
    where own.id = ${machine.launchId}
    order by e.id desc limit ${FAILURES_MAX}`.execute(tx);
  if (rows.length < FAILURES_MAX || !rows.every(({ failed }) => failed)) return;
  const [last] = rows;
  await writeHold(tx, machine.launchId as LaunchId, {
    ...joinHoldKey(machine),
    ...PAUSE,
    errorClass: 'join',
    errorCode: last?.reason ?? '',
    detail: `${FAILURES_MAX} joins in a row failed, the last one that of ${last?.id}`,
  });
}

/** Whoever joined proves that such machines can. */
export async function forgetJoinHold(tx: Tx, id: MachineId): Promise<void> {
  const machine = await findMachine(tx, id);
  if (machine === null) return;
  const { scope, name } = joinHoldKey(machine);
  await tx.deleteFrom('launch_holds').where('scope', '=', scope).where('name', '=', name).execute();
}

async function findMachine(tx: Tx, id: MachineId): Promise<Joined | null> {
  const { rows } = await sql<Joined>`
    select l.id as "launchId", m.workload, m.instance_type as "instanceType", coalesce(l.body->>'imageId', '') as "imageId"
    from spillway.machines m join spillway.launches l on l.id = m.launch_id where m.id = ${id}`.execute(tx);
  return rows[0] ?? null;
}
