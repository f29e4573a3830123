import { sql, type RawBuilder } from 'kysely';

import type { MachineId } from '../model/ids.ts';
import { SECOND_MS } from '../model/time.ts';
import type { MachineStore } from '../ports/machines.ts';
import { hasForgotten } from './amnesia.ts';
import { dbNowPlus, inTransaction, type Db, type Tx } from './database.ts';

/** Who asks EC2 to end which machines: rows that one step claims for all that are due in its region. */
export function createTerminations(db: Db): Pick<MachineStore, 'claimTerminations' | 'putOffTerminations'> {
  return {
    claimTerminations: async (id, claim) => await inTransaction(db, async (tx) => await claimDue(tx, id, claim)),

    async putOffTerminations(instanceIds, ms) {
      // In the order of every writer of many machines, or two of them would wait for one another.
      await sql`
        with put_off as (
          select m.id from spillway.machines m
          where m.instance_id = any(${[...instanceIds]}::text[]) and m.state = 'terminating'
          order by m.id for update
        )
        update spillway.machines m set terminate_again_at = ${dbNowPlus(ms)}, wake_at = ${dbNowPlus(ms)}
        from put_off where put_off.id = m.id`.execute(db);
    },
  };
}

/** After its moment EC2 gets this long to take what it has announced; then we end it. */
const TAKEN_LATE_MS = 30 * SECOND_MS;

/**
 * SQL: this spot machine is about to be taken back by EC2. Within its first hour that is free, and an end that we ask for a moment
 * before is not: it is left to EC2. `machine` is a table's alias.
 */
export function isLeftToEc2(machine: string): RawBuilder<boolean> {
  const column = (name: string) => sql.ref(`${machine}.${name}`);
  return sql<boolean>`coalesce(${column('market')} = 'spot'
    and ${column('interrupted_at')} < ${column('run_launch_time')} + interval '1 hour'
    and spillway.now() < ${column('interrupted_at')} + ${TAKEN_LATE_MS} * interval '1 millisecond', false)`;
}

/** SQL: the machine may be ended by us now. */
function isDue(machine: 'm' | 'own'): RawBuilder<boolean> {
  return sql<boolean>`(coalesce(${sql.ref(`${machine}.terminate_again_at`)} <= spillway.now(), true) and not ${isLeftToEc2(machine)})`;
}

async function claimDue(
  tx: Tx,
  id: MachineId,
  { region, againAfterMs, limit }: Parameters<MachineStore['claimTerminations']>[1],
): Promise<readonly string[]> {
  // Rows that forget may say `terminating` of a machine at work: nobody is asked to end one until they are rebuilt.
  if (await hasForgotten(tx)) return [];
  // `skip locked`: what another step is just claiming is in its call and need not be in ours.
  const { rows } = await sql<{ readonly instance_id: string }>`
    with due as (
      select m.id from spillway.machines m join spillway.launches l on l.id = m.launch_id
      where m.state = 'terminating' and m.instance_id is not null and l.body ->> 'region' = ${region}
        and ${isDue('m')}
        and exists (select from spillway.machines own where own.id = ${id} and own.state = 'terminating' and ${isDue('own')})
      order by m.id <> ${id}, m.state_since, m.id
      limit ${limit}
      for update of m skip locked
    ), claimed as (
      update spillway.machines m
      set terminate_again_at = spillway.now() + ${againAfterMs} * interval '1 millisecond'
      from due where due.id = m.id
      returning m.instance_id, m.state_since, m.id
    )
    select instance_id from claimed order by state_since, id`.execute(tx);
  return rows.map(({ instance_id: instanceId }) => instanceId);
}
