import type { AgentId, MachineId } from './ids.ts';
import type { Resources } from './resources.ts';
import type { EpochMs } from './time.ts';

export type Site = 'on-prem' | 'aws';

/** A worker machine as the service knows it from its last report. */
export interface Agent {
  readonly id: AgentId;
  readonly name: string;
  readonly site: Site;
  readonly labels: Readonly<Record<string, string>>;
  readonly capacity: Resources;
  /** Sum of the shapes of the tasks leased to it, whether or not they really use that much. */
  readonly allocated: Resources;
  /** What the operating system says is in use; null before the first measurement. */
  readonly used: Resources | null;
  readonly runningTasks: number;
  /** Counts the cordons asked for; the agent echoes the number it obeys. Even 0 = never cordoned. */
  readonly cordonGeneration: number;
  readonly cordonAckedGeneration: number;
  readonly cordoned: boolean;
  /** The machine behind an `aws` agent; null on-prem. */
  readonly machineId: MachineId | null;
  readonly lastSeenAtMs: EpochMs | null;
}

/** True when the agent has echoed the newest cordon: every report after that shows work that can only shrink. */
export function isCordonAcknowledged(agent: Agent): boolean {
  return agent.cordoned && agent.cordonAckedGeneration >= agent.cordonGeneration;
}
