import { sql, type RawBuilder } from 'kysely';
import type { Site } from '../model/agent.ts';
import type { AgentId, MachineId, TaskId } from '../model/ids.ts';
import type { TaskState } from '../model/task.ts';
import type { Page, PageRequest, TaskDocument, TaskFilter, TaskLogDocument } from '../ports/reports.ts';
import type { Db } from './database.ts';
import { toKind, type KindRow } from './task-kinds.ts';
import { afterCursor, toPage, toTimestamp } from './reports-shared.ts';

interface TaskRow extends KindRow {
  id: string;
  state: string;
  command: string[];
  run_time_s: number | null;
  attempt: number;
  agent_id: string | null;
  agent_name: string | null;
  site: string | null;
  machine_id: string | null;
  submitted_at: Date;
  pending_since: Date;
  started_at: Date | null;
  finished_at: Date | null;
  exit_code: number | null;
  waited_s: number;
  ran_s: number | null;
  progress_base64: string | null;
}

/** How long it has waited since it last became pending, or how long it had waited for its first start. */
const COLUMNS = sql`
  r.id, r.workload, r.state, r.command, r.cpu_milli, r.memory_mib, r.gpus, r.arch, r.local_only, r.spot_ok, r.run_time_s,
  r.attempt, r.agent_id, a.name as agent_name, a.site,
  a.machine_id, r.submitted_at, r.pending_since, r.started_at, r.finished_at, r.exit_code, r.progress_base64,
  greatest(0, extract(epoch from
    case when r.state in ('pending', 'leased') then spillway.now() - r.pending_since
      else coalesce(r.started_at, r.finished_at, spillway.now()) - r.submitted_at end))::float8 as waited_s,
  case when r.state in ('pending', 'leased') or r.started_at is null then null
    else greatest(0, extract(epoch from coalesce(r.finished_at, spillway.now()) - r.started_at))::float8 end as ran_s`;

const SOURCE = sql`spillway.tasks r left join spillway.agents a on a.id = r.agent_id`;

function filterOf(filter: TaskFilter): RawBuilder<unknown> {
  const conditions = [
    sql`true`,
    ...(filter.workload === null ? [] : [sql`r.workload = ${filter.workload}`]),
    ...(filter.state === null ? [] : [sql`r.state = ${filter.state}`]),
  ];
  return sql.join(conditions, sql` and `);
}

export async function listTasks(db: Db, filter: TaskFilter, page: PageRequest): Promise<Page<TaskDocument>> {
  const after = await afterCursor(db, 'tasks', 'submitted_at', page);
  const { rows } = await sql<TaskRow>`
    select ${COLUMNS} from ${SOURCE} where ${filterOf(filter)} and ${after}
    order by r.submitted_at desc, r.id desc limit ${page.limit + 1}`.execute(db);
  return toPage(rows, page.limit, toTaskDocument);
}

export async function showTask(db: Db, id: TaskId): Promise<TaskDocument | null> {
  const { rows } = await sql<TaskRow>`select ${COLUMNS} from ${SOURCE} where r.id = ${id}`.execute(db);
  return rows[0] === undefined ? null : toTaskDocument(rows[0]);
}

/** Pieces of a log are at most 64 KiB; sixteen make an answer of 1 MiB. */
const PIECES_MAX = 16;
const FINAL_STATES: readonly string[] = ['done', 'failed', 'cancelled'];

export async function readTaskLog(
  db: Db,
  id: TaskId,
  wantedAttempt: number | null,
  offset: number,
): Promise<TaskLogDocument | null> {
  const task = await db.selectFrom('tasks').select(['attempt', 'state']).where('id', '=', id).executeTakeFirst();
  if (task === undefined) return null;
  const attempt = wantedAttempt ?? task.attempt;
  const pieces = await db
    .selectFrom('task_logs')
    .select(['byte_offset', 'content'])
    .where('task_id', '=', id)
    .where('attempt', '=', attempt)
    .where(sql<boolean>`byte_offset + octet_length(content) > ${offset}`)
    .orderBy('byte_offset')
    .limit(PIECES_MAX)
    .execute();
  const { content, nextOffset } = joinPieces(pieces, offset);
  const over = attempt < task.attempt || FINAL_STATES.includes(task.state);
  return {
    taskId: id,
    attempt,
    offset,
    nextOffset,
    contentBase64: content.toString('base64'),
    ended: over && nextOffset === offset,
    taskState: task.state as TaskState,
  };
}

/** What was written from `offset` on. Bytes that never arrived are jumped over: what came after them is worth more than a halt. */
function joinPieces(
  pieces: readonly { byte_offset: number; content: Buffer }[],
  offset: number,
): { content: Buffer; nextOffset: number } {
  let nextOffset = offset;
  const parts = pieces.map((piece) => {
    const from = Math.max(0, nextOffset - piece.byte_offset);
    nextOffset = Math.max(nextOffset, piece.byte_offset + piece.content.length);
    return piece.content.subarray(from);
  });
  return { content: Buffer.concat(parts), nextOffset };
}

function toTaskDocument(row: TaskRow): TaskDocument {
  return {
    id: row.id as TaskId,
    ...toKind(row),
    state: row.state as TaskState,
    command: row.command,
    runTimeS: row.run_time_s,
    attempt: row.attempt,
    agentId: row.agent_id as AgentId | null,
    agentName: row.agent_name,
    site: row.site as Site | null,
    machineId: row.machine_id as MachineId | null,
    submittedAt: toTimestamp(row.submitted_at),
    pendingSince: toTimestamp(row.pending_since),
    startedAt: toTimestamp(row.started_at),
    finishedAt: toTimestamp(row.finished_at),
    exitCode: row.exit_code,
    // Milliseconds are all that is known; the rest is noise of the division.
    waitedS: Math.round(row.waited_s * 1000) / 1000,
    ranS: row.ran_s === null ? null : Math.round(row.ran_s * 1000) / 1000,
    progressBase64: row.progress_base64,
  };
}
