import { sql } from 'kysely';

import type { Resources } from '../model/resources.ts';
import type { LocalShares } from '../ports/tasks.ts';
import type { Db, Tx } from './database.ts';

/** What each workload's tasks hold on on-prem agents, and what all of these have. */
export async function readLocalShares(db: Db): Promise<LocalShares> {
  const capacity = await db
    .selectFrom('agents')
    .select([
      sql<number>`coalesce(sum(capacity_cpu_milli), 0)::float8`.as('cpuMilli'),
      sql<number>`coalesce(sum(capacity_memory_mib), 0)::float8`.as('memoryMib'),
      sql<number>`coalesce(sum(capacity_gpus), 0)::float8`.as('gpus'),
    ])
    .where('site', '=', 'on-prem')
    .where('removed_at', 'is', null)
    .where('left_at', 'is', null)
    .executeTakeFirstOrThrow();
  return { capacity, held: await readHeldLocally(db) };
}

/** What each workload's tasks hold on on-prem agents; workloads that hold nothing there are left out. */
export async function readHeldLocally(db: Db | Tx): Promise<ReadonlyMap<string, Resources>> {
  const rows = await db
    .selectFrom('tasks as t')
    .innerJoin('agents as a', 'a.id', 't.agent_id')
    .select('t.workload')
    .select([
      sql<number>`sum(t.cpu_milli)::float8`.as('cpuMilli'),
      sql<number>`sum(t.memory_mib)::float8`.as('memoryMib'),
      sql<number>`sum(t.gpus)::float8`.as('gpus'),
    ])
    .where('t.state', 'in', ['leased', 'running'])
    .where('a.site', '=', 'on-prem')
    .groupBy('t.workload')
    .orderBy('t.workload')
    .execute();
  return new Map(rows.map(({ workload, cpuMilli, memoryMib, gpus }) => [workload, { cpuMilli, memoryMib, gpus }]));
}
