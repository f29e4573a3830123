import { sql, type Selectable, type SelectQueryBuilder } from 'kysely';

import type { AgentId, TaskId } from '../model/ids.ts';
import { toKind } from './task-kinds.ts';
import type { HeldTask } from '../ports/tasks.ts';
import type { Db } from './database.ts';
import type { Database } from './database.generated.ts';

type HeldColumn =
  | 'id'
  | 'workload'
  | 'attempt'
  | 'state'
  | 'cpu_milli'
  | 'memory_mib'
  | 'gpus'
  | 'arch'
  | 'local_only'
  | 'spot_ok'
  | 'command'
  | 'progress_base64'
  | 'lease_token'
  | 'agent_id';
type HeldRow = Pick<Selectable<Database['tasks']>, HeldColumn> & { readonly lease_left_ms: number };

/** The tasks that agents hold, by id so that all writers lock them in one order. */
export function selectHeld(db: Db, agentIds: readonly AgentId[]): SelectQueryBuilder<Database, 'tasks', HeldRow> {
  return db
    .selectFrom('tasks')
    .select(['id', 'workload', 'attempt', 'state', 'cpu_milli', 'memory_mib', 'command'])
    .select(['gpus', 'arch', 'local_only', 'spot_ok'])
    .select(['progress_base64', 'lease_token', 'agent_id'])
    .select(sql<number>`(extract(epoch from lease_expires_at - spillway.now()) * 1000)::float8`.as('lease_left_ms'))
    .where('agent_id', 'in', [...agentIds])
    .where('state', 'in', ['leased', 'running'])
    .orderBy('id');
}

export function toHeld(row: HeldRow): HeldTask & { readonly agentId: AgentId } {
  return {
    id: row.id as TaskId,
    agentId: row.agent_id as AgentId,
    attempt: row.attempt,
    state: row.state as HeldTask['state'],
    ...toKind(row),
    command: row.command as readonly string[],
    progressBase64: row.progress_base64,
    leaseToken: row.lease_token ?? '',
    leaseLeftMs: row.lease_left_ms,
  };
}
