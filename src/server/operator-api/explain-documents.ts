/** What the database and the planner know, put together as the answers to "why". Pure. */
import { accruedFor } from '../../cost/charges.ts';
import { selects } from '../../model/agent.ts';
import { nanoUsdFromDecimal, nanoUsdToDecimal } from '../../model/money.ts';
import { AGENT_GONE_AFTER_MS, AGENT_LOST_AFTER_MS } from '../../model/state-waits.ts';
import { SECOND_MS } from '../../model/time.ts';
import type { PlanOutcome } from '../../planner/types.ts';
import { explainWhyNot } from '../../planner/why-not.ts';
import { machinesWithoutPolicy } from '../../planner/without-policy.ts';
import type {
  AgentExplanation,
  AgentFacts,
  MachineExplanation,
  MachineFacts,
  PlanDocument,
  ServedWorkload,
  StoredPlan,
  WhyNotDocument,
} from '../../ports/explanations.ts';
import type { ServiceHealth } from '../../ports/operator.ts';
import type { OpenMachineRow, StatusDocument } from '../../ports/reports.ts';

/** @param withInput for whoever wants to replay it; it is large */
export function planDocument({ input, ...plan }: StoredPlan, withInput: boolean): PlanDocument {
  const { ready, stopped } = machinesWithoutPolicy(input);
  const withoutPolicy = [...ready, ...stopped].map(({ id, workload }) => ({ machineId: id, workload }));
  return { ...plan, withoutPolicy, ...(withInput ? { input } : {}) };
}

export function machineExplanation({ open, ...facts }: MachineFacts): MachineExplanation {
  const accrued = open === null ? 0n : accruedOf(open, Date.parse(facts.at));
  return { ...facts, blockers: listBlockers(facts), accruedUsd: nanoUsdToDecimal(accrued) };
}

function accruedOf({ launchAtMs, priceUsdPerHour, ...machine }: OpenMachineRow, nowMs: number): bigint {
  const pricePerHour = nanoUsdFromDecimal(priceUsdPerHour);
  const charges = accruedFor({ ...machine, launchAtMs, pricePerHour, spotPrices: [] }, nowMs);
  return charges.reduce((sum, { amount }) => sum + amount, 0n);
}

/** What a drain waits for, as `isWorkGone` of the steps looks at it. */
function listBlockers({ machine, agent, tasks }: Omit<MachineFacts, 'open'>): string[] {
  if (machine.state !== 'draining') return [];
  // The tasks and the agent are told here in sums.
  const others = (machine.drain?.blockers ?? []).filter(({ kind }) => SINGLE_BLOCKERS.has(kind));
  const said = others.map(({ says }) => says);
  if (agent === null) return [...said, 'it has no agent that could say that its work is gone'];
  return [...said, ...agentBlockers(agent, tasks.total)];
}

/** A probe that fails counts as one task of another engine. */
function agentBlockers(agent: NonNullable<MachineFacts['agent']>, tasks: number): string[] {
  const { otherTasks, runningTasks } = agent;
  const silent = `its agent is silent since ${agent.lastSeenAt ?? 'ever'}: nothing is known of its work`;
  const unexplained = tasks === 0 ? runningTasks - (otherTasks ?? 1) : 0;
  const blockers: readonly (readonly [boolean, string])[] = [
    [agent.freshness !== 'fresh', silent],
    [!agent.cordonAcknowledged, 'its agent has not said that it takes no new tasks'],
    [tasks > 0, `it holds ${tasks === 1 ? '1 task' : `${tasks} tasks`}`],
    [otherTasks === null, 'the probe of its agent fails: nothing is known of tasks of other engines'],
    [otherTasks !== null && otherTasks > 0, `the probe of its agent tells of ${otherTasks} running, of other engines`],
    [unexplained > 0, `its agent still reports ${unexplained} running`],
  ];
  return blockers.flatMap(([blocks, sentence]) => (blocks ? [sentence] : []));
}

const SINGLE_BLOCKERS: ReadonlySet<string> = new Set(['hook-running', 'hook-failed', 'other-machine']);

export function agentExplanation({ policies, ...facts }: AgentFacts): AgentExplanation {
  const { agent, at, leftAt, removedAt, machine } = facts;
  const lastWord = agent.lastSeenAt ?? agent.registeredAt;
  const goneAt = later(lastWord, AGENT_GONE_AFTER_MS);
  const isGone = leftAt !== null || removedAt !== null || goneAt <= at;
  const serving = policies.filter((policy) =>
    agent.site === 'aws' ? policy.name === machine?.workload : selects(policy.agents.selector)(agent),
  );
  return {
    ...facts,
    workloads: serving.map((policy): ServedWorkload => {
      const { freshnessMs } = policy.demand;
      const silentAt = agent.lastSeenAt === null ? null : later(agent.lastSeenAt, freshnessMs);
      const silent = silentAt === null || silentAt < at;
      return { workload: policy.name, freshnessS: freshnessMs / SECOND_MS, silentAt, silent };
    }),
    goneAt: isGone ? null : goneAt,
    givenUpAt: machine === null || machine.state === 'terminated' ? null : later(lastWord, AGENT_LOST_AFTER_MS),
  };
}

function later(timestamp: string, ms: number): string {
  return new Date(Date.parse(timestamp) + ms).toISOString();
}

export interface WhyNotSources {
  readonly workload: string;
  /** Of the plan that the next tick would make, for this workload. */
  readonly outcome: PlanOutcome;
  readonly status: StatusDocument;
  readonly health: ServiceHealth;
}

/** Null: no policy is in force for the workload. */
export function whyNotDocument({ workload, outcome, status, health }: WhyNotSources): WhyNotDocument | null {
  const plan = outcome.workloads.find((candidate) => candidate.workload === workload);
  if (plan === undefined) return null;
  const machines: Record<string, number> = {};
  for (const { state, count } of status.machines.filter((row) => row.workload === workload)) {
    machines[state] = (machines[state] ?? 0) + count;
  }
  const failing = health.checks.find(({ name, state }) => name === 'plan' && state === 'failing');
  const trouble = failing === undefined ? null : failing.detail;
  return { at: status.at, machines, lastPlan: status.lastPlan, ...explainWhyNot({ plan, machines, trouble }) };
}
