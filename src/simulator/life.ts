import assert from 'node:assert/strict';
import type { EpochMs } from '../model/time.ts';
import type { Market } from '../model/offering.ts';
import type { CatalogueType } from '../cost/catalogue.ts';
import type { SimulatedImage, SimulatedSubnet } from './world.ts';

export type InstanceState = 'pending' | 'running' | 'stopping' | 'stopped' | 'shutting-down' | 'terminated';

/** Who ended an instance: a caller, a `shutdown` inside it, AWS taking a spot instance back, or a start that failed. */
export type EndCause = 'user' | 'guest' | 'spot' | 'start-failure';

/** A step is a new state, or something that happens within one. */
export type LifeStepKind = InstanceState | 'booted' | 'interruption-notice';

/** One step of a life. Steps in the future are what will happen if nobody intervenes. */
export interface LifeStep {
  readonly atMs: EpochMs;
  readonly kind: LifeStepKind;
  readonly cause: EndCause | null;
}

export interface SimulatedVolume {
  readonly volumeId: string;
  readonly deviceName: string;
  readonly sizeGib: number;
  readonly deleteOnTermination: boolean;
  readonly tags: ReadonlyMap<string, string>;
}

export interface SpotRequest {
  readonly requestId: string;
  readonly tags: ReadonlyMap<string, string>;
  /** Highest price the caller pays, as given; null = up to on-demand. */
  readonly maxPrice: string | null;
}

export interface SimulatedInstance {
  readonly instanceId: string;
  readonly reservationId: string;
  /** Position in the order of launches; pages follow it. */
  readonly ordinal: number;
  readonly launchIndex: number;
  readonly type: CatalogueType;
  readonly image: SimulatedImage;
  readonly subnet: SimulatedSubnet;
  readonly market: Market;
  readonly spotRequest: SpotRequest | null;
  readonly clientToken: string;
  readonly tags: Map<string, string>;
  readonly interfaceTags: ReadonlyMap<string, string>;
  readonly volumes: readonly SimulatedVolume[];
  readonly interfaceId: string;
  readonly securityGroupIds: readonly string[];
  readonly privateIp: string;
  readonly publicIp: string | null;
  readonly profileName: string | null;
  /** As it came: base64; null without user-data. */
  readonly userData: string | null;
  readonly shutdownBehavior: 'stop' | 'terminate';
  readonly httpTokens: string;
  readonly hopLimit: number;
  readonly launchedAtMs: EpochMs;
  /** When DescribeInstances begins to know it. */
  readonly visibleAtMs: EpochMs;
  /** The code EC2 gives for a start that fails, such as `Server.InternalError`; null for a start that works. */
  readonly startFailure: string | null;
  steps: readonly LifeStep[];
  /** How many steps have been announced as events. */
  announced: number;
  consoleText: string;
}

const STEPS_WITHIN_A_STATE: readonly LifeStepKind[] = ['booted', 'interruption-notice'];

function isState(kind: LifeStepKind): kind is InstanceState {
  return !STEPS_WITHIN_A_STATE.includes(kind);
}

/** The last change of state at or before `atMs`. */
export function stateStepAt(instance: SimulatedInstance, atMs: EpochMs): LifeStep & { readonly kind: InstanceState } {
  let found: (LifeStep & { readonly kind: InstanceState }) | null = null;
  for (const step of instance.steps) {
    const { kind } = step;
    // The first step counts even for a view older than the launch: a lagging view never shows less than `pending`.
    if (isState(kind) && (found === null || step.atMs <= atMs)) found = { ...step, kind };
  }
  assert(found !== null, `${instance.instanceId} has no state`);
  return found;
}

export function stateAt(instance: SimulatedInstance, atMs: EpochMs): InstanceState {
  return stateStepAt(instance, atMs).kind;
}

/** True while the instance takes capacity, addresses and quota. */
export function isAlive(instance: SimulatedInstance, atMs: EpochMs): boolean {
  const state = stateAt(instance, atMs);
  return state === 'pending' || state === 'running';
}

export interface LifePlan {
  readonly launchedAtMs: EpochMs;
  readonly pendingMs: number;
  readonly bootMs: number;
  readonly failsToStart: boolean;
}

/** The life of a new instance, as it goes when nobody ends it. */
export function newLife(plan: LifePlan): LifeStep[] {
  const runningAtMs = plan.launchedAtMs + plan.pendingMs;
  const pending: LifeStep = { atMs: plan.launchedAtMs, kind: 'pending', cause: null };
  if (plan.failsToStart) return [pending, { atMs: runningAtMs, kind: 'terminated', cause: 'start-failure' }];
  const bootedAtMs = Math.max(runningAtMs, plan.launchedAtMs + plan.bootMs);
  return [
    pending,
    { atMs: runningAtMs, kind: 'running', cause: null },
    { atMs: bootedAtMs, kind: 'booted', cause: null },
  ];
}

/** What happens from a start on; steps before it stay what they were. */
export function startLife(instance: SimulatedInstance, plan: Omit<LifePlan, 'failsToStart'>): void {
  const kept = instance.steps.filter((step) => step.atMs <= plan.launchedAtMs);
  instance.steps = [...kept, ...newLife({ ...plan, failsToStart: false })];
}

/** The steps since the last start at or before a moment, the launch being the first. */
export function runAt(instance: SimulatedInstance, atMs: EpochMs): readonly LifeStep[] {
  const begun = instance.steps.findLastIndex((step) => step.kind === 'pending' && step.atMs <= atMs);
  return instance.steps.slice(Math.max(0, begun)).filter((step, index) => index === 0 || step.atMs <= atMs);
}

/** EC2's LaunchTime: of the last start, not of the first. */
export function lastStartMs(instance: SimulatedInstance, atMs: EpochMs): EpochMs {
  return runAt(instance, atMs)[0]?.atMs ?? instance.launchedAtMs;
}

export interface LifeEnd {
  readonly atMs: EpochMs;
  readonly takesMs: number;
  readonly cause: EndCause;
  readonly to: 'stopped' | 'terminated';
}

/** Ends a life at a moment that may lie in the future; what was planned after that moment no longer happens. */
export function endLife(instance: SimulatedInstance, end: LifeEnd): void {
  const kept = instance.steps.filter((step) => step.atMs <= end.atMs);
  const during = end.to === 'stopped' ? 'stopping' : 'shutting-down';
  instance.steps = [
    ...kept,
    { atMs: end.atMs, kind: during, cause: end.cause },
    { atMs: end.atMs + end.takesMs, kind: end.to, cause: end.cause },
  ];
}

/** Puts a step such as an interruption notice into a life that goes on. */
export function insertStep(instance: SimulatedInstance, step: LifeStep): void {
  const before = instance.steps.filter((other) => other.atMs <= step.atMs);
  instance.steps = [...before, step, ...instance.steps.slice(before.length)];
}
