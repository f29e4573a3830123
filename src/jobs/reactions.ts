import type { HeldOffering, HoldClass, HoldScope } from '../model/holds.ts';
import { holdNameOf } from '../model/holds.ts';
import { HOUR_MS, MINUTE_MS } from '../model/time.ts';
import type { RefusalClass } from '../ports/cloud.ts';
import type { NewHold } from '../ports/machines.ts';

/** What follows from a refusal. */
export interface Reaction {
  /**
   * `move-on`: the attempt is over, the next rung of the ladder is tried. `close`: no offering would fare better.
   * `wait`: nothing is known, and nothing new may be asked; the deadline ends the launch.
   */
  readonly next: 'move-on' | 'close' | 'wait';
  /** What is left alone from now on, and for how long. */
  readonly hold: HoldTerms | null;
  /** The instances that the token made, if any, have ended: calls of unknown outcome can hide nothing. */
  readonly settlesCalls: boolean;
  /** What an operator has to do; null = Spillway helps itself. */
  readonly remedy: string | null;
}

interface HoldTerms {
  readonly scope: Exclude<HoldScope, 'join'>;
  readonly errorClass: HoldClass;
  /** Null = until the policy changes. */
  readonly minMs: number | null;
  readonly maxMs: number | null;
}

/** 3 min is Karpenter's figure; 30 min outlasts most shortages and still notices the end of a long one. */
const SHORTAGE = { errorClass: 'capacity', minMs: 3 * MINUTE_MS, maxMs: 30 * MINUTE_MS } as const;
/** A zone gets a type a few times a year. */
const NOT_OFFERED = { errorClass: 'capacity', minMs: 6 * HOUR_MS, maxMs: 24 * HOUR_MS } as const;
/** Quotas are raised by people. */
const QUOTA = { errorClass: 'quota', minMs: 10 * MINUTE_MS, maxMs: HOUR_MS } as const;
/** Rights come back without our knowing: tried again every few minutes. */
const RIGHTS = { scope: 'workload', errorClass: 'auth', minMs: 2 * MINUTE_MS, maxMs: 10 * MINUTE_MS } as const;
const UNTIL_POLICY_CHANGES = { scope: 'workload', minMs: null, maxMs: null } as const;

/** Quotas that no other family or market helps against. */
const REGION_QUOTAS: ReadonlySet<string> = new Set([
  'MaxFleetCountExceeded',
  'MaxIOPSLimitExceeded',
  'MaxSpotFleetRequestCountExceeded',
  'NetworkInterfaceLimitExceeded',
  'PendingVerification',
  'VolumeLimitExceeded',
]);

const QUOTA_REMEDY = 'raise the quota under Service Quotas in the AWS console, or lower limits.vcpus of the policy';
const AUTH_REMEDY =
  'check `aws sts get-caller-identity`, compare the rights with infra/iam-policy.json, and check the clock of this host; it is tried again by itself';
const CONFIG_REMEDY = 'correct what the policy names (image, subnets, security groups, instance profile) and reload it';
const MISMATCH_REMEDY =
  'report this: the request of a launch changed between two calls; launches go on when the policy changes';

/** The reaction to a refused launch call: by class and code, never by text. */
export function reactionTo(errorClass: RefusalClass, code: string): Reaction {
  switch (errorClass) {
    case 'capacity':
      return moveOn(capacityTerms(code));
    case 'quota': {
      const scope = REGION_QUOTAS.has(code) ? 'region' : 'quota';
      return { ...moveOn({ scope, ...QUOTA }), remedy: QUOTA_REMEDY };
    }
    case 'auth':
      return { next: 'close', hold: RIGHTS, settlesCalls: false, remedy: AUTH_REMEDY };
    case 'config': {
      const hold = { ...UNTIL_POLICY_CHANGES, errorClass: 'config' } as const;
      return { next: 'close', hold, settlesCalls: false, remedy: CONFIG_REMEDY };
    }
    case 'mismatch': {
      const hold = { ...UNTIL_POLICY_CHANGES, errorClass: 'idempotency' } as const;
      return { next: 'wait', hold, settlesCalls: false, remedy: MISMATCH_REMEDY };
    }
    case 'ended':
      return { ...moveOn(null), settlesCalls: code === 'IdempotentInstanceTerminated' };
  }
}

function capacityTerms(code: string): HoldTerms {
  if (code === 'InsufficientFreeAddressesInSubnet') return { scope: 'subnet', ...SHORTAGE };
  return { scope: 'offering', ...(code === 'Unsupported' ? NOT_OFFERED : SHORTAGE) };
}

function moveOn(hold: HoldTerms | null): Reaction {
  return { next: 'move-on', hold, settlesCalls: false, remedy: null };
}

/** The same for an instance that EC2 took back before it ever ran, by StateReason; null = that says nothing of offerings. */
export function reactionToEnd(endCode: string): Reaction | null {
  switch (endCode) {
    case 'Server.InsufficientInstanceCapacity':
    case 'Server.InternalError':
    case 'Server.SpotInstanceShutdown':
    case 'Server.SpotInstanceTermination':
      return moveOn({ scope: 'offering', ...SHORTAGE });
    case 'Client.VolumeLimitExceeded':
      return reactionTo('quota', 'VolumeLimitExceeded');
    // Mostly a key of KMS that may not be used for the volume.
    case 'Client.InternalError':
      return reactionTo('auth', endCode);
    case 'Client.InvalidSnapshot.NotFound':
      return reactionTo('config', endCode);
    default:
      return null;
  }
}

/** The hold that a reaction asks for, by name; null = none. */
export function holdOf(
  reaction: Reaction,
  offering: HeldOffering & { readonly workload: string },
  error: { readonly code: string; readonly detail: string },
): NewHold | null {
  if (reaction.hold === null) return null;
  const { scope } = reaction.hold;
  const name = scope === 'workload' ? offering.workload : holdNameOf(offering, scope);
  return { ...reaction.hold, name, errorCode: error.code, detail: error.detail };
}
