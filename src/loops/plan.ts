import { STATE_DEADLINE_MS } from '../model/machine.ts';
import type { MachineId } from '../model/ids.ts';
import { launchLimitsOf } from '../model/launch.ts';
import { planAll } from '../planner/plan.ts';
import type { MachineView, PlanAction, PlanOutcome, PlannerInput, WorkloadPlan } from '../planner/types.ts';
import { machinesWithoutPolicy } from '../planner/without-policy.ts';
import type { DrainStep, MachineStep, NewLaunch, RetireStep, StartStep } from '../ports/planning.ts';
import type { LoadedPolicy } from '../ports/policies.ts';
import { buildLaunch, type Decision } from './build-launch.ts';
import type { Mandate } from './lead.ts';
import { readPlannerInput } from './plan-input.ts';
import type { LoopPorts } from './ports.ts';
import { checkMemory } from './recollection.ts';
import { ringFor } from './ring.ts';

/** Of a drain whose policy is gone; what happens past it is still what the policy last said. */
const REMOVED_DRAIN_MS = STATE_DEADLINE_MS.draining ?? 0;

/** W3C trace context: 16 bytes. */
const TRACE_ID_BYTES = 16;

export type PlanTick =
  | { readonly kind: 'planned'; readonly outcome: PlanOutcome; readonly acted: boolean }
  | { readonly kind: 'not-leader' | 'settling' | 'lapsed' | 'fenced' | 'amnesia' | 'outdated' };

/**
 * One decision pass: take or renew the lease, see, decide, and commit what was decided in one transaction that the lease
 * fences. The lease's epoch is the value of the mandate taken here, never a variable that a later renewal might change.
 */
export async function planTick(ports: LoopPorts): Promise<PlanTick> {
  // Before the lease is renewed: a renewal would hide that the lease went back.
  await checkMemory(ports);
  const mandate = await ports.lead.take();
  ports.view.leading = mandate !== null;
  if (mandate === null) return { kind: 'not-leader' };
  const policies = ports.policies.current();
  await ports.planning.recordPolicies(policies);
  if (ports.clock.monotonicMs() < ports.decideFromMs) return { kind: 'settling' };
  const { input, records } = await readPlannerInput(
    ports,
    policies.map(({ policy }) => policy),
  );
  for (const record of records) await ports.planning.recordDemand(record);
  const outcome = planAll(input);
  for (const { workload, report } of outcome.workloads) {
    const kinds = report.kept?.kinds ?? [];
    if (kinds.length > 0) await ports.planning.recordLocalOrder({ workload, kinds });
  }
  return await commitOutcome(ports, { mandate, policies }, input, outcome);
}

