import type { AgentId, TaskId } from './ids.ts';
import type { Resources } from './resources.ts';
import type { EpochMs } from './time.ts';

/** `leased`: promised to an agent that may not have started it yet. `failed`: it ran and exited non-zero. */
export type TaskState = 'pending' | 'leased' | 'running' | 'done' | 'failed' | 'cancelled';

export interface Task {
  readonly id: TaskId;
  readonly workload: string;
  /** argv; run without a shell unless it names one. */
  readonly command: readonly string[];
  readonly shape: Resources;
  readonly state: TaskState;
  /** Counts the times it was leased; an agent reports it back, so that a late word about an old attempt is ignored. */
  readonly attempt: number;
  readonly agentId: AgentId | null;
  readonly submittedAtMs: EpochMs;
  readonly startedAtMs: EpochMs | null;
  readonly finishedAtMs: EpochMs | null;
  readonly exitCode: number | null;
  /** What the task last wrote into `SPILLWAY_PROGRESS_FILE`, at most 3 KiB of bytes. */
  readonly progressBase64: string | null;
}
