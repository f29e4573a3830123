import { STATE_DEADLINE_MS } from '../model/machine.ts';
import type { MachineId, PlanId } from '../model/ids.ts';
import type { WorkloadPolicy } from '../model/policy.ts';
import { planAll } from '../planner/plan.ts';
import type { PlanOutcome, PlannerInput, WorkloadPlan } from '../planner/types.ts';
import type { Lease } from '../ports/leadership.ts';
import type { DrainStep, LaunchLimits, MachineStep, NewLaunch } from '../ports/planning.ts';
import { buildLaunch } from './build-launch.ts';
import { readPlannerInput } from './plan-input.ts';
import type { LoopPorts } from './ports.ts';
import { checkMemory } from './recollection.ts';
import { ringFor } from './ring.ts';

/** Of a drain whose policy is gone; what happens past it is still what the policy last said. */
const REMOVED_DRAIN_MS = STATE_DEADLINE_MS.draining ?? 0;

export type PlanTick =
  | { readonly kind: 'planned'; readonly outcome: PlanOutcome; readonly acted: boolean }
  | { readonly kind: 'not-leader' | 'settling' | 'fenced' | 'amnesia' | 'outdated' };

/**
 * One decision pass: take or renew the lease, see, decide, and commit what was decided in one transaction that the lease
 * fences. The lease's epoch is the value read here, never a variable that a later renewal might change.
 */
export async function planTick(ports: LoopPorts): Promise<PlanTick> {
  await checkMemory(ports);
  const lease = await ports.leadership.acquire(ports.holder, ports.leaseTtlMs);
  ports.view.leading = lease !== null;
  if (lease === null) return { kind: 'not-leader' };
  const policies = ports.policies.current();
  await ports.planning.recordPolicies(policies);
  if (ports.clock.monotonicMs() < ports.decideFromMs) return { kind: 'settling' };
  const input = await readPlannerInput(
    ports,
    policies.map(({ policy }) => policy),
  );
  const outcome = planAll(input);
  return await commitOutcome(ports, lease, input, outcome);
}

async function commitOutcome(
  ports: LoopPorts,
  lease: Lease,
  input: PlannerInput,
  outcome: PlanOutcome,
): Promise<PlanTick> {
  const planId = ports.ids.next('pl');
  const policyOf = new Map(input.workloads.map(({ policy }) => [policy.name, policy]));
  const launches: NewLaunch[] = [];
  const drains: DrainStep[] = drainsOfRemovedPolicies(input);
  const undrains: MachineStep[] = [];
  for (const { workload, actions } of outcome.workloads) {
    const policy = requirePolicy(policyOf, workload);
    for (const action of actions) {
      if (action.kind === 'launch') launches.push(await buildLaunch(ports, planId, policy, action));
      else if (action.kind === 'undrain') undrains.push({ ...action, reason: 'drain-cancelled' });
      else {
        const { machineId, revision, why } = action;
        drains.push({ machineId, revision, reason: why, endReason: 'scale-down', deadlineMs: policy.drain.deadlineMs });
      }
    }
  }
  const result = await ports.planning.commit({
    lease,
    planId,
    input,
    outcome,
    digest: digestOf(ports, outcome),
    launches,
    drains,
    undrains,
    limits: new Map(input.workloads.map(({ policy }) => [policy.name, limitsOf(policy)])),
  });
  if (result.kind !== 'committed') {
    ports.log.warn({ planId, result }, 'plan was not committed');
    return { kind: result.kind };
  }
  // Before the first of them can be rung for: should the commit be lost now, this is what remembers it.
  if (launches.length > 0) await ports.recollection.noteLaunches(launches.map(({ nonce }) => nonce));
  await ringFor(ports, [
    ...launches.map(({ id }) => ({ kind: 'launch' as const, id })),
    ...[...result.drained, ...result.undrained].map((id) => ({ kind: 'machine' as const, id })),
  ]);
  notifyAgentsOf(ports, input, [...result.drained, ...result.undrained]);
  logActions(ports, planId, outcome.workloads);
  return { kind: 'planned', outcome, acted: launches.length + result.drained.length + result.undrained.length > 0 };
}

/** A removed policy is a drain, not an orphan: its machines finish their work and leave, whatever their policy said. */
function drainsOfRemovedPolicies(input: PlannerInput): DrainStep[] {
  if (input.amnesia !== undefined) return [];
  const inForce = new Set(input.workloads.map(({ policy }) => policy.name));
  const reason = 'policy-removed';
  return input.machines
    .filter(({ workload, state }) => state === 'ready' && !inForce.has(workload))
    .map(({ id, revision }) => ({ machineId: id, revision, reason, endReason: reason, deadlineMs: REMOVED_DRAIN_MS }));
}

function limitsOf({ burst }: WorkloadPolicy): LaunchLimits {
  return { machinesMax: burst.limits.max, hourlyUsdMax: burst.budget.hourlyUsd };
}

/** Cordons and their ends reach the agents at once instead of with their next report. */
function notifyAgentsOf(ports: LoopPorts, input: PlannerInput, machineIds: readonly MachineId[]): void {
  const moved = new Set(machineIds);
  ports.notifyAgents(input.machines.flatMap(({ id, agentId }) => (agentId !== null && moved.has(id) ? [agentId] : [])));
}

function requirePolicy(policies: ReadonlyMap<string, WorkloadPolicy>, workload: string): WorkloadPolicy {
  const policy = policies.get(workload);
  if (policy === undefined) throw new Error(`bug: the plan names workload ${workload}, which the input did not have`);
  return policy;
}

/** What makes two plans worth telling apart: verdicts, reason codes and actions, not figures that move with every tick. */
function digestOf(ports: LoopPorts, outcome: PlanOutcome): string {
  const essence = outcome.workloads.map(({ workload, actions, report }) => ({
    workload,
    actions,
    verdict: report.verdict,
    reasons: report.reasons.map(({ code }) => code),
  }));
  return ports.credentials.sha256(JSON.stringify(essence));
}

function logActions(ports: LoopPorts, planId: PlanId, plans: readonly WorkloadPlan[]): void {
  for (const { workload, actions, report } of plans) {
    if (actions.length === 0) continue;
    const launching = actions.reduce((sum, action) => sum + (action.kind === 'launch' ? action.count : 0), 0);
    ports.log.info(
      {
        planId,
        workload,
        launching,
        draining: actions.filter(({ kind }) => kind === 'drain').length,
        undraining: actions.filter(({ kind }) => kind === 'undrain').length,
        reasons: report.reasons.map(({ code }) => code),
      },
      'plan committed',
    );
  }
}
