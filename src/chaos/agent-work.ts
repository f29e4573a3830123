import type { AgentId, TaskId } from '../model/ids.ts';
import type { Resources } from '../model/resources.ts';
import { type EpochMs, SECOND_MS } from '../model/time.ts';
import type { AgentTiming } from '../ports/agent-gateway.ts';

/** How an agent comes into the world. */
export interface AgentBirth {
  readonly name: string;
  readonly enrolmentToken: string;
  readonly capacity: Resources;
  readonly labels?: Readonly<Record<string, string>>;
  /** False once the machine under it is gone. */
  readonly isPowered: () => boolean;
  /** What EC2 tells the machine of its own end; absent: nothing, as on machines that are not EC2's. */
  readonly metadata?: () => Metadata;
  /** What the agent before it on this machine left running. */
  readonly inherited?: ReadonlyMap<TaskId, RunningTask>;
  /** Whose identity it has taken; absent: it registers. */
  readonly identity?: AgentIdentity;
}

/** What a copy of a machine has of the agent on it. */
export interface AgentIdentity {
  readonly id: AgentId;
  readonly token: string;
  readonly bootId: string;
  readonly seq: number;
  readonly timing: AgentTiming;
  /** When its last accepted report was sent. */
  readonly acceptedMs: number;
}

/** What the instance metadata says. */
export interface Metadata {
  /** Null: no notice, or none yet. */
  readonly interruption: { readonly atMs: EpochMs | null } | null;
  readonly rebalance: boolean;
}

/** A task and when it will be through. */
export interface RunningTask {
  readonly attempt: number;
  readonly endsAtMs: number;
  /** When it would have begun if it had never been interrupted. */
  readonly bornAtMs: number;
  /** What it went on from, in seconds of its work: it is written down already. */
  readonly begunAtS: number;
}

/** A task writes down this often how far it is; virtual seconds. */
const PROGRESS_EVERY_S = 60;

/** What a running task has written down last, in seconds of its work. */
export function progressOf({ bornAtMs, begunAtS }: RunningTask, nowMs: number, isTold: boolean): number {
  const doneS = Math.floor((nowMs - bornAtMs) / SECOND_MS);
  return isTold ? doneS : Math.max(begunAtS, Math.floor(doneS / PROGRESS_EVERY_S) * PROGRESS_EVERY_S);
}

export function toProgress(doneS: number): string | null {
  return doneS <= 0 ? null : Buffer.from(String(doneS)).toString('base64');
}

/** Seconds of work. */
export function fromProgress(progressBase64: string | null): number {
  return progressBase64 === null ? 0 : Number(Buffer.from(progressBase64, 'base64').toString());
}

/** Takes out of `running` what is through by now. */
export function takeEnded(
  running: Map<TaskId, RunningTask>,
  nowMs: number,
): readonly { readonly taskId: TaskId; readonly attempt: number }[] {
  const ended = [...running].filter(([, { endsAtMs }]) => endsAtMs <= nowMs);
  for (const [taskId] of ended) running.delete(taskId);
  return ended.map(([taskId, { attempt }]) => ({ taskId, attempt }));
}

/** What an agent says it uses: a core and half a gibibyte for each task. */
export function usedBy(tasks: number): Resources {
  return { cpuMilli: tasks * 1000, memoryMib: tasks * 512, gpus: 0 };
}
