import type { AgentId, MachineId, TaskId } from '../model/ids.ts';
import type { MachineState } from '../model/machine.ts';
import type { Architecture } from '../model/offering.ts';
import type { MeasuredUse, Resources } from '../model/resources.ts';
import type { PlanPreview } from '../planner/proof.ts';
import type { PlanOutcome } from '../planner/types.ts';
import type { CordonOrder } from './agent-orders.ts';
import type { Orderer } from './machine-orders.ts';
import type { EnrolmentOrder } from './tasks.ts';

/** What an operator may ask the running service to do; the HTTP layer validates, these act. */
export interface OperatorActions {
  /**
   * Writes the tasks as rows and rings their queue. Null shape = the policy's default task shape.
   * @throws AppError WORKLOAD_UNKNOWN when no active policy has that name.
   */
  submitTasks(request: TaskSubmission): Promise<readonly TaskId[]>;
  /** The plan the next tick would make, without acting; null = all workloads. @throws AppError WORKLOAD_UNKNOWN */
  previewPlan(workload: string | null): Promise<PlanOutcome>;
  /** The same with a proof of how cheap its launches are, which takes seconds. @throws AppError WORKLOAD_UNKNOWN */
  previewProvedPlan(workload: string | null): Promise<PlanPreview>;
  /** Makes a one-time token with which an on-prem agent may register. The token is shown once and kept only as a hash. */
  createEnrolment(request: EnrolmentRequest): Promise<{ readonly token: string; readonly expiresAtMs: number }>;
  /** By id or name, on-prem only. @throws AppError NOT_FOUND, REFUSED */
  cordonAgent(idOrName: string, order: CordonOrder, orderer: Orderer): Promise<AgentReceipt>;
  /** By id or name, on-prem only; `force` = although it holds work. @throws AppError NOT_FOUND, REFUSED */
  removeAgent(idOrName: string, force: boolean, orderer: Orderer): Promise<AgentReceipt>;
  /**
   * Protects, drains or ends one machine, or takes that back; rings whoever has to do with it.
   * @throws AppError NOT_FOUND, REFUSED, DATABASE_AMNESIA
   */
  orderMachine(id: MachineId, order: MachineOrder): Promise<MachineOrderReceipt>;
  /** What `/readyz` and `status` tell of the service itself. */
  health(): Promise<ServiceHealth>;
}

/** What came of an order to an agent. */
export interface AgentReceipt {
  readonly agentId: AgentId;
  /** False: it was so before. */
  readonly changed: boolean;
}

export const MACHINE_ORDERS = ['protect', 'unprotect', 'drain', 'undrain', 'terminate'] as const;
export type MachineOrderKind = (typeof MACHINE_ORDERS)[number];

export interface MachineOrder extends Orderer {
  readonly kind: MachineOrderKind;
  /** With `protect`: null = until it is taken back. */
  readonly forMs: number | null;
  /** With `terminate`: although work may run on it. */
  readonly force: boolean;
}

export interface MachineOrderReceipt {
  readonly id: MachineId;
  readonly order: MachineOrderKind;
  /** False: it was so before. */
  readonly changed: boolean;
  readonly state: MachineState;
  /** The tag on its instance protects it, whatever is ordered here. */
  readonly tagProtected: boolean;
}

export interface TaskSubmission {
  readonly workload: string;
  /** argv, at least one word. */
  readonly command: readonly string[];
  readonly shape: (MeasuredUse & Partial<Resources>) | null;
  /** Absent or null = as many as `shape` says, else as the policy's default task shape has. */
  readonly gpus?: number | null;
  /** Absent or null = any. */
  readonly arch?: Architecture | null;
  /** True = never in the cloud. Absent = false. */
  readonly localOnly?: boolean;
  /** False = on no spot machine. Absent = true. */
  readonly spotOk?: boolean;
  /** How long one is expected to run; absent or null = not said. */
  readonly runTimeS?: number | null;
  /** 1..10,000 */
  readonly count: number;
}

export interface EnrolmentRequest extends EnrolmentOrder {
  readonly labels: Readonly<Record<string, string>>;
  readonly ttlMs: number;
}

export interface ServiceHealth {
  readonly ready: boolean;
  readonly leader: boolean;
  readonly checks: readonly HealthCheck[];
}

export interface HealthCheck {
  /** e.g. `database`, `queue`, `aws`, `planner`. */
  readonly name: string;
  readonly state: 'ok' | 'failing' | 'unknown';
  /** One sentence; empty when ok. */
  readonly detail: string;
  readonly sinceMs: number;
}
