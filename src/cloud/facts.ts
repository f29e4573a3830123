import type {
  Image,
  Instance,
  InstanceTypeInfo,
  SpotInstanceRequest,
  SpotPrice as Ec2SpotPrice,
  Subnet,
} from '@aws-sdk/client-ec2';
import type { Architecture, InstanceType } from '../model/offering.ts';
import type {
  CloudInstance,
  CloudInstanceState,
  ImageFacts,
  InstanceOrigin,
  LaunchedInstance,
  SpotPrice,
  SubnetFacts,
} from '../ports/cloud.ts';
import { SPOT_NOTICE_MS } from '../model/state-waits.ts';
import type { EpochMs } from '../model/time.ts';

const STATES: ReadonlySet<string> = new Set<CloudInstanceState>([
  'pending',
  'running',
  'shutting-down',
  'terminated',
  'stopping',
  'stopped',
]);
/** e.g. `User initiated (2026-11-22 12:17:02 GMT)` */
const TRANSITION_TIME_PATTERN = /\((\d{4}-\d{2}-\d{2}) (\d{2}:\d{2}:\d{2}) GMT\)/;

/** Null for what is not an instance yet: EC2 may list one without id or state for a moment. */
export function toCloudInstance(instance: Instance): CloudInstance | null {
  const state = instance.State?.Name;
  if (instance.InstanceId === undefined || state === undefined || !isKnownState(state)) return null;
  return {
    ...readLaunched(instance, instance.InstanceId),
    state,
    clientToken: instance.ClientToken ?? '',
    instanceType: instance.InstanceType ?? '',
    market: instance.InstanceLifecycle === 'spot' ? 'spot' : 'on-demand',
    ...readEnd(instance, state),
    tags: Object.fromEntries((instance.Tags ?? []).map(({ Key = '', Value = '' }) => [Key, Value])),
    origin: readOrigin(instance),
  };
}

function readOrigin(instance: Instance): InstanceOrigin {
  return {
    imageId: instance.ImageId ?? '',
    subnetId: instance.SubnetId ?? '',
    securityGroupIds: (instance.SecurityGroups ?? []).flatMap(({ GroupId }) => GroupId ?? []),
    instanceProfile: instance.IamInstanceProfile?.Arn ?? null,
    rootDeviceName: instance.RootDeviceName ?? '',
  };
}

function isKnownState(state: string): state is CloudInstanceState {
  return STATES.has(state);
}

function readEnd(instance: Instance, state: CloudInstanceState): Pick<CloudInstance, 'endedAtMs' | 'endCode'> {
  if (state === 'pending' || state === 'running') return { endedAtMs: null, endCode: null };
  return {
    endedAtMs: parseTransitionTime(instance.StateTransitionReason ?? ''),
    endCode: instance.StateReason?.Code ?? null,
  };
}

/** The moment in a StateTransitionReason, whole seconds; null where EC2 gives none. */
export function parseTransitionTime(reason: string): EpochMs | null {
  const [, day, time] = TRANSITION_TIME_PATTERN.exec(reason) ?? [];
  if (day === undefined || time === undefined) return null;
  const atMs = Date.parse(`${day}T${time}Z`);
  return Number.isNaN(atMs) ? null : atMs;
}

/** Null for an instance without an id, which nothing can be done with. */
export function toLaunchedInstance(instance: Instance): LaunchedInstance | null {
  return instance.InstanceId === undefined ? null : readLaunched(instance, instance.InstanceId);
}

function readLaunched(instance: Instance, instanceId: string): LaunchedInstance {
  return {
    instanceId,
    privateIp: instance.PrivateIpAddress ?? null,
    zone: instance.Placement?.AvailabilityZone ?? '',
    launchTimeMs: instance.LaunchTime?.getTime() ?? null,
  };
}

