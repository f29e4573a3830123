import type { CostGrouping } from '../cost/report.ts';
import type { PastRun } from '../cost/charges.ts';
import type { AmnesiaReason } from '../model/amnesia.ts';
import type { Constraints } from '../model/constraints.ts';
import type { AgentId, MachineId, PlanId, TaskId, TraceId } from '../model/ids.ts';
import type { MachineState } from '../model/machine.ts';
import type { Architecture, Market } from '../model/offering.ts';
import type { MeasuredUse, Resources } from '../model/resources.ts';
import type { Site } from '../model/agent.ts';
import type { TaskState } from '../model/task.ts';
import type { EpochMs } from '../model/time.ts';
import type { DrainDocument, DrainStatus } from './drain-documents.ts';
import type { ExplanationReports } from './explanations.ts';
import type { Names } from './names.ts';

/**
 * What operators may read. Everything here is a document in its published form: times are RFC 3339 in UTC,
 * money is a decimal string in US dollars, durations are seconds. HTTP API and CLI pass it on unchanged,
 * so that the same field has the same name and the same digits wherever it is seen.
 */

/** RFC 3339 in UTC, e.g. `2026-11-22T08:12:04.000Z`. */
export type Timestamp = string;

/** Exact decimal US dollars, e.g. `0.680000000`. */
export type UsdAmount = string;

/** Most items one page may carry, whatever is asked for. */
export const PAGE_LIMIT_MAX = 1000;
export const PAGE_LIMIT_DEFAULT = 100;

export interface PageRequest {
  /** 1..1000 */
  readonly limit: number;
  /** `nextCursor` of the page before; null = from the start. */
  readonly cursor: string | null;
}

export interface Page<T> {
  readonly items: readonly T[];
  /** Null = this was the last page. */
  readonly nextCursor: string | null;
}

export interface MachineDocument {
  readonly id: MachineId;
  readonly workload: string;
  readonly state: MachineState;
  readonly instanceType: string;
  readonly resources: Resources;
  readonly zone: string;
  readonly market: Market;
  readonly instanceId: string | null;
  readonly privateIp: string | null;
  readonly agentId: AgentId | null;
  /** Sum of the shapes of the tasks it holds; null before it has an agent. */
  readonly allocated: Resources | null;
  /** At launch; what was paid is `costUsd`. */
  readonly priceUsdPerHour: UsdAmount;
  /** Everything charged so far, up to `chargedThrough`. */
  readonly costUsd: UsdAmount;
  readonly chargedThrough: Timestamp | null;
  readonly createdAt: Timestamp;
  readonly stateSince: Timestamp;
  readonly deadlineAt: Timestamp | null;
  /** Why it came into the state it is in: the reason of its newest event. */
  readonly reason: string | null;
  readonly endReason: string | null;
  readonly endDetail: string | null;
  /** Null: nothing protects it now. */
  readonly protection: ProtectionDocument | null;
}

/** No decision of Spillway's own lets the machine go. */
export interface ProtectionDocument {
  /** `tag`: the instance bears `spillway:protected` = `true`. */
  readonly by: 'operator' | 'tag';
  /** Who said so; null for the tag. */
  readonly who: string | null;
  readonly reason: string | null;
  readonly since: Timestamp | null;
  /** Null: until it is taken back. */
  readonly until: Timestamp | null;
}

/** What recipe, hooks and console of a machine said, the oldest first: the newest 256 KiB, without secrets. */
export interface MachineLogDocument {
  readonly items: readonly MachineOutputDocument[];
  /** True: the machine is gone, and nothing more will come. */
  readonly ended: boolean;
}

export interface MachineOutputDocument {
  /** Grows; what was said later has a larger one. */
  readonly id: number;
  readonly at: Timestamp;
  /** `join`, the name of a hook, or `console`. */
  readonly phase: string;
  readonly exitCode: number | null;
  /** How often the same was said in a row. */
  readonly times: number;
  readonly content: string;
}

export interface MachineEventDocument {
  readonly at: Timestamp;
  readonly fromState: MachineState | null;
  readonly toState: MachineState;
  readonly actor: string;
  readonly reason: string;
  /** The plan whose decision it carries out, and that plan's trace. */
  readonly planId: PlanId;
  readonly traceId: TraceId;
  readonly detail: Readonly<Record<string, unknown>>;
}

