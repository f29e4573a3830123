import type { AgentEventKind } from './agent-orders.ts';
import type { WhyNot } from '../planner/why-not.ts';
import type { LaunchId, MachineId, PlanId, TaskId, TraceId } from '../model/ids.ts';
import type { LaunchState } from '../model/launch.ts';
import type { MachineState } from '../model/machine.ts';
import type { WorkloadPolicy } from '../model/policy.ts';
import type { TaskState } from '../model/task.ts';
import type { PlannerInput, PlanOutcome, WorkloadPlan } from '../planner/types.ts';
import type { AgentDocument, MachineDetails, OpenMachineRow, Timestamp, UsdAmount } from './reports.ts';

/** A plan as it was stored, with what came of its launches. */
export interface StoredPlan {
  readonly id: PlanId;
  readonly traceId: TraceId;
  readonly epoch: number;
  readonly decidedAt: Timestamp;
  /** Nobody decided it: it stands for one that was lost, and its launches were found in EC2. */
  readonly rebuilt: boolean;
  readonly input: PlannerInput;
  readonly outcome: PlanOutcome;
  readonly launches: readonly PlanLaunch[];
}

export interface PlanLaunch {
  readonly id: LaunchId;
  readonly workload: string;
  readonly state: LaunchState;
  /** 1 = the offering that the plan chose; each refusal goes on to the next one of its ladder. */
  readonly attempt: number;
  readonly machines: number;
  readonly instanceType: string;
  readonly zone: string;
  readonly market: string;
  readonly errorCode: string | null;
}

/** The answer to `explain plan`; the input only when asked for. */
export interface PlanDocument extends Omit<StoredPlan, 'input'> {
  readonly input?: PlannerInput;
  /** Machines let go because their workload has no policy any more. */
  readonly withoutPolicy: readonly { readonly machineId: MachineId; readonly workload: string }[];
}

/** A task that an agent holds. */
export interface HeldTaskDocument {
  readonly id: TaskId;
  readonly workload: string;
  readonly state: TaskState;
  readonly attempt: number;
  readonly startedAt: Timestamp | null;
  /** When it runs elsewhere unless its agent reports before. */
  readonly leaseExpiresAt: Timestamp | null;
}

/** At most a hundred of them, the oldest first. */
export interface HeldTasks {
  readonly total: number;
  readonly items: readonly HeldTaskDocument[];
}

/** What a plan says of one workload; `plan` is null where the plan was lost and rebuilt without it. */
export interface PlanPart {
  readonly planId: PlanId;
  readonly traceId: TraceId;
  readonly decidedAt: Timestamp;
  readonly plan: WorkloadPlan | null;
}

export interface LaunchCallDocument {
  readonly at: Timestamp;
  readonly attempt: number;
  /** Null: no answer yet. */
  readonly outcome: string | null;
  readonly errorCode: string | null;
}

export interface LaunchStory {
  readonly id: LaunchId;
  readonly state: LaunchState;
  readonly attempt: number;
  readonly deadlineAt: Timestamp;
  /** The newest fifty, the oldest first. */
  readonly calls: readonly LaunchCallDocument[];
}

/** What the database knows of one machine, its agent and the plans that wanted it and let it go. */
export interface MachineFacts {
  readonly at: Timestamp;
  readonly machine: MachineDetails;
  readonly agent: AgentDocument | null;
  readonly tasks: HeldTasks;
  readonly launch: LaunchStory;
  readonly launchedBy: PlanPart;
  /** Null: it is not on its way out, or no plan decided that. */
  readonly drainedBy: PlanPart | null;
  /** Null: nothing is owed beyond the ledger. */
  readonly open: OpenMachineRow | null;
}

/** The answer to `explain machine`. */
export interface MachineExplanation extends Omit<MachineFacts, 'open'> {
  /** Why its work cannot end and it cannot leave now; sentences. Empty unless it drains. */
  readonly blockers: readonly string[];
  /** What it has cost beyond `costUsd` by its price at launch; not in the ledger yet. */
  readonly accruedUsd: UsdAmount;
}

/** One line of an on-prem agent's history. */
export interface AgentEventDocument {
  readonly at: Timestamp;
  readonly event: AgentEventKind;
  /** Who ordered it, as they call themselves. */
  readonly actor: string;
  /** Null = they did not say. */
  readonly reason: string | null;
  readonly detail: Readonly<Record<string, unknown>>;
}

export interface AgentFacts {
  readonly at: Timestamp;
  readonly agent: AgentDocument;
  readonly leftAt: Timestamp | null;
  readonly removedAt: Timestamp | null;
  readonly tasks: HeldTasks;
  readonly machine: { readonly id: MachineId; readonly workload: string; readonly state: MachineState } | null;
  /** What was ordered of it, on-prem only: the newest hundred, the oldest first. */
  readonly events: readonly AgentEventDocument[];
  /** In force, by name. */
  readonly policies: readonly WorkloadPolicy[];
}

/** A workload that plans with an agent. */
export interface ServedWorkload {
  readonly workload: string;
  /** `demand.freshness` of its policy: an agent silent for longer makes it hold. */
  readonly freshnessS: number;
  /** Null: the agent has never reported. */
  readonly silentAt: Timestamp | null;
  readonly silent: boolean;
}

/** The answer to `explain agent`. */
export interface AgentExplanation extends Omit<AgentFacts, 'policies'> {
  readonly workloads: readonly ServedWorkload[];
  /** From then on no plan looks at it any more, unless it reports before. Null: it is gone already. */
  readonly goneAt: Timestamp | null;
  /** From then on its machine is terminated unless it holds a task; null for agents on-prem. */
  readonly givenUpAt: Timestamp | null;
}

/** The answer to `why-not`. */
export interface WhyNotDocument extends WhyNot {
  readonly at: Timestamp;
  readonly machines: Readonly<Record<string, number>>;
  /** The newest plan that was stored; what decides is what the next one would say. */
  readonly lastPlan: { readonly id: PlanId; readonly decidedAt: Timestamp } | null;
}

/** Questions about one thing and how it came to be so. */
export interface ExplanationReports {
  /** Null id = the newest. Null result = no such plan. */
  readPlan(id: PlanId | null): Promise<StoredPlan | null>;
  readMachineFacts(id: MachineId): Promise<MachineFacts | null>;
  /** By id, or by name: then the newest of that name. */
  readAgentFacts(idOrName: string): Promise<AgentFacts | null>;
}
