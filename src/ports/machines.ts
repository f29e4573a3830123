import type { AgentId, LaunchId, MachineId, PlanId } from '../model/ids.ts';
import type { Hold, HoldClass, HoldKey } from '../model/holds.ts';
import type { Launch, LaunchEnd, LaunchLimits, LaunchState } from '../model/launch.ts';
import type { EndReason, Machine, MachineRef, MachineState } from '../model/machine.ts';
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
  /** The host key that is pinned for it. `confirmed`: it has proved it, and no other is good any more. Null = none is. */
  readonly hostKey: { readonly key: string; readonly confirmed: boolean } | null;
  readonly drainIrrevocable: boolean;
  /** No decision of ours lets it go now. */
  readonly isProtected: boolean;
  /** How often the deadline of this drain was moved. */
  readonly drainExtensions: number;
  /** What of this drain is done for good. */
  readonly drainDone: readonly DrainMark[];
  /** When EC2 takes the instance back; null = it has not said so. */
  readonly interruptedAtMs: EpochMs | null;
  /** EC2 was asked to end it, or will be, by whoever wrote this; null = nobody has. */
  readonly terminateAgainAtMs: EpochMs | null;
  /** From its last start to the stop or end that follows; the launch is the first start. Null = not known, or not yet. */
  readonly run: {
    readonly number: number;
    readonly launchedAtMs: EpochMs | null;
    readonly stoppedAtMs: EpochMs | null;
  };
  /** The database has lost commits: the machine may be more than its row says, so it is not sent away. */
  readonly amnesia: boolean;
  readonly agent: MachineAgentFacts | null;
}

/** A machine as far as it can be read when its row or its step is broken: nothing here relies on what its state promises. */
export interface MachineFacts extends Pick<MachineRecord, 'nowMs' | 'agent' | 'observed' | 'amnesia'> {
  readonly machine: MachineRef & { readonly stateSinceMs: EpochMs };
  readonly launchState: LaunchState;
  readonly instanceId: string | null;
  /** Null when the launch's body does not say. */
  readonly region: string | null;
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
  /** The plan that decided it; default: the one whose decision is carried out (see `machine-events.ts`). */
  readonly planId?: PlanId;
  readonly detail?: Readonly<Record<string, unknown>>;
  /** From now; null = waiting is the purpose. Default: the state's own deadline. */
  readonly deadlineMs?: number | null;
  readonly endReason?: EndReason;
  readonly agentId?: AgentId;
  /** Cordon (true) or uncordon (false) the machine's agent in the same transaction. */
  readonly cordon?: boolean;
  /** True: nothing happens to a machine that is protected by now. */
  readonly unlessProtected?: boolean;
}

/**
 * What is done once in a drain. `turn`: of machines that go one at a time, it is the one. `health`: the hook passed.
 * `checkpoint`: the hook was begun.
 */
export type DrainMark = 'turn' | 'health' | 'checkpoint';

/** Something that was said on a machine, without secrets. */
export interface MachineOutput {
  /** `join`, the name of a hook, or `console`. */
  readonly phase: string;
  /** Null: it died by a signal, or there is no such thing. */
  readonly exitCode: number | null;
  readonly content: string;
}

/** A deadline that is moved. */
export interface Extension {
  /** From now. */
  readonly ms: number;
  readonly reason: string;
  readonly detail?: Readonly<Record<string, unknown>>;
}

/** A hook that begins (`error` undefined), or how it ended. */
export interface HookNote {
  /** Null: none runs now. */
  readonly name: string | null;
  /** How it failed, in one line; null = it passed. Absent: what was said before stays. */
  readonly error?: string | null;
}

/** One failed visit of a step to its row. */
export interface StepFailureRecord {
  /** Code and one line; no secrets. */
  readonly error: string;
  /** When the row wants attention next, by how often it failed in a row, this time included. */
  readonly pauseMs: (failures: number) => number;
}

/** Which machines to end together. */
export interface TerminationClaim {
  readonly region: string;
  /** Until then nobody else claims them. */
  readonly againAfterMs: number;
  readonly limit: number;
}

/**
 * Machines by compare-and-set: every write names the revision it read and returns false when it lost the race.
 * `recordFailure` counts failures since the last success or change of state and returns them; null = there is no such row.
 */
export interface MachineStore {
  read(id: MachineId): Promise<MachineRecord | null>;
  /** Null = there is no such machine. Asks for nothing but the columns themselves. */
  readFacts(id: MachineId): Promise<MachineFacts | null>;
  transition(machine: MachineRef, transition: Transition): Promise<boolean>;
  /**
   * Notes when the row wants attention next, but never later than its deadline; its step did not fail.
   * @param waitsFor goes on from "waits for", for whoever asks; nothing is decided by it. Absent = nothing beyond its state
   */
  wakeAfter(id: MachineId, ms: number, waitsFor?: string | null): Promise<void>;
  recordFailure(id: MachineId, failure: StepFailureRecord): Promise<number | null>;
  /** Rows (live machines, open launches) whose time has come; oldest first, at most `limit`. */
  listDue(limit: number): Promise<readonly WakeJob[]>;
  markInstalled(id: MachineId): Promise<void>;
  /** Pins a host key where none is, and returns the one that is pinned: somebody else may have been first. */
  pinHostKey(id: MachineId, key: string): Promise<string>;
  /** Notes that the machine has proved the pinned key. Safe to repeat. */
  confirmHostKey(id: MachineId, key: string): Promise<void>;
  markDrainIrrevocable(machine: Machine): Promise<boolean>;
  /** False when it is marked already, or moved meanwhile. */
  markDrain(machine: Machine, mark: Exclude<DrainMark, 'turn'>): Promise<boolean>;
  /** Marks `turn` when no other machine of the workload has it or is further on its way out. True when it has it. */
  takeTurn(machine: Machine): Promise<boolean>;
  extendDeadline(machine: Machine, extension: Extension): Promise<boolean>;
  /** For whoever asks what a machine waits for; nothing is decided by it. */
  noteHook(id: MachineId, note: HookNote): Promise<void>;
  /** Keeps the newest 256 KiB of what was said on a machine; the same said again in a row counts as once. */
  keepOutput(id: MachineId, output: MachineOutput): Promise<void>;

