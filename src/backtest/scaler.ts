import type { Amount, NodeType } from './types.ts';

/** A cloud node as a scaler sees it. The objects are the replay's own and change as time goes on: look, do not keep. */
export interface NodeView {
  readonly id: number;
  readonly type: NodeType;
  readonly state: 'booting' | 'ready';
  /** Room that no running task has. */
  readonly free: Amount;
  readonly runningTasks: number;
  readonly launchedAtS: number;
  readonly readyAtS: number;
  /** Since when it is ready and has had no task; null while it boots or works. */
  readonly idleSinceS: number | null;
  /** It takes no new tasks. */
  readonly cordoned: boolean;
}

/** A local agent. */
export interface LocalView {
  readonly id: number;
  readonly capacity: Amount;
  readonly free: Amount;
  readonly runningTasks: number;
}

/** Pending tasks of one shape: they found no room anywhere. */
export interface PendingView {
  readonly need: Amount;
  readonly count: number;
  readonly oldestSubmitS: number;
  /** They are never to run in the cloud. */
  readonly staysLocal: boolean;
  /** Place of the oldest in the whole queue: lower came earlier. */
  readonly order: number;
  /** How many were submitted at or before a moment. */
  submittedBy(momentS: number): number;
  /** Submission of the oldest but so many; Infinity when there are not so many. */
  submitS(position: number): number;
}

export interface ScalerView {
  readonly nowS: number;
  /** The shape of the oldest pending task first. */
  pending(): readonly PendingView[];
  /** Live cloud nodes by id, which is the order they were launched in. */
  readonly nodes: Iterable<NodeView>;
  readonly nodeCount: number;
  readonly locals: readonly LocalView[];
  /** Nodes that are ready and have no task. */
  idleNodes(): readonly NodeView[];
}

/** What a scaler wants. Only nodes without tasks can be ended; anything else is a bug of the scaler. */
export interface Decision {
  readonly launch: readonly { readonly type: NodeType; readonly count: number }[];
  readonly terminate: readonly number[];
  /** Nodes that take no new tasks from now on, and nodes that take them again. */
  readonly cordon?: readonly number[];
  readonly uncordon?: readonly number[];
  /**
   * Unless a task arrives, ends or a node becomes ready, nothing needs to be decided before this moment (Infinity: ever). Absent:
   * the scaler wants every tick.
   */
  readonly quietUntilS?: number;
}

/** One way to scale. It is asked at multiples of `tickS`; it may remember what it saw. */
export interface Scaler {
  readonly name: string;
  readonly tickS: number;
  decide(view: ScalerView): Decision;
}

/** A decision to leave everything as it is until something happens. */
export const NO_CHANGE: Decision = Object.freeze({ launch: [], terminate: [], quietUntilS: Infinity });