/** Null for what cannot run a machine of ours (Mac hosts) or lacks its figures. */
export function toInstanceType(info: InstanceTypeInfo): InstanceType | null {
  const name = info.InstanceType;
  const vcpus = info.VCpuInfo?.DefaultVCpus;
  const memoryMib = info.MemoryInfo?.SizeInMiB;
  const architecture = readArchitecture(info.ProcessorInfo?.SupportedArchitectures ?? []);
  if (name === undefined || vcpus === undefined || memoryMib === undefined || architecture === null) return null;
  return {
    name,
    family: name.slice(0, name.indexOf('.')),
    resources: { cpuMilli: vcpus * 1000, memoryMib, gpus: countGpus(info) },
    architecture,
    burstable: info.BurstablePerformanceSupported ?? false,
  };
}

function countGpus(info: InstanceTypeInfo): number {
  return (info.GpuInfo?.Gpus ?? []).reduce((sum, gpu) => sum + (gpu.Count ?? 0), 0);
}

function readArchitecture(names: readonly string[]): Architecture | null {
  if (names.includes('x86_64')) return 'x86_64';
  return names.includes('arm64') ? 'arm64' : null;
}

/** Null where EC2 left out what the planner needs. */
export function toSubnetFacts(subnet: Subnet): SubnetFacts | null {
  if (subnet.SubnetId === undefined || subnet.AvailabilityZone === undefined) return null;
  return {
    subnetId: subnet.SubnetId,
    zone: subnet.AvailabilityZone,
    freeAddresses: subnet.AvailableIpAddressCount ?? 0,
  };
}

/** Null for a price without its place, time or a positive number. */
export function toSpotPrice(price: Ec2SpotPrice): SpotPrice | null {
  const priceUsdPerHour = Number(price.SpotPrice);
  const { InstanceType: instanceType, AvailabilityZone: zone, Timestamp: at } = price;
  if (instanceType === undefined || zone === undefined || at === undefined || !(priceUsdPerHour > 0)) return null;
  return { instanceType, zone, atMs: at.getTime(), priceUsdPerHour };
}

/** Since when the request says that its instance is terminated; null while it lives, or where EC2 gives no time. */
export function toSpotEnd({ InstanceId: instanceId, Status }: SpotInstanceRequest): readonly [string, EpochMs] | null {
  if (instanceId === undefined || Status?.UpdateTime === undefined) return null;
  return SPOT_ENDED.test(Status.Code ?? '') ? [instanceId, Status.UpdateTime.getTime()] : null;
}

/** When EC2 takes the instance back that it has marked; null for a request of another status, or where EC2 gives no time. */
export function toInterruption({
  InstanceId: instanceId,
  Status,
}: SpotInstanceRequest): readonly [string, EpochMs] | null {
  if (instanceId === undefined || Status?.UpdateTime === undefined || Status.Code !== SPOT_MARKED) return null;
  return [instanceId, Status.UpdateTime.getTime() + SPOT_NOTICE_MS];
}

/** Status code of a request whose instance still runs and is about to be taken back (EC2 User Guide, "Spot request status codes"). */
export const SPOT_MARKED = 'marked-for-termination';

/** Status codes of requests whose instance is gone, `-by-user` included (EC2 User Guide, "Spot request status codes"). */
const SPOT_ENDED = /^instance-terminated-/;

/** Null for an image that cannot boot from a volume. */
export function toImageFacts(image: Image): ImageFacts | null {
  const { ImageId: imageId, RootDeviceName: rootDeviceName } = image;
  const architecture = readArchitecture(image.Architecture === undefined ? [] : [image.Architecture]);
  if (imageId === undefined || rootDeviceName === undefined || architecture === null) return null;
  const root = (image.BlockDeviceMappings ?? []).find((mapping) => mapping.DeviceName === rootDeviceName);
  // EC2 writes `windows`, and the SDK's types `Windows`.
  const platform = /^windows$/i.test(image.Platform ?? '') ? ({ platform: 'windows' } as const) : {};
  return { imageId, architecture, rootDeviceName, rootVolumeGib: root?.Ebs?.VolumeSize ?? 0, ...platform };
}
