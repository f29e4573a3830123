import type { Resources } from '../model/resources.ts';
import type { EpochMs } from '../model/time.ts';

/** What of the past can be replayed. */
export interface HistoryRequest {
  readonly workload: string;
  /** Submitted at or after it, and before `toMs`. */
  readonly fromMs: EpochMs;
  readonly toMs: EpochMs;
  /** Labels of the on-prem agents that served it. */
  readonly selector: Readonly<Record<string, string>>;
}

export interface PastTask extends Resources {
  readonly submittedAtMs: EpochMs;
  /** How long its last attempt ran; null = it has not ended, or never began. */
  readonly ranMs: number | null;
  readonly localOnly: boolean;
}

export interface History {
  /** By submission. */
  readonly tasks: readonly PastTask[];
  /** Capacities of the on-prem agents that the selector means and that have not left. */
  readonly agents: readonly Resources[];
}
