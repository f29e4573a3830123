import { sql } from 'kysely';

import type { MachineId } from '../model/ids.ts';
import type { WorkloadPolicy } from '../model/policy.ts';
import type { CommitOutcome, DrainStep, MachineStep, NewLaunch, PlanCommit, PlanningStore } from '../ports/planning.ts';
import { hasForgotten } from './amnesia.ts';
import { dbNow, dbNowPlus, inTransaction, type Db, type Tx } from './database.ts';
import { holdsLease } from './leadership.ts';
import { lockAgentsOf, setCordon } from './cordon.ts';
import { writeMachineEvent } from './machine-events.ts';
import { readPlanningFacts } from './planning-facts.ts';

const ACTOR = 'planner';
/** Prices are numeric with six places in the rows and floats in the plan: less than their last place is no difference. */
const ROUNDING_USD = 1e-6;

/** Plans and what they set going, written in one fenced transaction. */
export function createPlanningStore(db: Db): PlanningStore {
  return {
    readFacts: async (policies) => await readPlanningFacts(db, policies),
    commit: async (commit) => await inTransaction(db, async (tx) => await commitPlan(tx, commit)),
    recordPolicies: async (policies) =>
      await inTransaction(db, async (tx) => {
        const names = policies.map(({ policy }) => policy.name);
        // First everything inactive that is not in force, then the new ones: the unique index allows one active each.
        await tx
          .updateTable('policies')
          .set({ active: false })
          .where('active', '=', true)
          .$if(names.length > 0, (query) =>
            query.where((eb) =>
              eb.not(eb.or(policies.map(({ policy, hash }) => eb.and({ workload: policy.name, hash })))),
            ),
          )
          .execute();
        for (const { policy, hash } of policies) {
          await tx
            .insertInto('policies')
            .values({
              workload: policy.name,
              hash,
              document: JSON.stringify(policy),
              first_seen_at: dbNow(),
              active: true,
            })
            .onConflict((conflict) =>
              conflict.columns(['workload', 'hash']).doUpdateSet({ active: true }).where('policies.active', '=', false),
            )
            .execute();
        }
      }),
    async readPolicy(workload) {
      const row = await db
        .selectFrom('policies')
        .select(['document', 'active'])
        .where('workload', '=', workload)
        .orderBy('active', 'desc')
        .orderBy('first_seen_at', 'desc')
        .limit(1)
        .executeTakeFirst();
      return row === undefined ? null : { policy: row.document as WorkloadPolicy, active: row.active };
    },
  };
}

async function commitPlan(tx: Tx, commit: PlanCommit): Promise<CommitOutcome> {
  if (!(await holdsLease(tx, commit.lease))) return { kind: 'fenced' };
  const acts = commit.launches.length + commit.drains.length + commit.undrains.length > 0;
  if (acts && (await hasForgotten(tx))) return { kind: 'amnesia' };
  const broken = await findBrokenLimit(tx, commit);
  if (broken !== null) return { kind: 'outdated', detail: broken };
  const newest = acts
    ? undefined
    : await tx.selectFrom('plans').select('digest').orderBy('decided_at', 'desc').limit(1).executeTakeFirst();
  if (newest?.digest === commit.digest) return { kind: 'committed', stored: false, drained: [], undrained: [] };

  await tx
    .insertInto('plans')
    .values({
      id: commit.planId,
      epoch: commit.lease.epoch,
      decided_at: dbNow(),
      input: JSON.stringify(commit.input),
      outcome: JSON.stringify(commit.outcome),
      digest: commit.digest,
    })
    .execute();
  await lockAgentsOf(
    tx,
    [...commit.undrains, ...commit.drains].map(({ machineId }) => machineId),
  );
  const undrained = await moveMachines(
    tx,
    commit.undrains,
    false,
    async (step) => await undrainMachine(tx, commit, step),
  );
  const drained = await moveMachines(tx, commit.drains, true, async (step) => await drainMachine(tx, commit, step));
  for (const launch of commit.launches) await insertLaunch(tx, commit, launch);
  return { kind: 'committed', stored: true, drained, undrained };
}

/** The planner's snapshot may be a moment old; money and caps are checked once more on what is true now. */
async function findBrokenLimit(tx: Tx, commit: PlanCommit): Promise<string | null> {
  for (const [workload, { machinesMax, hourlyUsdMax }] of commit.limits) {
    const asked = commit.launches.filter((launch) => launch.workload === workload);
    if (asked.length === 0) continue;
    const live = await tx
      .selectFrom('machines')
      .select(sql<number>`count(*)::int`.as('count'))
      .select(sql<number>`coalesce(sum(price_usd_per_hour), 0)::float8`.as('usdPerHour'))
      .where('workload', '=', workload)
      .where('state', '<>', 'terminated')
      .executeTakeFirstOrThrow();
    const count = live.count + asked.reduce((sum, { machineIds }) => sum + machineIds.length, 0);
    const usdPerHour =
      live.usdPerHour +
      asked.reduce((sum, { machineIds, priceUsdPerHour }) => sum + machineIds.length * priceUsdPerHour, 0);
    if (count > machinesMax) return `${workload}: ${count} machines would live, the limit is ${machinesMax}`;
    if (hourlyUsdMax !== null && usdPerHour > hourlyUsdMax + ROUNDING_USD) {
      return `${workload}: all machines would cost ${usdPerHour.toFixed(4)} USD per hour, the budget is ${hourlyUsdMax}`;
    }
  }
  return null;
}

