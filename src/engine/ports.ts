import type { WorkloadPolicy } from '../model/policy.ts';
import type { AgentTiming } from '../ports/agent-gateway.ts';
import type { Clock } from '../ports/clock.ts';
import type { Ids } from '../ports/ids.ts';
import type { MachineOrders } from '../ports/machine-orders.ts';
import type { Log } from '../ports/log.ts';
import type { TaskQueues, WakeQueue } from '../ports/queue.ts';
import type { AgentStore, TaskStore } from '../ports/tasks.ts';
import type { AgentBell } from './bell.ts';

/** Everything the built-in engine may touch. */
export interface EnginePorts {
  readonly clock: Clock;
  readonly ids: Ids;
  readonly log: Log;
  readonly tasks: TaskStore;
  readonly agents: AgentStore;
  readonly interruptions: Pick<MachineOrders, 'noteInterruption'>;
  readonly queues: TaskQueues;
  readonly wake: WakeQueue;
  readonly bell: AgentBell;
  readonly timing: AgentTiming;
  /** Policies in force by workload. */
  readonly policies: () => ReadonlyMap<string, WorkloadPolicy>;
  /** Tells the assigner that room or work appeared, so that it need not wait for its next look. */
  readonly wakeAssigner: () => void;
  /** Tells the planner the same. */
  readonly wakePlanner: () => void;
}
