import { sql } from 'kysely';

import { BILLED_MIN_MS } from '../model/money.ts';
import { CHURN_WINDOW_MS } from '../planner/churn.ts';
import type { ChurnView } from '../planner/types.ts';
import { toMs, type Tx } from './database.ts';

/** Newest first: with more drains than this within the window, the newest of them say enough. */
const DRAINS_MAX = 1000;

/**
 * Counts the machines that were let go within the last hour, and those of them that were replaced by one of their size before
 * they could have saved a start. Each replacement stands for one of them only.
 */
export async function readChurn(tx: Tx, workload: string): Promise<ChurnView> {
  const { rows } = await sql<{ letGo: number; missed: number; lastMissedAt: Date | null }>`
    with newest as (
      select e.machine_id, e.at
      from spillway.machine_events e join spillway.machines m on m.id = e.machine_id
      where e.from_state = 'ready' and e.to_state = 'draining'
        and e.at > spillway.now() - ${CHURN_WINDOW_MS} * interval '1 millisecond'
        and m.workload = ${workload} and m.end_reason = 'scale-down' and m.state <> 'ready'
      order by e.at desc, e.id desc limit ${DRAINS_MAX}
    ), gone as (
      select m.id, m.cpu_milli, m.memory_mib, m.gpus, max(newest.at) as at,
        greatest(m.first_ready_at - m.started_at, ${BILLED_MIN_MS} * interval '1 millisecond') as start
      from newest join spillway.machines m on m.id = newest.machine_id group by m.id
    ), missed as (
      select gone.id, r.id as replacement, r.created_at as at
      from gone join spillway.machines r on r.workload = ${workload}
        and r.created_at > gone.at and r.created_at <= gone.at + gone.start
        and r.cpu_milli = gone.cpu_milli and r.memory_mib = gone.memory_mib and r.gpus = gone.gpus
    )
    select (select count(*) from gone)::int as "letGo",
      least(count(distinct missed.id), count(distinct missed.replacement))::int as missed,
      max(missed.at) as "lastMissedAt"
    from missed`.execute(tx);
  const [row] = rows;
  if (row === undefined) throw new Error('bug: an aggregate gave no row');
  return { letGo: row.letGo, missed: row.missed, lastMissedAtMs: toMs(row.lastMissedAt) };
}
