/** Reads and checks a RunInstances request as EC2 does, before anything is authorized or made. */
import type {
  EbsBlockDevice,
  InstanceNetworkInterfaceSpecification,
  RunInstancesRequest,
  SpotMarketOptions,
  Tag,
} from '@aws-sdk/client-ec2';
import type { Market } from '../model/offering.ts';
import { nanoUsdFromDecimal } from '../model/money.ts';
import type { CatalogueType } from '../cost/catalogue.ts';
import { findInstanceType } from '../cost/catalogue.ts';
import { Ec2Error } from './ec2-error.ts';
import type { RegionState } from './region-state.ts';
import { isOffered } from './region-state.ts';
import type { SimulatedImage, SimulatedSubnet } from './world.ts';
import { SIMULATED_INSTANCE_PROFILE, SIMULATED_SECURITY_GROUP } from './world.ts';

export const TAGGED_KINDS = ['instance', 'volume', 'network-interface', 'spot-instances-request'] as const;
export type TaggedKind = (typeof TAGGED_KINDS)[number];

export interface VolumeRequest {
  readonly deviceName: string;
  readonly sizeGib: number;
  readonly deleteOnTermination: boolean;
}

/** A request that is well-formed and names only things that exist. */
export interface RunRequest {
  readonly type: CatalogueType;
  readonly image: SimulatedImage;
  readonly subnet: SimulatedSubnet;
  /** With a subnet in the request, a client token counts per zone; without, per region. */
  readonly isZonal: boolean;
  readonly market: Market;
  readonly maxPrice: string | null;
  readonly least: number;
  readonly most: number;
  readonly clientToken: string;
  readonly tags: ReadonlyMap<TaggedKind, ReadonlyMap<string, string>>;
  readonly volumes: readonly VolumeRequest[];
  readonly securityGroupIds: readonly string[];
  readonly hasPublicIp: boolean;
  readonly profileName: string | null;
  readonly userData: string | null;
  readonly shutdownBehavior: 'stop' | 'terminate';
  readonly httpTokens: string;
  readonly hopLimit: number;
}

/** EC2's limits: 16 KB of user-data before encoding, 64 characters of token, 50 tags per resource. */
const USER_DATA_BYTES_MAX = 16_384;
const CLIENT_TOKEN_MAX = 64;
const TAGS_MAX = 50;
const VOLUME_GIB_MAX = 65_536;

export function readRunRequest(state: RegionState, input: RunInstancesRequest): RunRequest {
  const type = readType(input);
  const image = readImage(state, input);
  const placement = readNetwork(state, input);
  requireNoSurplusCredits(input);
  requireNoWindowsOnSpot(input, image);
  requireMatch(state, { type, image, subnet: placement.subnet });
  return {
    type,
    image,
    ...placement,
    ...readMarket(input),
    ...readCounts(input),
    clientToken: readToken(input),
    tags: readTagSpecifications(input),
    volumes: readVolumes(input, image),
    profileName: readProfile(input),
    userData: readUserData(input),
    shutdownBehavior: readChoice(
      'InstanceInitiatedShutdownBehavior',
      input.InstanceInitiatedShutdownBehavior ?? 'stop',
      ['stop', 'terminate'],
    ),
    // New accounts and images of 2022 and later ask for tokens; the API's own default is still `optional`.
    httpTokens: readChoice('MetadataOptions.HttpTokens', input.MetadataOptions?.HttpTokens ?? 'optional', [
      'optional',
      'required',
    ]),
    hopLimit: readWhole(
      'MetadataOptions.HttpPutResponseHopLimit',
      input.MetadataOptions?.HttpPutResponseHopLimit ?? 1,
      [1, 64],
    ),
  };
}

/** It does not know those prices, and does not bill what it does not know. */
function requireNoWindowsOnSpot({ InstanceMarketOptions: market }: RunInstancesRequest, image: SimulatedImage): void {
  if (market?.MarketType !== 'spot' || image.platform === undefined) return;
  throw new Ec2Error('UnsupportedOperation', 'The simulated region sells Windows on demand only.');
}

function invalid(name: string, value: unknown, hint = ''): Ec2Error {
  return new Ec2Error(
    'InvalidParameterValue',
    `Value (${String(value)}) for parameter ${name} is invalid.${hint === '' ? '' : ` ${hint}`}`,
  );
}

function readChoice<T extends string>(name: string, value: string, choices: readonly T[]): T {
  const found = choices.find((choice) => choice === value);
  if (found === undefined) throw invalid(name, value, `Expected one of ${choices.join(', ')}.`);
  return found;
}

function readWhole(name: string, value: number, [least, most]: readonly [number, number]): number {
  if (!Number.isInteger(value) || value < least || value > most)
    throw invalid(name, value, `Expected ${least} to ${most}.`);
  return value;
}

function readType(input: RunInstancesRequest): CatalogueType {
  const name = input.InstanceType ?? 'm1.small';
  const type = findInstanceType(name);
  if (type === undefined) throw new Ec2Error('InvalidParameterValue', `Invalid value '${name}' for InstanceType.`);
  return type;
}

