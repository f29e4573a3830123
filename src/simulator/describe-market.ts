/** The calls that read what can be launched, where, and for how much. */
import type {
  DescribeImagesRequest,
  DescribeImagesResult,
  DescribeInstanceTypeOfferingsRequest,
  DescribeInstanceTypeOfferingsResult,
  DescribeInstanceTypesRequest,
  DescribeInstanceTypesResult,
  DescribeSpotPriceHistoryRequest,
  DescribeSpotPriceHistoryResult,
  DescribeSubnetsRequest,
  DescribeSubnetsResult,
  InstanceTypeInfo,
  SpotPrice,
  _InstanceType,
} from '@aws-sdk/client-ec2';
import { nanoUsdToDecimal } from '../model/money.ts';
import { DAY_MS, HOUR_MS } from '../model/time.ts';
import type { CatalogueType } from '../cost/catalogue.ts';
import { findInstanceType, listInstanceTypes } from '../cost/catalogue.ts';
import { Ec2Error } from './ec2-error.ts';
import { EC2_WINDOWS } from './instance-shape.ts';
import type { FilterTable } from './listing.ts';
import { applyFilters, takePage } from './listing.ts';
import type { RegionState } from './region-state.ts';
import { authorizeRead, endDryRun, isOffered } from './region-state.ts';
import { spotPriceAt } from './spot-prices.ts';
import type { SimulatedImage, SimulatedSubnet } from './world.ts';
import { SIMULATED_ACCOUNT, SIMULATED_VPC, SLOT_ADDRESSES_USABLE } from './world.ts';

/** EC2's page sizes. */
const TYPE_PAGE = [5, 100] as const;
const OFFERING_PAGE = [5, 1000] as const;
const PLACE_PAGE = [5, 1000] as const;
const PRICE_PAGE = [1, 1000] as const;
const NAMED_TYPES_MAX = 100;
/** EC2 keeps 90 days of spot prices. */
const PRICE_HISTORY_MS = 90 * DAY_MS;

const EXCEPT_DIGITS = /\d+$/;

const TYPE_FILTERS: FilterTable<CatalogueType> = {
  'bare-metal': (type) => [String(type.bareMetal)],
  'burstable-performance-supported': (type) => [String(type.burstable)],
  'current-generation': () => ['true'],
  hypervisor: (type) => (type.bareMetal ? [] : ['nitro']),
  'instance-type': (type) => [type.name],
  'memory-info.size-in-mib': (type) => [String(type.memoryMib)],
  'processor-info.supported-architecture': (type) => [type.arch],
  'supported-usage-class': () => ['on-demand', 'spot'],
  'supported-virtualization-type': () => ['hvm'],
  'vcpu-info.default-vcpus': (type) => [String(type.vcpus)],
};

const typePosition = new Map(listInstanceTypes().map((type, index) => [type.name, index]));
const positionOfType = (type: CatalogueType): number => typePosition.get(type.name) ?? -1;

export function describeInstanceTypes(
  state: RegionState,
  input: DescribeInstanceTypesRequest,
): DescribeInstanceTypesResult {
  authorizeRead(state, 'DescribeInstanceTypes');
  endDryRun(input.DryRun);
  const names = input.InstanceTypes ?? [];
  if (names.length > 0 && input.MaxResults !== undefined) {
    throw new Ec2Error(
      'InvalidParameterCombination',
      'The parameter InstanceTypes cannot be used with the parameter MaxResults',
    );
  }
  const page = takePage({
    items: applyFilters(namedTypes(names), input.Filters, { table: TYPE_FILTERS }),
    positionOf: positionOfType,
    maxResults: input.MaxResults ?? (names.length > 0 ? undefined : TYPE_PAGE[1]),
    nextToken: input.NextToken,
    range: TYPE_PAGE,
    question: input.Filters,
  });
  return { InstanceTypes: page.items.map(renderType), NextToken: page.nextToken };
}

function namedTypes(names: readonly string[]): readonly CatalogueType[] {
  if (names.length === 0) return listInstanceTypes();
  if (names.length > NAMED_TYPES_MAX) {
    throw new Ec2Error(
      'InvalidParameterValue',
      `At most ${NAMED_TYPES_MAX} instance types can be named in one request`,
    );
  }
  const missing = names.filter((name) => findInstanceType(name) === undefined);
  if (missing.length > 0) {
    throw new Ec2Error(
      'InvalidInstanceType',
      `The following supplied instance types do not exist: [${missing.join(', ')}]`,
    );
  }
  return listInstanceTypes().filter((type) => names.includes(type.name));
}

