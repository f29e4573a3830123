import type { Resources } from './resources.ts';
import type { Architecture } from './offering.ts';

/**
 * A workload's policy after validation: units normalised, defaults filled in, frozen.
 * The YAML a user writes and its defaults are in `policy/`; this is what planner and steps see.
 */
export interface WorkloadPolicy {
  /** metadata.name; the workload's name. */
  readonly name: string;
  readonly agents: { readonly selector: Readonly<Record<string, string>> };
  readonly demand: DemandPolicy;
  readonly burst: BurstPolicy;
  readonly join: JoinPolicy;
  readonly drain: DrainPolicy;
}

export interface DemandPolicy {
  readonly utilization: UtilizationSignal | null;
  readonly queue: QueueSignal | null;
  readonly headroom: { readonly tasks: number } | null;
  /** Reports older than this mean HOLD. */
  readonly freshnessMs: number;
}

export interface UtilizationSignal {
  /** `max`: the larger of both. */
  readonly metric: 'cpu' | 'memory' | 'max';
  /** 0..1 */
  readonly target: number;
  readonly windowMs: number;
}

export interface QueueSignal {
  readonly source: 'bullmq';
  /** Shape of a task that was submitted without one; also the shape of headroom. */
  readonly task: Resources;
  /** How long a task may wait for a local place before the cloud is asked. */
  readonly maxWaitMs: number;
}

export interface NumberRange {
  readonly min: number;
  readonly max: number;
}

export interface BurstPolicy {
  readonly region: string;
  readonly subnets: readonly string[];
  readonly securityGroups: readonly string[];
  /** AMI per architecture; only architectures with an image are launched. */
  readonly image: Readonly<Partial<Record<Architecture, string>>>;
  readonly instanceProfile: string | null;
  readonly volumeGib: number;
  readonly instances: InstanceRequirements;
  readonly market: {
    /** 0..1: share of machines above the base that are asked for on the spot market. */
    readonly spot: number;
    /** Machines that are on-demand before the share counts. */
    readonly onDemandBase: number;
  };
  readonly limits: BurstLimits;
  /** Worst-case dollars per hour of all live machines of this workload; null = no limit. */
  readonly budget: { readonly hourlyUsd: number | null };
}

export interface InstanceRequirements {
  /** vCPUs; null = any. */
  readonly cpu: NumberRange | null;
  readonly memoryMib: NumberRange | null;
  readonly memoryMibPerCpu: NumberRange | null;
  /**
   * Family prefixes or names, e.g. `c`, `m6a`; empty = any. A single letter means that letter followed by a generation digit
   * (`c` allows c5, c6a, c7i but not `cr1`); anything longer is the exact family name.
   */
  readonly families: readonly string[];
  /** Globs over type names, e.g. `t*`, `*.metal`. */
  readonly exclude: readonly string[];
}

export interface BurstLimits {
  readonly min: number;
  readonly max: number;
  /** Total vCPUs of live machines; null = no limit. */
  readonly vcpus: number | null;
  readonly launchesPerHour: number;
  /** Machines per plan. */
  readonly maxScaleUp: number;
  readonly maxScaleDown: number;
}

export interface JoinPolicy {
  readonly ssh: {
    readonly user: string;
    readonly port: number;
    /** Absolute path of the private key. */
    readonly identityFile: string;
    readonly hostKey: 'injected';
  };
  readonly recipe: {
    /** Absolute path of a shell script run on the machine before the agent starts; null = none. */
    readonly script: string | null;
    readonly env: Readonly<Record<string, string>>;
  };
  readonly ready: {
    /** Must exit 0 before the machine counts as ready; null = the agent's first heartbeat is enough. */
    readonly command: string | null;
    readonly deadlineMs: number;
  };
}

export interface DrainPolicy {
  /** How long a machine must be unneeded before it is drained. */
  readonly scaleDownUnneededMs: number;
  readonly cooldown: { readonly scaleUpMs: number; readonly scaleDownMs: number };
  readonly deadlineMs: number;
  readonly onDeadline: 'wait' | 'terminate';
  /** Commands run on the machine over SSH; null = none. */
  readonly hooks: { readonly beforeDrain: string | null; readonly beforeTerminate: string | null };
}
