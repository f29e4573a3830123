import type { Resources } from './resources.ts';
import type { Architecture } from './offering.ts';
import { HOUR_MS } from './time.ts';

/**
 * A workload's policy after validation: units normalised, defaults filled in, frozen.
 * The YAML a user writes and its defaults are in `policy/`; this is what planner and steps see.
 */
export interface WorkloadPolicy {
  /** metadata.name; the workload's name. */
  readonly name: string;
  readonly agents: AgentsPolicy;
  readonly demand: DemandPolicy;
  readonly burst: BurstPolicy;
  readonly join: JoinPolicy;
  readonly drain: DrainPolicy;
}

/** The on-prem agents of a workload, and how it shares them. */
export interface AgentsPolicy {
  readonly selector: Readonly<Record<string, string>>;
  /** Share of agents that several workloads of one priority want; absent = 1. */
  readonly weight?: number;
  /** Workloads of a higher one draw on local agents first; absent = 0. */
  readonly priority?: number;
}

/** What says how much is needed: several signals, of which the largest answer wins; null = not a signal of this workload. */
export interface DemandPolicy {
  readonly utilization: UtilizationSignal | null;
  readonly queue: QueueSignal | null;
  readonly headroom: { readonly tasks: number } | null;
  /** Times with bounds of their own; absent = none. */
  readonly schedule?: readonly ScheduleWindow[];
  /** Absent = none. */
  readonly forecast?: ForecastSignal;
  /** Reports older than this mean HOLD. */
  readonly freshnessMs: number;
}

/** More is wanted when the mean over the window is above the target. */
export interface UtilizationSignal {
  /** `max`: the larger of both. */
  readonly metric: 'cpu' | 'memory' | 'max';
  /** 0..1 */
  readonly target: number;
  readonly windowMs: number;
}

/** From each moment of `cron` on, for `durationMs`, the machines kept and allowed are bounded. */
export interface ScheduleWindow {
  /** Five fields, in the wall time of `timezone`. */
  readonly cron: string;
  /** IANA name. */
  readonly timezone: string;
  /** Time that passes, whatever the clocks on the wall do meanwhile. */
  readonly durationMs: number;
  /** So long before the window opens its `min` counts already. */
  readonly leadTimeMs: number;
  /** Machines kept although nothing needs them; null = no bound of its own. */
  readonly min: number | null;
  /** Most machines; null = no bound of its own. */
  readonly max: number | null;
}

/** Demand that is expected because it was there at the same time of earlier weeks or days. */
export interface ForecastSignal {
  /** `ForecastOnly`: it says what it expects and how right it was, and does nothing. */
  readonly mode: 'ForecastOnly' | 'ForecastAndScale';
  /** So long before it is expected there is room for it. */
  readonly leadTimeMs: number;
  /** 0..1: with less than this it does nothing. */
  readonly minAccuracy: number;
}

/** Pending tasks. */
export interface QueueSignal {
  readonly source: 'bullmq';
  /** Shape of a task that was submitted without one; also the shape of headroom. */
  readonly task: Resources;
  /** How long a task may wait for a local place before the cloud is asked. */
  readonly maxWaitMs: number;
}

/** Both ends belong to it. */
export interface NumberRange {
  readonly min: number;
  readonly max: number;
}

/** How the workload may use AWS. */
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
  /**
   * Most that all live machines of this workload may cost per hour, by their prices at launch (a spot price may rise later,
   * volumes come on top); null = no limit.
   */
  readonly budget: { readonly hourlyUsd: number | null };
  /** What the licence of the images costs on top of the price list, which is for Linux. Absent: nothing. */
  readonly license?: { readonly usdPerVcpuHour: number };
  /** Machines that are kept stopped when they are not needed. Absent: none. */
  readonly warmPool?: WarmPoolPolicy;
}

/** On-demand machines that were let go wait stopped for the next demand, and cost their volume meanwhile. */
export interface WarmPoolPolicy {
  /** Machines of the workload that are stopped at a time. */
  readonly max: number;
  /** One that was stopped for longer is terminated. */
  readonly maxAgeMs: number;
}

/** Which instance types may be launched: those that meet all of it. */
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

/** What no plan exceeds, whatever the demand. */
export interface BurstLimits {
  /** Machines kept although nothing needs them. */
  readonly min: number;
  /** Live machines, those that leave included: EC2 may still bill them. */
  readonly max: number;
  /** Total vCPUs of live machines; null = no limit. */
  readonly vcpus: number | null;
  /** Machines within any hour, refused launches included. */
  readonly launchesPerHour: number;
  /** Machines per plan. */
  readonly maxScaleUp: number;
  readonly maxScaleDown: number;
}

/**
 * Where the host key that a machine must prove comes from. `injected`: ours, given at launch and replaced at the first log-in.
 * `console`: the machine prints its own, and EC2 tells it. `known`: a known_hosts file. `ca`: certificates of an authority.
 */
export const HOST_KEY_MODES = ['injected', 'console', 'known', 'ca'] as const;
export type HostKeyMode = (typeof HOST_KEY_MODES)[number];

/** A host to go through on the way to a machine. */
export interface BastionPolicy {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  /** Absolute path of its own private key; absent = as for machines, which is refused with `instanceConnect`. */
  readonly identityFile?: string;
  /** The public key it must prove, or the absolute path of a known_hosts file that has it. */
  readonly hostKey: { readonly key: string } | { readonly knownHostsFile: string };
}

