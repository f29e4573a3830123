import { createHash } from 'node:crypto';
import { sql, type RawBuilder } from 'kysely';
import type { AgentId, MachineId, PlanId } from '../model/ids.ts';
import type { LiveMachineState, MachineState } from '../model/machine.ts';
import type { Market } from '../model/offering.ts';
import { describeMachineWait } from '../model/state-waits.ts';
import type {
  MachineDetails,
  MachineDocument,
  MachineEventDocument,
  MachineFilter,
  Page,
  PageRequest,
} from '../ports/reports.ts';
import type { Db } from './database.ts';
import { isProtected } from './protection.ts';
import { readDrain } from './reports-drain.ts';
import { afterCursor, toPage, toTimestamp } from './reports-shared.ts';
import { isLeftToEc2 } from './terminations.ts';

/** A machine that was cordoned and uncordoned all day has fewer; the newest are what explains it. */
const EVENTS_MAX = 500;

interface MachineRow {
  id: string;
  workload: string;
  state: string;
  instance_type: string;
  cpu_milli: number;
  memory_mib: number;
  gpus: number;
  zone: string;
  market: string;
  instance_id: string | null;
  private_ip: string | null;
  agent_id: string | null;
  held_cpu_milli: number | null;
  held_memory_mib: number | null;
  held_gpus: number | null;
  price_usd_per_hour: string;
  cost_usd: string;
  charged_through: Date | null;
  created_at: Date;
  state_since: Date;
  deadline_at: Date | null;
  reason: string | null;
  end_reason: string | null;
  end_detail: string | null;
  tag_protected: boolean;
  protected_at: Date | null;
  protected_until: Date | null;
  protected_by: string | null;
  protected_reason: string | null;
  is_protected: boolean;
}

interface MachineDetailRow extends MachineRow {
  launch_id: string;
  plan_id: string;
  trace_id: string;
  volume_gib: number;
  observed_state: string | null;
  observed_at: Date | null;
  launch_time: Date | null;
  ended_at: Date | null;
  step_failures: number;
  step_error: string | null;
  host_key: string | null;
  host_key_confirmed_at: Date | null;
  waits_for: string | null;
  waits_since: Date | null;
  is_left_to_ec2: boolean;
}

/** Columns and joins that every view of a machine has; the row's alias is `r`. */
const COLUMNS = sql`
  r.id, r.workload, r.state, r.instance_type, r.cpu_milli, r.memory_mib, r.gpus, r.zone, r.market, r.instance_id,
  host(r.private_ip) as private_ip, r.agent_id, r.price_usd_per_hour, r.charged_through, r.created_at, r.state_since,
  r.deadline_at, r.end_reason, r.end_detail,
  case when r.agent_id is null then null else coalesce(held.cpu_milli, 0) end as held_cpu_milli,
  case when r.agent_id is null then null else coalesce(held.memory_mib, 0) end as held_memory_mib,
  case when r.agent_id is null then null else coalesce(held.gpus, 0) end as held_gpus,
  r.tag_protected, r.protected_at, r.protected_until, r.protected_by, r.protected_reason, ${isProtected('r')} as is_protected,
  coalesce(paid.amount_usd, 0)::numeric(18, 9) as cost_usd, newest.reason`;

const JOINS = sql`
  left join lateral (select sum(c.amount_usd) as amount_usd from spillway.charges c where c.machine_id = r.id) paid on true
  left join lateral (
    select sum(t.cpu_milli)::int as cpu_milli, sum(t.memory_mib)::int as memory_mib, sum(t.gpus)::int as gpus
    from spillway.tasks t where t.agent_id = r.agent_id and t.state in ('leased', 'running')) held on true
  left join lateral (
    select e.reason from spillway.machine_events e
    where e.machine_id = r.id and e.reason not in ('host-key-pinned', 'host-key-confirmed')
    order by e.id desc limit 1) newest on true`;

function filterOf(filter: MachineFilter): RawBuilder<unknown> {
  const conditions = [
    ...(filter.workload === null ? [] : [sql`r.workload = ${filter.workload}`]),
    ...(filter.state === null ? [] : [sql`r.state = ${filter.state}`]),
    // Asking for terminated ones by name is asking for them.
    ...(filter.all || filter.state !== null ? [] : [sql`r.state <> 'terminated'`]),
  ];
  return conditions.length === 0 ? sql`true` : sql.join(conditions, sql` and `);
}

export async function listMachines(db: Db, filter: MachineFilter, page: PageRequest): Promise<Page<MachineDocument>> {
  const after = await afterCursor(db, 'machines', 'created_at', page);
  const { rows } = await sql<MachineRow>`
    select ${COLUMNS} from spillway.machines r ${JOINS}
    where ${filterOf(filter)} and ${after}
    order by r.created_at desc, r.id desc limit ${page.limit + 1}`.execute(db);
  return toPage(rows, page.limit, toMachineDocument);
}

