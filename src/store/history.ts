import { sql } from 'kysely';
import { AppError } from '../model/errors.ts';
import type { History, HistoryRequest, PastTask } from '../ports/history.ts';
import type { Db } from './database.ts';

/** One page: some milliseconds of the server, so that a service beside it notices nothing. */
const PAGE_TASKS = 20_000;
/** A backtest holds all of it in memory, a hundred bytes each. */
const TASKS_MAX = 5_000_000;

interface TaskRow {
  id: string;
  submitted_at: Date;
  /** To the microsecond: the driver keeps milliseconds, and pages end in between. */
  submitted_exactly: string;
  ran_ms: number | null;
  cpu_milli: number;
  memory_mib: number;
  gpus: number;
  local_only: boolean;
}

/** Reads what a workload was asked to do and on which machines, page by page. @throws AppError INPUT_INVALID when it is too much */
export async function readHistory(db: Db, request: HistoryRequest, signal: AbortSignal): Promise<History> {
  const tasks: PastTask[] = [];
  let after: Cursor = { at: new Date(request.fromMs).toISOString(), id: '' };
  for (;;) {
    signal.throwIfAborted();
    const rows = await readPage(db, request, after);
    for (const row of rows) tasks.push(toTask(row));
    const last = rows.at(-1);
    if (last === undefined || rows.length < PAGE_TASKS) break;
    if (tasks.length > TASKS_MAX) {
      throw new AppError('INPUT_INVALID', `more than ${TASKS_MAX} tasks were submitted in that time`, {
        remedy: 'name a shorter time with --from and --to',
      });
    }
    after = { at: last.submitted_exactly, id: last.id };
  }
  return { tasks, agents: await readAgents(db, request) };
}

interface Cursor {
  readonly at: string;
  readonly id: string;
}

async function readPage(db: Db, { workload, toMs }: HistoryRequest, after: Cursor): Promise<readonly TaskRow[]> {
  const { rows } = await sql<TaskRow>`
    select id, submitted_at, submitted_at::text as submitted_exactly,
      (extract(epoch from finished_at - started_at) * 1000)::float8 as ran_ms, cpu_milli, memory_mib, gpus, local_only
    from spillway.tasks
    where workload = ${workload} and submitted_at < ${new Date(toMs)}
      and (submitted_at, id) > (${after.at}::timestamptz, ${after.id})
    order by submitted_at, id limit ${PAGE_TASKS}`.execute(db);
  return rows;
}

function toTask(row: TaskRow): PastTask {
  return {
    submittedAtMs: row.submitted_at.getTime(),
    ranMs: row.ran_ms,
    cpuMilli: row.cpu_milli,
    memoryMib: row.memory_mib,
    gpus: row.gpus,
    localOnly: row.local_only,
  };
}

async function readAgents(db: Db, { selector }: HistoryRequest): Promise<History['agents']> {
  const rows = await db
    .selectFrom('agents')
    .select(['capacity_cpu_milli', 'capacity_memory_mib', 'capacity_gpus'])
    .where('site', '=', 'on-prem')
    .where('removed_at', 'is', null)
    .where('left_at', 'is', null)
    .where(sql<boolean>`labels @> ${JSON.stringify(selector)}::jsonb`)
    .orderBy('id')
    .execute();
  return rows.map((row) => ({
    cpuMilli: row.capacity_cpu_milli,
    memoryMib: row.capacity_memory_mib,
    gpus: row.capacity_gpus,
  }));
}