/** What runs recipes, ready commands and hooks on a machine: POSIX `sh`, or Windows PowerShell 5.1. */
export const RECIPE_SHELLS = ['sh', 'powershell'] as const;
export type RecipeShell = (typeof RECIPE_SHELLS)[number];

/** How a new machine becomes an agent. */
export interface JoinPolicy {
  readonly ssh: {
    readonly user: string;
    readonly port: number;
    /** Absolute path of the private key; null = the keys of an SSH agent, or `instanceConnect`. */
    readonly identityFile: string | null;
    /** Socket of that agent; absent = the one that SSH_AUTH_SOCK names. */
    readonly agentSocket?: string;
    /** A new key for each log-in, which EC2 Instance Connect brings to the machine; absent = a file or an agent has the key. */
    readonly instanceConnect?: true;
    readonly hostKey: HostKeyMode;
    /** Absolute path of the known_hosts file (`known`) or of the authority's public keys (`ca`); absent with other modes. */
    readonly trustFile?: string;
    /** Absent = `ssh2`. */
    readonly transport?: 'openssh';
    /** Hosts to go through, the first one first; absent = none. */
    readonly bastions?: readonly BastionPolicy[];
  };
  readonly recipe: {
    /** Absent = `sh`. `powershell`: the machine runs Windows. */
    readonly shell?: 'powershell';
    /** Absolute path of a script run on the machine before the agent starts; null = none. */
    readonly script: string | null;
    /** Absolute paths of files that lie in `recipe/` beside the script while it runs; absent = none. */
    readonly files?: readonly string[];
    readonly env: Readonly<Record<string, string>>;
  };
  readonly ready: {
    /** Must exit 0 before the machine counts as ready; null = the agent's first heartbeat is enough. */
    readonly command: string | null;
    /** From the start of joining; past it the machine is terminated. */
    readonly deadlineMs: number;
  };
  /** When a machine that nobody steers shuts itself down; null = never; absent = {@link DEAD_MAN_DEFAULT}. */
  readonly deadMan?: DeadManPolicy | null;
}

/** A machine whose agent cannot reach the service costs money for nobody. */
export interface DeadManPolicy {
  /** Without an accepted report for so long. */
  readonly afterMs: number;
  /** True = also while tasks run there. */
  readonly whileTasksRun: boolean;
}

export const DEAD_MAN_DEFAULT: DeadManPolicy = Object.freeze({ afterMs: HOUR_MS, whileTasksRun: false });

/** Why the planner lets go of a machine: it has no work; its work would have room elsewhere. */
export const DRAIN_REASONS = ['empty', 'underutilized'] as const;
export type DrainReason = (typeof DRAIN_REASONS)[number];

/** No more machines than this go at a time. */
export interface DrainBudget {
  readonly machines:
    | { readonly kind: 'count'; readonly count: number }
    /** 0..1 of the machines that work or go. */
    | { readonly kind: 'share'; readonly share: number };
  /** The budget counts for these. */
  readonly reasons: readonly DrainReason[];
  /** It counts only in these windows; absent = always. */
  readonly window?: BudgetWindow;
}

/** From each moment of `cron` on, for `durationMs`. */
export interface BudgetWindow {
  /** Five fields, in the wall time of `timezone`. */
  readonly cron: string;
  /** IANA name. */
  readonly timezone: string;
  /** Time that passes, whatever the clocks on the wall do meanwhile. */
  readonly durationMs: number;
}

/** How a machine that is not needed leaves. */
export interface DrainPolicy {
  /**
   * A machine that has had no task for this long, and is not needed, is drained; null = for as long as a new start would be
   * billed (`planner/idle-hold.ts`).
   */
  readonly scaleDownUnneededMs: number | null;
  /** No machine is let go sooner after its start than this; 0 = no such time. */
  readonly minimumLifeMs: number;
  /** Nothing is let go for so long after the last machine that was let go and wanted again at once; 0 = never mind. */
  readonly churnPauseMs: number;
  /** Whether machines that are little used take no more work and go when their own is done, if others have room for it. */
  readonly consolidation: 'whenEmpty' | 'whenEmptyOrUnderutilized';
  /** The tightest that names the reason counts; empty = none. */
  readonly budgets: readonly DrainBudget[];
  /** Least time between two plans that launch, and between two that drain; 0 = none. */
  readonly cooldown: { readonly scaleUpMs: number; readonly scaleDownMs: number };
  /** How long running work may take to finish; then `onDeadline` decides. */
  readonly deadlineMs: number;
  readonly onDeadline: 'wait' | 'extend' | 'terminate';
  /** With `extend`: so often the deadline is moved before somebody is alerted; absent = {@link EXTENSIONS_DEFAULT}. */
  readonly extensions?: number;
  /** True: its machines belong together, and one at a time goes; absent = false. */
  readonly oneAtATime?: boolean;
  /** Commands run on the machine over SSH; null = none. */
  readonly hooks: DrainHooks;
}

/** Moves of a drain's deadline before somebody is alerted, where the policy does not say. */
export const EXTENSIONS_DEFAULT = 3;

/** Commands run on a machine that goes. */
export interface DrainHooks {
  readonly beforeDrain: string | null;
  readonly beforeTerminate: string | null;
  /** Run as soon as EC2 says that it takes the machine back; absent = none. */
  readonly checkpoint?: string;
  /** Must pass before the machine is touched; absent = none. */
  readonly health?: string;
}
