import type { LaunchBody } from '../model/launch.ts';
import type { Architecture, InstanceType, Market } from '../model/offering.ts';
import type { ClockTimes } from '../model/clock-times.ts';
import type { EpochMs } from '../model/time.ts';

export type CloudInstanceState = 'pending' | 'running' | 'shutting-down' | 'terminated' | 'stopping' | 'stopped';

/** One instance as DescribeInstances tells it. A missing field is "not known yet", never "gone". */
export interface CloudInstance {
  readonly instanceId: string;
  readonly state: CloudInstanceState;
  readonly clientToken: string;
  readonly instanceType: string;
  readonly zone: string;
  readonly market: Market;
  readonly privateIp: string | null;
  readonly launchTimeMs: EpochMs | null;
  /** From StateTransitionReason, whole seconds; null while it lives or where EC2 gives no time. */
  readonly endedAtMs: EpochMs | null;
  /** StateReason.Code, e.g. `Server.SpotInstanceTermination`. */
  readonly endCode: string | null;
  readonly tags: Readonly<Record<string, string>>;
  readonly origin: InstanceOrigin;
}

/** What an instance was launched with, as far as EC2 still tells it; a terminated one has forgotten most. Empty = not told. */
export interface InstanceOrigin {
  readonly imageId: string;
  readonly subnetId: string;
  readonly securityGroupIds: readonly string[];
  /** ARN; null = none. */
  readonly instanceProfile: string | null;
  readonly rootDeviceName: string;
}

export interface InstanceListing {
  readonly instances: readonly CloudInstance[];
  /** False when a page failed or the bound was hit: absence then means nothing. */
  readonly complete: boolean;
  /**
   * When the first page was asked for, by the clock of whoever asked: younger rows may be missing rightly. The sweeper puts the
   * database's clock in its place, before anything is compared with rows.
   */
  readonly startedAtMs: EpochMs;
}

/** The code of a call that was not made because its time had passed. */
export const SIGN_DEADLINE_PASSED = 'SignDeadlinePassed';

/**
 * What became of one RunInstances call. Refusals are values, because each class has its own next step (peers.md 4.7).
 * `throttled`: EC2 did nothing with this call, and said nothing of the token: the same one follows.
 * `unknown`: EC2 may or may not have acted; only the same token and body may follow.
 */
export type RunOutcome =
  | { readonly kind: 'launched'; readonly instances: readonly LaunchedInstance[] }
  | { readonly kind: 'refused'; readonly errorClass: RefusalClass; readonly code: string; readonly message: string }
  | {
      readonly kind: 'throttled';
      /** EC2's code. `LocalBudget`: EC2 was not called, because there was no token for the call. `SignDeadlinePassed`: because it was too late. */
      readonly code: string;
      readonly message: string;
      /** No call will go before that; left out = not known. */
      readonly retryAfterMs?: number;
    }
  | { readonly kind: 'unknown'; readonly code: string; readonly message: string };

/** `ended`: IdempotentInstanceTerminated, the attempt is over. `mismatch`: the body was edited, a bug to alert on. */
export type RefusalClass = 'capacity' | 'quota' | 'auth' | 'config' | 'ended' | 'mismatch';

export interface LaunchedInstance {
  readonly instanceId: string;
  readonly privateIp: string | null;
  readonly zone: string;
  readonly launchTimeMs: EpochMs | null;
}

export interface RunRequest {
  readonly region: string;
  readonly token: string;
  readonly body: LaunchBody;
  /** Plain text; the adapter encodes it. Carries the one-time host key: never logged, never stored. */
  readonly userData: string;
  /** The moment after which the request must not be signed any more (fence against a process that was stopped). */
  readonly signBefore: ClockTimes;
}

export interface SubnetFacts {
  readonly subnetId: string;
  readonly zone: string;
  readonly freeAddresses: number;
}

/** What a launch needs to know of an image. */
export interface ImageFacts {
  readonly imageId: string;
  readonly architecture: Architecture;
  /** e.g. `/dev/sda1` (Ubuntu), `/dev/xvda` (Amazon Linux) */
  readonly rootDeviceName: string;
  /** The image's own root volume: a launch may not ask for less. */
  readonly rootVolumeGib: number;
  /** Absent = not Windows. */
  readonly platform?: 'windows';
}

