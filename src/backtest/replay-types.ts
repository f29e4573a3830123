import type { Scaler } from './scaler.ts';
import type { Timeline } from './timeline.ts';
import type { Amount, NodeType, TraceTask } from './types.ts';

export interface ReplayInput {
  readonly tasks: readonly TraceTask[];
  readonly locals: readonly Amount[];
  /** What may ever be launched: tasks that neither these nor a local agent hold are left out as impossible. */
  readonly types: readonly NodeType[];
  readonly scaler: Scaler;
  /** From launch to taking tasks; default 60. */
  readonly bootS?: number;
  /** The world ends here, and with it the bill; default: when all is done. */
  readonly untilS?: number;
  /** Moments in the timeline; default 0 = none. */
  readonly samples?: number;
}

/** What a replay came to. */
export interface ReplayOutcome {
  readonly costUsd: number;
  /** Tasks submitted within the replayed time. */
  readonly tasks: number;
  readonly tasksDone: number;
  /** No local agent and no type holds them: they were never tried. */
  readonly tasksImpossible: number;
  /** Seconds from submission to start; for tasks that never started, until the end. */
  readonly waitsS: Float64Array;
  readonly launches: number;
  readonly terminations: number;
  /** Most nodes at a time. */
  readonly nodesMax: number;
  readonly machineHours: number;
  /** Resource-seconds of the work that ran in the cloud, in milli-cores, MiB and thousandths of GPUs. */
  readonly cloudWork: Amount;
  /** Indices of the tasks that ran in the cloud. */
  readonly ranInCloud: Uint8Array;
  readonly startedAtS: number;
  readonly endedAtS: number;
  /** How often the scaler was asked. */
  readonly decisions: number;
  readonly timeline: Timeline;
}