function renderType(type: CatalogueType): InstanceTypeInfo {
  return {
    InstanceType: type.name as _InstanceType,
    CurrentGeneration: true,
    FreeTierEligible: false,
    SupportedUsageClasses: ['on-demand', 'spot'],
    SupportedRootDeviceTypes: ['ebs'],
    SupportedVirtualizationTypes: ['hvm'],
    BareMetal: type.bareMetal,
    ...(type.bareMetal ? {} : { Hypervisor: 'nitro' as const }),
    ProcessorInfo: { SupportedArchitectures: [type.arch] },
    VCpuInfo: { DefaultVCpus: type.vcpus },
    MemoryInfo: { SizeInMiB: type.memoryMib },
    InstanceStorageSupported: false,
    ...(type.gpus === 0
      ? {}
      : {
          GpuInfo: {
            Gpus: [{ Name: type.family.replace(EXCEPT_DIGITS, ''), Manufacturer: 'NVIDIA', Count: type.gpus }],
          },
        }),
    BurstablePerformanceSupported: type.burstable,
    DedicatedHostsSupported: false,
    AutoRecoverySupported: true,
  };
}

interface Place {
  readonly type: CatalogueType;
  readonly location: string;
  readonly position: number;
}

const OFFERING_FILTERS: FilterTable<Place> = {
  'instance-type': ({ type }) => [type.name],
  location: ({ location }) => [location],
};

export function describeInstanceTypeOfferings(
  state: RegionState,
  input: DescribeInstanceTypeOfferingsRequest,
): DescribeInstanceTypeOfferingsResult {
  authorizeRead(state, 'DescribeInstanceTypeOfferings');
  endDryRun(input.DryRun);
  const locationType = input.LocationType ?? 'region';
  const page = takePage({
    items: applyFilters(listPlaces(state, locationType), input.Filters, { table: OFFERING_FILTERS }),
    positionOf: ({ position }) => position,
    maxResults: input.MaxResults ?? OFFERING_PAGE[1],
    nextToken: input.NextToken,
    range: OFFERING_PAGE,
    question: [locationType, input.Filters],
  });
  return {
    InstanceTypeOfferings: page.items.map(({ type, location }) => ({
      InstanceType: type.name as _InstanceType,
      LocationType: locationType,
      Location: location,
    })),
    NextToken: page.nextToken,
  };
}

function listPlaces(state: RegionState, locationType: string): Place[] {
  const { settings, subnets } = state;
  if (locationType === 'region') {
    return listInstanceTypes().map((type, position) => ({ type, location: settings.region, position }));
  }
  if (locationType !== 'availability-zone') {
    throw new Ec2Error('InvalidParameterValue', `The simulated region has no offerings by ${locationType}`);
  }
  return listInstanceTypes().flatMap((type, index) =>
    subnets.flatMap(({ zone }, zoneIndex) =>
      isOffered(settings, type.name, zone)
        ? [{ type, location: zone, position: index * subnets.length + zoneIndex }]
        : [],
    ),
  );
}

const SUBNET_FILTERS: FilterTable<SimulatedSubnet> = {
  'availability-zone': ({ zone }) => [zone],
  availabilityZone: ({ zone }) => [zone],
  'subnet-id': ({ subnetId }) => [subnetId],
  'vpc-id': () => [SIMULATED_VPC],
  state: () => ['available'],
};

export function describeSubnets(state: RegionState, input: DescribeSubnetsRequest): DescribeSubnetsResult {
  authorizeRead(state, 'DescribeSubnets');
  endDryRun(input.DryRun);
  const ids = input.SubnetIds ?? [];
  const missing = ids.find((id) => !state.subnets.some(({ subnetId }) => subnetId === id));
  if (missing !== undefined)
    throw new Ec2Error('InvalidSubnetID.NotFound', `The subnet ID '${missing}' does not exist`);
  const wanted = state.subnets.filter(({ subnetId }) => ids.length === 0 || ids.includes(subnetId));
  const page = takePage({
    items: applyFilters(wanted, input.Filters, { table: SUBNET_FILTERS, tagsOf: () => new Map() }),
    positionOf: (subnet) => state.subnets.indexOf(subnet),
    maxResults: input.MaxResults,
    nextToken: input.NextToken,
    range: PLACE_PAGE,
    question: [ids, input.Filters],
  });
  return { Subnets: page.items.map((subnet) => renderSubnet(state, subnet)), NextToken: page.nextToken };
}

function renderSubnet(state: RegionState, { subnetId, zone, zoneId, network }: SimulatedSubnet) {
  const used = [...state.living.values()].filter((instance) => instance.subnet.subnetId === subnetId).length;
  return {
    SubnetId: subnetId,
    SubnetArn: `arn:aws:ec2:${state.settings.region}:${SIMULATED_ACCOUNT}:subnet/${subnetId}`,
    VpcId: SIMULATED_VPC,
    OwnerId: SIMULATED_ACCOUNT,
    State: 'available' as const,
    CidrBlock: `${network}.0.0/16`,
    AvailabilityZone: zone,
    AvailabilityZoneId: zoneId,
    AvailableIpAddressCount: SLOT_ADDRESSES_USABLE - used,
    DefaultForAz: true,
    MapPublicIpOnLaunch: false,
    Tags: [],
  };
}

const IMAGE_FILTERS: FilterTable<SimulatedImage> = {
  architecture: ({ architecture }) => [architecture],
  'image-id': ({ imageId }) => [imageId],
  name: ({ name }) => [name],
  'owner-id': () => [SIMULATED_ACCOUNT],
  state: () => ['available'],
};

