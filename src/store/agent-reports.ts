import { sql } from 'kysely';

import type { AgentId, MachineId, TaskId } from '../model/ids.ts';
import { addResources, NO_RESOURCES } from '../model/resources.ts';
import { orderLeaseMsMin } from '../model/task.ts';
import type { AgentReport, ReportedTask } from '../ports/agent-gateway.ts';
import type { HeldTask, ReportOf, ReportResult } from '../ports/tasks.ts';
import type { Tx } from './database.ts';
import { givenBack } from './give-back.ts';
import { selectHeld, toHeld } from './held-tasks.ts';
import { regainTasks } from './regain-tasks.ts';

interface AcceptedAgent {
  readonly id: string;
  readonly cordoned: boolean;
  readonly cordon_generation: number;
  readonly machine_id: string | null;
  readonly machine_state: string | null;
  /** Null: since it registered. */
  readonly boot_age_ms: number | null;
}

/** What the rows must become, gathered over a whole batch so that it takes a handful of statements. */
interface TaskWrites {
  readonly kept: { readonly id: TaskId; readonly progressBase64: string | null }[];
  readonly ended: { readonly id: TaskId; readonly exitCode: number; readonly progressBase64: string | null }[];
  readonly lost: TaskId[];
  /** Machines by whether their agent still has anything to do. */
  readonly busy: Map<string, boolean>;
}

/**
 * Writes a batch of heartbeats in one transaction: agents, samples, tasks, idle clocks. Reports of an older boot or
 * sequence number change nothing. One agent appears at most once in a batch.
 */
export async function writeReports(
  tx: Tx,
  reports: readonly ReportOf[],
  leaseMs: number,
): Promise<readonly ReportResult[]> {
  const accepted = await updateAgents(tx, reports);
  await regainTasks(tx, reports, new Set(accepted.keys()), leaseMs);
  const heldByAgent = await readHeld(tx, [...accepted.keys()]);
  const writes: TaskWrites = { kept: [], ended: [], lost: [], busy: new Map() };
  const refused = reports.filter(({ agentId }) => !accepted.has(agentId));
  const known = await findKnown(tx, refused);
  const results = reports.map((reportOf) => {
    const { agentId } = reportOf;
    const agent = accepted.get(agentId);
    if (agent === undefined) return refusedResult(agentId, known.has(agentId) ? 'superseded' : 'unknown-agent');
    return settleReport(reportOf, agent, { held: heldByAgent.get(agentId) ?? [], leaseMs }, writes);
  });
  await insertSamples(
    tx,
    reports.filter(({ agentId }) => accepted.has(agentId)),
    heldByAgent,
  );
  await writeTasks(tx, writes, leaseMs);
  await writeIdleClocks(tx, writes.busy);
  return results;
}

/** Of the agents whose reports were not taken, those that exist and whose credential this is. */
async function findKnown(tx: Tx, reports: readonly ReportOf[]): Promise<ReadonlySet<string>> {
  if (reports.length === 0) return new Set();
  const rows = await tx
    .selectFrom('agents')
    .select(['id', 'token_hash'])
    .where(
      'id',
      'in',
      reports.map(({ agentId }) => agentId),
    )
    .where('removed_at', 'is', null)
    .orderBy('id')
    .execute();
  const tokens = new Map(rows.map((row) => [row.id, row.token_hash]));
  const known = reports.filter(({ agentId, tokenHash }) => {
    const token = tokens.get(agentId);
    return token !== undefined && (tokenHash === undefined || tokenHash === token);
  });
  return new Set(known.map(({ agentId }) => agentId));
}

function refusedResult(agentId: AgentId, kind: 'superseded' | 'unknown-agent'): ReportResult {
  return {
    agentId,
    kind,
    cordoned: false,
    cordonGeneration: 0,
    leave: false,
    waitingMachineId: null,
    held: [],
    ended: [],
    foreign: [],
    lost: [],
  };
}

/** Earlier boots of an agent that are remembered. Boot ids are random: nothing else tells an old one from a new one. */
const EARLIER_BOOTS_MAX = 8;

