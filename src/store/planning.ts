import type { MachineId } from '../model/ids.ts';
import type { MachineState } from '../model/machine.ts';
import type { WorkloadPolicy } from '../model/policy.ts';
import type { Transition } from '../ports/machines.ts';
import type { CommitOutcome, MachineStep, NewLaunch, PlanCommit, PlanningStore, StartStep } from '../ports/planning.ts';
import { hasForgotten } from './amnesia.ts';
import { dbNow, dbNowPlus, inTransaction, type Db, type Tx } from './database.ts';
import { recordDemand } from './demand-history.ts';
import { holdsLease } from './leadership.ts';
import { recordLocalOrder } from './local-order.ts';
import { lockAgentsOf } from './cordon.ts';
import { claimProbes, lockProbes } from './launch-holds.ts';
import { brokenLimit, lockMoney, readLive, type LiveSums } from './launch-room.ts';
import { writeMachineEvent } from './machine-events.ts';
import { transitionMachine } from './machines.ts';
import { readPlanningFacts } from './planning-facts.ts';

const ACTOR = 'planner';

/** Plans and what they set going, written in one fenced transaction. */
export function createPlanningStore(db: Db): PlanningStore {
  return {
    readFacts: async (policies) => await readPlanningFacts(db, policies),
    recordDemand: async (record) => await recordDemand(db, record),
    recordLocalOrder: async (order) => await recordLocalOrder(db, order),
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
  const { launches, drains, undrains, starts, retires } = commit;
  const acts = [launches, drains, undrains, starts, retires].some(({ length }) => length > 0);
  if (acts && (await hasForgotten(tx))) return { kind: 'amnesia' };
  const broken = await findBrokenLimit(tx, commit);
  if (broken !== null) return { kind: 'outdated', detail: broken };
  const newest = acts
    ? undefined
    : await tx.selectFrom('plans').select('digest').orderBy('decided_at', 'desc').limit(1).executeTakeFirst();
  if (newest?.digest === commit.digest)
    return { kind: 'committed', stored: false, drained: [], undrained: [], ofPool: [] };

  await tx
    .insertInto('plans')
    .values({
      id: commit.planId,
      trace_id: commit.traceId,
      epoch: commit.lease.epoch,
      decided_at: dbNow(),
      input: JSON.stringify(commit.input),
      outcome: JSON.stringify(commit.outcome),
      digest: commit.digest,
    })
    .execute();
  await lockAgentsOf(
    tx,
    [...undrains, ...drains].map(({ machineId }) => machineId),
  );
  const { planId } = commit;
  const undrained = await moveMachines(tx, undrains, ({ reason }) => ({
    from: 'draining',
    transition: { to: 'ready', actor: ACTOR, reason, planId, cordon: false },
  }));
  const drained = await moveMachines(tx, drains, ({ reason, endReason, deadlineMs }) => ({
    from: 'ready',
    transition: {
      to: 'draining',
      actor: ACTOR,
      reason,
      planId,
      endReason,
      deadlineMs,
      cordon: true,
      unlessProtected: true,
    },
  }));
  const ofPool = await moveStopped(tx, commit);
  for (const launch of launches) await insertLaunch(tx, commit, launch);
  return { kind: 'committed', stored: true, drained, undrained, ofPool };
}

/** The planner's snapshot may be a moment old; money, caps and probes are checked once more on what is true now. */
async function findBrokenLimit(tx: Tx, commit: PlanCommit): Promise<string | null> {
  for (const workload of [...commit.limits.keys()].sort()) {
    const limits = commit.limits.get(workload);
    const asked = commit.launches.filter((launch) => launch.workload === workload);
    const started = commit.starts.filter((start) => start.workload === workload);
    if (asked.length + started.length === 0 || limits === undefined) continue;
    await lockMoney(tx, workload);
    const sums = started.reduce(withStart, asked.reduce(withLaunch, await readLive(tx, workload)));
    const broken = brokenLimit(sums, limits);
    if (broken !== null) return `${workload}: ${broken}`;
  }
  const probes = commit.launches.flatMap((launch) => launch.probes);
  if (probes.length > 0 && !(await lockProbes(tx, probes))) return 'another launch tries a held offering already';
  return null;
}

function withLaunch(sums: LiveSums, { machineIds, resources, priceUsdPerHour }: NewLaunch): LiveSums {
  return {
    machines: sums.machines + machineIds.length,
    vcpus: sums.vcpus + (machineIds.length * resources.cpuMilli) / 1000,
    usdPerHour: sums.usdPerHour + machineIds.length * priceUsdPerHour,
  };
}

function withStart(sums: LiveSums, { resources, priceUsdPerHour }: StartStep): LiveSums {
  return {
    machines: sums.machines + 1,
    vcpus: sums.vcpus + resources.cpuMilli / 1000,
    usdPerHour: sums.usdPerHour + priceUsdPerHour,
  };
}

/** Drains and their ends, in the order given. A machine that is not as it was read any more is left to the next plan. */
async function moveMachines<S extends MachineStep>(
  tx: Tx,
  steps: readonly S[],
  describe: (step: S) => { readonly from: MachineState; readonly transition: Transition },
): Promise<readonly MachineId[]> {
  const moved: MachineId[] = [];
  for (const step of steps) {
    const { from, transition } = describe(step);
    const machine = { id: step.machineId, state: from, revision: step.revision };
    if (await transitionMachine(tx, machine, transition)) moved.push(step.machineId);
  }
  return moved;
}

/** Stopped machines have no agent to tell. */
async function moveStopped(tx: Tx, { planId, starts, retires }: PlanCommit): Promise<readonly MachineId[]> {
  const started = await moveMachines(tx, starts, ({ reason }) => ({
    from: 'stopped',
    transition: { to: 'booting', actor: ACTOR, reason, planId },
  }));
  const retired = await moveMachines(tx, retires, ({ reason, endReason }) => ({
    from: 'stopped',
    transition: { to: 'terminating', actor: ACTOR, reason, planId, endReason },
  }));
  return [...started, ...retired];
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
      cpu_milli: launch.resources.cpuMilli,
      memory_mib: launch.resources.memoryMib,
      gpus: launch.resources.gpus,
      arch: launch.arch,
      price_usd_per_hour: launch.priceUsdPerHour.toFixed(6),
      ladder: JSON.stringify(launch.ladder),
      policy_hash: launch.policyHash,
      epoch: commit.lease.epoch,
      created_at: dbNow(),
      deadline_at: dbNowPlus(launch.deadlineMs),
      wake_at: dbNow(),
    })
    .execute();
  if (launch.probes.length > 0) await claimProbes(tx, launch.id, launch.probes);
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
        gpus: launch.resources.gpus,
        arch: launch.arch,
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