export function describeImages(state: RegionState, input: DescribeImagesRequest): DescribeImagesResult {
  authorizeRead(state, 'DescribeImages');
  endDryRun(input.DryRun);
  const ids = input.ImageIds ?? [];
  const missing = ids.find((id) => !state.images.some(({ imageId }) => imageId === id));
  if (missing !== undefined) throw new Ec2Error('InvalidAMIID.NotFound', `The image id '[${missing}]' does not exist`);
  const owners = input.Owners ?? [];
  const isOwned = owners.length === 0 || owners.includes('self') || owners.includes(SIMULATED_ACCOUNT);
  const wanted = state.images.filter(({ imageId }) => isOwned && (ids.length === 0 || ids.includes(imageId)));
  const page = takePage({
    items: applyFilters(wanted, input.Filters, { table: IMAGE_FILTERS, tagsOf: () => new Map() }),
    positionOf: (image) => state.images.indexOf(image),
    maxResults: input.MaxResults,
    nextToken: input.NextToken,
    range: PLACE_PAGE,
    question: [ids, owners, input.Filters],
  });
  return {
    Images: page.items.map((image) => ({
      ImageId: image.imageId,
      Name: image.name,
      Architecture: image.architecture,
      OwnerId: SIMULATED_ACCOUNT,
      State: 'available',
      Public: false,
      ImageType: 'machine',
      ...(image.platform === undefined
        ? { PlatformDetails: 'Linux/UNIX' }
        : { Platform: EC2_WINDOWS, PlatformDetails: 'Windows' }),
      RootDeviceName: image.rootDeviceName,
      RootDeviceType: 'ebs',
      VirtualizationType: 'hvm',
      EnaSupport: true,
      BlockDeviceMappings: [
        {
          DeviceName: image.rootDeviceName,
          Ebs: { VolumeSize: image.rootVolumeGib, VolumeType: 'gp3', DeleteOnTermination: true },
        },
      ],
    })),
    NextToken: page.nextToken,
  };
}

interface Quote {
  readonly type: CatalogueType;
  readonly zone: string;
  readonly atMs: number;
}

const PRICE_FILTERS: FilterTable<Quote> = {
  'availability-zone': ({ zone }) => [zone],
  'instance-type': ({ type }) => [type.name],
  'product-description': () => ['Linux/UNIX'],
};

/** As at EC2: the price that held at StartTime and every change until EndTime, newest first. */
export function describeSpotPriceHistory(
  state: RegionState,
  input: DescribeSpotPriceHistoryRequest,
): DescribeSpotPriceHistoryResult {
  authorizeRead(state, 'DescribeSpotPriceHistory');
  endDryRun(input.DryRun);
  const products = input.ProductDescriptions ?? [];
  const isLinux = products.length === 0 || products.some((product) => product.startsWith('Linux/UNIX'));
  const quotes = isLinux ? listQuotes(state, input) : [];
  const positions = new Map(quotes.map((quote, index) => [quote, index]));
  const { MaxResults: maxResults, NextToken: nextToken, ...question } = input;
  const page = takePage({
    items: applyFilters(quotes, input.Filters, { table: PRICE_FILTERS }),
    positionOf: (quote) => positions.get(quote) ?? -1,
    maxResults: maxResults ?? PRICE_PAGE[1],
    nextToken,
    range: PRICE_PAGE,
    question,
  });
  return { SpotPriceHistory: page.items.map((quote) => renderQuote(state, quote)), NextToken: page.nextToken ?? '' };
}

function listQuotes(state: RegionState, input: DescribeSpotPriceHistoryRequest): Quote[] {
  const nowMs = state.clock.nowMs();
  const endMs = Math.min(input.EndTime?.getTime() ?? nowMs, nowMs);
  const startMs = Math.max(Math.min(input.StartTime?.getTime() ?? nowMs, endMs), nowMs - PRICE_HISTORY_MS);
  const zones = state.subnets.map(({ zone }) => zone).filter((zone) => (input.AvailabilityZone ?? zone) === zone);
  const hours: number[] = [];
  for (let hour = Math.floor(endMs / HOUR_MS); hour >= Math.floor(startMs / HOUR_MS); hour -= 1)
    hours.push(hour * HOUR_MS);
  return hours.flatMap((atMs) =>
    namedTypes(input.InstanceTypes ?? []).flatMap((type) =>
      zones.filter((zone) => isOffered(state.settings, type.name, zone)).map((zone) => ({ type, zone, atMs })),
    ),
  );
}

function renderQuote(state: RegionState, { type, zone, atMs }: Quote): SpotPrice {
  const price = nanoUsdToDecimal(spotPriceAt(state.settings.seed, type, zone, atMs));
  return {
    InstanceType: type.name as _InstanceType,
    AvailabilityZone: zone,
    ProductDescription: 'Linux/UNIX',
    // EC2 writes six decimals.
    SpotPrice: price.slice(0, -3),
    Timestamp: new Date(atMs),
  };
}
