/** Instances as EC2's API shows them. */
import type { Instance, PlatformValues, Reservation, SpotInstanceRequest, Tag } from '@aws-sdk/client-ec2';
import { nanoUsdToDecimal } from '../model/money.ts';
import type { EpochMs } from '../model/time.ts';
import { SECOND_MS } from '../model/time.ts';
import type { InstanceState, SimulatedInstance } from './life.ts';
import { lastStartMs, stateAt, stateStepAt } from './life.ts';
import { profileArn } from './region-state.ts';
import { SIMULATED_ACCOUNT, SIMULATED_SECURITY_GROUP, SIMULATED_VPC } from './world.ts';

/** The low byte of EC2's state codes. */
const STATE_CODES: Readonly<Record<InstanceState, number>> = {
  pending: 0,
  running: 16,
  'shutting-down': 32,
  terminated: 48,
  stopping: 64,
  stopped: 80,
};

export function renderTags(tags: ReadonlyMap<string, string>): Tag[] {
  return [...tags].map(([Key, Value]) => ({ Key, Value }));
}

export function renderState(state: InstanceState): { Code: number; Name: InstanceState } {
  return { Code: STATE_CODES[state], Name: state };
}

/** As EC2 writes it; the SDK's types have it with a capital letter. */
export const EC2_WINDOWS = 'windows' as string as PlatformValues;

/** Instances of one reservation, as seen at `atMs`. */
export function renderReservation(instances: readonly SimulatedInstance[], atMs: EpochMs): Reservation {
  return {
    ReservationId: instances[0]?.reservationId,
    OwnerId: SIMULATED_ACCOUNT,
    Groups: [],
    Instances: instances.map((instance) => renderInstance(instance, atMs)),
  };
}

function renderInstance(instance: SimulatedInstance, atMs: EpochMs): Instance {
  const current = stateAt(instance, atMs);
  return {
    InstanceId: instance.instanceId,
    ImageId: instance.image.imageId,
    ...(instance.image.platform === undefined ? {} : { Platform: EC2_WINDOWS }),
    InstanceType: instance.type.name as NonNullable<Instance['InstanceType']>,
    AmiLaunchIndex: instance.launchIndex,
    Architecture: instance.type.arch,
    ClientToken: instance.clientToken,
    LaunchTime: wholeSecond(lastStartMs(instance, atMs)),
    State: renderState(current),
    ...renderEnd(instance, atMs),
    Placement: { AvailabilityZone: instance.subnet.zone, Tenancy: 'default', GroupName: '' },
    Monitoring: { State: 'disabled' },
    VirtualizationType: 'hvm',
    Hypervisor: 'xen',
    EnaSupport: true,
    EbsOptimized: false,
    RootDeviceName: instance.image.rootDeviceName,
    RootDeviceType: 'ebs',
    Tags: renderTags(instance.tags),
    ...(instance.spotRequest === null
      ? {}
      : { InstanceLifecycle: 'spot' as const, SpotInstanceRequestId: instance.spotRequest.requestId }),
    ...(instance.profileName === null ? {} : { IamInstanceProfile: { Arn: profileArn(instance.profileName) } }),
    MetadataOptions: {
      State: current === 'pending' ? 'pending' : 'applied',
      HttpTokens: instance.httpTokens as 'optional' | 'required',
      HttpPutResponseHopLimit: instance.hopLimit,
      HttpEndpoint: 'enabled',
    },
    // A terminated instance has given back its address, its interface and its volumes.
    ...(current === 'terminated' ? {} : renderAttachments(instance, current)),
  };
}

function renderAttachments(instance: SimulatedInstance, current: InstanceState): Instance {
  const groups = instance.securityGroupIds.map((GroupId) => ({
    GroupId,
    GroupName: GroupId === SIMULATED_SECURITY_GROUP ? 'spillway-simulated' : GroupId,
  }));
  const attachTime = wholeSecond(instance.launchedAtMs);
  const status = current === 'pending' ? ('attaching' as const) : ('attached' as const);
  const publicIp = instance.publicIp === null || current === 'stopped' ? {} : { PublicIpAddress: instance.publicIp };
  return {
    PrivateIpAddress: instance.privateIp,
    PrivateDnsName: `ip-${instance.privateIp.replaceAll('.', '-')}.ec2.internal`,
    ...publicIp,
    SubnetId: instance.subnet.subnetId,
    VpcId: SIMULATED_VPC,
    SecurityGroups: groups,
    BlockDeviceMappings: instance.volumes.map((volume) => ({
      DeviceName: volume.deviceName,
      Ebs: {
        VolumeId: volume.volumeId,
        Status: status,
        AttachTime: attachTime,
        DeleteOnTermination: volume.deleteOnTermination,
      },
    })),
    NetworkInterfaces: [
      {
        NetworkInterfaceId: instance.interfaceId,
        SubnetId: instance.subnet.subnetId,
        VpcId: SIMULATED_VPC,
        OwnerId: SIMULATED_ACCOUNT,
        Status: 'in-use',
        PrivateIpAddress: instance.privateIp,
        Groups: groups,
        Attachment: { DeviceIndex: 0, Status: status, AttachTime: attachTime, DeleteOnTermination: true },
      },
    ],
  };
}

