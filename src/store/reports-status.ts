import { sql } from 'kysely';
import { describeAmnesia } from '../model/amnesia.ts';
import type { PlanId } from '../model/ids.ts';
import type { MachineState } from '../model/machine.ts';
import type { Market } from '../model/offering.ts';
import type { TaskState } from '../model/task.ts';
import type { LayerStatus, StatusDocument, WaitingStatus } from '../ports/reports.ts';
import { readAmnesia } from './amnesia.ts';
import { inTransaction, type Db, type Tx } from './database.ts';
import { readDrainStatus } from './reports-drain.ts';
import { toTimestamp } from './reports-shared.ts';

/** The figures of one moment. */
export async function readStatus(db: Db, freshnessMs: number): Promise<StatusDocument> {
  return inTransaction(
    db,
    async (tx) => {
      const money = await readMoney(tx);
      return {
        at: toTimestamp(money.now),
        layers: await readLayers(tx, freshnessMs, money.per_hour),
        waiting: await readWaiting(tx),
        tasks: await countTasks(tx),
        machines: await countMachines(tx),
        drains: await readDrainStatus(tx),
        usdPerHour: money.per_hour,
        spend: { todayUsd: money.today, monthUsd: money.month },
        lastPlan: await readLastPlan(tx),
        amnesia: await readAmnesiaStatus(tx, money.now.getTime()),
      };
    },
    'repeatable read',
  );
}

interface MoneyRow {
  now: Date;
  per_hour: string;
  today: string;
  month: string;
}

/** A charge belongs to the day it began in. Days and months are those of UTC, as on the bill. */
async function readMoney(tx: Tx): Promise<MoneyRow> {
  const { rows } = await sql<MoneyRow>`
    with clock as (select spillway.now() as now),
    borders as (
      select now, date_trunc('day', now at time zone 'UTC') at time zone 'UTC' as day,
        date_trunc('month', now at time zone 'UTC') at time zone 'UTC' as month from clock),
    spent as (
      select coalesce(sum(c.amount_usd), 0) as month, coalesce(sum(c.amount_usd) filter (where c.from_at >= b.day), 0) as today
      from borders b left join spillway.charges c on c.from_at >= b.month group by b.day),
    hourly as (
      select coalesce(sum(price_usd_per_hour), 0) as amount from spillway.machines
      where state not in ('stopped', 'terminated') and instance_id is not null)
    select b.now, hourly.amount::numeric(18, 6) as per_hour, spent.today::numeric(18, 9) as today, spent.month::numeric(18, 9) as month
    from borders b, spent, hourly`.execute(tx);
  const [row] = rows;
  if (row === undefined) throw new Error('aggregates without a row');
  return row;
}

interface LayerRow {
  site: string;
  agents: number;
  ready: number;
  stale: number;
  draining: number;
  cpu_milli: number;
  memory_mib: number;
  gpus: number;
  held_cpu_milli: number;
  held_memory_mib: number;
  held_gpus: number;
  free_cpu_milli: number;
  free_memory_mib: number;
  free_gpus: number;
}

/** Sums are of agents that report; only those that may take tasks have anything free. */
async function readLayers(tx: Tx, freshnessMs: number, usdPerHour: string): Promise<LayerStatus[]> {
  const { rows } = await sql<LayerRow>`
    with live as (
      select a.site, a.cordoned, a.capacity_cpu_milli as cpu, a.capacity_memory_mib as memory,
        a.capacity_gpus as gpus,
        coalesce(held.cpu, 0) as held_cpu, coalesce(held.memory, 0) as held_memory, coalesce(held.gpus, 0) as held_gpus,
        coalesce(a.last_seen_at >= spillway.now() - ${freshnessMs} * interval '1 millisecond', false) as fresh
      from spillway.agents a
      left join (
        select agent_id, sum(cpu_milli) as cpu, sum(memory_mib) as memory, sum(gpus) as gpus from spillway.tasks
        where state in ('leased', 'running') group by agent_id) held on held.agent_id = a.id
      where a.removed_at is null)
    select site, count(*) as agents, count(*) filter (where fresh and not cordoned) as ready,
      count(*) filter (where not fresh) as stale, count(*) filter (where fresh and cordoned) as draining,
      coalesce(sum(cpu) filter (where fresh), 0)::bigint as cpu_milli,
      coalesce(sum(memory) filter (where fresh), 0)::bigint as memory_mib,
      coalesce(sum(gpus) filter (where fresh), 0)::bigint as gpus,
      coalesce(sum(held_cpu) filter (where fresh), 0)::bigint as held_cpu_milli,
      coalesce(sum(held_memory) filter (where fresh), 0)::bigint as held_memory_mib,
      coalesce(sum(held_gpus) filter (where fresh), 0)::bigint as held_gpus,
      coalesce(sum(greatest(0, cpu - held_cpu)) filter (where fresh and not cordoned), 0)::bigint as free_cpu_milli,
      coalesce(sum(greatest(0, memory - held_memory)) filter (where fresh and not cordoned), 0)::bigint as free_memory_mib,
      coalesce(sum(greatest(0, gpus - held_gpus)) filter (where fresh and not cordoned), 0)::bigint as free_gpus
    from live group by site`.execute(tx);
  return [
    toLayer('local', rows.find((row) => row.site === 'on-prem') ?? EMPTY_LAYER, null),
    toLayer('cloud', rows.find((row) => row.site === 'aws') ?? EMPTY_LAYER, usdPerHour),
  ];
}

