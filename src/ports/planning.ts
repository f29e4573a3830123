import type { LaunchId, MachineId, PlanId, TraceId } from '../model/ids.ts';
import type { Hold } from '../model/holds.ts';
import type { LadderRung, LaunchBody, LaunchLimits } from '../model/launch.ts';
import type { EndReason } from '../model/machine.ts';
import type { Architecture } from '../model/offering.ts';
import type { WorkloadPolicy } from '../model/policy.ts';
import type { Resources } from '../model/resources.ts';
import type { EpochMs } from '../model/time.ts';
import type { ForecastErrors, PastDemand } from '../planner/forecast.ts';
import type {
  AgentView,
  ChurnView,
  MachineView,
  PendingShape,
  RankedKind,
  UtilizationView,
  WorkloadTimes,
} from '../planner/types.ts';
import type { Lease } from './leadership.ts';

/** What the database knows for one decision pass, read in one repeatable-read transaction. */
export interface PlanningFacts {
  /** The database's clock at the moment of the snapshot. */
  readonly nowMs: EpochMs;
  readonly agents: readonly AgentView[];
  readonly machines: readonly MachineView[];
  readonly workloads: ReadonlyMap<string, WorkloadFacts>;
  /** One sentence when the database has lost commits; null = it has not, as far as is known. */
  readonly amnesia: string | null;
  /** What EC2 lately refused and is left alone, or tried again by one launch. */
  readonly holds: readonly Hold[];
}

export interface WorkloadFacts {
  readonly pending: readonly PendingShape[];
  readonly utilization: UtilizationView | null;
  /** What its tasks hold on on-prem agents; absent = nothing. */
  readonly heldLocally?: Resources;
  /** Absent: the workload has no forecast. */
  readonly history?: DemandHistory;
  readonly launchedLastHour: number;
  readonly lastLaunchAtMs: EpochMs | null;
  readonly lastDrainAtMs: EpochMs | null;
  /** Absent: nothing is learned yet. */
  readonly times?: WorkloadTimes;
  readonly churn: ChurnView;
}

/** What a forecast is made of and judged by. */
export interface DemandHistory {
  readonly past: readonly PastDemand[];
  readonly errors: ForecastErrors;
}

/** One look at what a workload wants, and what is forecast for the periods ahead. */
export interface DemandRecord {
  readonly workload: string;
  readonly nowMs: EpochMs;
  readonly forecasts: readonly PastDemand[];
}

/** Which of a workload's tasks get local room first: higher ranks do. */
export interface LocalOrder {
  readonly workload: string;
  readonly kinds: readonly Pick<RankedKind, 'shape' | 'constraints' | 'rank'>[];
}

/** A launch to be committed: ids, nonce and token are made before, so that the row is whole when EC2 is called. */
export interface NewLaunch {
  readonly id: LaunchId;
  readonly workload: string;
  readonly nonce: string;
  readonly token: string;
  readonly body: LaunchBody;
  readonly zone: string;
  readonly priceUsdPerHour: number;
  readonly resources: Resources;
  /** Null = not known. */
  readonly arch: Architecture | null;
  readonly machineIds: readonly MachineId[];
  readonly deadlineMs: number;
  /** What the same job tries next when EC2 refuses. */
  readonly ladder: readonly LadderRung[];
  readonly policyHash: string;
  /** Keys of holds that this launch, of one machine, tries again. */
  readonly probes: readonly string[];
}

export interface PlanCommit {
  readonly lease: Lease;
  readonly planId: PlanId;
  /** Carried by everything that comes of the plan. */
  readonly traceId: TraceId;
  readonly input: unknown;
  readonly outcome: unknown;
  /** Equal to the newest stored plan's and nothing to do: not stored again. */
  readonly digest: string;
  readonly launches: readonly NewLaunch[];
  readonly drains: readonly DrainStep[];
  readonly undrains: readonly MachineStep[];
  /** Stopped machines that are started; checked against the limits like launches. */
  readonly starts: readonly StartStep[];
  /** Stopped machines that are terminated. */
  readonly retires: readonly RetireStep[];
  /** Re-checked inside the transaction, by workload: what may live after the launches. */
  readonly limits: ReadonlyMap<string, LaunchLimits>;
}

export interface MachineStep {
  readonly machineId: MachineId;
  readonly revision: number;
  readonly reason: string;
}

export interface StartStep extends MachineStep {
  readonly workload: string;
  readonly resources: Resources;
  readonly priceUsdPerHour: number;
}

export interface RetireStep extends MachineStep {
  readonly endReason: EndReason;
}

export interface DrainStep extends MachineStep {
  /** What the machine's end will be put down to. */
  readonly endReason: EndReason;
  readonly deadlineMs: number;
}

/**
 * `fenced`: another epoch leads; nothing was written, stop deciding.
 * `amnesia`: the database has lost commits, and the plan would have acted; nothing was written.
 * `outdated`: the world moved between snapshot and commit (a limit would break); nothing was written, plan again.
 */
export type CommitOutcome =
  | {
      readonly kind: 'committed';
      readonly stored: boolean;
      readonly drained: readonly MachineId[];
      readonly undrained: readonly MachineId[];
      /** Started or terminated. */
      readonly ofPool: readonly MachineId[];
    }
  | { readonly kind: 'fenced' }
  | { readonly kind: 'amnesia' }
  | { readonly kind: 'outdated'; readonly detail: string };

export interface PlanningStore {
  readFacts(policies: readonly WorkloadPolicy[]): Promise<PlanningFacts>;
  /** Keeps what the workload wants now, if that is more than in the same five minutes before, and new forecasts. */
  recordDemand(record: DemandRecord): Promise<void>;
  /** Keeps in which order the kinds of a workload's tasks get local room. */
  recordLocalOrder(order: LocalOrder): Promise<void>;
  commit(commit: PlanCommit): Promise<CommitOutcome>;
  /** Records the policies that are in force now; those that are gone stay, inactive. */
  recordPolicies(policies: readonly { readonly policy: WorkloadPolicy; readonly hash: string }[]): Promise<void>;
  /** The newest recorded policy of a workload, whether or not it is still in force. */
  readPolicy(workload: string): Promise<{ readonly policy: WorkloadPolicy; readonly active: boolean } | null>;
}
