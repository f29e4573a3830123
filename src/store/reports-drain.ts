import { sql } from 'kysely';

import type { MachineId } from '../model/ids.ts';
import type { DrainBlocker, DrainDocument, DrainStatus } from '../ports/drain-documents.ts';
import type { Db, Tx } from './database.ts';
import { toTimestamp } from './reports-shared.ts';

/** More names help nobody. */
const TASKS_MAX = 100;

/** What a drain waits for, in the order in which its step looks at it. */
export async function readDrain(db: Db, id: MachineId): Promise<DrainDocument> {
  const row = await db
    .selectFrom('machines as m')
    .leftJoin('agents as a', (join) => join.onRef('a.machine_id', '=', 'm.id').on('a.removed_at', 'is', null))
    .select(['m.workload', 'm.state_since', 'm.drain_extensions', 'm.drain_done', 'm.interrupted_at'])
    .select(['m.hook', 'm.hook_since', 'm.hook_error', 'a.id as agent_id', 'a.cordoned', 'a.cordon_acked_at'])
    .where('m.id', '=', id)
    .executeTakeFirstOrThrow();
  const hasTurn = row.drain_done.includes('turn');
  return {
    extensions: row.drain_extensions,
    interruptedAt: toTimestamp(row.interrupted_at),
    blockers: [
      ...(hasTurn ? [] : await findOther(db, id, row.workload)),
      ...hookBlockers(row),
      ...agentBlockers(row),
      ...(row.agent_id === null ? [] : await findTasks(db, row.agent_id)),
    ],
  };
}

interface DrainStatusRow {
  workload: string;
  machines: number;
  overdue: number;
  oldest_s: number | null;
  by_health: number;
  by_turn: number;
}

/**
 * Overdue since the first time that its deadline passed and was no extension that the policy expects (`onDeadline: extend` writes
 * down how many those are), or since a deadline that no step has looked at yet.
 */
export async function readDrainStatus(tx: Tx): Promise<DrainStatus[]> {
  const { rows } = await sql<DrainStatusRow>`
    with newest as (
      select distinct on (workload) workload, document->'drain'->'oneAtATime' = 'true'::jsonb as one_at_a_time
      from spillway.policies order by workload, active desc, first_seen_at desc),
    going as (
      select workload, id from spillway.machines
      where state in ('leaving', 'terminating') or (state = 'draining' and 'turn' = any(drain_done))),
    drains as (
      select m.workload,
        least(late.at, case when m.deadline_at < spillway.now() then m.deadline_at end) as late_since,
        m.hook is null and m.hook_error like 'health:%' as by_health,
        coalesce(p.one_at_a_time, false) and not m.drain_irrevocable and not 'turn' = any(m.drain_done)
          and exists (select 1 from going g where g.workload = m.workload and g.id <> m.id) as by_turn
      from spillway.machines m
      left join newest p on p.workload = m.workload
      left join lateral (
        select min(e.at) as at from spillway.machine_events e
        where e.machine_id = m.id and e.revision = m.revision
          and (e.reason = 'drain-overdue' or (e.reason = 'drain-deadline-extended' and not e.detail ? 'expected'))) late on true
      where m.state = 'draining')
    select workload, count(*)::int as machines, count(late_since)::int as overdue,
      extract(epoch from spillway.now() - min(late_since))::float8 as oldest_s,
      (count(*) filter (where by_health))::int as by_health, (count(*) filter (where by_turn))::int as by_turn
    from drains group by workload order by workload`.execute(tx);
  return rows.map((row) => ({
    workload: row.workload,
    machines: row.machines,
    overdue: row.overdue,
    oldestOverdueS: row.oldest_s === null ? null : Math.max(0, Math.round(row.oldest_s * 1000) / 1000),
    heldByHealth: row.by_health,
    heldByTurn: row.by_turn,
  }));
}

type Told = Partial<Omit<DrainBlocker, 'kind' | 'says'>>;

function blocker(
  kind: DrainBlocker['kind'],
  says: string,
  { id = null, workload = null, since = null }: Told,
): DrainBlocker {
  return { kind, says, id, workload, since };
}

function hookBlockers(row: {
  readonly hook: string | null;
  readonly hook_since: Date | null;
  readonly hook_error: string | null;
}): DrainBlocker[] {
  const { hook, hook_error: error } = row;
  if (hook !== null) {
    return [blocker('hook-running', `its hook ${hook} runs`, { id: hook, since: toTimestamp(row.hook_since) })];
  }
  // Of the others a failure is told and waited for no longer.
  if (error === null || !error.startsWith('health:')) return [];
  return [blocker('hook-failed', `its hook does not pass, and nothing of it goes before (${error})`, { id: 'health' })];
}

function agentBlockers(row: {
  readonly agent_id: string | null;
  readonly cordoned: boolean | null;
  readonly cordon_acked_at: Date | null;
  readonly state_since: Date;
}): DrainBlocker[] {
  if (row.agent_id === null) {
    return [blocker('agent-missing', 'it has no agent that could say that its work is gone', {})];
  }
  if (row.cordon_acked_at !== null) return [];
  const told = { id: row.agent_id, since: toTimestamp(row.state_since) };
  return [blocker('cordon-unacknowledged', 'its agent has not said that it takes no new tasks', told)];
}

/** Of a workload whose machines go one at a time: the one that goes now. */
async function findOther(db: Db, id: MachineId, workload: string): Promise<DrainBlocker[]> {
  const row = await db
    .selectFrom('machines')
    .select(['id', 'state', 'state_since'])
    .where('workload', '=', workload)
    .where('id', '<>', id)
    .where((eb) =>
      eb.or([
        eb('state', 'in', ['leaving', 'stopping', 'terminating']),
        eb.and([eb('state', '=', 'draining'), eb(eb.val('turn'), '=', eb.fn.any('drain_done'))]),
      ]),
    )
    .orderBy('state_since')
    .limit(1)
    .executeTakeFirst();
  const policy = await db
    .selectFrom('policies')
    .select('document')
    .where('workload', '=', workload)
    .orderBy('active', 'desc')
    .orderBy('first_seen_at', 'desc')
    .limit(1)
    .executeTakeFirst();
  const { drain } = (policy?.document ?? {}) as { readonly drain?: { readonly oneAtATime?: boolean } };
  if (row === undefined || drain?.oneAtATime !== true) return [];
  const says = `machine ${row.id} of its workload goes first (${row.state})`;
  return [blocker('other-machine', says, { id: row.id, workload, since: toTimestamp(row.state_since) })];
}

async function findTasks(db: Db, agentId: string): Promise<DrainBlocker[]> {
  const rows = await db
    .selectFrom('tasks')
    .select(['id', 'workload', 'started_at'])
    .where('agent_id', '=', agentId)
    .where('state', 'in', ['leased', 'running'])
    .orderBy('started_at')
    .orderBy('id')
    .limit(TASKS_MAX)
    .execute();
  return rows.map(({ id, workload, started_at: startedAt }) => {
    const says = `task ${id} of ${workload} ${startedAt === null ? 'was given to it' : 'runs on it'}`;
    return blocker('task', says, { id, workload, since: toTimestamp(startedAt) });
  });
}