/** The steps whose machine was still as it was read; the others lost a race and are left to the next plan. */
async function moveMachines<S extends MachineStep>(
  tx: Tx,
  steps: readonly S[],
  cordoned: boolean,
  move: (step: S) => Promise<{ readonly agentId: string | null } | null>,
): Promise<readonly MachineId[]> {
  const moved: MachineId[] = [];
  for (const step of steps) {
    const machine = await move(step);
    if (machine === null) continue;
    if (machine.agentId !== null) await setCordon(tx, machine.agentId, cordoned);
    moved.push(step.machineId);
  }
  return moved;
}

async function drainMachine(
  tx: Tx,
  { planId }: PlanCommit,
  step: DrainStep,
): Promise<{ agentId: string | null } | null> {
  const row = await tx
    .updateTable('machines')
    .set((eb) => ({
      state: 'draining',
      revision: eb('revision', '+', 1),
      state_since: dbNow(),
      deadline_at: dbNowPlus(step.deadlineMs),
      wake_at: dbNow(),
      end_reason: step.endReason,
    }))
    .where('id', '=', step.machineId)
    .where('revision', '=', step.revision)
    .where('state', '=', 'ready')
    .returning('agent_id')
    .executeTakeFirst();
  if (row === undefined) return null;
  const { machineId, reason } = step;
  await writeMachineEvent(tx, { machineId, from: 'ready', to: 'draining', actor: ACTOR, reason, planId });
  return { agentId: row.agent_id };
}

async function undrainMachine(
  tx: Tx,
  { planId }: PlanCommit,
  step: MachineStep,
): Promise<{ agentId: string | null } | null> {
  const row = await tx
    .updateTable('machines')
    .set((eb) => ({
      state: 'ready',
      revision: eb('revision', '+', 1),
      state_since: dbNow(),
      deadline_at: null,
      wake_at: dbNow(),
      end_reason: null,
    }))
    .where('id', '=', step.machineId)
    .where('revision', '=', step.revision)
    .where('state', '=', 'draining')
    .where('drain_irrevocable', '=', false)
    .returning('agent_id')
    .executeTakeFirst();
  if (row === undefined) return null;
  const { machineId, reason } = step;
  await writeMachineEvent(tx, { machineId, from: 'draining', to: 'ready', actor: ACTOR, reason, planId });
  return { agentId: row.agent_id };
}

async function insertLaunch(tx: Tx, commit: PlanCommit, launch: NewLaunch): Promise<void> {
  await tx
    .insertInto('launches')
    .values({
      id: launch.id,
      plan_id: commit.planId,
      workload: launch.workload,
      state: 'open',
      nonce: launch.nonce,
      attempt: 1,
      token: launch.token,
      body: JSON.stringify(launch.body),
      zone: launch.zone,
      instance_count: launch.machineIds.length,
      price_usd_per_hour: launch.priceUsdPerHour.toFixed(6),
      epoch: commit.lease.epoch,
      created_at: dbNow(),
      deadline_at: dbNowPlus(launch.deadlineMs),
      wake_at: dbNow(),
    })
    .execute();
  for (const machineId of launch.machineIds) {
    await tx
      .insertInto('machines')
      .values({
        id: machineId,
        launch_id: launch.id,
        plan_id: commit.planId,
        workload: launch.workload,
        state: 'requested',
        instance_type: launch.body.instanceType,
        cpu_milli: launch.resources.cpuMilli,
        memory_mib: launch.resources.memoryMib,
        zone: launch.zone,
        market: launch.body.market,
        volume_gib: launch.body.volumeGib,
        price_usd_per_hour: launch.priceUsdPerHour.toFixed(6),
        created_at: dbNow(),
        state_since: dbNow(),
        wake_at: dbNow(),
        // The launch drives the machine until it has an instance; its own deadline comes later than the launch's.
        deadline_at: dbNowPlus(launch.deadlineMs * 2),
      })
      .execute();
    await writeMachineEvent(tx, {
      machineId,
      from: null,
      to: 'requested',
      actor: ACTOR,
      reason: 'launch',
      planId: commit.planId,
      detail: {
        launchId: launch.id,
        instanceType: launch.body.instanceType,
        zone: launch.zone,
        market: launch.body.market,
      },
    });
  }
}