  /**
   * Takes the machines of a region that are `terminating` and due to be asked for, this one and those that wait longest first,
   * so that one call ends all of them; returns their instance ids. Empty when this machine is not due any more.
   */
  claimTerminations(id: MachineId, claim: TerminationClaim): Promise<readonly string[]>;
  /** The call came to nothing for these instances: they are due again after `ms`, and their rows ring then. */
  putOffTerminations(instanceIds: readonly string[], ms: number): Promise<void>;
  /** From `leaving` to `stopping` while fewer than `max` of the workload stop or are stopped; false = full, or the race was lost. */
  stopInPool(machine: Machine, max: number): Promise<boolean>;
  /** True for the one who may ask EC2 to stop or start the machine now; nobody else may for so long. */
  claimPowerCall(machine: MachineRef, againAfterMs: number): Promise<boolean>;
  /** The call came to nothing: it is due again after `ms`. */
  putOffPowerCall(machine: MachineRef, ms: number): Promise<void>;
  /** Replaces the machine's one-time enrolment by a new one; only the hash is stored. */
  issueEnrolment(
    id: MachineId,
    tokenHash: string,
    labels: Readonly<Record<string, string>>,
    ttlMs: number,
  ): Promise<void>;
}

/** Something to be left alone, see `model/holds.ts`. */
export interface NewHold extends HoldKey {
  readonly errorClass: HoldClass;
  readonly errorCode: string;
  readonly detail: string;
  /** How long after a first strike; each further strike doubles it up to `maxMs`. Null = until the policy changes. */
  readonly minMs: number | null;
  readonly maxMs: number | null;
}

/** Why an attempt is over, and what the next one would be called. */
export interface NextAttempt {
  /** Client token of attempt + 1. */
  readonly token: string;
  /** Re-checked with the next offering's price; null = nobody wants the launch any more, so there is no next attempt. */
  readonly limits: LaunchLimits | null;
  readonly refusal: Refusal;
  /** EC2 said that the token's instances have ended: whatever a call of unknown outcome did is over, too. */
  readonly settlesCalls: boolean;
}

export interface Refusal {
  readonly errorClass: string;
  readonly code: string;
  readonly detail: string;
}

/**
 * `moved`: the row shows the next attempt. `exhausted`: no rung is left that may be tried; the launch is closed as refused.
 * `unsettled`: a call may still have an effect; nothing changed. `lost`: another delivery moved or closed it.
 */
export type MoveOutcome = 'moved' | 'exhausted' | 'unsettled' | 'lost';

/** Launches: every EC2 call is a row before it is made. */
export interface LaunchStore {
  /** `unsettledCalls` counts those of the current attempt: an earlier one was left only when nothing could come of it. */
  read(
    id: LaunchId,
  ): Promise<{ readonly launch: Launch; readonly nowMs: EpochMs; readonly unsettledCalls: number } | null>;
  /**
   * Writes the call's row and moves the machines to `launching`; null when this attempt is not the open one any more. `held`:
   * the database has lost commits, and nothing proves that this attempt is the one that EC2 was asked for last.
   */
  beginCall(id: LaunchId, attempt: number): Promise<number | 'held' | null>;
  /** Writes what came of a call, its instances included: also when the answer came after the launch was over. */
  finishCall(callId: number, outcome: RunOutcome): Promise<void>;
  /**
   * Binds instances to the launch's machines (safe to repeat), ends what EC2 did not give, closes the launch. Instances of
   * an earlier attempt are bound too, unless a call of the current one may still bring others; what is bound to no machine
   * is the sweeper's.
   */
  fulfil(id: LaunchId, attempt: number, instances: readonly BoundInstance[]): Promise<readonly MachineId[]>;
  /** Leaves an attempt that is known to have failed for the next rung of the ladder that limits, holds and the deadline allow. */
  moveOn(id: LaunchId, attempt: number, next: NextAttempt): Promise<MoveOutcome>;
  /**
   * Ends the launch and its machines that have no instance; false = it stays open, because a call may still have an effect
   * (`refused`), or may have instances (`expired`; for `LAUNCH_GRACE_MS` at most, and while the database has lost commits).
   */
  close(
    id: LaunchId,
    state: Exclude<LaunchEnd, 'fulfilled'>,
    end: { readonly reason: EndReason; readonly code: string; readonly detail: string; readonly errorClass?: string },
  ): Promise<boolean>;
  /** As for machines. */
  wakeAfter(id: LaunchId, ms: number): Promise<void>;
  recordFailure(id: LaunchId, failure: StepFailureRecord): Promise<number | null>;
  /** Holds something after a refusal of this launch; repeated strikes make it longer. */
  hold(id: LaunchId, hold: NewHold): Promise<void>;
  /**
   * What came of the join of a machine. After several failures in a row of machines like it (workload, policy, image, type) launches
   * of such machines are held; one that joined ends that.
   */
  noteJoin(id: MachineId, end: 'joined' | 'failed'): Promise<void>;
  /** Everything that is held now, by scope and name. */
  listHolds(): Promise<readonly Hold[]>;
}

/** What an answer to RunInstances and a listing both tell. */
export type BoundInstance = Pick<LaunchedInstance, 'instanceId' | 'privateIp' | 'zone' | 'launchTimeMs'>;
