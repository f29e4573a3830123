import { sql } from 'kysely';

import type { RetentionStore } from '../ports/retention.ts';
import type { Db } from './database.ts';
import { DEMAND_KEPT_MS } from './demand-history.ts';

/** Old rows that nothing living needs, deleted in batches. */
export function createRetentionStore(db: Db): RetentionStore {
  return {
    async forget(ageMs, limit) {
      const old = sql`spillway.now() - ${ageMs} * interval '1 millisecond'`;
      const samples = await sql`
        delete from spillway.samples where ctid = any(array(select ctid from spillway.samples where at < ${old} limit ${limit}))`.execute(
        db,
      );
      const logs = await sql`
        delete from spillway.task_logs where ctid = any(array(
          select l.ctid from spillway.task_logs l join spillway.tasks t on t.id = l.task_id
          where t.finished_at < ${old} limit ${limit}))`.execute(db);
      const output = await sql`
        delete from spillway.machine_output where ctid = any(array(
          select ctid from spillway.machine_output where at < ${old} limit ${limit}))`.execute(db);
      // A plan that launched something is part of a machine's history and stays with it.
      const plans = await sql`
        delete from spillway.plans where id = any(array(
          select p.id from spillway.plans p
          where p.decided_at < ${old} and not exists (select 1 from spillway.launches l where l.plan_id = p.id)
          limit ${limit}))`.execute(db);
      const holds = await sql`
        delete from spillway.launch_holds where ctid = any(array(
          select ctid from spillway.launch_holds where until < ${old} and scope <> 'workload' limit ${limit}))`.execute(
        db,
      );
      const demand = await sql`
        delete from spillway.demand_history where ctid = any(array(
          select ctid from spillway.demand_history
          where bucket < spillway.now() - ${DEMAND_KEPT_MS} * interval '1 millisecond' limit ${limit}))`.execute(db);
      // The newest of an agent that is there stays: it says why the agent is as it is.
      const orders = await sql`
        delete from spillway.agent_events where id = any(array(
          select e.id from spillway.agent_events e join spillway.agents a on a.id = e.agent_id
          where e.at < ${old} and (a.removed_at is not null or exists (
            select 1 from spillway.agent_events newer where newer.agent_id = e.agent_id and newer.id > e.id))
          order by e.at limit ${limit}))`.execute(db);
      return [samples, logs, output, plans, holds, demand, orders].reduce(
        (sum, result) => sum + Number(result.numAffectedRows ?? 0n),
        0,
      );
    },
  };
}