async function commitOutcome(
  ports: LoopPorts,
  { mandate, policies }: { readonly mandate: Mandate; readonly policies: readonly LoadedPolicy[] },
  input: PlannerInput,
  outcome: PlanOutcome,
): Promise<PlanTick> {
  const decision = { planId: ports.ids.next('pl'), traceId: ports.ids.hex(TRACE_ID_BYTES) };
  const { planId } = decision;
  const policyOf = new Map(policies.map((loaded) => [loaded.policy.name, loaded]));
  const launches: NewLaunch[] = [];
  const { drains, retires } = stepsOfRemovedPolicies(input);
  const undrains: MachineStep[] = [];
  const starts: StartStep[] = [];
  for (const { workload, actions } of outcome.workloads) {
    const loaded = requirePolicy(policyOf, workload);
    for (const action of actions) {
      if (action.kind === 'launch') launches.push(await buildLaunch(ports, decision, loaded, action));
      else if (action.kind === 'undrain') undrains.push({ ...action, reason: 'drain-cancelled' });
      else if (action.kind === 'start') starts.push(startStep(input, workload, action));
      else if (action.kind === 'retire') retires.push({ ...action, reason: action.why, endReason: 'pool-retired' });
      else {
        const { machineId, revision, why } = action;
        drains.push({
          machineId,
          revision,
          reason: why,
          endReason: 'scale-down',
          deadlineMs: loaded.policy.drain.deadlineMs,
        });
      }
    }
  }
  // Whoever was stopped since the snapshot was taken does nothing with it, and starts anew.
  if (!mandate.holds()) return { kind: 'lapsed' };
  const result = await ports.planning.commit({
    lease: mandate.lease,
    ...decision,
    input,
    outcome,
    digest: digestOf(ports, outcome),
    launches,
    drains,
    undrains,
    starts,
    retires,
    limits: new Map(input.workloads.map(({ policy }) => [policy.name, launchLimitsOf(policy)])),
  });
  if (result.kind !== 'committed') {
    ports.log.warn({ planId, result }, 'plan was not committed');
    return { kind: result.kind };
  }
  // Before the first of them can be rung for: should the commit be lost now, this is what remembers it.
  if (launches.length > 0) await ports.recollection.noteLaunches(launches.map(({ nonce }) => nonce));
  await ringFor(ports, [
    ...launches.map(({ id }) => ({ kind: 'launch' as const, id })),
    ...[...result.drained, ...result.undrained, ...result.ofPool].map((id) => ({ kind: 'machine' as const, id })),
  ]);
  notifyAgentsOf(ports, input, [...result.drained, ...result.undrained]);
  logActions(ports, decision, outcome.workloads);
  const moved = result.drained.length + result.undrained.length + result.ofPool.length;
  return { kind: 'planned', outcome, acted: launches.length + moved > 0 };
}

/** A removed policy is a drain, not an orphan; what is stopped has nothing to drain. */
function stepsOfRemovedPolicies(input: PlannerInput): { drains: DrainStep[]; retires: RetireStep[] } {
  const reason = 'policy-removed';
  const { ready, stopped } = machinesWithoutPolicy(input);
  const stepOf = ({ id, revision }: MachineView): RetireStep => ({
    machineId: id,
    revision,
    reason,
    endReason: reason,
  });
  return {
    drains: ready.map((machine) => ({ ...stepOf(machine), deadlineMs: REMOVED_DRAIN_MS })),
    retires: stopped.map(stepOf),
  };
}

function startStep(
  { machines }: PlannerInput,
  workload: string,
  { machineId, revision }: Extract<PlanAction, { readonly kind: 'start' }>,
): StartStep {
  const machine = machines.find(({ id }) => id === machineId);
  if (machine === undefined) throw new Error(`bug: the plan starts ${machineId}, which the input did not have`);
  const { resources, priceUsdPerHour } = machine;
  return { machineId, revision, reason: 'machine-started', workload, resources, priceUsdPerHour };
}

/** Cordons and their ends reach the agents at once instead of with their next report. */
function notifyAgentsOf(ports: LoopPorts, input: PlannerInput, machineIds: readonly MachineId[]): void {
  const moved = new Set(machineIds);
  ports.notifyAgents(input.machines.flatMap(({ id, agentId }) => (agentId !== null && moved.has(id) ? [agentId] : [])));
}

function requirePolicy(policies: ReadonlyMap<string, LoadedPolicy>, workload: string): LoadedPolicy {
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

function logActions(ports: LoopPorts, decision: Decision, plans: readonly WorkloadPlan[]): void {
  for (const { workload, actions, report } of plans) {
    if (actions.length === 0) continue;
    const launching = actions.reduce((sum, action) => sum + (action.kind === 'launch' ? action.count : 0), 0);
    ports.log.info(
      {
        ...decision,
        workload,
        launching,
        draining: actions.filter(({ kind }) => kind === 'drain').length,
        undraining: actions.filter(({ kind }) => kind === 'undrain').length,
        starting: actions.filter(({ kind }) => kind === 'start').length,
        retiring: actions.filter(({ kind }) => kind === 'retire').length,
        reasons: report.reasons.map(({ code }) => code),
      },
      'plan committed',
    );
  }
}