async function updateAgents(tx: Tx, reports: readonly ReportOf[]): Promise<ReadonlyMap<AgentId, AcceptedAgent>> {
  const said = reports.map(({ report }) => report);
  const rows = await sql<AcceptedAgent>`
    with report as (
      select * from unnest(
        ${reports.map((r) => r.agentId)}::text[], ${said.map((r) => r.bootId)}::text[], ${said.map((r) => r.seq)}::bigint[],
        ${said.map((r) => r.capacity.cpuMilli)}::int[], ${said.map((r) => r.capacity.memoryMib)}::int[],
        ${said.map((r) => r.capacity.gpus)}::int[], ${said.map((r) => r.arch ?? null)}::text[],
        ${said.map((r) => r.used?.cpuMilli ?? null)}::int[], ${said.map((r) => r.used?.memoryMib ?? null)}::int[],
        ${said.map((r) => (r.cordon.cordoned ? r.cordon.generation : 0))}::bigint[], ${said.map((r) => runningCount(r))}::int[],
        ${said.map((r) => r.leaving)}::bool[], ${said.map((r) => otherTasks(r))}::int[],
        ${said.map((r) => r.others === 'unknown')}::bool[], ${said.map((r) => r.rebalance ?? false)}::bool[],
        ${reports.map((r) => r.tokenHash ?? null)}::text[]
      ) as t(id, boot_id, seq, cpu, memory, gpus, arch, used_cpu, used_memory, acked, running, leaving, others, probe_failed, rebalance,
        token_hash)
    ), locked as (
      -- In one order for every writer, so that two batches with the same agents wait instead of deadlocking.
      select a.id from spillway.agents a join report on report.id = a.id
      where a.removed_at is null and a.token_hash = coalesce(report.token_hash, a.token_hash)
      order by a.id for update of a
    )
    update spillway.agents a set
      boot_id = report.boot_id,
      earlier_boots = case
        when a.boot_id is null or a.boot_id = report.boot_id then a.earlier_boots
        else (array_prepend(a.boot_id, a.earlier_boots))[1:${EARLIER_BOOTS_MAX}] end,
      boot_since = case when a.boot_id is distinct from report.boot_id then spillway.now() else a.boot_since end,
      seq = report.seq,
      last_seen_at = spillway.now(), left_at = case when report.leaving then spillway.now() end,
      capacity_cpu_milli = report.cpu, capacity_memory_mib = report.memory,
      capacity_gpus = report.gpus, arch = coalesce(report.arch, a.arch),
      used_cpu_milli = report.used_cpu, used_memory_mib = report.used_memory,
      running_tasks = report.running, other_tasks = report.others, probe_failed = report.probe_failed,
      rebalance_noticed_at = case when report.rebalance then coalesce(a.rebalance_noticed_at, spillway.now()) end,
      cordon_acked_generation = greatest(a.cordon_acked_generation, report.acked),
      cordon_acked_at = case
        when a.cordoned and report.acked = a.cordon_generation then coalesce(a.cordon_acked_at, spillway.now())
        else a.cordon_acked_at end
    from report, locked
    where a.id = report.id and locked.id = a.id
      and case when a.boot_id = report.boot_id then a.seq < report.seq else not report.boot_id = any(a.earlier_boots) end
    returning a.id, a.cordoned, a.cordon_generation::int as cordon_generation, a.machine_id,
      (extract(epoch from spillway.now() - a.boot_since) * 1000)::float8 as boot_age_ms,
      (select m.state from spillway.machines m where m.id = a.machine_id) as machine_state`.execute(tx);
  return new Map(rows.rows.map((row) => [row.id as AgentId, row]));
}

/** Work of other engines is work: it keeps the machine as long as ours does. */
function runningCount(report: AgentReport): number {
  return report.tasks.filter(({ state }) => state === 'running').length + otherTasks(report);
}

/** What is not known counts as work. */
function otherTasks({ others = null }: AgentReport): number {
  return others === 'unknown' ? 1 : (others ?? 0);
}

async function readHeld(tx: Tx, agentIds: readonly AgentId[]): Promise<ReadonlyMap<AgentId, readonly HeldTask[]>> {
  if (agentIds.length === 0) return new Map();
  const rows = await selectHeld(tx, agentIds).forUpdate().execute();
  return Map.groupBy(rows.map(toHeld), (task) => task.agentId);
}

