import { sql } from 'kysely';
import { inTransaction, type Db } from './database.ts';
import type { LearningStore } from '../ports/learning.ts';

/** The newest tasks and machines that are looked at: enough for a 95th percentile, and few enough to be read every minute. */
const TASKS_MAX = 1000;
const MACHINES_MAX = 50;
/** Fewer say nothing about the next one. */
const TASKS_MIN = 20;
const MACHINES_MIN = 3;

/** How long tasks run and machines take to join, as quantiles over the newest of them. */
export function createLearningStore(db: Db): LearningStore {
  return {
    learnTimes: async (workloads) =>
      await inTransaction(db, async (tx) => {
        for (const workload of [...workloads].sort()) {
          await sql`
            insert into spillway.workload_times (workload, run_p50_s, run_p95_s, run_tasks, join_p50_s, join_machines, learned_at)
            select ${workload},
              case when runs.n >= ${TASKS_MIN} then runs.p50 end, case when runs.n >= ${TASKS_MIN} then runs.p95 end, runs.n,
              case when joins.n >= ${MACHINES_MIN} then joins.p50 end, joins.n, spillway.now()
            from (
              select count(*)::int as n, percentile_cont(0.5) within group (order by ran_s) as p50,
                percentile_cont(0.95) within group (order by ran_s) as p95
              from (
                select greatest(0, extract(epoch from finished_at - started_at))::float8 as ran_s from spillway.tasks
                where workload = ${workload} and state = 'done' and started_at is not null
                order by finished_at desc limit ${TASKS_MAX}
              ) newest_tasks
            ) runs, (
              select count(*)::int as n, percentile_cont(0.5) within group (order by took_s) as p50
              from (
                select greatest(0, extract(epoch from e.at - m.created_at))::float8 as took_s
                from spillway.machines m join spillway.machine_events e on e.machine_id = m.id
                where m.workload = ${workload} and e.from_state = 'joining' and e.to_state = 'ready'
                  -- A machine that was stopped and started takes another time than one that is launched.
                  and not exists (select from spillway.machine_events s where s.machine_id = m.id and s.to_state = 'stopped' and s.id < e.id)
                order by m.created_at desc, m.id limit ${MACHINES_MAX}
              ) newest_machines
            ) joins
            on conflict (workload) do update set
              run_p50_s = excluded.run_p50_s, run_p95_s = excluded.run_p95_s, run_tasks = excluded.run_tasks,
              join_p50_s = excluded.join_p50_s, join_machines = excluded.join_machines, learned_at = excluded.learned_at`.execute(
            tx,
          );
        }
      }),
  };
}