/** A layer without agents is a row too: zero is what it has. */
const EMPTY_LAYER: Omit<LayerRow, 'site'> = {
  agents: 0,
  ready: 0,
  stale: 0,
  draining: 0,
  cpu_milli: 0,
  memory_mib: 0,
  gpus: 0,
  held_cpu_milli: 0,
  held_memory_mib: 0,
  held_gpus: 0,
  free_cpu_milli: 0,
  free_memory_mib: 0,
  free_gpus: 0,
};

function toLayer(layer: LayerStatus['layer'], row: Omit<LayerRow, 'site'>, usdPerHour: string | null): LayerStatus {
  const { agents, ready, stale, draining } = row;
  return {
    layer,
    agents,
    ready,
    stale,
    draining,
    capacity: { cpuMilli: row.cpu_milli, memoryMib: row.memory_mib, gpus: row.gpus },
    allocated: { cpuMilli: row.held_cpu_milli, memoryMib: row.held_memory_mib, gpus: row.held_gpus },
    free: { cpuMilli: row.free_cpu_milli, memoryMib: row.free_memory_mib, gpus: row.free_gpus },
    usdPerHour,
  };
}

async function readWaiting(tx: Tx): Promise<WaitingStatus[]> {
  const { rows } = await sql<{
    workload: string;
    tasks: number;
    cpu_milli: number;
    memory_mib: number;
    gpus: number;
    oldest_s: number;
  }>`
    select workload, count(*) as tasks, sum(cpu_milli)::bigint as cpu_milli, sum(memory_mib)::bigint as memory_mib,
      sum(gpus)::bigint as gpus,
      greatest(0, extract(epoch from spillway.now() - min(pending_since)))::float8 as oldest_s
    from spillway.tasks where state = 'pending' group by workload order by workload`.execute(tx);
  return rows.map((row) => ({
    workload: row.workload,
    tasks: row.tasks,
    resources: { cpuMilli: row.cpu_milli, memoryMib: row.memory_mib, gpus: row.gpus },
    oldestWaitS: Math.round(row.oldest_s * 1000) / 1000,
  }));
}

/** All that are not over, and those of the last day: the whole history would be read at every scrape. */
async function countTasks(tx: Tx): Promise<StatusDocument['tasks']> {
  const { rows } = await sql<{ state: string; count: number }>`
    select state, count(*) as count from spillway.tasks
    where state in ('pending', 'leased', 'running') or submitted_at >= spillway.now() - interval '1 day'
    group by state`.execute(tx);
  return Object.fromEntries(rows.map((row) => [row.state as TaskState, row.count]));
}

async function countMachines(tx: Tx): Promise<StatusDocument['machines']> {
  const { rows } = await sql<{ workload: string; state: string; market: string; count: number }>`
    select workload, state, market, count(*) as count from spillway.machines where state <> 'terminated'
    group by workload, state, market order by workload, state, market`.execute(tx);
  return rows.map((row) => ({
    workload: row.workload,
    state: row.state as MachineState,
    market: row.market as Market,
    count: row.count,
  }));
}

async function readAmnesiaStatus(tx: Tx, nowMs: number): Promise<StatusDocument['amnesia']> {
  const amnesia = await readAmnesia(tx);
  if (amnesia === null) return null;
  const { sinceMs, reason, evidence, rebuilt } = amnesia;
  return { since: toTimestamp(new Date(sinceMs)), reason, evidence, rebuilt, detail: describeAmnesia(amnesia, nowMs) };
}

async function readLastPlan(tx: Tx): Promise<StatusDocument['lastPlan']> {
  const row = await tx
    .selectFrom('plans')
    .select(['id', 'decided_at'])
    .orderBy('decided_at', 'desc')
    .limit(1)
    .executeTakeFirst();
  return row === undefined ? null : { id: row.id as PlanId, decidedAt: toTimestamp(row.decided_at) };
}
