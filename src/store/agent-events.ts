import type { AgentId } from '../model/ids.ts';
import type { AgentEventKind } from '../ports/agent-orders.ts';
import type { Orderer } from '../ports/machine-orders.ts';
import type { AgentEventDocument } from '../ports/explanations.ts';
import { dbNow, type Db, type Tx } from './database.ts';
import { toTimestamp } from './reports-shared.ts';

/** Orders come by hand; the newest explain how an agent is. */
const EVENTS_MAX = 100;

export interface AgentEvent extends Orderer {
  readonly agentId: AgentId;
  readonly kind: AgentEventKind;
  readonly detail?: Readonly<Record<string, unknown>>;
}

/** One line of an on-prem agent's history, in the transaction of what it tells of. */
export async function writeAgentEvent(tx: Tx, { agentId, kind, by, reason, detail }: AgentEvent): Promise<void> {
  await tx
    .insertInto('agent_events')
    .values({
      agent_id: agentId,
      at: dbNow(),
      event: kind,
      actor: by,
      reason,
      detail: JSON.stringify(detail ?? {}),
    })
    .execute();
}

/** The newest ones, the oldest first. */
export async function readAgentEvents(db: Db, agentId: AgentId): Promise<AgentEventDocument[]> {
  const rows = await db
    .selectFrom('agent_events')
    .select(['at', 'event', 'actor', 'reason', 'detail'])
    .where('agent_id', '=', agentId)
    .orderBy('id', 'desc')
    .limit(EVENTS_MAX)
    .execute();
  return rows.reverse().map((row) => ({
    at: toTimestamp(row.at),
    event: row.event as AgentEventKind,
    actor: row.actor,
    reason: row.reason,
    detail: row.detail as Record<string, unknown>,
  }));
}
