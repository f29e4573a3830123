import { sql } from 'kysely';

import type { AgentId } from '../model/ids.ts';
import type { AgentOrdering, AgentOrderOutcome } from '../ports/agent-orders.ts';
import type { Orderer } from '../ports/machine-orders.ts';
import { writeAgentEvent } from './agent-events.ts';
import { setCordon } from './cordon.ts';
import { dbNow, inTransaction, type Db, type Tx } from './database.ts';

/** What people order of on-prem agents. */
export function createAgentOrdering(db: Db): AgentOrdering {
  const order = async (
    idOrName: string,
    carryOut: (tx: Tx, row: OrderedAgent) => Promise<AgentOrderOutcome>,
  ): Promise<AgentOrderOutcome> =>
    await inTransaction(db, async (tx) => {
      const found = await lockAgents(tx, idOrName);
      const [agent] = found;
      if (agent === undefined) return { kind: 'unknown' };
      if (found.length > 1) return { kind: 'refused', because: 'ambiguous' };
      if (agent.machineId !== null) return { kind: 'refused', because: 'of-a-machine' };
      return await carryOut(tx, agent);
    });
  return {
    setCordon: async (idOrName, kind, orderer) =>
      await order(idOrName, async (tx, { agentId, cordoned }) => {
        const changed = cordoned !== (kind !== 'uncordon');
        if (changed) {
          await setCordon(tx, agentId, !cordoned);
          await writeAgentEvent(tx, { agentId, kind, ...told(orderer) });
        }
        return { kind: 'done', agentId, changed };
      }),

    remove: async (idOrName, force, orderer) =>
      await order(idOrName, async (tx, { agentId, runningTasks }) => {
        const heldWork = runningTasks > 0 || (await holdsTasks(tx, agentId));
        if (!force && heldWork) return { kind: 'refused', because: 'holds-work' };
        await writeAgentEvent(tx, { agentId, kind: 'remove', ...told(orderer), detail: { force, heldWork } });
        await tx.updateTable('agents').set({ removed_at: dbNow() }).where('id', '=', agentId).execute();
        // It would come back at once with the token that a second installation left on its machine.
        await tx
          .updateTable('enrolments')
          .set({ expires_at: dbNow() })
          .where('agent_id', '=', agentId)
          .where('used_at', 'is', null)
          .execute();
        return { kind: 'done', agentId, changed: true };
      }),
  };
}

/** Whoever gives the order may know more than belongs into the row. */
function told({ by, reason }: Orderer): Orderer {
  return { by, reason };
}

interface OrderedAgent {
  readonly agentId: AgentId;
  readonly machineId: string | null;
  readonly cordoned: boolean;
  /** From its last report. */
  readonly runningTasks: number;
}

/** Two are enough to know that a name does not tell which. */
async function lockAgents(tx: Tx, idOrName: string): Promise<readonly OrderedAgent[]> {
  const rows = await tx
    .selectFrom('agents')
    .select(['id', 'machine_id', 'cordoned', 'running_tasks'])
    .where((eb) => eb.or([eb('id', '=', idOrName), eb('name', '=', idOrName)]))
    .where('removed_at', 'is', null)
    .orderBy('id')
    .limit(2)
    .forUpdate()
    .execute();
  return rows.map((row) => ({
    agentId: row.id as AgentId,
    machineId: row.machine_id,
    cordoned: row.cordoned,
    runningTasks: row.running_tasks,
  }));
}

async function holdsTasks(tx: Tx, agentId: AgentId): Promise<boolean> {
  const row = await tx
    .selectFrom('tasks')
    .select(sql<number>`1`.as('one'))
    .where('agent_id', '=', agentId)
    .where('state', 'in', ['leased', 'running'])
    .limit(1)
    .executeTakeFirst();
  return row !== undefined;
}