/** EC2 tells times of instances in whole seconds; the bill knows better. */
function wholeSecond(atMs: EpochMs): Date {
  return new Date(Math.floor(atMs / SECOND_MS) * SECOND_MS);
}

/** `YYYY-MM-DD HH:MM:SS GMT`, as in `User initiated (2026-07-20 13:44:30 GMT)`. */
function formatGmt(atMs: EpochMs): string {
  return `${new Date(atMs).toISOString().slice(0, 19).replace('T', ' ')} GMT`;
}

/** Why an instance left, in the two forms EC2 gives; empty while it lives. */
function renderEnd(
  instance: SimulatedInstance,
  atMs: EpochMs,
): Pick<Instance, 'StateReason' | 'StateTransitionReason'> {
  const { kind, cause } = stateStepAt(instance, atMs);
  if (kind === 'pending') return { StateTransitionReason: '', StateReason: { Code: 'pending', Message: 'pending' } };
  const began = instance.steps.findLast((step) => step.kind === 'shutting-down' || step.kind === 'stopping');
  const when = formatGmt(began?.atMs ?? atMs);
  switch (cause) {
    case 'user':
      return reason(`User initiated (${when})`, 'Client.UserInitiatedShutdown', 'User initiated shutdown');
    case 'guest':
      return reason(`User initiated (${when})`, 'Client.InstanceInitiatedShutdown', 'Instance initiated shutdown');
    case 'spot':
      // No time in this one: a caller that wants to know when has to watch.
      return reason('Server.SpotInstanceTermination', 'Server.SpotInstanceTermination', 'Spot instance termination');
    case 'start-failure': {
      const code = instance.startFailure ?? 'Server.InternalError';
      return reason(code, code, 'The instance failed to start');
    }
    case null:
      return { StateTransitionReason: '' };
  }
}

function reason(
  transition: string,
  code: string,
  message: string,
): Pick<Instance, 'StateReason' | 'StateTransitionReason'> {
  return { StateTransitionReason: transition, StateReason: { Code: code, Message: `${code}: ${message}` } };
}

/** The spot request behind an instance; the caller sees to it that there is one. */
export function renderSpotRequest(instance: SimulatedInstance, atMs: EpochMs): SpotInstanceRequest {
  const { code, sinceMs } = spotStatusAt(instance, atMs);
  return {
    SpotInstanceRequestId: instance.spotRequest?.requestId,
    InstanceId: instance.instanceId,
    State: code.startsWith('instance-terminated') ? 'closed' : 'active',
    Status: { Code: code, Message: code, UpdateTime: new Date(Math.min(sinceMs, atMs)) },
    Type: 'one-time',
    InstanceInterruptionBehavior: 'terminate',
    CreateTime: new Date(instance.launchedAtMs),
    LaunchedAvailabilityZone: instance.subnet.zone,
    ProductDescription: 'Linux/UNIX',
    SpotPrice: instance.spotRequest?.maxPrice ?? nanoUsdToDecimal(instance.type.priceNanoUsdPerHour),
    Tags: renderTags(instance.spotRequest?.tags ?? new Map()),
  };
}

/** The request is over when its instance begins to end. */
function spotStatusAt(
  instance: SimulatedInstance,
  atMs: EpochMs,
): { readonly code: string; readonly sinceMs: EpochMs } {
  const step = stateStepAt(instance, atMs);
  if (step.kind === 'shutting-down' || step.kind === 'terminated') {
    const began = instance.steps.findLast(({ kind }) => kind === 'shutting-down') ?? step;
    const code = step.cause === 'spot' ? 'instance-terminated-no-capacity' : 'instance-terminated-by-user';
    return { code, sinceMs: began.atMs };
  }
  const notice = instance.steps.find((one) => one.kind === 'interruption-notice' && one.atMs <= atMs);
  return notice === undefined
    ? { code: 'fulfilled', sinceMs: step.atMs }
    : { code: 'marked-for-termination', sinceMs: notice.atMs };
}
