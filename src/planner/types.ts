import type { AgentId, MachineId } from '../model/ids.ts';
import type { Constraints } from '../model/constraints.ts';
import type { EndReason, MachineState } from '../model/machine.ts';
import type { HoldClass, HoldState } from '../model/holds.ts';
import type { Architecture, Market, Offering } from '../model/offering.ts';
import type { WorkloadPolicy } from '../model/policy.ts';
import type { Resources } from '../model/resources.ts';
import type { Site } from '../model/agent.ts';
import type { EpochMs } from '../model/time.ts';
import type { WorkloadReport } from './report-types.ts';

export type { PlanReason, ReasonCode } from './reason-codes.ts';
export type * from './report-types.ts';

/** Everything one decision pass may know. Plain JSON, so that it can be stored and replayed. */
export interface PlannerInput {
  readonly nowMs: EpochMs;
  readonly workloads: readonly WorkloadInput[];
  readonly agents: readonly AgentView[];
  readonly machines: readonly MachineView[];
  /** Present: the database has lost commits, as this sentence says. Then nothing is launched, taken back or let go. */
  readonly amnesia?: string;
  /** What the operating system keeps of a machine nobody has reported on yet; default `SYSTEM_RESERVE`. */
  readonly reserve?: SystemReserve;
}

/** Part of a machine's memory that tasks never get. */
export interface SystemReserve {
  readonly memoryMib: number;
  /** 0..1, of the machine's memory. */
  readonly memoryShare: number;
}

export interface WorkloadInput {
  readonly policy: WorkloadPolicy;
  /** Pending tasks grouped by shape and constraints. Order of the list carries no meaning. */
  readonly pending: readonly PendingShape[];
  /** Mean utilization of the agents the policy selects over its window; null = no sample in the window. */
  readonly utilization: UtilizationView | null;
  /** Offerings of the policy's subnets that are not marked unavailable, with the price of the moment. Null = not known now (EC2 away): HOLD launches. */
  readonly offerings: readonly Offering[] | null;
  /** How many offerings are left out because EC2 lately refused them. */
  readonly unavailableOfferings: number;
  /** Refusals that hold more than offerings: of the workload, its region, a quota. Absent = none. */
  readonly holds?: readonly HoldView[];
  readonly launchedLastHour: number;
  readonly lastLaunchAtMs: EpochMs | null;
  readonly lastDrainAtMs: EpochMs | null;
  /** What its past says; absent = nothing. */
  readonly times?: WorkloadTimes;
  /** Whether machines that were let go within the last hour were wanted again too soon. Absent = not known, and no reason to hold. */
  readonly churn?: ChurnView;
  /** True when the last listing of the cloud was complete and fresh; else nothing is drained. */
  readonly cloudViewFresh: boolean;
  /** What its tasks hold on on-prem agents. Absent = nothing. */
  readonly heldLocally?: Resources;
  /** Windows of the policy's schedule that are open at `nowMs` or about to be. Absent = none. */
  readonly windows?: readonly OpenWindow[];
  /** Of `drain.budgets` that have a window, those that count now, by their place in the policy. Absent = none. */
  readonly budgetWindows?: readonly BudgetWindowView[];
  /** So many local agents are silent that the way to them is the likelier fault. Absent: they are not. */
  readonly silence?: SilenceView;
  /** Absent: no forecast was asked for. */
  readonly forecast?: ForecastView;
}

/** A window of a budget that is open. */
export interface BudgetWindowView {
  /** In `drain.budgets`, from 0. */
  readonly budget: number;
  readonly untilMs: EpochMs;
}

/** Local agents that are silent together. */
export interface SilenceView {
  readonly silentAgents: number;
  readonly localAgents: number;
  /** For how long the deciding process has seen it, without a gap in what it saw. */
  readonly forMs: number;
}

