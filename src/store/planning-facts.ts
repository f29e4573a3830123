import { sql } from 'kysely';

import { describeAmnesia } from '../model/amnesia.ts';
import type { WorkloadPolicy } from '../model/policy.ts';
import { AGENT_GONE_AFTER_MS } from '../model/state-waits.ts';
import { DAY_MS, HOUR_MS } from '../model/time.ts';
import type {
  AgentView,
  Freeing,
  MachineView,
  PendingShape,
  ProtectionView,
  UtilizationView,
} from '../planner/types.ts';
import type { PlanningFacts, WorkloadFacts } from '../ports/planning.ts';
import { readAmnesia } from './amnesia.ts';
import { dbNow, inTransaction, toMs, type Db, type Tx } from './database.ts';
import type { AgentId, MachineId } from '../model/ids.ts';
import type { Architecture } from '../model/offering.ts';
import { KIND_COLUMNS, toConstraints, toKind } from './task-kinds.ts';
import { readChurn } from './churn-facts.ts';
import { readFreeing, readTimes } from './expected-ends.ts';
import { readDemandHistory } from './demand-history.ts';
import { listHolds } from './launch-holds.ts';
import { readHeldLocally } from './local-shares.ts';
import { isProtected } from './protection.ts';

/** Everything one decision pass may know, as of one moment (repeatable read: no half-seen transactions). */
export async function readPlanningFacts(db: Db, policies: readonly WorkloadPolicy[]): Promise<PlanningFacts> {
  return await inTransaction(
    db,
    async (tx) => {
      const clock = await tx.selectNoFrom(dbNow().as('now')).executeTakeFirstOrThrow();
      const agents = await readAgents(tx);
      const machines = await readMachines(tx);
      const workloads = new Map<string, WorkloadFacts>();
      const held = await readHeldLocally(tx);
      const times = await readTimes(tx);
      for (const policy of policies) {
        const heldLocally = held.get(policy.name);
        const learned = times.get(policy.name);
        const facts = await readWorkload(tx, policy);
        const { forecast } = policy.demand;
        const at = { nowMs: toMs(clock.now), leadTimeMs: forecast?.leadTimeMs ?? 0 };
        workloads.set(policy.name, {
          ...facts,
          ...(learned === undefined ? {} : { times: learned }),
          ...(heldLocally === undefined ? {} : { heldLocally }),
          ...(forecast === undefined ? {} : { history: await readDemandHistory(tx, policy.name, at) }),
        });
      }
      const amnesia = await readAmnesia(tx);
      const nowMs = toMs(clock.now);
      return {
        nowMs,
        agents,
        machines,
        workloads,
        holds: await listHolds(tx),
        amnesia: amnesia === null ? null : describeAmnesia(amnesia, nowMs),
      };
    },
    'repeatable read',
  );
}

/**
 * Rows read at a time. Parsing the answer is one block of the event loop, in which no agent is heard: ten thousand rows at once
 * are some 30 ms of it.
 */
const AGENTS_PER_READ = 2_000;

async function readAgents(tx: Tx): Promise<readonly AgentView[]> {
  const [held, freeing] = [await readHeld(tx), await readFreeing(tx)];
  const agents: AgentView[] = [];
  for (let after: string | null = null; ;) {
    const rows = await readAgentRows(tx, after);
    for (const row of rows) agents.push(toAgentView(row, held.get(row.id), freeing.get(row.id)));
    after = rows.at(-1)?.id ?? null;
    if (after === null || rows.length < AGENTS_PER_READ) return agents;
  }
}

/** What was promised to an agent, whether or not it has begun. */
type Held = Awaited<ReturnType<typeof readHeldRows>>[number];

async function readHeld(tx: Tx): Promise<ReadonlyMap<string | null, Held>> {
  const rows = await readHeldRows(tx);
  return new Map(rows.map((row) => [row.agent_id, row]));
}

async function readHeldRows(tx: Tx) {
  return await tx
    .selectFrom('tasks')
    .select([
      'agent_id',
      sql<number>`sum(cpu_milli)::int`.as('cpu'),
      sql<number>`sum(memory_mib)::int`.as('memory'),
      sql<number>`sum(gpus)::int`.as('gpus'),
    ])
    .select(sql<number>`count(*)::int`.as('held'))
    .where('state', 'in', ['leased', 'running'])
    .groupBy('agent_id')
    .orderBy('agent_id')
    .execute();
}

async function readAgentRows(tx: Tx, after: string | null) {
  return await tx
    .selectFrom('agents as a')
    .select(['a.id', 'a.site', 'a.labels', 'a.cordoned', 'a.last_seen_at', 'a.machine_id', 'a.running_tasks'])
    .select(['a.capacity_cpu_milli', 'a.capacity_memory_mib', 'a.capacity_gpus', 'a.arch'])
    .where('a.removed_at', 'is', null)
    .where('a.left_at', 'is', null)
    // One that has been silent for so long is not silent but gone: it must not hold scale-in for ever.
    .where(
      sql<boolean>`coalesce(a.last_seen_at, a.registered_at) > spillway.now() - ${AGENT_GONE_AFTER_MS} * interval '1 millisecond'`,
    )
    .$if(after !== null, (query) => query.where('a.id', '>', after ?? ''))
    .orderBy('a.id')
    .limit(AGENTS_PER_READ)
    .execute();
}

