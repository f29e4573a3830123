import type { LaunchId, MachineId, AgentId, PlanId, TraceId } from './ids.ts';
import type { Market } from './offering.ts';
import type { Resources } from './resources.ts';
import type { EpochMs } from './time.ts';
import { HOUR_MS, MINUTE_MS } from './time.ts';

/** Every state of a machine, in the order of a life without trouble. */
export const MACHINE_STATES = [
  'requested',
  'launching',
  'booting',
  'joining',
  'ready',
  'draining',
  'leaving',
  'stopping',
  'stopped',
  'terminating',
  'terminated',
] as const;
export type MachineState = (typeof MACHINE_STATES)[number];
export type LiveMachineState = Exclude<MachineState, 'terminated'>;

/**
 * The one table of legal transitions; the database enforces the same on every writer (`machine_transitions`), and a test
 * compares them.
 * Back from `draining` to `ready`: a drain is called off while no work was touched.
 * `requested` and `launching` may end at once: no instance was ever made.
 * `stopped` to `booting`: it is started instead of a launch, and goes back when EC2 has no room for it. `stopping` to `booting`:
 * somebody else started it. `ready`, `draining` and `leaving` to `booting`: lost commits had stopped it and started it again.
 */
export const MACHINE_TRANSITIONS = {
  requested: ['launching', 'terminated'],
  launching: ['booting', 'terminated'],
  booting: ['joining', 'stopped', 'terminating', 'terminated'],
  joining: ['ready', 'terminating', 'terminated'],
  ready: ['booting', 'draining', 'terminating', 'terminated'],
  draining: ['booting', 'ready', 'leaving', 'terminating', 'terminated'],
  leaving: ['booting', 'stopping', 'terminating', 'terminated'],
  stopping: ['stopped', 'booting', 'terminating', 'terminated'],
  stopped: ['booting', 'terminating', 'terminated'],
  terminating: ['terminated'],
  terminated: [],
} as const satisfies Readonly<Record<MachineState, readonly MachineState[]>>;

/** Each legal way from state to state, and the beginning of a life, as `from>to`. */
export type MachineTransition =
  | '>requested'
  | { [From in MachineState]: `${From}>${(typeof MACHINE_TRANSITIONS)[From][number]}` }[MachineState];

/**
 * Reason of the first event of a machine that is written down after its instance, because the row was lost: only such a
 * machine may begin in another state than `requested`.
 */
export const REBUILT_REASON = 'rebuilt';

/** True when {@link MACHINE_TRANSITIONS} allows it; a state is no transition to itself. */
export function isTransition(from: MachineState, to: MachineState): boolean {
  const ways: readonly MachineState[] = MACHINE_TRANSITIONS[from];
  return ways.includes(to);
}

/**
 * How long a machine may stay in a state before its next step is forced (see `jobs/`).
 * Policies override `joining` (`join.ready.deadline`), `draining` (`drain.deadline`) and `stopped` (`burst.warmPool.maxAge`).
 * - requested, launching: EC2 answers within seconds; 10 min outlives a throttled or lost call and its replays.
 * - booting: EC2's slowest common images answer SSH in 3-4 min; twice that and some.
 * - leaving: agent stop and hooks are bounded by their own time-outs; this is the fuse above them.
 * - stopping: EC2 stops an instance in a minute or two, a stuck guest in some more; past this it is terminated instead.
 * - stopped: it costs its volume; what nobody started for a day is hardly missed.
 * - terminating: EC2 ends an instance in 1-2 min; past this the step calls again and alerts, it never gives up.
 */
export const STATE_DEADLINE_MS: Readonly<Record<LiveMachineState, number | null>> = {
  requested: 10 * MINUTE_MS,
  launching: 10 * MINUTE_MS,
  booting: 10 * MINUTE_MS,
  joining: 5 * MINUTE_MS,
  ready: null,
  draining: 30 * MINUTE_MS,
  leaving: 10 * MINUTE_MS,
  stopping: 10 * MINUTE_MS,
  stopped: 24 * HOUR_MS,
  terminating: HOUR_MS,
};

/** What is known of every machine, whatever its state. */
export interface MachineCommon {
  readonly id: MachineId;
  readonly launchId: LaunchId;
  readonly planId: PlanId;
  readonly traceId: TraceId;
  readonly workload: string;
  readonly instanceType: string;
  readonly resources: Resources;
  readonly zone: string;
  readonly market: Market;
  /** Price at launch, for limits; what was paid is in the ledger. */
  readonly priceUsdPerHour: number;
  /** Grows by one with every transition; a writer names the revision it read (compare-and-set). */
  readonly revision: number;
  readonly createdAtMs: EpochMs;
  readonly stateSinceMs: EpochMs;
  /** When the state's next step is forced; null where waiting is the purpose (`ready`). */
  readonly deadlineAtMs: EpochMs | null;
}

/** What EC2 has told about the instance behind a machine. */
export interface InstanceFacts {
  readonly instanceId: string;
  readonly privateIp: string | null;
}

/** Why a machine is on its way out, or never came to be. Codes, so that metrics and tests can count them. */
export type EndReason =
  | 'scale-down'
  | 'policy-removed'
  | 'operator'
  | 'spot-interrupted'
  | 'launch-refused'
  | 'launch-expired'
  | 'boot-deadline'
  | 'join-failed'
  | 'join-deadline'
  | 'agent-lost'
  | 'instance-gone'
  | 'drain-deadline'
  | 'instance-stopped'
  | 'pool-retired'
  | 'step-failed';

/** One member per state, so that a `switch` narrows and can be exhaustive. */
export type Machine =
  | (MachineCommon & { readonly state: 'requested' })
  | (MachineCommon & { readonly state: 'launching' })
  | (MachineCommon & InstanceFacts & { readonly state: 'booting' })
  | (MachineCommon & InstanceFacts & { readonly state: 'joining' })
  | (MachineCommon & InstanceFacts & { readonly state: 'ready'; readonly agentId: AgentId })
  | (MachineCommon &
      InstanceFacts & { readonly state: 'draining'; readonly agentId: AgentId; readonly endReason: EndReason })
  | (MachineCommon &
      InstanceFacts & { readonly state: 'leaving'; readonly agentId: AgentId; readonly endReason: EndReason })
  | (MachineCommon & InstanceFacts & { readonly state: 'stopping'; readonly endReason: EndReason })
  | (MachineCommon & InstanceFacts & { readonly state: 'stopped'; readonly endReason: EndReason })
  | (MachineCommon & InstanceFacts & { readonly state: 'terminating'; readonly endReason: EndReason })
  | (MachineCommon & {
      readonly state: 'terminated';
      readonly instanceId: string | null;
      readonly endReason: EndReason;
    });

/** What names a machine as it was read: a write that names another revision or state comes too late. */
export interface MachineRef {
  readonly id: MachineId;
  readonly state: MachineState;
  readonly revision: number;
}

export type MachineIn<S extends MachineState> = Extract<Machine, { readonly state: S }>;
