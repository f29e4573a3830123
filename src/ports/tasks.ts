import type { AgentId, MachineId, TaskId } from '../model/ids.ts';
import type { Constraints, Place } from '../model/constraints.ts';
import type { Architecture } from '../model/offering.ts';
import type { Resources } from '../model/resources.ts';
import type { EpochMs } from '../model/time.ts';
import type { AgentReport, LogOutcome, LogPart } from './agent-gateway.ts';
import type { Orderer } from './machine-orders.ts';

/** Tasks that are alike for whoever places them share one queue. */
export interface TaskKind {
  readonly workload: string;
  readonly shape: Resources;
  readonly constraints: Constraints;
}

/** Pending tasks of one kind. */
export interface PendingGroup extends TaskKind {
  readonly count: number;
  readonly oldestPendingSinceMs: EpochMs;
  /** Its place in line for local agents: higher ones come first. Absent: the planner has said nothing of it. */
  readonly rank?: number;
}

/** An agent that may be given work now, with what it has free. */
export interface FreeAgent extends Place {
  readonly id: AgentId;
  readonly labels: Readonly<Record<string, string>>;
  /** The workload an `aws` agent was launched for; null on-prem. */
  readonly workload: string | null;
  readonly free: Resources;
  /** It has GPUs, free or not: work that needs none goes elsewhere while it can. */
  readonly hasGpus: boolean;
}

/** Local agents as something that workloads share. */
export interface LocalShares {
  /** Of all on-prem agents that were not removed and have not left. */
  readonly capacity: Resources;
  /** By workload; what its leased and running tasks hold there. */
  readonly held: ReadonlyMap<string, Resources>;
}

/** A task that an agent holds: leased, or running there. */
export interface HeldTask extends TaskKind {
  readonly id: TaskId;
  readonly attempt: number;
  readonly state: 'leased' | 'running';
  readonly command: readonly string[];
  readonly progressBase64: string | null;
  readonly leaseToken: string;
  /** When the row was read. */
  readonly leaseLeftMs: number;
}

/** One submission: equal tasks in the order of their ids. */
export interface NewTasks {
  readonly ids: readonly TaskId[];
  readonly workload: string;
  readonly command: readonly string[];
  readonly shape: Resources;
  /** Absent = anywhere. */
  readonly constraints?: Constraints;
  /** How long one is expected to run; absent = not said. */
  readonly runTimeS?: number | null;
}

/**
 * Tasks as rows, the truth of the built-in engine. A job in a queue is only a doorbell and a lock:
 * whatever it says, a task is given out only by the compare-and-set of `lease`.
 */
export interface TaskStore {
  insert(tasks: NewTasks): Promise<void>;
  listPending(): Promise<readonly PendingGroup[]>;
  /** Oldest first; for filling a queue that was emptied. */
  listPendingIds(kind: TaskKind, limit: number): Promise<readonly TaskId[]>;
  /** Agents heard of within `silentAfterMs`, not cordoned, with what tasks leave free. */
  listFreeAgents(silentAfterMs: number): Promise<readonly FreeAgent[]>;
  /** Who holds what of the on-prem agents now. */
  readLocalShares(): Promise<LocalShares>;
  /** pending -> leased with a new attempt, if the agent still has room and is where they may run; returns the ids that were won. */
  lease(
    agentId: AgentId,
    leases: readonly { readonly taskId: TaskId; readonly token: string }[],
    leaseMs: number,
  ): Promise<ReadonlySet<TaskId>>;
  /** What an agent holds and is asked to do now, without a report; null = removed. */
  listOrders(agentId: AgentId): Promise<Pick<ReportResult, 'cordoned' | 'cordonGeneration' | 'leave' | 'held'> | null>;
  /** Back to pending whatever was leased or running past its lease; returns what came back. */
  expireLeases(
    limit: number,
  ): Promise<readonly (TaskKind & { readonly id: TaskId; readonly leaseToken: string | null })[]>;
  /** Adds what follows the kept end of an attempt's log; a part that begins beyond the end is not kept. */
  appendLog(agentId: AgentId, part: LogPart): Promise<LogOutcome>;
}

/** One agent's heartbeat, for a batch. */
export interface ReportOf {
  readonly agentId: AgentId;
  /** The credential that came with it, which must be the agent's own; absent = the caller vouches for the agent. */
  readonly tokenHash?: string;
  readonly report: AgentReport;
}

/** What the rows say after a report was written. */
export interface ReportResult {
  readonly agentId: AgentId;
  /** `superseded`: an older boot or sequence number. `unknown-agent`: removed, or not its credential. In both cases nothing was written. */
  readonly kind: 'accepted' | 'superseded' | 'unknown-agent';
  readonly cordoned: boolean;
  readonly cordonGeneration: number;
  /** The agent's machine is on its way out: it may go when its work is done. */
  readonly leave: boolean;
  /** A machine whose next step waits for reports like this one (it joins or drains). */
  readonly waitingMachineId: MachineId | null;
  readonly held: readonly HeldTask[];
  /** Tasks that this report ended, or that had ended before and are reported once more: the agent may forget them. */
  readonly ended: readonly { readonly taskId: TaskId; readonly attempt: number; readonly lease: HeldTask | null }[];
  /** Tasks it reports as running that are not its own any more. */
  readonly foreign: readonly { readonly taskId: TaskId; readonly attempt: number }[];
  /** Tasks the rows had as running there that the agent does not know: given back to pending. */
  readonly lost: readonly HeldTask[];
}

export interface NewAgent {
  readonly id: AgentId;
  readonly name: string;
  readonly tokenHash: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly capacity: Resources;
  readonly arch?: Architecture | null;
  readonly bootId: string;
}

/** Who wants an agent of the datacenter; told in its history when it registers. */
export interface EnrolmentOrder extends Orderer {
  /** `agent install` was given the agent of this name; one that is there has it in its history at once. Null = no name is known. */
  readonly installs: string | null;
}

export type RegistrationRefusal = 'unknown-token' | 'expired' | 'used';

/** Agents as rows. Reports are written in batches: a thousand heartbeats cost a few statements, not thousands. */
export interface AgentStore {
  /**
   * Burns the one-time token and makes the agent, in one transaction. The same boot may ask again with the same token until
   * its first heartbeat: the answer was lost on the way, and the same agent gets the new token hash.
   */
  register(
    enrolmentHash: string,
    agent: NewAgent,
  ): Promise<
    | { readonly kind: 'registered'; readonly agentId: AgentId }
    | { readonly kind: 'refused'; readonly why: RegistrationRefusal }
  >;
  /** For each hash of a token whose it is; null = nobody's, or that of a removed agent. */
  findByTokens(tokenHashes: readonly string[]): Promise<readonly (AgentId | null)[]>;
  /** The database has lost commits: an agent that it does not know may be one that it forgot. */
  mayBeForgotten(): Promise<boolean>;
  writeReports(reports: readonly ReportOf[], leaseMs: number): Promise<readonly ReportResult[]>;
  createEnrolment(
    tokenHash: string,
    labels: Readonly<Record<string, string>>,
    ttlMs: number,
    order: EnrolmentOrder,
  ): Promise<{ readonly expiresAtMs: EpochMs }>;
}