function readImage(state: RegionState, { ImageId: imageId }: RunInstancesRequest): SimulatedImage {
  if (imageId === undefined) throw new Ec2Error('MissingParameter', 'The request must contain the parameter ImageId');
  if (!/^ami-[0-9a-f]{8}(?:[0-9a-f]{9})?$/.test(imageId)) {
    throw new Ec2Error('InvalidAMIID.Malformed', `Invalid id: "${imageId}" (expecting "ami-...")`);
  }
  const image = state.images.find((image) => image.imageId === imageId);
  if (image === undefined) throw new Ec2Error('InvalidAMIID.NotFound', `The image id '[${imageId}]' does not exist`);
  return image;
}

interface Network {
  readonly subnet: SimulatedSubnet;
  readonly isZonal: boolean;
  readonly securityGroupIds: readonly string[];
  readonly hasPublicIp: boolean;
}

function readNetwork(state: RegionState, input: RunInstancesRequest): Network {
  const card = readInterface(input);
  const subnetId = card?.SubnetId ?? input.SubnetId;
  const groups = card?.Groups ?? input.SecurityGroupIds ?? [SIMULATED_SECURITY_GROUP];
  for (const group of groups) requireGroup(group);
  return {
    subnet: readSubnet(state, subnetId),
    isZonal: subnetId !== undefined,
    securityGroupIds: groups,
    hasPublicIp: card?.AssociatePublicIpAddress ?? false,
  };
}

function readInterface(input: RunInstancesRequest): InstanceNetworkInterfaceSpecification | undefined {
  const [first, ...others] = input.NetworkInterfaces ?? [];
  if (others.length > 0) {
    throw new Ec2Error('UnsupportedOperation', 'The simulated region gives an instance one network interface');
  }
  if (first !== undefined && (input.SubnetId !== undefined || input.SecurityGroupIds !== undefined)) {
    throw new Ec2Error(
      'InvalidParameterCombination',
      'Network interfaces and an instance-level subnet ID or security groups may not be specified on the same request',
    );
  }
  return first;
}

function readSubnet(state: RegionState, subnetId: string | undefined): SimulatedSubnet {
  const subnet =
    subnetId === undefined ? state.subnets[0] : state.subnets.find((subnet) => subnet.subnetId === subnetId);
  if (subnet === undefined) {
    throw new Ec2Error('InvalidSubnetID.NotFound', `The subnet ID '${subnetId ?? ''}' does not exist`);
  }
  return subnet;
}

function requireGroup(groupId: string): void {
  if (!/^sg-[0-9a-f]{8}(?:[0-9a-f]{9})?$/.test(groupId)) {
    throw new Ec2Error('InvalidGroupId.Malformed', `Invalid id: "${groupId}" (expecting "sg-...")`);
  }
  if (groupId !== SIMULATED_SECURITY_GROUP) {
    throw new Ec2Error('InvalidGroup.NotFound', `The security group '${groupId}' does not exist`);
  }
}

type Match = { readonly type: CatalogueType; readonly image: SimulatedImage; readonly subnet: SimulatedSubnet };

function requireMatch(state: RegionState, { type, image, subnet }: Match): void {
  if (type.arch !== image.architecture) {
    throw new Ec2Error(
      'InvalidParameterValue',
      `The architecture '${type.arch}' of the specified instance type does not match the architecture ` +
        `'${image.architecture}' of the specified AMI.`,
    );
  }
  if (!isOffered(state.settings, type.name, subnet.zone)) {
    throw new Ec2Error(
      'Unsupported',
      `Your requested instance type (${type.name}) is not supported in your requested Availability Zone (${subnet.zone}).`,
    );
  }
}

function readMarket({ InstanceMarketOptions: options }: RunInstancesRequest): Pick<RunRequest, 'market' | 'maxPrice'> {
  if (options?.MarketType === undefined) return { market: 'on-demand', maxPrice: null };
  readChoice('InstanceMarketOptions.MarketType', options.MarketType, ['spot']);
  return { market: 'spot', maxPrice: readMaxPrice(options.SpotOptions ?? {}) };
}

function readMaxPrice(spot: SpotMarketOptions): string | null {
  const {
    SpotInstanceType: kind = 'one-time',
    InstanceInterruptionBehavior: behavior = 'terminate',
    MaxPrice: price,
  } = spot;
  if (kind !== 'one-time' || behavior !== 'terminate') {
    throw new Ec2Error(
      'UnsupportedOperation',
      'The simulated region knows one-time spot requests that end with terminate',
    );
  }
  if (price === undefined) return null;
  const isPrice = /^\d{1,6}(?:\.\d{1,9})?$/.test(price);
  if (!isPrice || nanoUsdFromDecimal(price) <= 0n) throw invalid('MaxPrice', price);
  return price;
}