/** What is expected, and how right such expectations were lately. */
export type ForecastView =
  | {
      readonly kind: 'known';
      /** The most that any period until `untilMs` is expected to want, of each resource. */
      readonly wanted: Resources;
      readonly untilMs: EpochMs;
      readonly season: 'week' | 'day';
      /** Weeks or days that the last of these periods is the median of. */
      readonly seasons: number;
      readonly score: ForecastScore;
    }
  /** Too little history. */
  | { readonly kind: 'unknown'; readonly score: ForecastScore };

export interface ForecastScore {
  /** Periods whose forecast was compared with the truth. */
  readonly periods: number;
  /** 0..1, of the resource that was forecast worst; null = no period was scored. */
  readonly accuracy: number | null;
}

/** A window of a schedule, read from its cron expression before the planner is asked. */
export interface OpenWindow {
  /** As the policy has it: cron expression and time zone. */
  readonly schedule: string;
  /** Machines that are kept; null = no bound. */
  readonly min: number | null;
  /** Machines that are allowed; null = no bound. */
  readonly max: number | null;
  /** Later than `nowMs` while it is only prepared for. */
  readonly fromMs: EpochMs;
  readonly untilMs: EpochMs;
}

/** Quantiles over the newest tasks and machines of a workload, in seconds; null = too few to say. */
export interface WorkloadTimes {
  readonly runP50S: number | null;
  readonly runP95S: number | null;
  /** From the decision to launch until the machine takes tasks. */
  readonly joinP50S: number | null;
}

/** Room that tasks are expected to give back. */
export interface Freeing {
  readonly inS: number;
  readonly resources: Resources;
}

/** Machines of the last hour that were let go because nothing needed them. */
export interface ChurnView {
  readonly letGo: number;
  /**
   * Of these, replaced: a machine of the same size was wanted before the one let go could have saved what a start costs (its own
   * start, or the minute that EC2 bills at least).
   */
  readonly missed: number;
  /** When the last such replacement was wanted; null = none was. */
  readonly lastMissedAtMs: EpochMs | null;
}

/** A hold as the planner sees it; see `model/holds.ts`. */
export interface HoldView {
  /** e.g. `workload:render` or `quota:us-east-1/standard/spot` */
  readonly key: string;
  /** It keeps every launch of the workload back, not only some offerings. */
  readonly isWide: boolean;
  readonly errorClass: HoldClass;
  /** EC2's code. */
  readonly errorCode: string;
  readonly state: HoldState;
  /** Null: until the policy changes. */
  readonly untilMs: EpochMs | null;
}

export interface PendingShape extends Constraints {
  readonly shape: Resources;
  readonly count: number;
  /** How many of them have waited longer than `queue.maxWait`. */
  readonly overdue: number;
  readonly oldestPendingSinceMs: EpochMs;
  /** How long those that say it are expected to run; null = none says it. */
  readonly runTimeS: { readonly p50: number; readonly p95: number } | null;
}

export interface UtilizationView {
  /** 0..1 each, over the capacity of all reporting agents in the window. */
  readonly cpu: number;
  readonly memory: number;
  readonly oldestSampleAtMs: EpochMs;
  readonly newestSampleAtMs: EpochMs;
  /**
   * Mean capacity the shares refer to. Absent: the capacity of the agents that report now, without machines that became ready
   * after the oldest sample, because the window has not wholly seen them.
   */
  readonly capacity?: Resources;
}

/** A registered agent that was not removed. */
export interface AgentView {
  readonly id: AgentId;
  readonly site: Site;
  readonly labels: Readonly<Record<string, string>>;
  readonly capacity: Resources;
  readonly allocated: Resources;
  /** What of it tasks are expected to give back within minutes, by their declared or learned run times; absent = nothing known. */
  readonly freeing?: readonly Freeing[];
  /** Absent or null: not known. */
  readonly arch?: Architecture | null;
  readonly runningTasks: number;
  readonly cordoned: boolean;
  readonly lastSeenAtMs: EpochMs | null;
  readonly machineId: MachineId | null;
}