/** Compares what one agent says with what the rows say; pure but for what it adds to `writes`. */
function settleReport(
  { agentId, report }: ReportOf,
  agent: AcceptedAgent,
  { held, leaseMs }: { readonly held: readonly HeldTask[]; readonly leaseMs: number },
  writes: TaskWrites,
): ReportResult {
  const said = new Map(report.tasks.map((task) => [`${task.taskId}/${task.attempt}`, task]));
  const fate = Map.groupBy(held, (task) => {
    const word = said.get(`${task.id}/${task.attempt}`);
    if (word === undefined && isOfEarlierBoot(task, agent, leaseMs)) return 'doubtful';
    // Too late to be ordered again: it was ordered before and not started.
    const startsNothing = refusesWork(report, agent) || task.leaseLeftMs < orderLeaseMsMin(leaseMs);
    return settleTask(task, word, startsNothing, writes);
  });
  for (const task of held) said.delete(`${task.id}/${task.attempt}`);
  const lost = fate.get('lost') ?? [];
  const ended = (fate.get('ended') ?? []).map((task) => ({ taskId: task.id, attempt: task.attempt, lease: task }));
  const stillHeld = [
    ...(fate.get('running') ?? []).map((task) => ({ ...task, state: 'running' as const })),
    ...(fate.get('waiting') ?? []),
  ];
  const rest = [...said.values()];
  const isBusy = stillHeld.length > 0 || fate.has('doubtful') || rest.some(isRunning) || otherTasks(report) > 0;
  if (agent.machine_id !== null) writes.busy.set(agent.machine_id, isBusy);
  return {
    agentId,
    kind: 'accepted',
    cordoned: agent.cordoned,
    cordonGeneration: agent.cordon_generation,
    leave: ['leaving', 'stopping', 'terminating'].includes(agent.machine_state ?? ''),
    waitingMachineId: waitingMachineOf(agent),
    held: stillHeld,
    // An exit that no row waits for was recorded before, or belongs to an attempt that is over: it may be forgotten.
    ended: [
      ...ended,
      ...rest.filter((task) => !isRunning(task)).map(({ taskId, attempt }) => ({ taskId, attempt, lease: null })),
    ],
    foreign: rest.filter(isRunning).map(({ taskId, attempt }) => ({ taskId, attempt })),
    lost,
  };
}

/** The machine whose next step waits for this report. */
function waitingMachineOf({ machine_id, machine_state }: AcceptedAgent): MachineId | null {
  return machine_state === 'joining' || machine_state === 'draining' ? (machine_id as MachineId | null) : null;
}

/**
 * Given to a boot before this one, which says nothing of it. It may have died with that boot, or run on: the machine may be a copy
 * of one that lives. Whoever lives ends its work within the lease, so that it is given out anew when that is over.
 */
function isOfEarlierBoot({ leaseLeftMs }: HeldTask, { boot_age_ms }: AcceptedAgent, leaseMs: number): boolean {
  return boot_age_ms !== null && leaseMs - leaseLeftMs >= boot_age_ms;
}

/** What one held task came to, by what the agent says of it; adds to `writes` what its row must become. */
function settleTask(
  task: HeldTask,
  word: ReportedTask | undefined,
  startsNothing: boolean,
  writes: TaskWrites,
): 'ended' | 'running' | 'lost' | 'waiting' {
  if (word?.state === 'exited') {
    writes.ended.push({ id: task.id, exitCode: word.exitCode, progressBase64: word.progressBase64 });
    return 'ended';
  }
  if (word !== undefined) {
    writes.kept.push({ id: task.id, progressBase64: word.progressBase64 });
    return 'running';
  }
  if (task.state === 'running' || startsNothing) {
    // It ran there and the agent lost it, or it was never started and will not be: it runs elsewhere.
    writes.lost.push(task.id);
    return 'lost';
  }
  // Not started yet. Its lease is not renewed: an agent that does not start it in good time does not keep it.
  return 'waiting';
}

