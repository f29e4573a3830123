import { sql } from 'kysely';
import type { Freeing, WorkloadTimes } from '../planner/types.ts';
import type { Tx } from './database.ts';

/** What ends later than any machine takes to join is of no use to a decision. */
const HORIZON_S = 300;
/** Ends are told in steps of so many seconds, rounded up: never sooner than expected, and equal plans stay equal. */
const STEP_S = 15;
/** Learned times speak for one task when they are alike: its 95th percentile is no more than so many medians. */
const ALIKE_MAX = 2;

/** What running tasks of on-prem agents are expected to give back within minutes, by agent. */
export async function readFreeing(tx: Tx): Promise<ReadonlyMap<string, readonly Freeing[]>> {
  const { rows } = await sql<{ agent_id: string; in_s: number; cpu: number; memory: number; gpus: number }>`
    select agent_id, in_s, sum(cpu_milli)::int as cpu, sum(memory_mib)::int as memory, sum(gpus)::int as gpus
    from (
      select t.agent_id, t.cpu_milli, t.memory_mib, t.gpus,
        (ceil((expected_s - extract(epoch from spillway.now() - t.started_at))::float8 / ${STEP_S}::int) * ${STEP_S}::int)::int as in_s
      from (
        select t.*, coalesce(t.run_time_s, case when w.run_p95_s <= w.run_p50_s * ${ALIKE_MAX}::int then w.run_p50_s end) as expected_s
        from spillway.tasks t
        join spillway.agents a on a.id = t.agent_id and a.site = 'on-prem' and a.removed_at is null
        left join spillway.workload_times w on w.workload = t.workload
      ) t
      where expected_s is not null
    ) e
    where in_s > 0 and in_s <= ${HORIZON_S}::int
    group by agent_id, in_s order by agent_id, in_s`.execute(tx);
  const freeing = new Map<string, Freeing[]>();
  for (const { agent_id: agentId, in_s: inS, cpu, memory, gpus } of rows) {
    const one = { inS, resources: { cpuMilli: cpu, memoryMib: memory, gpus } };
    const list = freeing.get(agentId);
    if (list === undefined) freeing.set(agentId, [one]);
    else list.push(one);
  }
  return freeing;
}

/** What is learned of workloads, by name. */
export async function readTimes(tx: Tx): Promise<ReadonlyMap<string, WorkloadTimes>> {
  const rows = await tx
    .selectFrom('workload_times')
    .select(['workload', 'run_p50_s', 'run_p95_s', 'join_p50_s'])
    .orderBy('workload')
    .execute();
  return new Map(
    rows.map((row) => [row.workload, { runP50S: row.run_p50_s, runP95S: row.run_p95_s, joinP50S: row.join_p50_s }]),
  );
}
