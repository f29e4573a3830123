import { sql } from 'kysely';

import type { AgentId, TaskId } from '../model/ids.ts';
import type { Site } from '../model/agent.ts';
import { ANYWHERE, mayRunAt, type Place } from '../model/constraints.ts';
import type { Architecture, Market } from '../model/offering.ts';
import type { Resources } from '../model/resources.ts';
import { fits, subtractResources } from '../model/resources.ts';
import type { LogOutcome, LogPart } from '../ports/agent-gateway.ts';
import type { TaskStore } from '../ports/tasks.ts';
import { isLeaseOlder } from './amnesia.ts';
import { dbNow, dbNowPlus, inTransaction, toMs, type Db, type Tx } from './database.ts';
import { givenBack } from './give-back.ts';
import { selectHeld, toHeld } from './held-tasks.ts';
import { withRanks } from './local-order.ts';
import { readLocalShares } from './local-shares.ts';
import { isOfKind, KIND_COLUMNS, toKind, type KindRow } from './task-kinds.ts';

/** Tasks as rows. */
export function createTaskStore(db: Db): TaskStore {
  return {
    async insert(tasks) {
      const { shape, constraints: { arch, localOnly, spotOk } = ANYWHERE } = tasks;
      // A microsecond apart: whoever asks for the oldest gets the tasks of one batch in the order in which they were submitted.
      await sql`
        insert into spillway.tasks (id, workload, command, cpu_milli, memory_mib, gpus, arch, local_only, spot_ok, run_time_s, state,
          submitted_at, pending_since)
        select t.id, ${tasks.workload}, ${JSON.stringify(tasks.command)}::jsonb, ${shape.cpuMilli}::int, ${shape.memoryMib}::int,
          ${shape.gpus}::int, ${arch}::text, ${localOnly}::bool, ${spotOk}::bool, ${tasks.runTimeS ?? null}::int, 'pending', spillway.now() + t.place * interval '1 microsecond', spillway.now()
        from unnest(${tasks.ids}::text[]) with ordinality as t(id, place)`.execute(db);
    },

    async listPending() {
      const rows = await db
        .selectFrom('tasks')
        .select(KIND_COLUMNS)
        .select([sql<number>`count(*)::int`.as('count'), sql<Date>`min(pending_since)`.as('oldest')])
        .where('state', '=', 'pending')
        .groupBy(KIND_COLUMNS)
        .orderBy('oldest')
        .execute();
      const groups = rows.map((row) => ({
        ...toKind(row),
        count: row.count,
        oldestPendingSinceMs: toMs(row.oldest),
      }));
      return await withRanks(db, groups);
    },

    async listPendingIds(kind, limit) {
      const rows = await db
        .selectFrom('tasks')
        .select('id')
        .where((eb) => isOfKind(eb, kind))
        .where('state', '=', 'pending')
        .orderBy('submitted_at')
        .orderBy('id')
        .limit(limit)
        .execute();
      return rows.map((row) => row.id as TaskId);
    },

    readLocalShares: async () => await readLocalShares(db),
    listFreeAgents: async (silentAfterMs) => await listFreeAgents(db, silentAfterMs),
    lease: async (agentId, leases, leaseMs) =>
      await inTransaction(db, async (tx) => await leaseTasks(tx, agentId, leases, leaseMs)),

    listOrders: async (agentId) => await listOrders(db, agentId),

    expireLeases: async (limit) => await expireLeases(db, limit),

    appendLog: async (agentId, part) => await inTransaction(db, async (tx) => await appendLog(tx, agentId, part)),
  };
}

async function expireLeases(db: Db, limit: number): ReturnType<TaskStore['expireLeases']> {
  const rows = await sql<KindRow & { id: string; lease_token: string | null }>`
      with late as (
        select id, lease_token from spillway.tasks
        where state in ('leased', 'running') and lease_expires_at <= spillway.now()
        order by lease_expires_at limit ${limit} for update skip locked
      )
      update spillway.tasks t set ${givenBack('t')}
      from late where late.id = t.id
      returning t.id, t.workload, t.cpu_milli, t.memory_mib, t.gpus, t.arch, t.local_only, t.spot_ok, late.lease_token`.execute(
    db,
  );
  return rows.rows.map((row) => ({
    ...toKind(row),
    id: row.id as TaskId,
    leaseToken: row.lease_token,
  }));
}