export async function showMachine(db: Db, id: MachineId): Promise<MachineDetails | null> {
  const { rows } = await sql<MachineDetailRow>`
    select ${COLUMNS}, r.launch_id, r.plan_id, r.trace_id, r.volume_gib, r.observed_state, r.observed_at, r.launch_time, r.ended_at,
      r.step_failures, r.step_error, r.host_key, r.host_key_confirmed_at, r.waits_for, r.waits_since,
      ${isLeftToEc2('r')} as is_left_to_ec2
    from spillway.machines r ${JOINS} where r.id = ${id}`.execute(db);
  const [row] = rows;
  if (row === undefined) return null;
  return {
    ...toMachineDocument(row),
    waiting:
      row.state === 'terminated'
        ? null
        : describeMachineWait(row.state as LiveMachineState, toTimestamp(row.deadline_at)),
    waitsFor: waitsForOf(row),
    drain: row.state === 'draining' ? await readDrain(db, id) : null,
    stepFailures: row.step_failures,
    stepError: row.step_error,
    launchId: row.launch_id,
    planId: row.plan_id,
    traceId: row.trace_id,
    volumeGib: row.volume_gib,
    observedState: row.observed_state,
    observedAt: toTimestamp(row.observed_at),
    launchTime: toTimestamp(row.launch_time),
    endedAt: toTimestamp(row.ended_at),
    hostKey:
      row.host_key === null
        ? null
        : { fingerprint: fingerprintOf(row.host_key), confirmed: row.host_key_confirmed_at !== null },
    costByKind: await readCostByKind(db, id),
    events: await readEvents(db, id),
  };
}

/** The states whose steps say it; a step that somebody overtook may have left a word of the state before. */
const TELLING: ReadonlySet<string> = new Set<MachineState>(['booting', 'joining']);

function waitsForOf(row: MachineDetailRow): MachineDetails['waitsFor'] {
  const { state, waits_for: says, waits_since: since } = row;
  if (state === 'terminating' && row.is_left_to_ec2)
    return { says: 'EC2 to take it, which is free in its first hour', since: toTimestamp(row.state_since) };
  return says === null || since === null || !TELLING.has(state) ? null : { says, since: toTimestamp(since) };
}

/** As `ssh-keygen -l` prints it. */
function fingerprintOf(publicKey: string): string {
  const blob = Buffer.from(publicKey.split(' ')[1] ?? '', 'base64');
  return `SHA256:${createHash('sha256').update(blob).digest('base64').replaceAll('=', '')}`;
}

async function readCostByKind(db: Db, id: MachineId): Promise<MachineDetails['costByKind']> {
  const { rows } = await sql<{ kind: string; seconds: number; amount_usd: string }>`
    select kind, sum(quantity_seconds)::bigint as seconds, sum(amount_usd)::numeric(18, 9) as amount_usd
    from spillway.charges where machine_id = ${id} group by kind order by kind`.execute(db);
  return rows.map((row) => ({ kind: row.kind, seconds: row.seconds, amountUsd: row.amount_usd }));
}

async function readEvents(db: Db, id: MachineId): Promise<MachineEventDocument[]> {
  const rows = await db
    .selectFrom('machine_events')
    .select(['at', 'from_state', 'to_state', 'actor', 'reason', 'plan_id', 'trace_id', 'detail'])
    .where('machine_id', '=', id)
    .orderBy('id', 'desc')
    .limit(EVENTS_MAX)
    .execute();
  return rows.reverse().map((row) => ({
    at: toTimestamp(row.at),
    fromState: row.from_state as MachineState | null,
    toState: row.to_state as MachineState,
    actor: row.actor,
    reason: row.reason,
    planId: row.plan_id as PlanId,
    traceId: row.trace_id,
    detail: row.detail as Record<string, unknown>,
  }));
}

function toMachineDocument(row: MachineRow): MachineDocument {
  const { held_cpu_milli: heldCpu, held_memory_mib: heldMemory, held_gpus: heldGpus } = row;
  return {
    id: row.id as MachineId,
    workload: row.workload,
    state: row.state as MachineState,
    instanceType: row.instance_type,
    resources: { cpuMilli: row.cpu_milli, memoryMib: row.memory_mib, gpus: row.gpus },
    zone: row.zone,
    market: row.market as Market,
    instanceId: row.instance_id,
    privateIp: row.private_ip,
    agentId: row.agent_id as AgentId | null,
    allocated:
      heldCpu === null || heldMemory === null || heldGpus === null
        ? null
        : { cpuMilli: heldCpu, memoryMib: heldMemory, gpus: heldGpus },
    priceUsdPerHour: row.price_usd_per_hour,
    costUsd: row.cost_usd,
    chargedThrough: toTimestamp(row.charged_through),
    createdAt: toTimestamp(row.created_at),
    stateSince: toTimestamp(row.state_since),
    deadlineAt: toTimestamp(row.deadline_at),
    reason: row.reason,
    endReason: row.end_reason,
    endDetail: row.end_detail,
    protection: row.is_protected ? protectionOf(row) : null,
  };
}

/** The tag outlasts whatever an operator said. */
function protectionOf(row: MachineRow): MachineDocument['protection'] {
  if (row.tag_protected) return { by: 'tag', who: null, reason: null, since: null, until: null };
  return {
    by: 'operator',
    who: row.protected_by,
    reason: row.protected_reason,
    since: toTimestamp(row.protected_at),
    until: toTimestamp(row.protected_until),
  };
}
