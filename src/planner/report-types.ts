/** What a plan tells of one workload: figures and reasons, in plain JSON. */
import type { Constraints } from '../model/constraints.ts';
import type { Resources } from '../model/resources.ts';
import type { EpochMs } from '../model/time.ts';
import type { PlanReason } from './reason-codes.ts';

/** The sentence-free account of a decision; `describePlan` turns it into sentences. */
export interface WorkloadReport {
  readonly verdict: 'scale-up' | 'scale-down' | 'hold';
  /** Every reason that held, the deciding one first. */
  readonly reasons: readonly PlanReason[];
  /** What each signal asks for beyond what local and cloud agents have free, in resources; null = signal not configured. */
  readonly signals: {
    readonly queue: SignalReport | null;
    readonly utilization: SignalReport | null;
    readonly headroom: SignalReport | null;
  };
  /** Pending work as it was found. Absent, like `gap` and `limits`: made by a planner that did not say. */
  readonly demand?: DemandReport;
  /** What nothing there or on its way had room for, before this plan's own machines. */
  readonly gap?: GapReport;
  /** Every limit that the policy sets, with how much of it was used. */
  readonly limits?: readonly LimitReport[];
  /** Pending work by where it is expected to run. */
  readonly placement: {
    readonly pendingTasks: number;
    readonly onLocal: number;
    readonly onCloud: number;
    readonly inFlight: number;
    /** On machines that this very plan launches. */
    readonly planned?: number;
    readonly waiting: number;
    readonly unserved: number;
    /** Fits no agent and no allowed offering. */
    readonly impossible: number;
  };
  readonly local: CapacityReport;
  readonly cloud: CapacityReport;
  readonly inFlight: CapacityReport;
  readonly candidates: { readonly considered: number; readonly rejected: Readonly<Record<string, number>> };
  /** Work that waits for local agents although it may burst; null = none. Absent in plans of before. */
  readonly wait?: WaitReport | null;
  /** Pending tasks of unlike worth, by who stays local; null = nothing to choose. Absent in plans of before. */
  readonly kept?: KeepReport | null;
  readonly money: { readonly usdPerHourBefore: number; readonly usdPerHourAfter: number };
}

/** Waiting and bursting, side by side. */
export interface WaitReport {
  readonly tasks: number;
  /** Seconds until local agents are expected to have room for all of them. */
  readonly localInS: number;
  /** Seconds until a machine launched now would be ready, as those before it were. */
  readonly machineInS: number;
  /** What the tasks would cost in the cloud at least; null = not known. Waiting costs nothing here. */
  readonly burstUsd: number | null;
}

/** A kind of task with what one of it would cost in the cloud, and its place in line for local agents. */
export interface RankedKind {
  readonly shape: Resources;
  readonly constraints: Constraints;
  /** At least so much, its share of the machine that is cheapest for it; null = it cannot run there. */
  readonly burstUsdPerHour: number | null;
  /** Higher ones get local room first: steps of a tenth in money per share of the local agents. */
  readonly rank: number;
}

/** What stays local and what goes, with what either costs in the cloud per hour at least. */
export interface KeepReport {
  readonly keptTasks: number;
  /** What is saved by keeping them; tasks that cannot run there count nothing. */
  readonly keptUsdPerHour: number;
  readonly burstTasks: number;
  readonly burstUsdPerHour: number;
  /** In the order of their keys; local room goes to the highest rank first. */
  readonly kinds: readonly RankedKind[];
}

export interface DemandReport {
  readonly tasks: number;
  /** Of them, those that may not wait for a local place any longer. */
  readonly urgentTasks: number;
  readonly resources: Resources;
  /** Null: nothing is pending. */
  readonly oldestPendingSinceMs: EpochMs | null;
}

export interface GapReport {
  readonly tasks: number;
  readonly resources: Resources;
  readonly headroom: Resources;
  readonly utilization: Resources;
  readonly machinesBelowMin: number;
}

export type LimitName =
  | 'limits.max'
  | 'limits.vcpus'
  | 'limits.launchesPerHour'
  | 'limits.maxScaleUp'
  | 'budget.hourly'
  | 'limits.min'
  | 'limits.maxScaleDown';

export interface LimitReport {
  readonly limit: LimitName;
  readonly value: number;
  /** Used before this plan, and with it. Machines that leave count until they are gone, but not for `limits.min`. */
  readonly before: number;
  readonly after: number;
  /** It stood in the way of something this plan would have done. */
  readonly bound: boolean;
}

export interface SignalReport {
  readonly wanted: Resources;
  readonly detail: string;
}

export interface CapacityReport {
  readonly agents: number;
  readonly staleAgents: number;
  readonly capacity: Resources;
  readonly free: Resources;
}
