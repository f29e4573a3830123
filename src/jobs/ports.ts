import type { RecipeShell, WorkloadPolicy } from '../model/policy.ts';
import type { Clock } from '../ports/clock.ts';
import type { Cloud } from '../ports/cloud.ts';
import type { LaunchCredentials } from '../ports/credentials.ts';
import type { Ids } from '../ports/ids.ts';
import type { Log } from '../ports/log.ts';
import type { LaunchStore, MachineStore } from '../ports/machines.ts';
import type { StepMeter } from '../ports/meter.ts';
import type { Shell } from '../ports/shell.ts';

/** Everything a step may touch. */
export interface StepPorts {
  readonly clock: Clock;
  readonly ids: Ids;
  readonly cloud: Cloud;
  readonly shell: Shell;
  readonly machines: MachineStore;
  readonly launches: LaunchStore;
  readonly credentials: LaunchCredentials;
  readonly log: Log;
  readonly meter: StepMeter;
  /** The newest policy of a workload, in force or not: a machine outlives its policy's file. */
  readonly readPolicy: (workload: string) => Promise<WorkloadPolicy | null>;
  /** Tells the planner that capacity or demand changed, so that it need not wait for its next tick. */
  readonly wakePlanner: () => void;
  readonly agent: AgentDelivery;
  readonly timings: StepTimings;
}

/** What is put onto a machine to make it an agent. */
export interface AgentDelivery {
  /** The agent, for each shell. */
  readonly scripts: Readonly<Record<RecipeShell, string>>;
  /** Where agents reach the service. */
  readonly serviceUrl: string;
  /** Whether they may use http:// beyond loopback; the operator's word that the route is private. */
  readonly allowHttp: boolean;
  /** Variables as lines that the shell reads back byte for byte. */
  renderEnv(variables: Readonly<Record<string, string>>, shell: RecipeShell): string;
  /** The text of a policy's recipe, or of a file of it. @throws AppError POLICY_UNREADABLE */
  readRecipe(file: string): Promise<string>;
}

/** How often a step looks again while it waits; short in a demo, longer against real EC2. */
export interface StepTimings {
  readonly bootPollMs: number;
  readonly joinPollMs: number;
  readonly drainPollMs: number;
  readonly terminatePollMs: number;
  /** For one visit to a row. Default: `step.run` of the list of waits. */
  readonly stepMs?: number;
}

/** A step is through with its row for now (`done`), or wants to look again. */
export type StepOutcome =
  | { readonly kind: 'done' }
  /** `waitsFor`: what for, going on from "waits for"; null = what the state of the row says of it is all. */
  | { readonly kind: 'again'; readonly afterMs: number; readonly waitsFor: string | null };

/** What a machine waits for whose workload has never had a policy that is known. */
export const NO_POLICY = 'a policy of its workload';

export const DONE: StepOutcome = { kind: 'done' };

export function again(afterMs: number, waitsFor: string | null = null): StepOutcome {
  return { kind: 'again', afterMs, waitsFor };
}