async function listOrders(db: Db, agentId: AgentId): ReturnType<TaskStore['listOrders']> {
  const agent = await db
    .selectFrom('agents as a')
    .leftJoin('machines as m', 'm.id', 'a.machine_id')
    .select(['a.cordoned', 'a.cordon_generation', 'm.state'])
    .where('a.id', '=', agentId)
    .where('a.removed_at', 'is', null)
    .executeTakeFirst();
  if (agent === undefined) return null;
  const rows = await selectHeld(db, [agentId]).execute();
  return {
    cordoned: agent.cordoned,
    cordonGeneration: agent.cordon_generation,
    leave: agent.state === 'leaving' || agent.state === 'stopping' || agent.state === 'terminating',
    held: rows.map(toHeld),
  };
}

/** Of one attempt's output. Enough to see what went wrong; whoever needs more writes it where it belongs. */
const LOG_BYTES_MAX = 4 * 1024 * 1024;

async function appendLog(tx: Tx, agentId: AgentId, part: LogPart): Promise<LogOutcome> {
  const task = await tx
    .selectFrom('tasks')
    .select('id')
    .where('id', '=', part.taskId)
    .where('agent_id', '=', agentId)
    .where('attempt', '=', part.attempt)
    .forUpdate()
    .executeTakeFirst();
  if (task === undefined) return { kind: 'not-yours' };
  const { end } = await tx
    .selectFrom('task_logs')
    .select(sql<number>`coalesce(max(byte_offset + octet_length(content)), 0)::int`.as('end'))
    .where('task_id', '=', part.taskId)
    .where('attempt', '=', part.attempt)
    .executeTakeFirstOrThrow();
  if (end >= LOG_BYTES_MAX) return { kind: 'full' };
  const fresh = part.content.subarray(Math.max(0, end - part.byteOffset));
  // A gap would show as if output had been lost; the agent is told where the kept part ends and sends from there.
  if (part.byteOffset > end || fresh.length === 0) return { kind: 'stored', nextByteOffset: end };
  await tx
    .insertInto('task_logs')
    .values({ task_id: part.taskId, attempt: part.attempt, byte_offset: end, content: Buffer.from(fresh) })
    .execute();
  return { kind: 'stored', nextByteOffset: end + fresh.length };
}

async function listFreeAgents(
  db: Db,
  silentAfterMs: number,
): Promise<Awaited<ReturnType<TaskStore['listFreeAgents']>>> {
  const rows = await db
    .selectFrom('agents as a')
    .leftJoin('machines as m', 'm.id', 'a.machine_id')
    .leftJoin(
      (eb) =>
        eb
          .selectFrom('tasks')
          .select([
            'agent_id',
            sql<number>`sum(cpu_milli)::int`.as('cpu'),
            sql<number>`sum(memory_mib)::int`.as('memory'),
            sql<number>`sum(gpus)::int`.as('gpus'),
          ])
          .where('state', 'in', ['leased', 'running'])
          .groupBy('agent_id')
          .as('t'),
      (join) => join.onRef('t.agent_id', '=', 'a.id'),
    )
    .select([
      'a.id',
      'a.site',
      'a.labels',
      'a.capacity_cpu_milli',
      'a.capacity_memory_mib',
      'a.capacity_gpus',
      'm.workload',
      'm.market',
      'm.gpus as machine_gpus',
      't.cpu',
      't.memory',
      't.gpus',
    ])
    .select(AGENT_ARCH)
    .where('a.removed_at', 'is', null)
    .where('a.cordoned', '=', false)
    .where('a.left_at', 'is', null)
    .where('a.last_seen_at', '>', sql<Date>`spillway.now() - ${silentAfterMs} * interval '1 millisecond'`)
    // What the database forgot may still run where it was leased to; after one lease nobody has it any more.
    .where((eb) =>
      eb.not(
        eb.exists(
          eb
            .selectFrom('amnesia as f')
            .select('f.since')
            .where('f.since', '>', sql<Date>`spillway.now() - ${silentAfterMs} * interval '1 millisecond'`),
        ),
      ),
    )
    .where((eb) => eb.not(isLeaseOlder(db)))
    // A cloud agent works only while its machine is ready: not before its readiness command, not on its way out.
    .where((eb) => eb.or([eb('a.machine_id', 'is', null), eb('m.state', '=', 'ready')]))
    .orderBy('a.id')
    .execute();
  return rows.map((row) => ({
    id: row.id as AgentId,
    site: row.site as Site,
    labels: row.labels as Record<string, string>,
    workload: row.workload,
    arch: row.arch as Architecture | null,
    market: row.market as Market | null,
    free: subtractResources(
      { cpuMilli: row.capacity_cpu_milli, memoryMib: row.capacity_memory_mib, gpus: row.capacity_gpus },
      { cpuMilli: row.cpu ?? 0, memoryMib: row.memory ?? 0, gpus: row.gpus ?? 0 },
    ),
    hasGpus: row.capacity_gpus > 0 || (row.machine_gpus ?? 0) > 0,
  }));
}

