import { sql } from 'kysely';

import type { AgentId } from '../model/ids.ts';
import type { ReportOf } from '../ports/tasks.ts';
import { readAmnesia } from './amnesia.ts';
import type { Tx } from './database.ts';

/** In place of the queue's lock, which was lost: the job comes to light by itself, and is dropped because of the row. */
const REGAINED = 'regained';

/**
 * While the database knows that it lost commits, agents remember for it: what runs with one of them belongs to it, unless the
 * row has been given to another since. Else the agent would be told to stop work that nobody took from it. The agents' rows
 * are locked already.
 */
export async function regainTasks(
  tx: Tx,
  reports: readonly ReportOf[],
  accepted: ReadonlySet<AgentId>,
  leaseMs: number,
): Promise<void> {
  const running = reports.flatMap(({ agentId, report }) =>
    accepted.has(agentId)
      ? report.tasks.flatMap(({ taskId, attempt, state }) =>
          state === 'running' ? [{ agentId, taskId, attempt }] : [],
        )
      : [],
  );
  if (running.length === 0 || (await readAmnesia(tx)) === null) return;
  await sql`
    with said as (
      select * from unnest(
        ${running.map(({ taskId }) => taskId)}::text[], ${running.map(({ attempt }) => attempt)}::int[],
        ${running.map(({ agentId }) => agentId)}::text[]
      ) as s(task_id, attempt, agent_id)
    ), lost as (
      select t.id, said.attempt, said.agent_id
      from said
      join spillway.tasks t on t.id = said.task_id
      join spillway.agents a on a.id = said.agent_id
      where (t.state = 'pending' and t.attempt <= said.attempt)
        -- The agent before it on the same machine: it left its tasks to this one when the machine was joined anew.
        or (t.state in ('leased', 'running') and t.attempt = said.attempt and t.agent_id in (
          select e.id from spillway.agents e where e.machine_id = a.machine_id and e.removed_at is not null))
      order by t.id for update of t
    )
    update spillway.tasks t set
      state = 'running', agent_id = lost.agent_id, attempt = lost.attempt, lease_token = ${REGAINED},
      lease_expires_at = spillway.now() + ${leaseMs} * interval '1 millisecond',
      started_at = coalesce(t.started_at, spillway.now())
    from lost where t.id = lost.id`.execute(tx);
}