/** A machine that is not terminated. */
export interface MachineView {
  readonly id: MachineId;
  readonly workload: string;
  readonly state: Exclude<MachineState, 'terminated'>;
  readonly revision: number;
  readonly instanceType: string;
  readonly resources: Resources;
  /** Absent or null: not known. */
  readonly arch?: Architecture | null;
  readonly zone: string;
  readonly market: Market;
  readonly priceUsdPerHour: number;
  readonly createdAtMs: EpochMs;
  /** When EC2 had it, so that it may be billed; absent or null: not known, and the time it was created stands in. */
  readonly startedAtMs?: EpochMs | null;
  /** From there to its first being ready; absent or null: not known. */
  readonly startMs?: number | null;
  /** Since when it takes work; null before. Absent: five minutes after it was created. */
  readonly readySinceMs?: EpochMs | null;
  /** Since when its agent has had no task; null while it works or before it is ready. */
  readonly idleSinceMs: EpochMs | null;
  /** True once a drain hook or a kill touched work: such a drain cannot be called off. */
  readonly drainIrrevocable: boolean;
  /** No decision of ours lets it go. Absent: nothing protects it. */
  readonly protection?: ProtectionView;
  /** Why it is leaving. Present and not `scale-down`: its drain is not called off. */
  readonly endReason?: EndReason | null;
  readonly agentId: AgentId | null;
  /** Of a stopped one: since when. Absent or null: not known. */
  readonly stoppedSinceMs?: EpochMs | null;
  /** Of a stopped one: what it was launched from. Absent or null: not known. */
  readonly imageId?: string | null;
  /** Of a stopped one: EC2 refused its like a while ago. Absent = it may be started. */
  readonly startHeld?: true;
}

/** Who protects a machine, and for how long; null = for good. */
export interface ProtectionView {
  readonly by: 'operator' | 'tag';
  readonly untilMs: EpochMs | null;
}

/** What a pass decided, and why; also for doing nothing. Plain JSON. */
export interface PlanOutcome {
  /** The planner that made it, see `version.generated.ts`. Absent: one that did not say. */
  readonly plannerVersion?: string;
  readonly decidedAtMs: EpochMs;
  readonly workloads: readonly WorkloadPlan[];
}

export interface WorkloadPlan {
  readonly workload: string;
  readonly actions: readonly PlanAction[];
  readonly report: WorkloadReport;
}

export type PlanAction =
  /** Drain called off: the cheapest new capacity is the one that has not left yet. Always before any launch. */
  | {
      readonly kind: 'undrain';
      readonly machineId: MachineId;
      readonly revision: number;
      readonly machine?: ActionMachine;
    }
  /** A stopped machine is started: after drains that are called off and before any launch. */
  | {
      readonly kind: 'start';
      readonly machineId: MachineId;
      readonly revision: number;
      readonly machine?: ActionMachine;
    }
  | (LaunchChoice & {
      readonly kind: 'launch';
      readonly count: number;
      /** What the same launch tries next when EC2 refuses: offerings that serve the same tasks. */
      readonly ladder: readonly LaunchChoice[];
      /** Keys of holds that this launch, of one machine, tries again. */
      readonly probes: readonly string[];
    })
  | {
      readonly kind: 'drain';
      readonly machineId: MachineId;
      readonly revision: number;
      /** `underutilized`: it has work, and goes when that is done. */
      readonly why: 'unneeded' | 'underutilized';
      readonly machine?: ActionMachine;
    }
  /** A stopped machine is terminated: it is too old, one too many, or not what the policy names any more. */
  | {
      readonly kind: 'retire';
      readonly machineId: MachineId;
      readonly revision: number;
      readonly why: 'pool-aged' | 'pool-above-max' | 'pool-unfit';
      readonly machine?: ActionMachine;
    };

/** An offering and the image for its architecture. */
export interface LaunchChoice {
  readonly offering: Offering;
  readonly imageId: string;
}

/** What a reader wants to know of the machine an action names. */
export interface ActionMachine {
  readonly instanceType: string;
  readonly market: Market;
  readonly zone: string;
  readonly resources: Resources;
  readonly priceUsdPerHour: number;
  readonly idleMs: number | null;
}
