import type { LaunchId, MachineId, PlanId, TraceId } from './ids.ts';
import type { Architecture, Market } from './offering.ts';
import type { WorkloadPolicy } from './policy.ts';
import type { Resources } from './resources.ts';
import type { EpochMs } from './time.ts';

/** Every machine of ours carries it; its value names the deployment. */
export const OWNER_TAG = 'spillway:owner';

/**
 * `open`: EC2 may be called (again) with the same token and body. `fulfilled`: every instance EC2 gave is bound to a
 * machine. `refused`: every call of the attempt is known to have failed. `expired`: the deadline passed with nothing known.
 */
export const LAUNCH_STATES = ['open', 'fulfilled', 'refused', 'expired'] as const;
export type LaunchState = (typeof LAUNCH_STATES)[number];
export type LaunchEnd = Exclude<LaunchState, 'open'>;

/** The one table of legal transitions of a launch; the database enforces the same, and a test compares them. */
export const LAUNCH_TRANSITIONS: Readonly<Record<LaunchState, readonly LaunchState[]>> = {
  open: ['fulfilled', 'refused', 'expired'],
  fulfilled: [],
  refused: [],
  expired: [],
};

/** True when {@link LAUNCH_TRANSITIONS} allows it. */
export function isLaunchTransition(from: LaunchState, to: LaunchState): boolean {
  return LAUNCH_TRANSITIONS[from].includes(to);
}

/**
 * The immutable request: everything RunInstances gets but the token and the user-data. User-data is made anew for each call
 * from `hostKeyNonce` and the deployment key, because it carries the one-time host key and rows carry no secrets;
 * `userDataSha256` proves that it came out the same.
 */
export interface LaunchBody {
  readonly region: string;
  readonly imageId: string;
  readonly instanceType: string;
  readonly subnetId: string;
  readonly securityGroupIds: readonly string[];
  readonly instanceProfile: string | null;
  readonly market: Market;
  readonly count: number;
  /** Size of the root volume. */
  readonly volumeGib: number;
  /** Root device of the image, e.g. `/dev/xvda`: part of the request, so that a replay never has to look it up again. */
  readonly rootDeviceName: string;
  readonly tags: Readonly<Record<string, string>>;
  readonly sshUser: string;
  /** OpenSSH public key that may log in, e.g. `ssh-ed25519 AAAA...`. Null = none: EC2 Instance Connect brings one for each log-in. */
  readonly authorizedKey: string | null;
  /** No host key of ours in the user-data: the machine makes its `own`, or keeps those of its `image`. Absent = there is one. */
  readonly hostKey?: 'own' | 'image';
  /** Absent = Linux. */
  readonly platform?: 'windows';
  readonly userDataSha256: string;
}

/**
 * One more way to serve the same tasks, computed by the plan: what the next attempt asks for when EC2 refuses the one
 * before. Everything else of the body stays.
 */
export interface LadderRung {
  readonly instanceType: string;
  readonly resources: Resources;
  /** Null = not known. */
  readonly arch: Architecture | null;
  readonly zone: string;
  readonly subnetId: string;
  readonly market: Market;
  readonly priceUsdPerHour: number;
  readonly imageId: string;
  readonly rootDeviceName: string;
  readonly volumeGib: number;
}

/** The body of the attempt that tries this rung. */
export function bodyOfRung(body: LaunchBody, rung: LadderRung): LaunchBody {
  const { instanceType, subnetId, market, imageId, rootDeviceName, volumeGib } = rung;
  const tags = { ...body.tags, ...offeringTags(rung) };
  return { ...body, instanceType, subnetId, market, imageId, rootDeviceName, volumeGib, tags };
}

/** What EC2 does not tell of an instance later; the ledger is rebuilt from it when the database forgets. */
export function offeringTags({
  priceUsdPerHour,
  volumeGib,
}: Pick<LadderRung, 'priceUsdPerHour' | 'volumeGib'>): Readonly<Record<string, string>> {
  return { 'spillway:price': priceUsdPerHour.toFixed(6), 'spillway:volume': String(volumeGib) };
}

/** What may live at once of one workload; checked wherever money is reserved. */
export interface LaunchLimits {
  readonly machinesMax: number;
  /** Total vCPUs; null = no limit. */
  readonly vcpusMax: number | null;
  /** Sum of the prices at launch of all live machines; null = no limit. */
  readonly hourlyUsdMax: number | null;
}

export function launchLimitsOf({ burst }: WorkloadPolicy): LaunchLimits {
  const { limits, budget } = burst;
  return { machinesMax: limits.max, vcpusMax: limits.vcpus, hourlyUsdMax: budget.hourlyUsd };
}

/** A launch with its current attempt: what is asked for, under which token, and for which machines. */
export interface Launch {
  readonly id: LaunchId;
  readonly planId: PlanId;
  readonly traceId: TraceId;
  readonly workload: string;
  readonly state: LaunchState;
  /** 128 random bits as 32 hex digits: the only source of the token, because sequences come back after a failover. */
  readonly nonce: string;
  readonly attempt: number;
  /** `sw1.<nonce>.<attempt>.<hmac>`, at most 64 characters (EC2's limit). */
  readonly token: string;
  readonly body: LaunchBody;
  readonly zone: string;
  readonly priceUsdPerHour: number;
  readonly machineIds: readonly MachineId[];
  /** Offerings that are still to be tried, the next one first. */
  readonly ladder: readonly LadderRung[];
  readonly epoch: number;
  readonly createdAtMs: EpochMs;
  readonly deadlineAtMs: EpochMs;
}