export interface SpotPrice {
  readonly instanceType: string;
  readonly zone: string;
  readonly atMs: EpochMs;
  readonly priceUsdPerHour: number;
}

export type TerminateOutcome =
  | { readonly kind: 'accepted' }
  /** These ids are not known to EC2; nothing was terminated, because one bad id fails the whole call. */
  | { readonly kind: 'not-found'; readonly instanceIds: readonly string[] }
  /** The moment to sign had passed: nothing was sent. */
  | { readonly kind: 'late' }
  /** Too many calls, by EC2's word or by our own buckets; nothing was terminated, and no call will go before that. */
  | { readonly kind: 'throttled'; readonly retryAfterMs: number };

/**
 * What became of one call that stops or starts an instance. Both are safe to repeat: EC2 only tells about an instance that is
 * on its way there already, and that is accepted, too. Done is when a listing says so.
 */
export type PowerOutcome =
  | { readonly kind: 'accepted' }
  | { readonly kind: 'refused'; readonly errorClass: RefusalClass; readonly code: string; readonly message: string }
  /** It is on its way elsewhere, e.g. still stopping when it is to start; the call had no effect. */
  | { readonly kind: 'busy' }
  /** Not a proof of absence by itself. */
  | { readonly kind: 'not-found' }
  | Extract<RunOutcome, { readonly kind: 'throttled' | 'unknown' }>;

/** Who may log in where with what, for a minute. */
export interface LoginKey {
  readonly instanceId: string;
  /** The login name. */
  readonly user: string;
  /** `ssh-ed25519 AAAA...` */
  readonly publicKey: string;
}

/**
 * EC2 as the product uses it. Every call has a deadline; what cannot be a value is thrown as `AppError`
 * (AWS_UNREACHABLE, AWS_AUTH, AWS_THROTTLED, AWS_CONFIG).
 */
export interface Cloud {
  runInstances(request: RunRequest): Promise<RunOutcome>;
  /** All instances with our owner tag, terminated ones included as long as EC2 shows them. */
  listInstances(region: string, owner: string): Promise<InstanceListing>;
  /**
   * At most 1,000 ids. Safe to repeat. Accepted is not done: done is when a listing says `terminated`. Whoever decides by a
   * lease names the moment after which the call must not be signed any more.
   */
  terminateInstances(
    region: string,
    instanceIds: readonly string[],
    signBefore?: ClockTimes,
  ): Promise<TerminateOutcome>;
  /** Stops the machine and keeps its volumes; its processes end. Spot instances are refused. */
  stopInstance(region: string, instanceId: string): Promise<PowerOutcome>;
  /** Starts what was stopped: EC2 may have no room for it. Refused once the moment to sign has passed. */
  startInstance(region: string, instanceId: string, signBefore: ClockTimes): Promise<PowerOutcome>;
  /** When EC2 took spot instances back, which their listing does not say; without those of which it knows nothing. At most 1,000 ids. */
  listSpotEnds(region: string, instanceIds: readonly string[]): Promise<ReadonlyMap<string, EpochMs>>;
  /** When EC2 takes back the spot instances with our owner tag that it has marked for termination; most often there are none. */
  listInterruptions(region: string, owner: string): Promise<ReadonlyMap<string, EpochMs>>;
  listInstanceTypes(region: string): Promise<readonly InstanceType[]>;
  /** Facts of images, remembered for good because an image never changes. Unknown ids throw AWS_CONFIG. */
  describeImages(region: string, imageIds: readonly string[]): Promise<readonly ImageFacts[]>;
  describeSubnets(region: string, subnetIds: readonly string[]): Promise<readonly SubnetFacts[]>;
  /** Linux prices since `sinceMs`, the one in force at that moment included; at most 90 days back (EC2's memory). */
  listSpotPrices(region: string, instanceTypes: readonly string[], sinceMs: EpochMs): Promise<readonly SpotPrice[]>;
  /**
   * Has EC2 Instance Connect bring a public key to an instance, where its user may log in with it for the next 60 s. Safe to repeat.
   * @throws AppError also SSH_UNREACHABLE: the instance takes no key now, because it is not known yet, does not run, or is busy
   */
  pushLoginKey(region: string, key: LoginKey): Promise<void>;
  /** The console text kept by EC2 (at most 64 KiB), or null when there is none yet. */
  consoleOutput(region: string, instanceId: string): Promise<string | null>;
}
