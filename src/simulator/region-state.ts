import type { Clock } from '../ports/clock.ts';
import type { Ids } from '../ports/ids.ts';
import type { EpochMs } from '../model/time.ts';
import { Ec2Error } from './ec2-error.ts';
import type { RegionEvent } from './events.ts';
import type { Faults } from './faults.ts';
import type { AuthorizationRequest, PolicyStatement } from './iam.ts';
import { isAllowed } from './iam.ts';
import type { SimulatedInstance } from './life.ts';
import { isAlive } from './life.ts';
import { matchesGlob } from './glob.ts';
import type { RegionSettings, SimulatedImage, SimulatedSubnet } from './world.ts';
import { SIMULATED_ACCOUNT } from './world.ts';

/** What a client token stands for: the request it was first used with, and what that made. */
export interface TokenRecord {
  readonly fingerprint: string;
  readonly reservationId: string;
  readonly instanceIds: readonly string[];
}

/** A public key that a user of an instance may log in with for a while. */
export interface PushedKey {
  readonly user: string;
  /** `ssh-ed25519 AAAA...` without a comment. */
  readonly publicKey: string;
  readonly untilMs: EpochMs;
}

/** All that changes in a region, and what its operations may see of the outer world. */
export interface RegionState {
  readonly settings: RegionSettings;
  readonly clock: Clock;
  readonly ids: Ids;
  readonly faults: Faults;
  readonly policy: readonly PolicyStatement[] | null;
  readonly subnets: readonly SimulatedSubnet[];
  readonly images: readonly SimulatedImage[];
  /** In the order of launches; terminated ones stay, because the bill and the tokens need them. */
  readonly instances: Map<string, SimulatedInstance>;
  /** Those that are not terminated yet: what every pass over the fleet walks. */
  readonly living: Map<string, SimulatedInstance>;
  /** The living and those terminated within the last hour: what EC2 still tells about, and calls may name. */
  readonly describable: Map<string, SimulatedInstance>;
  /** Terminated ones in the order in which they will be forgotten. */
  readonly terminated: { readonly instanceId: string; readonly atMs: EpochMs }[];
  /** Private addresses of the living. */
  readonly addresses: Set<string>;
  readonly tokens: Map<string, TokenRecord>;
  readonly events: RegionEvent[];
  /** What EC2 Instance Connect brought, by instance. */
  readonly pushedKeys: Map<string, readonly PushedKey[]>;
  /** Next address of each subnet, counted within the region's slot. */
  readonly nextAddress: Map<string, number>;
}

/** A new EC2 id such as `i-0123456789abcdef0`. */
export function newEc2Id(state: RegionState, prefix: string, digits = 17): string {
  return `${prefix}-${state.ids.hex(Math.ceil(digits / 2)).slice(0, digits)}`;
}

export function arnOf(state: RegionState, resource: string): string {
  // Images belong to no account in an ARN, everything else does.
  const account = resource.startsWith('image/') ? '' : SIMULATED_ACCOUNT;
  return `arn:aws:ec2:${state.settings.region}:${account}:${resource}`;
}

/** Condition keys as IAM wants them: lower-case names, values as lists. */
export function iamContext(
  entries: Readonly<Record<string, string | readonly string[] | undefined>>,
): Map<string, readonly string[]> {
  const context = new Map<string, readonly string[]>();
  for (const [key, value] of Object.entries(entries)) {
    if (value !== undefined) context.set(key.toLowerCase(), typeof value === 'string' ? [value] : value);
  }
  return context;
}

/** Throws UnauthorizedOperation unless the policy allows every one of the requests. Without a policy everything is allowed. */
export function authorize(state: RegionState, requests: readonly AuthorizationRequest[]): void {
  const { policy } = state;
  if (policy === null) return;
  const denied = requests.find((request) => {
    const context = new Map([...request.context, ['aws:requestedregion', [state.settings.region]] as const]);
    return !isAllowed(policy, { ...request, context });
  });
  if (denied !== undefined) {
    throw new Ec2Error(
      'UnauthorizedOperation',
      `You are not authorized to perform this operation. User: arn:aws:iam::${SIMULATED_ACCOUNT}:user/spillway is not ` +
        `authorized to perform: ${denied.action} on resource: ${denied.resource}`,
    );
  }
}

/** Rights of calls that name no resource. */
export function authorizeRead(state: RegionState, action: string): void {
  authorize(state, [{ action: `ec2:${action}`, resource: '*', context: new Map() }]);
}

/** Rights of calls that act on existing instances: judged by the tags the instances bear. */
export function authorizeOnInstances(
  state: RegionState,
  action: string,
  instances: readonly SimulatedInstance[],
): void {
  authorize(
    state,
    instances.map((instance) => ({
      action: `ec2:${action}`,
      resource: arnOf(state, `instance/${instance.instanceId}`),
      context: resourceContext(instance),
    })),
  );
}

export function resourceContext(instance: SimulatedInstance): Map<string, readonly string[]> {
  return iamContext({
    ...Object.fromEntries([...instance.tags].map(([key, value]) => [`aws:ResourceTag/${key}`, value])),
    'ec2:InstanceType': instance.type.name,
    ...(instance.profileName === null ? {} : { 'ec2:InstanceProfile': profileArn(instance.profileName) }),
  });
}

export function profileArn(name: string): string {
  return `arn:aws:iam::${SIMULATED_ACCOUNT}:instance-profile/${name}`;
}

/** True when the type exists in the subnet's zone. */
export function isOffered(settings: RegionSettings, typeName: string, zone: string): boolean {
  return !settings.notOffered.some((entry) => {
    const [pattern = '', letter = ''] = entry.split('/');
    return zone.endsWith(letter) && matchesGlob(pattern, typeName);
  });
}

export function listAlive(state: RegionState, atMs: EpochMs): SimulatedInstance[] {
  return [...state.living.values()].filter((instance) => isAlive(instance, atMs));
}

/** Dry run comes after every check and before every effect. */
export function endDryRun(dryRun: boolean | undefined): void {
  if (dryRun === true) throw new Ec2Error('DryRunOperation', 'Request would have succeeded, but DryRun flag is set.');
}