/** A machine with its whole story. At most the newest 500 events, oldest first. */
export interface MachineDetails extends MachineDocument {
  /** What it waits for, until when, and what is done then, as a sentence without its subject; null once it has ended. */
  readonly waiting: string | null;
  /** What its step said last that it waits for, and since when; null = no more than `waiting` has. Only while it boots or joins. */
  readonly waitsFor: { readonly says: string; readonly since: Timestamp } | null;
  /** Null: it does not drain. */
  readonly drain: DrainDocument | null;
  /** Visits of its step that failed in a row, and what the last one said. */
  readonly stepFailures: number;
  readonly stepError: string | null;
  readonly launchId: string;
  readonly planId: string;
  /** Of the plan that launched it; the instance's tag `spillway:trace`. */
  readonly traceId: TraceId;
  readonly volumeGib: number;
  readonly observedState: string | null;
  readonly observedAt: Timestamp | null;
  readonly launchTime: Timestamp | null;
  readonly endedAt: Timestamp | null;
  /** The SSH host key that is pinned for it; `confirmed`: it has proved it. Null = none is. */
  readonly hostKey: { readonly fingerprint: string; readonly confirmed: boolean } | null;
  readonly costByKind: readonly { readonly kind: string; readonly seconds: number; readonly amountUsd: UsdAmount }[];
  readonly events: readonly MachineEventDocument[];
}

/** `fresh`: reported lately. `stale`: silent for longer than the limit. `never`: registered, no report yet. */
export type AgentFreshness = 'fresh' | 'stale' | 'never';

export interface AgentDocument {
  readonly id: AgentId;
  readonly name: string;
  readonly site: Site;
  readonly labels: Readonly<Record<string, string>>;
  /** Null = the agent does not say. */
  readonly arch: Architecture | null;
  readonly capacity: Resources;
  readonly allocated: Resources;
  /** Null before the first measurement. */
  readonly used: MeasuredUse | null;
  /** Those of other engines included. */
  readonly runningTasks: number;
  /** Tasks of other engines, as its probe says; null = the probe fails, which counts as one. */
  readonly otherTasks: number | null;
  /** When EC2 first said that an interruption has become more likely. */
  readonly rebalanceNoticedAt: Timestamp | null;
  readonly cordoned: boolean;
  readonly cordonAcknowledged: boolean;
  readonly freshness: AgentFreshness;
  readonly lastSeenAt: Timestamp | null;
  /** Seconds by the database's clock; null = never. */
  readonly lastSeenAgeS: number | null;
  readonly registeredAt: Timestamp;
  readonly machineId: MachineId | null;
}

export interface TaskDocument {
  readonly id: TaskId;
  readonly workload: string;
  readonly state: TaskState;
  readonly command: readonly string[];
  readonly shape: Resources;
  readonly constraints: Constraints;
  /** How long it was said to run; null = not said. */
  readonly runTimeS: number | null;
  readonly attempt: number;
  readonly agentId: AgentId | null;
  readonly agentName: string | null;
  readonly site: Site | null;
  readonly machineId: MachineId | null;
  readonly submittedAt: Timestamp;
  readonly pendingSince: Timestamp;
  readonly startedAt: Timestamp | null;
  readonly finishedAt: Timestamp | null;
  readonly exitCode: number | null;
  /** Since it last became pending while it waits, else from submission to its first start; seconds. */
  readonly waitedS: number;
  /** From start to finish, or until now while it runs; null before it started. */
  readonly ranS: number | null;
  /** What it last wrote into its progress file. */
  readonly progressBase64: string | null;
}

/** A piece of what a task wrote. Bytes, because nobody promised that a task writes text. */
export interface TaskLogDocument {
  readonly taskId: TaskId;
  readonly attempt: number;
  readonly offset: number;
  /** Where the next piece begins; equal to `offset` when there is nothing more yet. */
  readonly nextOffset: number;
  readonly contentBase64: string;
  /** True when the attempt is over and `nextOffset` is its end: no more will come. */
  readonly ended: boolean;
  readonly taskState: TaskState;
}

export interface LayerStatus {
  readonly layer: 'local' | 'cloud';
  readonly agents: number;
  readonly ready: number;
  readonly stale: number;
  readonly draining: number;
  /** Of fresh agents only: what a silent agent has is unknown. */
  readonly capacity: Resources;
  readonly allocated: Resources;
  readonly free: Resources;
  /** Null for the local layer: its price is nobody's guess. */
  readonly usdPerHour: UsdAmount | null;
}

export interface WaitingStatus {
  readonly workload: string;
  readonly tasks: number;
  readonly resources: Resources;
  readonly oldestWaitS: number;
}

export interface StatusDocument {
  readonly at: Timestamp;
  readonly layers: readonly LayerStatus[];
  readonly waiting: readonly WaitingStatus[];
  /** Tasks that are not over, and those submitted within the last 24 h. */
  readonly tasks: Readonly<Partial<Record<TaskState, number>>>;
  /** Live machines; terminated ones are left out. */
  readonly machines: readonly {
    readonly workload: string;
    readonly state: MachineState;
    readonly market: Market;
    readonly count: number;
  }[];
  /** Workloads that have machines that drain, by name. */
  readonly drains: readonly DrainStatus[];
  /** What all machines with an instance cost per hour now, by their price at launch. */
  readonly usdPerHour: UsdAmount;
  /** Charged so far; calendar day and month in UTC. */
  readonly spend: { readonly todayUsd: UsdAmount; readonly monthUsd: UsdAmount };
  readonly lastPlan: { readonly id: PlanId; readonly decidedAt: Timestamp } | null;
  /** Null unless the database has lost commits; then nothing is launched or ended until its rows are rebuilt. */
  readonly amnesia: AmnesiaStatus | null;
}

