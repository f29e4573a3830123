import type { AgentId, LaunchId, MachineId } from '../model/ids.ts';
import type { Launch, LaunchState } from '../model/launch.ts';
import type { EndReason, Machine, MachineState } from '../model/machine.ts';
import type { EpochMs } from '../model/time.ts';
import type { CloudInstance, LaunchedInstance, RunOutcome } from './cloud.ts';
import type { WakeJob } from './queue.ts';

/** A machine with what its next step needs besides its state. */
export interface MachineRecord {
  readonly machine: Machine;
  /** The database's clock when the row was read; deadlines are compared with it. */
  readonly nowMs: EpochMs;
  readonly launch: Pick<Launch, 'id' | 'nonce' | 'state' | 'body' | 'createdAtMs'>;
  readonly observed: {
    readonly state: CloudInstance['state'] | null;
    readonly atMs: EpochMs | null;
    readonly endCode: string | null;
    readonly missingListings: number;
  };
  readonly installedAtMs: EpochMs | null;
  readonly drainIrrevocable: boolean;
  /** The database has lost commits: the machine may be more than its row says, so it is not sent away. */
  readonly amnesia: boolean;
  readonly agent: MachineAgentFacts | null;
}

/** What the agent on a machine last said, and what the task table says of it. */
export interface MachineAgentFacts {
  readonly agentId: AgentId;
  readonly lastSeenAtMs: EpochMs | null;
  readonly cordoned: boolean;
  /** Null until the newest cordon was acknowledged. */
  readonly cordonAckedAtMs: EpochMs | null;
  /** From the last report. */
  readonly runningTasks: number;
  /** Tasks leased to it or running there, by our own table. */
  readonly heldTasks: number;
}

export interface Transition {
  readonly to: MachineState;
  readonly actor: string;
  readonly reason: string;
  readonly detail?: Readonly<Record<string, unknown>>;
  /** From now; null = waiting is the purpose. Default: the state's own deadline. */
  readonly deadlineMs?: number | null;
  readonly endReason?: EndReason;
  readonly agentId?: AgentId;
  /** Cordon (true) or uncordon (false) the machine's agent in the same transaction. */
  readonly cordon?: boolean;
}

/** Machines by compare-and-set: every write names the revision it read and returns false when it lost the race. */
export interface MachineStore {
  read(id: MachineId): Promise<MachineRecord | null>;
  transition(machine: Machine, transition: Transition): Promise<boolean>;
  /** Notes when the row wants attention next. */
  wakeAfter(id: MachineId, ms: number): Promise<void>;
  /** Rows (live machines, open launches) whose time has come; oldest first, at most `limit`. */
  listDue(limit: number): Promise<readonly WakeJob[]>;
  markInstalled(id: MachineId): Promise<void>;
  markDrainIrrevocable(machine: Machine): Promise<boolean>;
  extendDeadline(machine: Machine, ms: number, reason: string): Promise<boolean>;
  /** Replaces the machine's one-time enrolment by a new one; only the hash is stored. */
  issueEnrolment(
    id: MachineId,
    tokenHash: string,
    labels: Readonly<Record<string, string>>,
    ttlMs: number,
  ): Promise<void>;
}

/** Launches: every EC2 call is a row before it is made. */
export interface LaunchStore {
  read(
    id: LaunchId,
  ): Promise<{ readonly launch: Launch; readonly nowMs: EpochMs; readonly unsettledCalls: number } | null>;
  /**
   * Writes the call's row and moves the machines to `launching`; null when the launch is not open any more. `held`: the database
   * has lost commits, and no earlier call of this launch is unsettled.
   */
  beginCall(id: LaunchId): Promise<number | 'held' | null>;
  finishCall(callId: number, outcome: RunOutcome): Promise<void>;
  /** Binds instances to the launch's machines (safe to repeat), ends what EC2 did not give, closes the launch. */
  fulfil(id: LaunchId, instances: readonly LaunchedInstance[]): Promise<readonly MachineId[]>;
  /** Ends the launch and its machines that have no instance; false = a call may still have an effect, it stays open. */
  close(
    id: LaunchId,
    state: Exclude<LaunchState, 'open' | 'fulfilled'>,
    end: { readonly reason: EndReason; readonly code: string; readonly detail: string },
  ): Promise<boolean>;
  wakeAfter(id: LaunchId, ms: number): Promise<void>;
  /** Leaves an offering alone for a while; repeated strikes make the while longer. */
  markUnavailable(
    offering: { readonly instanceType: string; readonly zone: string; readonly market: string },
    code: string,
  ): Promise<void>;
}
