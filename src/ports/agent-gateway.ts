import type { AgentId, TaskId } from '../model/ids.ts';
import type { Architecture } from '../model/offering.ts';
import type { MeasuredUse, Resources } from '../model/resources.ts';
import type { EpochMs } from '../model/time.ts';

/** What a machine says about itself when it asks to become an agent. */
export interface AgentRegistration {
  readonly name: string;
  /** Made anew each time the agent process starts. */
  readonly bootId: string;
  readonly capacity: Resources;
  /** Absent or null = not said. */
  readonly arch?: Architecture | null;
  readonly labels: Readonly<Record<string, string>>;
}

export type RegistrationOutcome =
  | { readonly kind: 'registered'; readonly agentId: AgentId; readonly timing: AgentTiming }
  /** The enrolment token is unknown, used or expired; which of them is nobody's business outside. */
  | { readonly kind: 'refused' };

/** How often an agent reports, and how long its tasks stay its own after the last report. */
export interface AgentTiming {
  /** Seconds from one report to the next; 1 to 3600. */
  readonly intervalS: number;
  /** Seconds; at least three intervals. The agent ends its tasks after two thirds of it without an accepted report. */
  readonly leaseS: number;
}

/** The cordon as one side knows it. `generation` counts the changes that were asked for; 0 = never cordoned. */
export interface CordonState {
  readonly cordoned: boolean;
  readonly generation: number;
}

export type ReportedTask = {
  readonly taskId: TaskId;
  readonly attempt: number;
  /** Base64 of at most 3 KiB, i.e. at most 4096 characters; null = as last reported (or never written). */
  readonly progressBase64: string | null;
} & ({ readonly state: 'running' } | { readonly state: 'exited'; readonly exitCode: number });

/** One report. `tasks` is everything the agent has: what is missing there does not run there. */
export interface AgentReport {
  readonly bootId: string;
  /** Counts up from 1 within one boot; gaps are normal. */
  readonly seq: number;
  readonly capacity: Resources;
  /** Absent or null = not said, as agents of earlier versions do: what was known stays. */
  readonly arch?: Architecture | null;
  readonly used: MeasuredUse | null;
  /** What the agent obeys: with `cordoned` and the newest generation, the cordon is acknowledged. */
  readonly cordon: CordonState;
  readonly tasks: readonly ReportedTask[];
  /** The last word before it exits: its leases can be given to others at once. */
  readonly leaving: boolean;
  /** Tasks of other engines, as the agent's probe says; `unknown` = the probe fails. Absent or null = it has none. */
  readonly others?: number | 'unknown' | null;
  /** EC2 takes the machine back, at this time if it is known. Repeated with every report. Absent or null = no notice. */
  readonly interruption?: { readonly atMs: EpochMs | null } | null;
  /** EC2 says that an interruption has become more likely. Repeated with every report. */
  readonly rebalance?: boolean;
}

export interface RunOrder {
  readonly taskId: TaskId;
  readonly attempt: number;
  readonly shape: Resources;
  /** A shell script of at most `SCRIPT_BYTES_MAX` bytes of UTF-8, run as `sh script`. */
  readonly script: string;
  /** What an earlier attempt last reported; null when there is nothing. */
  readonly progressBase64: string | null;
}

export interface TaskAttempt {
  readonly taskId: TaskId;
  readonly attempt: number;
}

/**
 * What the service wants of an agent. A state, not events: each answer may be lost, so every order is repeated
 * until a report shows it obeyed, and an agent takes a repeated order as one.
 */
export interface AgentOrders {
  readonly timing: AgentTiming;
  readonly cordon: CordonState;
  /** Leased to this agent and not in its report. */
  readonly run: readonly RunOrder[];
  /** In its report, but not leased to it (any more): end it, report nothing. */
  readonly stop: readonly TaskAttempt[];
  /** Reported as exited and recorded: forget it. */
  readonly ack: readonly TaskAttempt[];
  /** Finish what runs, then exit. */
  readonly leave: boolean;
}

export type HeartbeatOutcome =
  /** `mark` names the moment of `orders`; give it to `ordersAfter`, so that no change between the two calls is missed. */
  | { readonly kind: 'accepted'; readonly orders: AgentOrders; readonly mark: number }
  /** A newer report of this boot, or a newer boot, was accepted before. */
  | { readonly kind: 'superseded' }
  /** The agent was removed, or got another credential. */
  | { readonly kind: 'unknown-agent' };

export interface LogPart extends TaskAttempt {
  readonly byteOffset: number;
  /** 1 byte to 64 KiB. */
  readonly content: Uint8Array;
}

export type LogOutcome =
  /** `nextByteOffset`: where the next part has to begin; the end of what is kept, which may be before or after this part. */
  | { readonly kind: 'stored'; readonly nextByteOffset: number }
  /** The log of this attempt has reached its limit; the agent sends no more of it. */
  | { readonly kind: 'full' }
  /** The attempt is not and never was this agent's. */
  | { readonly kind: 'not-yours' };

/** 32 KiB: 43,692 characters of base64, so that an answer of 64 KiB always has room for one script. */
export const SCRIPT_BYTES_MAX = 32 * 1024;

/**
 * What the agents' HTTP interface needs of the service. Tokens arrive here only as SHA-256 in lower-case hex.
 * Operating failures (database away) reject with `AppError`; a retryable one makes the agent back off and try again.
 */
export interface AgentGateway {
  /**
   * Burns the enrolment token and makes the agent. Asked again with the same token by the same boot before its first
   * heartbeat, the answer was lost on the way: the same agent answers, its token hash replaced by the new one.
   */
  register(request: {
    readonly enrolmentTokenHash: string;
    readonly agentTokenHash: string;
    readonly registration: AgentRegistration;
  }): Promise<RegistrationOutcome>;

  /** Whose token this is; null when nobody's. A positive answer may be remembered for half a minute. */
  authenticate(agentTokenHash: string): Promise<AgentId | null>;

  /**
   * Records the report (compare-and-set on boot and seq), renews the leases it lists, and says what is wanted now. The token is
   * checked once more as it is written; absent = whoever asks is known to be that agent.
   */
  heartbeat(agentId: AgentId, report: AgentReport, tokenHash?: string): Promise<HeartbeatOutcome>;

  /**
   * Resolves with the orders as soon as something changed for this agent after `mark`, or when `signal` aborts,
   * whichever is first; never rejects for the abort. Once aborted it takes no new lease for the agent.
   */
  ordersAfter(request: {
    readonly agentId: AgentId;
    readonly report: AgentReport;
    readonly mark: number;
    readonly signal: AbortSignal;
  }): Promise<{ readonly orders: AgentOrders; readonly mark: number }>;

  appendLog(agentId: AgentId, part: LogPart): Promise<LogOutcome>;
}