function readCounts({ MinCount: least, MaxCount: most }: RunInstancesRequest): Pick<RunRequest, 'least' | 'most'> {
  if (least === undefined || most === undefined) {
    throw new Ec2Error(
      'MissingParameter',
      `The request must contain the parameter ${least === undefined ? 'MinCount' : 'MaxCount'}`,
    );
  }
  if (!Number.isInteger(least) || least < 1) throw invalid('minCount', least, 'Expected 1 or more.');
  if (!Number.isInteger(most) || most < least) throw invalid('maxCount', most, 'Expected minCount or more.');
  return { least, most };
}

function readToken({ ClientToken: token = '' }: RunInstancesRequest): string {
  if (token.length > CLIENT_TOKEN_MAX || !/^[\x20-\x7e]*$/.test(token)) {
    throw invalid('clientToken', token, `A token has at most ${CLIENT_TOKEN_MAX} ASCII characters.`);
  }
  return token;
}

/** Checks tags as EC2 does and gives them as a map. */
export function readTags(tags: readonly Tag[]): Map<string, string> {
  const result = new Map<string, string>();
  for (const { Key: key = '', Value: value = '' } of tags) {
    if (key === '' || key.length > 128 || value.length > 256) throw invalid('tag', `${key}=${value}`);
    if (key.startsWith('aws:')) throw invalid('tagKey', key, 'Tag keys starting with aws: are reserved.');
    if (result.has(key)) throw invalid('tagKey', key, 'A tag key may be given once.');
    result.set(key, value);
  }
  if (result.size > TAGS_MAX) throw new Ec2Error('TagLimitExceeded', `More than ${TAGS_MAX} tags on one resource`);
  return result;
}

function readTagSpecifications({ TagSpecifications: specifications = [] }: RunInstancesRequest): RunRequest['tags'] {
  const result = new Map<TaggedKind, ReadonlyMap<string, string>>();
  for (const { ResourceType: kind = '', Tags: tags = [] } of specifications) {
    const known = readChoice('ResourceType', kind, TAGGED_KINDS);
    if (result.has(known)) throw invalid('TagSpecification', kind, 'A resource type may be given once.');
    result.set(known, readTags(tags));
  }
  return result;
}

function readVolumes(
  { BlockDeviceMappings: mappings = [] }: RunInstancesRequest,
  image: SimulatedImage,
): VolumeRequest[] {
  const volumes = mappings.map(({ DeviceName: deviceName = '', Ebs: ebs = {} }) => {
    const isRoot = deviceName === image.rootDeviceName;
    if (deviceName === '') throw new Ec2Error('MissingParameter', 'The request must contain the parameter DeviceName');
    requirePlainGp3(ebs);
    return {
      deviceName,
      sizeGib: readWhole('VolumeSize', ebs.VolumeSize ?? image.rootVolumeGib, [
        isRoot ? image.rootVolumeGib : 1,
        VOLUME_GIB_MAX,
      ]),
      // EC2 deletes the root volume unless told otherwise, and keeps every other one unless told otherwise.
      deleteOnTermination: ebs.DeleteOnTermination ?? isRoot,
    };
  });
  const root = { deviceName: image.rootDeviceName, sizeGib: image.rootVolumeGib, deleteOnTermination: true };
  return volumes.some(({ deviceName }) => deviceName === root.deviceName) ? volumes : [root, ...volumes];
}

/** What the bill has a price for: gp3 with the throughput and operations that are included. */
function requirePlainGp3({ VolumeType: type = 'gp3', Iops: iops, Throughput: throughput }: EbsBlockDevice): void {
  if (type !== 'gp3' || iops !== undefined || throughput !== undefined) {
    throw new Ec2Error('UnsupportedOperation', 'The simulated region has gp3 volumes without extra Iops or Throughput');
  }
}

/** `unlimited` would bill surplus credits, which the region's bill does not know. */
function requireNoSurplusCredits({ CreditSpecification: credit }: RunInstancesRequest): void {
  if (credit?.CpuCredits !== undefined && credit.CpuCredits !== 'standard') {
    throw new Ec2Error(
      'UnsupportedOperation',
      `The simulated region has standard CPU credits, not ${credit.CpuCredits}`,
    );
  }
}

function readProfile({ IamInstanceProfile: profile }: RunInstancesRequest): string | null {
  if (profile === undefined) return null;
  const name = profile.Name ?? profile.Arn?.split('/').at(-1) ?? '';
  if (name !== SIMULATED_INSTANCE_PROFILE)
    throw invalid('iamInstanceProfile.name', name, 'Invalid IAM Instance Profile name');
  return name;
}

function readUserData({ UserData: userData }: RunInstancesRequest): string | null {
  if (userData === undefined || userData === '') return null;
  if (userData.length % 4 !== 0 || !/^[A-Za-z0-9+/]*={0,2}$/.test(userData)) {
    throw new Ec2Error('InvalidUserData.Malformed', 'Invalid BASE64 encoding of user data');
  }
  if (Buffer.byteLength(userData, 'base64') > USER_DATA_BYTES_MAX) {
    throw new Ec2Error('InvalidParameterValue', `User data is limited to ${USER_DATA_BYTES_MAX} bytes`);
  }
  return userData;
}
