import type { LocalView, NodeView } from './scaler.ts';
import type { Amount, NodeType } from './types.ts';

/** A local agent, or a cloud node. */
export class Place implements LocalView {
  readonly id: number;
  readonly capacity: Amount;
  free: Amount;
  runningTasks = 0;

  constructor(id: number, capacity: Amount) {
    this.id = id;
    this.capacity = capacity;
    this.free = capacity;
  }
}

/** A node from its launch to its end. */
export class CloudNode extends Place implements NodeView {
  readonly type: NodeType;
  readonly launchedAtS: number;
  readonly readyAtS: number;
  state: 'booting' | 'ready' = 'booting';
  idleSinceS: number | null = null;
  cordoned = false;

  constructor(id: number, type: NodeType, times: { readonly launchedAtS: number; readonly readyAtS: number }) {
    super(id, type.capacity);
    this.type = type;
    this.launchedAtS = times.launchedAtS;
    this.readyAtS = times.readyAtS;
  }
}