function toAgentView(
  row: Awaited<ReturnType<typeof readAgentRows>>[number],
  held: Held | undefined,
  freeing: readonly Freeing[] | undefined,
): AgentView {
  return {
    id: row.id as AgentId,
    site: row.site as AgentView['site'],
    labels: row.labels as Record<string, string>,
    capacity: { cpuMilli: row.capacity_cpu_milli, memoryMib: row.capacity_memory_mib, gpus: row.capacity_gpus },
    allocated: { cpuMilli: held?.cpu ?? 0, memoryMib: held?.memory ?? 0, gpus: held?.gpus ?? 0 },
    arch: row.arch as Architecture | null,
    // What the agent says and what was promised to it: the larger is the truth that is safe to act on.
    runningTasks: Math.max(row.running_tasks, held?.held ?? 0),
    ...(freeing === undefined ? {} : { freeing }),
    cordoned: row.cordoned,
    lastSeenAtMs: toMs(row.last_seen_at),
    machineId: row.machine_id as MachineId | null,
  };
}

async function readMachines(tx: Tx): Promise<readonly MachineView[]> {
  const rows = await tx
    .selectFrom('machines')
    .select(['id', 'workload', 'state', 'revision', 'instance_type', 'cpu_milli', 'memory_mib', 'zone', 'market'])
    .select([
      'gpus',
      'arch',
      'price_usd_per_hour',
      'created_at',
      'idle_since',
      'drain_irrevocable',
      'agent_id',
      'state_since',
      'end_reason',
      'started_at',
      'first_ready_at',
      'stopped_at',
      'tag_protected',
      'protected_until',
    ])
    .select(isProtected('machines').as('is_protected'))
    .select((eb) =>
      eb
        .selectFrom('launches as l')
        .select(sql<string | null>`l.body ->> 'imageId'`.as('image'))
        .whereRef('l.id', '=', 'machines.launch_id')
        .where('machines.state', '=', 'stopped')
        .as('image_id'),
    )
    .where('state', '<>', 'terminated')
    .orderBy('id')
    .execute();
  return rows.map((row) => ({
    id: row.id as MachineId,
    workload: row.workload,
    state: row.state as MachineView['state'],
    revision: row.revision,
    instanceType: row.instance_type,
    resources: { cpuMilli: row.cpu_milli, memoryMib: row.memory_mib, gpus: row.gpus },
    arch: row.arch as Architecture | null,
    zone: row.zone,
    market: row.market as MachineView['market'],
    priceUsdPerHour: Number(row.price_usd_per_hour),
    createdAtMs: toMs(row.created_at),
    startedAtMs: toMs(row.started_at),
    startMs:
      row.started_at === null || row.first_ready_at === null ? null : toMs(row.first_ready_at) - toMs(row.started_at),
    idleSinceMs: toMs(row.idle_since),
    drainIrrevocable: row.drain_irrevocable,
    ...(row.is_protected ? { protection: protectionOf(row) } : {}),
    agentId: row.agent_id as AgentId | null,
    readySinceMs: row.state === 'ready' ? toMs(row.state_since) : null,
    endReason: (row.end_reason as MachineView['endReason']) ?? null,
    ...(row.state === 'stopped' ? { stoppedSinceMs: toMs(row.stopped_at), imageId: row.image_id } : {}),
  }));
}

/** The tag outlasts whatever an operator said. */
function protectionOf(row: { readonly tag_protected: boolean; readonly protected_until: Date | null }): ProtectionView {
  return row.tag_protected ? { by: 'tag', untilMs: null } : { by: 'operator', untilMs: toMs(row.protected_until) };
}

async function readWorkload(tx: Tx, policy: WorkloadPolicy): Promise<WorkloadFacts> {
  const hourAgo = sql<Date>`spillway.now() - ${HOUR_MS} * interval '1 millisecond'`;
  // Cooldowns are shorter than a day; what is older need not be read at every pass.
  const dayAgo = sql<Date>`spillway.now() - ${DAY_MS} * interval '1 millisecond'`;
  const launched = await tx
    .selectFrom('launches')
    .select(sql<number>`coalesce(sum(instance_count) filter (where created_at > ${hourAgo}), 0)::int`.as('count'))
    .select(sql<Date | null>`max(created_at)`.as('last'))
    .where('workload', '=', policy.name)
    .where('created_at', '>', dayAgo)
    .executeTakeFirstOrThrow();
  const started = await tx
    .selectFrom('machine_events as e')
    .innerJoin('machines as m', 'm.id', 'e.machine_id')
    .select(sql<number>`count(*) filter (where e.at > ${hourAgo})::int`.as('count'))
    .select(sql<Date | null>`max(e.at)`.as('last'))
    .where('m.workload', '=', policy.name)
    .where('e.from_state', '=', 'stopped')
    .where('e.to_state', '=', 'booting')
    .where('e.at', '>', dayAgo)
    .executeTakeFirstOrThrow();
  const drained = await tx
    .selectFrom('machine_events as e')
    .innerJoin('machines as m', 'm.id', 'e.machine_id')
    .select(sql<Date | null>`max(e.at)`.as('last'))
    .where('m.workload', '=', policy.name)
    // An extended deadline is an event of a machine that drains already.
    .where('e.from_state', '=', 'ready')
    .where('e.to_state', '=', 'draining')
    .where('e.at', '>', dayAgo)
    .executeTakeFirstOrThrow();
  return {
    pending: await readPending(tx, policy),
    utilization: policy.demand.utilization === null ? null : await readUtilization(tx, policy),
    launchedLastHour: launched.count + started.count,
    lastLaunchAtMs: latest(toMs(launched.last), toMs(started.last)),
    lastDrainAtMs: toMs(drained.last),
    churn: await readChurn(tx, policy.name),
  };
}

