import { sql } from 'kysely';

import type { MachineId } from '../model/ids.ts';
import type { Machine } from '../model/machine.ts';
import type { DrainMark, HookNote } from '../ports/machines.ts';
import { dbNow, type Db, type Tx } from './database.ts';

/** The column takes 500 characters, of which some may be two to JavaScript. */
const HOOK_ERROR_CHARS_MAX = 250;

/** No hook runs, and none has failed. */
export const NO_HOOK = { hook: null, hook_since: null, hook_error: null } as const;

/** Notes the hook that runs on a machine, or how it ended. */
export async function noteHook(db: Db, id: MachineId, { name, error }: HookNote): Promise<void> {
  await db
    .updateTable('machines')
    .set({ hook: name, hook_since: name === null ? null : dbNow() })
    .$if(error !== undefined, (query) => query.set({ hook_error: error?.slice(0, HOOK_ERROR_CHARS_MAX) ?? null }))
    .where('id', '=', id)
    .execute();
}

/** Compare-and-set of one mark of a drain. */
export async function markDrain(db: Db, { id, state, revision }: Machine, mark: DrainMark): Promise<boolean> {
  const row = await db
    .updateTable('machines')
    .set({ drain_done: sql<string[]>`array_append(drain_done, ${mark}::text)` })
    .where('id', '=', id)
    .where('state', '=', state)
    .where('revision', '=', revision)
    .where(sql<boolean>`not (${mark}::text = any(drain_done))`)
    .returning('id')
    .executeTakeFirst();
  return row !== undefined;
}

/** Machines of a workload ask one after the other, so that two of them cannot both find nobody before them. */
export async function takeTurn(tx: Tx, machine: Machine): Promise<boolean> {
  await sql`select pg_advisory_xact_lock(hashtextextended(${`drain-turn:${machine.workload}`}, 0))`.execute(tx);
  const other = await tx
    .selectFrom('machines')
    .select('id')
    .where('workload', '=', machine.workload)
    .where('id', '<>', machine.id)
    .where(
      sql<boolean>`state in ('leaving', 'stopping', 'terminating') or (state = 'draining' and 'turn' = any(drain_done))`,
    )
    .limit(1)
    .executeTakeFirst();
  return other === undefined && (await markDrain(tx, machine, 'turn'));
}
