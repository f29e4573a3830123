import type { LaunchId, PlanId } from '../model/ids.ts';
import type { LaunchBody, LaunchState } from '../model/launch.ts';
import { REBUILT_REASON } from '../model/machine.ts';
import type { PlannerInput, PlanOutcome } from '../planner/types.ts';
import type { PlanLaunch, PlanPart, StoredPlan } from '../ports/explanations.ts';
import { inTransaction, type Db, type Tx } from './database.ts';
import { toTimestamp } from './reports-shared.ts';

/** A plan as it was stored. @param id null = the newest */
export async function readPlan(db: Db, id: PlanId | null): Promise<StoredPlan | null> {
  return await inTransaction(
    db,
    async (tx) => {
      const found = await tx
        .selectFrom('plans')
        .select(['id', 'trace_id', 'epoch', 'decided_at', 'input', 'outcome', 'digest'])
        .$if(id !== null, (query) => query.where('id', '=', id))
        .orderBy('decided_at', 'desc')
        .orderBy('epoch', 'desc')
        .orderBy('id')
        .limit(1)
        .executeTakeFirst();
      if (found === undefined) return null;
      return {
        id: found.id as PlanId,
        traceId: found.trace_id,
        epoch: found.epoch,
        decidedAt: toTimestamp(found.decided_at),
        rebuilt: found.digest === REBUILT_REASON,
        input: found.input as PlannerInput,
        outcome: found.outcome as PlanOutcome,
        launches: await readLaunches(tx, found.id),
      };
    },
    'repeatable read',
  );
}

async function readLaunches(tx: Tx, planId: string): Promise<PlanLaunch[]> {
  const rows = await tx
    .selectFrom('launches')
    .select(['id', 'workload', 'state', 'attempt', 'instance_count', 'body', 'zone', 'error_code'])
    .where('plan_id', '=', planId)
    .orderBy('workload')
    .orderBy('id')
    .execute();
  return rows.map((row) => {
    const { instanceType, market } = row.body as LaunchBody;
    return {
      id: row.id as LaunchId,
      workload: row.workload,
      state: row.state as LaunchState,
      attempt: row.attempt,
      machines: row.instance_count,
      instanceType,
      zone: row.zone,
      market,
      errorCode: row.error_code,
    };
  });
}

/** What a plan says of one workload. */
export async function readPlanPart(tx: Tx, id: string, workload: string): Promise<PlanPart | null> {
  const row = await tx
    .selectFrom('plans')
    .select(['id', 'trace_id', 'decided_at', 'outcome'])
    .where('id', '=', id)
    .executeTakeFirst();
  if (row === undefined) return null;
  const outcome = row.outcome as Partial<PlanOutcome>;
  return {
    planId: row.id as PlanId,
    traceId: row.trace_id,
    decidedAt: toTimestamp(row.decided_at),
    plan: outcome.workloads?.find((plan) => plan.workload === workload) ?? null,
  };
}