export interface AmnesiaStatus {
  readonly since: Timestamp;
  readonly reason: AmnesiaReason;
  readonly evidence: Readonly<Record<string, unknown>>;
  /** Machines made anew from EC2. */
  readonly rebuilt: number;
  /** What is the matter and what is waited for, in a sentence. */
  readonly detail: string;
}

/** One line of the ledger, cut to nothing: as it was written. */
export interface ChargeRow {
  readonly machineId: MachineId;
  readonly workload: string;
  readonly kind: 'compute' | 'volume' | 'ipv4';
  readonly instanceType: string;
  readonly market: Market;
  readonly zone: string;
  readonly fromMs: EpochMs;
  readonly toMs: EpochMs;
  readonly quantitySeconds: number;
  readonly unitPriceUsdPerHour: UsdAmount;
  readonly amountUsd: UsdAmount;
}

/** A machine that costs money which the ledger does not have yet, with what the rules of billing need to know of it. */
export interface OpenMachineRow {
  readonly machineId: MachineId;
  readonly workload: string;
  readonly instanceType: string;
  readonly zone: string;
  readonly market: Market;
  readonly volumeGib: number;
  readonly priceUsdPerHour: UsdAmount;
  readonly launchAtMs: EpochMs | null;
  readonly pendingSeenAtMs: EpochMs | null;
  readonly runningSeenAtMs: EpochMs | null;
  readonly endedAtMs: EpochMs | null;
  readonly endCode: string | null;
  readonly run: number;
  readonly runLaunchAtMs: EpochMs | null;
  readonly stoppedAtMs: EpochMs | null;
  readonly pastRuns: readonly PastRun[];
  readonly chargedThroughMs: EpochMs | null;
}

export interface ChargeFacts {
  readonly charges: readonly ChargeRow[];
  readonly open: readonly OpenMachineRow[];
  readonly nowMs: EpochMs;
}

export interface MachineFilter {
  readonly workload: string | null;
  readonly state: MachineState | null;
  /** Terminated machines too. */
  readonly all: boolean;
}

export interface TaskFilter {
  readonly workload: string | null;
  readonly state: TaskState | null;
}

/** Read-only questions about the fleet. Every list is bounded; `AppError` DATABASE_UNREACHABLE when there is no answer. */
export interface Reports extends ExplanationReports, Names {
  /** Newest first. */
  listMachines(filter: MachineFilter, page: PageRequest): Promise<Page<MachineDocument>>;
  /** Null = no such machine. */
  showMachine(id: MachineId): Promise<MachineDetails | null>;
  /** What was said on a machine after the piece `after`; 0 = from the beginning. */
  readMachineLog(id: MachineId, after: number): Promise<MachineLogDocument | null>;
  /** By name. Removed agents are left out. */
  listAgents(page: PageRequest): Promise<Page<AgentDocument>>;
  /** Newest first. */
  listTasks(filter: TaskFilter, page: PageRequest): Promise<Page<TaskDocument>>;
  showTask(id: TaskId): Promise<TaskDocument | null>;
  /** Null attempt = the newest. Null result = no such task. */
  readTaskLog(id: TaskId, attempt: number | null, offset: number): Promise<TaskLogDocument | null>;
  /**
   * Charges that touch [fromMs, toMs) and what is open in it.
   * @throws AppError REFUSED when the range holds more lines than one report may read.
   */
  readCharges(fromMs: EpochMs, toMs: EpochMs): Promise<ChargeFacts>;
  status(): Promise<StatusDocument>;
}

/** Money of one group over the range. `totalUsd` is the sum of the three kinds, to the last digit. */
export interface CostRowDocument {
  /** The workload, day (UTC), instance type or market; `total` in the total. */
  readonly key: string;
  readonly machines: number;
  readonly machineHours: number;
  readonly computeUsd: UsdAmount;
  readonly volumeUsd: UsdAmount;
  readonly ipv4Usd: UsdAmount;
  readonly totalUsd: UsdAmount;
  /** The part of the total that is not in the ledger yet: living machines since their last charge, at their price at launch. */
  readonly estimatedUsd: UsdAmount;
}

export interface CostReportDocument {
  readonly from: Timestamp;
  readonly to: Timestamp;
  readonly by: CostGrouping;
  /** Database time of the figures. */
  readonly at: Timestamp;
  readonly items: readonly CostRowDocument[];
  readonly total: CostRowDocument;
}
