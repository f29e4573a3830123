import { sql } from 'kysely';
import type { MachineId } from '../../src/model/ids.ts';
import type { Machine, MachineTransition } from '../../src/model/machine.ts';
import type { Db } from '../../src/store/database.ts';
import type { World } from './world.ts';

/** The only live machine; fails when there are none or more. */
export async function onlyMachine(world: World): Promise<Machine> {
  const rows = await world.db.selectFrom('machines').select('id').where('state', '<>', 'terminated').execute();
  const [row] = rows;
  if (row === undefined || rows.length > 1) throw new Error(`${rows.length} machines live, not one`);
  const record = await world.stores.machines.read(row.id as MachineId);
  if (record === null) throw new Error(`machine ${row.id} vanished`);
  return record.machine;
}

export async function onlyInstanceId(world: World): Promise<string> {
  const machine = await onlyMachine(world);
  if (!('instanceId' in machine) || machine.instanceId === null) throw new Error(`${machine.id} has no instance`);
  return machine.instanceId;
}

/** Runs until one machine is ready, and gives its instance. */
export async function readyInstance(world: World): Promise<string> {
  await world.runUntil('a machine is ready', async () => (await world.count('machines', 'ready')) === 1, 120_000);
  return await onlyInstanceId(world);
}

const LOOK_MS = 5000;

/** Runs until all work is done and everything that was made for it is gone: rows, launches, and instances in truth. */
export async function runUntilRest(world: World, what: string, withinMs: number): Promise<void> {
  const isRest = async (): Promise<boolean> => {
    if (world.truth.living().length > 0) return false;
    const { rows } = await sql<{ busy: boolean }>`
      select exists (select from spillway.machines where state <> 'terminated')
        or exists (select from spillway.launches where state = 'open')
        or exists (select from spillway.tasks where state <> 'done') as busy`.execute(world.db);
    return rows[0]?.busy === false;
  };
  await world.runUntil(`all is done and gone after ${what}`, isRest, withinMs, LOOK_MS);
}

/** End reasons of the machines that are over, in the order of their ids' creation. */
export async function endReasons(db: Db): Promise<readonly (string | null)[]> {
  const rows = await db
    .selectFrom('machines')
    .select('end_reason')
    .where('state', '=', 'terminated')
    .orderBy('created_at')
    .orderBy('id')
    .execute();
  return rows.map((row) => row.end_reason);
}

/** What came of each EC2 call, in order; those that our own budget put off never were one. */
export async function callOutcomes(db: Db): Promise<readonly (string | null)[]> {
  const rows = await db.selectFrom('launch_calls').select(['outcome', 'error_code']).orderBy('id').execute();
  return rows.filter((row) => row.error_code !== 'LocalBudget').map((row) => row.outcome);
}

/** An operator's drain: the planner alone never drains a machine that works. */
export async function drainByHand(world: World, deadlineMs: number): Promise<void> {
  const moved = await world.stores.machines.transition(await onlyMachine(world), {
    to: 'draining',
    actor: 'operator',
    reason: 'operator',
    endReason: 'operator',
    cordon: true,
    deadlineMs,
  });
  if (!moved) throw new Error('the machine moved meanwhile');
}

/** True once some machine has gone this way. */
export async function hasHappened(world: World, transition: MachineTransition): Promise<boolean> {
  const [from = '', to = ''] = transition.split('>');
  const rows = await world.db
    .selectFrom('machine_events')
    .select('id')
    .where(sql<string>`coalesce(from_state, '')`, '=', from)
    .where('to_state', '=', to)
    .limit(1)
    .execute();
  return rows.length > 0;
}
