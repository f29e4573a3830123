import { sql } from 'kysely';

import type { AgentId } from '../model/ids.ts';
import type { Site } from '../model/agent.ts';
import type { AgentStore, NewAgent } from '../ports/tasks.ts';
import { writeAgentEvent } from './agent-events.ts';
import { mayHaveForgotten } from './amnesia.ts';
import { lockAgentsOf } from './cordon.ts';
import { dbNow, dbNowPlus, inTransaction, toMs, type Db, type Tx } from './database.ts';
import { writeReports } from './agent-reports.ts';

/** Agents as rows. */
export function createAgentStore(db: Db): AgentStore {
  return {
    register: async (enrolmentHash, agent) =>
      await inTransaction(db, async (tx) => await registerAgent(tx, enrolmentHash, agent)),

    async findByTokens(tokenHashes) {
      const rows = await db
        .selectFrom('agents')
        .select(['id', 'token_hash'])
        .where('token_hash', 'in', [...tokenHashes])
        .where('removed_at', 'is', null)
        .orderBy('id')
        .execute();
      const ids = new Map(rows.map((row) => [row.token_hash, row.id as AgentId]));
      return tokenHashes.map((tokenHash) => ids.get(tokenHash) ?? null);
    },

    mayBeForgotten: async () => await mayHaveForgotten(db),

    writeReports: async (reports, leaseMs) =>
      await inTransaction(db, async (tx) => await writeReports(tx, reports, leaseMs)),

    createEnrolment: async (tokenHash, labels, ttlMs, order) =>
      await inTransaction(db, async (tx) => {
        const { by, reason, installs } = order;
        const agentId = installs === null ? null : await findInstalled(tx, installs);
        if (agentId !== null) await writeAgentEvent(tx, { agentId, kind: 'install', by, reason });
        const row = await tx
          .insertInto('enrolments')
          .values({
            token_hash: tokenHash,
            site: 'on-prem',
            labels: JSON.stringify(labels),
            created_at: dbNow(),
            expires_at: dbNowPlus(ttlMs),
            created_by: by,
            reason,
            agent_id: agentId,
          })
          .returning('expires_at')
          .executeTakeFirstOrThrow();
        return { expiresAtMs: toMs(row.expires_at) };
      }),
  };
}

/**
 * An agent that is there keeps its identity when it is installed again: the token of that is left unused, unless its machine has lost
 * the agent. It is noted as the agent's own, so that it ends with it.
 */
async function findInstalled(tx: Tx, name: string): Promise<AgentId | null> {
  const known = await tx
    .selectFrom('agents')
    .select('id')
    .where('name', '=', name)
    .where('site', '=', 'on-prem')
    .where('removed_at', 'is', null)
    .orderBy('id')
    .limit(2)
    .execute();
  // Of several nobody knows which one is meant.
  const [agent, another] = known;
  return agent === undefined || another !== undefined ? null : (agent.id as AgentId);
}

async function registerAgent(
  tx: Tx,
  enrolmentHash: string,
  agent: NewAgent,
): Promise<Awaited<ReturnType<AgentStore['register']>>> {
  const enrolment = await tx
    .selectFrom('enrolments')
    .select(['site', 'machine_id', 'labels', 'used_at', 'agent_id', 'created_by', 'reason'])
    .select(sql<boolean>`expires_at <= ${dbNow()}`.as('expired'))
    .where('token_hash', '=', enrolmentHash)
    .forUpdate()
    .executeTakeFirst();
  if (enrolment === undefined) return { kind: 'refused', why: 'unknown-token' };
  if (enrolment.used_at !== null) return await answerAgain(tx, enrolment.agent_id, agent);
  if (enrolment.expired) return { kind: 'refused', why: 'expired' };
  if (enrolment.machine_id !== null) {
    // Agents before machines, as everybody does who needs both.
    await lockAgentsOf(tx, [enrolment.machine_id]);
    if (!(await lockJoiningMachine(tx, enrolment.machine_id))) return { kind: 'refused', why: 'expired' };
    await replaceEarlierAgent(tx, enrolment.machine_id);
  }
  await tx
    .insertInto('agents')
    .values({
      id: agent.id,
      name: agent.name,
      site: enrolment.site as Site,
      // What the operator put into the enrolment wins over what the agent says of itself.
      labels: JSON.stringify({ ...agent.labels, ...(enrolment.labels as Record<string, string>) }),
      token_hash: agent.tokenHash,
      machine_id: enrolment.machine_id,
      capacity_cpu_milli: agent.capacity.cpuMilli,
      capacity_memory_mib: agent.capacity.memoryMib,
      capacity_gpus: agent.capacity.gpus,
      arch: agent.arch ?? null,
      boot_id: agent.bootId,
      registered_at: dbNow(),
    })
    .execute();
  await tx
    .updateTable('enrolments')
    .set({ used_at: dbNow(), agent_id: agent.id })
    .where('token_hash', '=', enrolmentHash)
    .execute();
  // The history of a machine tells of its agent.
  const { created_by: by, reason } = enrolment;
  if (by !== null) await writeAgentEvent(tx, { agentId: agent.id, kind: 'register', by, reason });
  return { kind: 'registered', agentId: agent.id };
}

/** The same boot before its first heartbeat: it never got our answer. Anyone else comes too late. */
async function answerAgain(
  tx: Tx,
  agentId: string | null,
  agent: NewAgent,
): Promise<Awaited<ReturnType<AgentStore['register']>>> {
  const row = await tx
    .updateTable('agents')
    .set({ token_hash: agent.tokenHash })
    .where('id', '=', agentId)
    .where('boot_id', '=', agent.bootId)
    .where('last_seen_at', 'is', null)
    .where('removed_at', 'is', null)
    .returning('id')
    .executeTakeFirst();
  return row === undefined ? { kind: 'refused', why: 'used' } : { kind: 'registered', agentId: row.id as AgentId };
}

/**
 * Only a joining machine gets an agent: a late second one must not push aside the one that works. Locked, because a machine
 * forgets its agents when it ends, and one that came at that moment would never be forgotten.
 */
async function lockJoiningMachine(tx: Tx, machineId: string): Promise<boolean> {
  const row = await tx
    .selectFrom('machines')
    .select('id')
    .where('id', '=', machineId)
    .where('state', '=', 'joining')
    .forShare()
    .executeTakeFirst();
  return row !== undefined;
}

/** A machine that was installed a second time has a second agent; the first one is told nothing any more. */
async function replaceEarlierAgent(tx: Tx, machineId: string): Promise<void> {
  await tx
    .updateTable('agents')
    .set({ removed_at: dbNow() })
    .where('machine_id', '=', machineId)
    .where('removed_at', 'is', null)
    .execute();
}
