import { sql, type RawBuilder } from 'kysely';
import type { Site } from '../model/agent.ts';
import type { AgentId, MachineId } from '../model/ids.ts';
import type { Architecture } from '../model/offering.ts';
import type { AgentDocument, AgentFreshness, Page, PageRequest, Timestamp } from '../ports/reports.ts';
import type { Db } from './database.ts';
import { lostCursor, toPage, toTimestamp } from './reports-shared.ts';

interface AgentRow {
  id: string;
  name: string;
  site: string;
  labels: Record<string, string>;
  capacity_cpu_milli: number;
  capacity_memory_mib: number;
  capacity_gpus: number;
  arch: string | null;
  used_cpu_milli: number | null;
  used_memory_mib: number | null;
  held_cpu_milli: number;
  held_memory_mib: number;
  held_gpus: number;
  running_tasks: number;
  other_tasks: number;
  probe_failed: boolean;
  rebalance_noticed_at: Date | null;
  cordoned: boolean;
  acknowledged: boolean;
  last_seen_at: Date | null;
  age_s: number | null;
  registered_at: Date;
  machine_id: string | null;
  left_at: Date | null;
  removed_at: Date | null;
}

const COLUMNS = sql`
  r.id, r.name, r.site, r.labels, r.capacity_cpu_milli, r.capacity_memory_mib, r.capacity_gpus,
  coalesce(r.arch, m.arch) as arch, r.used_cpu_milli, r.used_memory_mib, coalesce(held.gpus, 0) as held_gpus,
  coalesce(held.cpu_milli, 0) as held_cpu_milli, coalesce(held.memory_mib, 0) as held_memory_mib, r.running_tasks,
  r.other_tasks, r.probe_failed, r.rebalance_noticed_at,
  r.cordoned, r.cordoned and r.cordon_acked_generation >= r.cordon_generation as acknowledged, r.last_seen_at,
  extract(epoch from spillway.now() - r.last_seen_at)::float8 as age_s, r.registered_at, r.machine_id, r.left_at, r.removed_at`;

const SOURCE = sql`
  spillway.agents r
  left join spillway.machines m on m.id = r.machine_id
  left join lateral (
    select sum(t.cpu_milli)::int as cpu_milli, sum(t.memory_mib)::int as memory_mib, sum(t.gpus)::int as gpus
    from spillway.tasks t where t.agent_id = r.id and t.state in ('leased', 'running')) held on true`;

/** By name, then id: the order in which people look for one. */
export async function listAgents(db: Db, page: PageRequest, freshnessMs: number): Promise<Page<AgentDocument>> {
  const after = await afterAgent(db, page.cursor);
  const { rows } = await sql<AgentRow>`
    select ${COLUMNS} from ${SOURCE}
    where r.removed_at is null and ${after}
    order by r.name, r.id limit ${page.limit + 1}`.execute(db);
  return toPage(rows, page.limit, (row) => toAgentDocument(row, freshnessMs));
}

export interface FoundAgent {
  readonly agent: AgentDocument;
  readonly leftAt: Timestamp | null;
  readonly removedAt: Timestamp | null;
}

/** One agent, removed or not; where the condition fits several, the one that is there, then the newest. */
export async function readAgent(
  db: Db,
  condition: RawBuilder<unknown>,
  freshnessMs: number,
): Promise<FoundAgent | null> {
  const { rows } = await sql<AgentRow>`
    select ${COLUMNS} from ${SOURCE} where ${condition}
    order by r.removed_at is null desc, r.left_at is null desc, r.registered_at desc, r.id limit 1`.execute(db);
  const [row] = rows;
  if (row === undefined) return null;
  const [leftAt, removedAt] = [toTimestamp(row.left_at), toTimestamp(row.removed_at)];
  return { agent: toAgentDocument(row, freshnessMs), leftAt, removedAt };
}

async function afterAgent(db: Db, cursor: string | null): Promise<ReturnType<typeof sql>> {
  if (cursor === null) return sql`true`;
  const row = await db.selectFrom('agents').select(['name', 'id']).where('id', '=', cursor).executeTakeFirst();
  if (row === undefined) throw lostCursor(cursor);
  return sql`(r.name, r.id) > (${row.name}, ${row.id})`;
}

function freshnessOf(ageS: number | null, freshnessMs: number): AgentFreshness {
  if (ageS === null) return 'never';
  return ageS * 1000 <= freshnessMs ? 'fresh' : 'stale';
}

function toAgentDocument(row: AgentRow, freshnessMs: number): AgentDocument {
  const { used_cpu_milli: usedCpu, used_memory_mib: usedMemory } = row;
  return {
    id: row.id as AgentId,
    name: row.name,
    site: row.site as Site,
    labels: row.labels,
    arch: row.arch as Architecture | null,
    capacity: { cpuMilli: row.capacity_cpu_milli, memoryMib: row.capacity_memory_mib, gpus: row.capacity_gpus },
    allocated: { cpuMilli: row.held_cpu_milli, memoryMib: row.held_memory_mib, gpus: row.held_gpus },
    used: usedCpu === null || usedMemory === null ? null : { cpuMilli: usedCpu, memoryMib: usedMemory },
    runningTasks: row.running_tasks,
    otherTasks: row.probe_failed ? null : row.other_tasks,
    rebalanceNoticedAt: toTimestamp(row.rebalance_noticed_at),
    cordoned: row.cordoned,
    cordonAcknowledged: row.acknowledged,
    freshness: freshnessOf(row.age_s, freshnessMs),
    lastSeenAt: toTimestamp(row.last_seen_at),
    lastSeenAgeS: row.age_s === null ? null : Math.max(0, Math.round(row.age_s)),
    registeredAt: toTimestamp(row.registered_at),
    machineId: row.machine_id as MachineId | null,
  };
}