function latest(a: number | null, b: number | null): number | null {
  return a === null || b === null ? (a ?? b) : Math.max(a, b);
}

async function readPending(tx: Tx, policy: WorkloadPolicy): Promise<readonly PendingShape[]> {
  const maxWaitMs = policy.demand.queue?.maxWaitMs ?? 0;
  const rows = await tx
    .selectFrom('tasks')
    .select(KIND_COLUMNS)
    .select([
      sql<number>`count(*)::int`.as('count'),
      sql<Date>`min(pending_since)`.as('oldest'),
      // Over those that say how long they run; null when none does.
      sql<number | null>`percentile_disc(0.5) within group (order by run_time_s)`.as('run_time_p50'),
      sql<number | null>`percentile_disc(0.95) within group (order by run_time_s)`.as('run_time_p95'),
    ])
    .select(
      sql<number>`count(*) filter (where pending_since <= spillway.now() - ${maxWaitMs} * interval '1 millisecond')::int`.as(
        'overdue',
      ),
    )
    .where('workload', '=', policy.name)
    .where('state', '=', 'pending')
    .groupBy(KIND_COLUMNS)
    .orderBy('cpu_milli')
    .orderBy('memory_mib')
    .orderBy('gpus')
    .orderBy('arch')
    .orderBy('local_only')
    .orderBy('spot_ok')
    .execute();
  return rows.map((row) => ({
    shape: toKind(row).shape,
    ...toConstraints(row),
    runTimeS:
      row.run_time_p50 === null || row.run_time_p95 === null ? null : { p50: row.run_time_p50, p95: row.run_time_p95 },
    count: row.count,
    overdue: row.overdue,
    oldestPendingSinceMs: toMs(row.oldest),
  }));
}

/** Use over capacity of the workload's agents, on-prem by selector and cloud by machine, over the policy's window. */
async function readUtilization(tx: Tx, policy: WorkloadPolicy): Promise<UtilizationView | null> {
  const windowMs = policy.demand.utilization?.windowMs ?? 0;
  const row = await sql<{
    cpu: number | null;
    memory: number | null;
    capacityCpuMilli: number | null;
    capacityMemoryMib: number | null;
    oldest: Date | null;
    newest: Date | null;
  }>`
    with serving as (
      select a.id, a.capacity_cpu_milli, a.capacity_memory_mib
      from spillway.agents a
      left join spillway.machines m on m.id = a.machine_id
      where a.removed_at is null
        and ((a.site = 'on-prem' and a.labels @> ${JSON.stringify(policy.agents.selector)}::jsonb) or m.workload = ${policy.name})
    ), mean as (
      select s.agent_id, avg(s.used_cpu_milli) as cpu, avg(s.used_memory_mib) as memory, min(s.at) as oldest, max(s.at) as newest
      from spillway.samples s
      where s.at > spillway.now() - ${windowMs} * interval '1 millisecond'
        and s.agent_id in (select id from serving)
        and s.used_cpu_milli is not null and s.used_memory_mib is not null
      group by s.agent_id
    )
    select (sum(mean.cpu) / nullif(sum(serving.capacity_cpu_milli), 0))::float8 as cpu,
           (sum(mean.memory) / nullif(sum(serving.capacity_memory_mib), 0))::float8 as memory,
           sum(serving.capacity_cpu_milli)::int as "capacityCpuMilli", sum(serving.capacity_memory_mib)::int as "capacityMemoryMib",
           min(mean.oldest) as oldest, min(mean.newest) as newest
    from mean join serving on serving.id = mean.agent_id`.execute(tx);
  const [mean] = row.rows;
  if (mean === undefined || mean.cpu === null || mean.memory === null || mean.oldest === null || mean.newest === null)
    return null;
  return {
    cpu: mean.cpu,
    memory: mean.memory,
    capacity: { cpuMilli: mean.capacityCpuMilli ?? 0, memoryMib: mean.capacityMemoryMib ?? 0, gpus: 0 },
    oldestSampleAtMs: toMs(mean.oldest),
    // The newest sample of the agent that has been silent longest: one talkative agent must not vouch for the others.
    newestSampleAtMs: toMs(mean.newest),
  };
}