/** What an agent says of itself, else what its machine was launched as. */
const AGENT_ARCH = sql<string | null>`coalesce(a.arch, m.arch)`.as('arch');

/** A machine may have begun to end since its agent was listed as free, and not every end begins with a cordon. */
async function lockReadyMachine(
  tx: Tx,
  machineId: string,
): Promise<{ readonly market: string; readonly arch: string | null } | null> {
  const row = await tx
    .selectFrom('machines')
    .select(['market', 'arch'])
    .where('id', '=', machineId)
    .where('state', '=', 'ready')
    .forNoKeyUpdate()
    .executeTakeFirst();
  return row ?? null;
}

interface Taker {
  readonly place: Place;
  readonly room: Resources;
  readonly machineId: string | null;
}

/** Locks the agent first, so that a cordon and a lease never pass each other unseen. Null = it takes nothing now. */
async function lockTaker(tx: Tx, agentId: AgentId): Promise<Taker | null> {
  const agent = await tx
    .selectFrom('agents')
    .select(['capacity_cpu_milli', 'capacity_memory_mib', 'capacity_gpus', 'arch', 'site', 'machine_id'])
    .where('id', '=', agentId)
    .where('cordoned', '=', false)
    .where('removed_at', 'is', null)
    .forUpdate()
    .executeTakeFirst();
  if (agent === undefined) return null;
  const machine = agent.machine_id === null ? null : await lockReadyMachine(tx, agent.machine_id);
  if (agent.machine_id !== null && machine === null) return null;
  const place: Place = {
    site: agent.site as Site,
    arch: (agent.arch ?? machine?.arch ?? null) as Architecture | null,
    market: (machine?.market ?? null) as Market | null,
  };
  const held = await tx
    .selectFrom('tasks')
    .select([
      sql<number>`coalesce(sum(cpu_milli), 0)::int`.as('cpu'),
      sql<number>`coalesce(sum(memory_mib), 0)::int`.as('memory'),
      sql<number>`coalesce(sum(gpus), 0)::int`.as('gpus'),
    ])
    .where('agent_id', '=', agentId)
    .where('state', 'in', ['leased', 'running'])
    .executeTakeFirstOrThrow();
  const room = subtractResources(
    { cpuMilli: agent.capacity_cpu_milli, memoryMib: agent.capacity_memory_mib, gpus: agent.capacity_gpus },
    { cpuMilli: held.cpu, memoryMib: held.memory, gpus: held.gpus },
  );
  return { place, room, machineId: agent.machine_id };
}

async function leaseTasks(
  tx: Tx,
  agentId: AgentId,
  leases: readonly { readonly taskId: TaskId; readonly token: string }[],
  leaseMs: number,
): Promise<ReadonlySet<TaskId>> {
  const taker = await lockTaker(tx, agentId);
  if (taker === null) return new Set();
  let { room } = taker;
  const won = new Set<TaskId>();
  for (const { taskId, token } of leases) {
    const row = await tx
      .selectFrom('tasks')
      .select(KIND_COLUMNS)
      .where('id', '=', taskId)
      .where('state', '=', 'pending')
      .forUpdate()
      .executeTakeFirst();
    if (row === undefined) continue;
    const { shape, constraints } = toKind(row);
    if (!fits(shape, room) || !mayRunAt(constraints, taker.place)) continue;
    await tx
      .updateTable('tasks')
      .set((eb) => ({
        state: 'leased',
        attempt: eb('attempt', '+', 1),
        agent_id: agentId,
        lease_token: token,
        lease_expires_at: dbNowPlus(leaseMs),
      }))
      .where('id', '=', taskId)
      .execute();
    room = subtractResources(room, shape);
    won.add(taskId);
  }
  if (won.size > 0 && taker.machineId !== null) {
    await tx
      .updateTable('machines')
      .set({ idle_since: null, wake_at: dbNow() })
      .where('id', '=', taker.machineId)
      .execute();
  }
  return won;
}
