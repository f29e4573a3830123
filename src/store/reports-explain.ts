import { sql } from 'kysely';
import type { LaunchId, MachineId, TaskId } from '../model/ids.ts';
import { isId } from '../model/ids.ts';
import type { LaunchState } from '../model/launch.ts';
import type { MachineState } from '../model/machine.ts';
import type { WorkloadPolicy } from '../model/policy.ts';
import type { TaskState } from '../model/task.ts';
import type {
  AgentFacts,
  HeldTasks,
  LaunchCallDocument,
  LaunchStory,
  MachineFacts,
  PlanPart,
} from '../ports/explanations.ts';
import type { AgentDocument, MachineDetails } from '../ports/reports.ts';
import { dbNow, inTransaction, type Db, type Tx } from './database.ts';
import { readAgentEvents } from './agent-events.ts';
import { readAgent } from './reports-agents.ts';
import { readOpenMachine } from './reports-charges.ts';
import { showMachine } from './reports-machines.ts';
import { readPlanPart } from './reports-plans.ts';
import { toTimestamp } from './reports-shared.ts';

/** More names help nobody; the total says how many there are. */
const TASKS_MAX = 100;
const CALLS_MAX = 50;

/** One machine with its agent, its work and its plans, as of one moment. */
export async function readMachineFacts(db: Db, id: MachineId, freshnessMs: number): Promise<MachineFacts | null> {
  return await inTransaction(
    db,
    async (tx) => {
      const machine = await showMachine(tx, id);
      if (machine === null) return null;
      const { agentId, workload } = machine;
      const launchedBy = await readPlanPart(tx, machine.planId, workload);
      if (launchedBy === null) throw new Error(`bug: machine ${id} has no plan`);
      return {
        at: await readNow(tx),
        machine,
        agent: agentId === null ? null : await findAgent(tx, agentId, freshnessMs),
        tasks: agentId === null ? { total: 0, items: [] } : await readHeldTasks(tx, agentId),
        launch: await readLaunchStory(tx, machine.launchId),
        launchedBy,
        drainedBy: await readDrainedBy(tx, machine),
        open: await readOpenMachine(tx, id),
      };
    },
    'repeatable read',
  );
}

async function findAgent(tx: Tx, id: string, freshnessMs: number): Promise<AgentDocument | null> {
  return (await readAgent(tx, sql`r.id = ${id}`, freshnessMs))?.agent ?? null;
}

/** Its newest way out of `ready`, if it did not come back from there. */
async function readDrainedBy(tx: Tx, { state, events, workload }: MachineDetails): Promise<PlanPart | null> {
  if (state === 'ready') return null;
  const drain = events.findLast(({ fromState, toState }) => fromState === 'ready' && toState === 'draining');
  return drain?.actor === 'planner' ? await readPlanPart(tx, drain.planId, workload) : null;
}

async function readNow(tx: Tx): Promise<string> {
  const { now } = await tx.selectNoFrom(dbNow().as('now')).executeTakeFirstOrThrow();
  return toTimestamp(now);
}

async function readHeldTasks(tx: Tx, agentId: string): Promise<HeldTasks> {
  const rows = await tx
    .selectFrom('tasks')
    .select(['id', 'workload', 'state', 'attempt', 'started_at', 'lease_expires_at'])
    .select(sql<number>`(count(*) over ())::int`.as('total'))
    .where('agent_id', '=', agentId)
    .where('state', 'in', ['leased', 'running'])
    .orderBy(sql`started_at nulls last`)
    .orderBy('id')
    .limit(TASKS_MAX)
    .execute();
  const items = rows.map((row) => ({
    id: row.id as TaskId,
    workload: row.workload,
    state: row.state as TaskState,
    attempt: row.attempt,
    startedAt: toTimestamp(row.started_at),
    leaseExpiresAt: toTimestamp(row.lease_expires_at),
  }));
  return { total: rows[0]?.total ?? 0, items };
}

async function readLaunchStory(tx: Tx, id: string): Promise<LaunchStory> {
  const launch = await tx
    .selectFrom('launches')
    .select(['id', 'state', 'attempt', 'deadline_at'])
    .where('id', '=', id)
    .executeTakeFirstOrThrow();
  return {
    id: launch.id as LaunchId,
    state: launch.state as LaunchState,
    attempt: launch.attempt,
    deadlineAt: toTimestamp(launch.deadline_at),
    calls: await readCalls(tx, id),
  };
}

async function readCalls(tx: Tx, launchId: string): Promise<LaunchCallDocument[]> {
  const rows = await tx
    .selectFrom('launch_calls')
    .select(['started_at', 'attempt', 'outcome', 'error_code'])
    .where('launch_id', '=', launchId)
    .orderBy('id', 'desc')
    .limit(CALLS_MAX)
    .execute();
  return rows.reverse().map((row) => ({
    at: toTimestamp(row.started_at),
    attempt: row.attempt,
    outcome: row.outcome,
    errorCode: row.error_code,
  }));
}

/** One agent with its work and the policies that might count on it, as of one moment. */
export async function readAgentFacts(db: Db, idOrName: string, freshnessMs: number): Promise<AgentFacts | null> {
  return await inTransaction(
    db,
    async (tx) => {
      const condition = isId('ag', idOrName) ? sql`r.id = ${idOrName}` : sql`r.name = ${idOrName}`;
      const found = await readAgent(tx, condition, freshnessMs);
      if (found === null) return null;
      const { agent, leftAt, removedAt } = found;
      return {
        at: await readNow(tx),
        agent,
        leftAt,
        removedAt,
        tasks: await readHeldTasks(tx, agent.id),
        machine: agent.machineId === null ? null : await readMachineOf(tx, agent.machineId),
        events: await readAgentEvents(tx, agent.id),
        policies: await readPolicies(tx),
      };
    },
    'repeatable read',
  );
}

async function readMachineOf(tx: Tx, id: MachineId): Promise<AgentFacts['machine']> {
  const row = await tx
    .selectFrom('machines')
    .select(['workload', 'state'])
    .where('id', '=', id)
    .executeTakeFirstOrThrow();
  return { id, workload: row.workload, state: row.state as MachineState };
}

async function readPolicies(tx: Tx): Promise<WorkloadPolicy[]> {
  const rows = await tx
    .selectFrom('policies')
    .select('document')
    .where('active', '=', true)
    .orderBy('workload')
    .execute();
  return rows.map(({ document }) => document as WorkloadPolicy);
}