/** An agent that obeys the newest cordon, or says goodbye, starts nothing any more. */
function refusesWork(report: AgentReport, agent: AcceptedAgent): boolean {
  const obeys = report.cordon.cordoned && report.cordon.generation === agent.cordon_generation;
  return report.leaving || (agent.cordoned && obeys);
}

function isRunning(task: ReportedTask): boolean {
  return task.state === 'running';
}

/** @param heldByAgent what is allocated there: the rows are locked, so that nothing else can be by now */
async function insertSamples(
  tx: Tx,
  reports: readonly ReportOf[],
  heldByAgent: ReadonlyMap<AgentId, readonly HeldTask[]>,
): Promise<void> {
  if (reports.length === 0) return;
  const allocated = reports.map(({ agentId }) =>
    (heldByAgent.get(agentId) ?? []).reduce((sum, { shape }) => addResources(sum, shape), NO_RESOURCES),
  );
  await sql`
    insert into spillway.samples
      (agent_id, at, used_cpu_milli, used_memory_mib, allocated_cpu_milli, allocated_memory_mib, allocated_gpus, running_tasks)
    select s.id, spillway.now(), s.used_cpu, s.used_memory, s.cpu, s.memory, s.gpus, s.running
    from unnest(
      ${reports.map((r) => r.agentId)}::text[], ${reports.map((r) => r.report.used?.cpuMilli ?? null)}::int[],
      ${reports.map((r) => r.report.used?.memoryMib ?? null)}::int[], ${reports.map((r) => runningCount(r.report))}::int[],
      ${allocated.map((r) => r.cpuMilli)}::int[], ${allocated.map((r) => r.memoryMib)}::int[], ${allocated.map((r) => r.gpus)}::int[]
    ) as s(id, used_cpu, used_memory, running, cpu, memory, gpus)
    on conflict do nothing`.execute(tx);
}

async function writeTasks(tx: Tx, writes: TaskWrites, leaseMs: number): Promise<void> {
  if (writes.kept.length > 0) {
    await sql`
      update spillway.tasks t set
        lease_expires_at = spillway.now() + ${leaseMs} * interval '1 millisecond',
        state = 'running',
        started_at = coalesce(t.started_at, spillway.now()),
        progress_base64 = coalesce(k.progress, t.progress_base64)
      from unnest(
        ${writes.kept.map((k) => k.id)}::text[], ${writes.kept.map((k) => k.progressBase64)}::text[]
      ) as k(id, progress)
      where t.id = k.id`.execute(tx);
  }
  if (writes.ended.length > 0) {
    await sql`
      update spillway.tasks t set
        state = case when e.code = 0 then 'done' else 'failed' end,
        exit_code = e.code, finished_at = spillway.now(), started_at = coalesce(t.started_at, spillway.now()),
        progress_base64 = coalesce(e.progress, t.progress_base64), lease_token = null, lease_expires_at = null
      from unnest(
        ${writes.ended.map((e) => e.id)}::text[], ${writes.ended.map((e) => e.exitCode)}::int[], ${writes.ended.map((e) => e.progressBase64)}::text[]
      ) as e(id, code, progress)
      where t.id = e.id`.execute(tx);
  }
  if (writes.lost.length > 0) {
    await sql`
      update spillway.tasks t set ${givenBack('t')}
      where t.id = any(${writes.lost}::text[])`.execute(tx);
  }
}

/** Idle since = since the first report without work after work; any work stops the clock. */
async function writeIdleClocks(tx: Tx, busy: ReadonlyMap<string, boolean>): Promise<void> {
  if (busy.size === 0) return;
  await sql`
    update spillway.machines m set
      idle_since = case when b.busy then null else coalesce(m.idle_since, spillway.now()) end,
      wake_at = case when m.state in ('joining', 'draining') then spillway.now() else m.wake_at end
    from unnest(${[...busy.keys()]}::text[], ${[...busy.values()]}::bool[]) as b(id, busy)
    where m.id = b.id and m.state <> 'terminated'
      and ((m.idle_since is null) is distinct from b.busy or m.state in ('joining', 'draining'))`.execute(tx);
}
