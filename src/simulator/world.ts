import type { Architecture } from '../model/offering.ts';
import { HOUR_MS, SECOND_MS } from '../model/time.ts';

/** The region whose prices the catalogue holds; another name may be chosen, the prices stay these. */
export const SIMULATED_REGION = 'us-east-1';
export const SIMULATED_ACCOUNT = '123456789012';
export const SIMULATED_VPC = 'vpc-05b111a0000000001';

/** Images to name in policies and tests. */
export const SIMULATED_IMAGES: Readonly<Record<Architecture, string>> = {
  x86_64: 'ami-05b111a0000000001',
  arm64: 'ami-05b111a0000000002',
};

/** Runs Windows, as far as EC2 tells and bills it. */
export const SIMULATED_WINDOWS_IMAGE = 'ami-05b111a0000000003';

/** Subnets by the letter of their zone. The instances of `a` live in 127.20.0.0/16, those of `b` in 127.21.0.0/16. */
export const SIMULATED_SUBNETS = { a: 'subnet-05b111a000000000a', b: 'subnet-05b111a000000000b' } as const;

export const SIMULATED_SECURITY_GROUP = 'sg-05b111a0000000001';

/** The only instance profile the region knows; the role behind it bears the same name. */
export const SIMULATED_INSTANCE_PROFILE = 'spillway-agent';

/** Credentials the region accepts unless others are given. They open nothing outside the simulation. */
export const SIMULATED_ACCESS_KEY = {
  accessKeyId: 'AKIASPILLWAYSIMULATE',
  secretAccessKey: 'simulated-secret-that-opens-nothing-else',
} as const;

export interface SimulatedSubnet {
  readonly subnetId: string;
  readonly zone: string;
  readonly zoneId: string;
  /** First two octets; the block is always a /16 of loopback. */
  readonly network: string;
}

export interface SimulatedImage {
  readonly imageId: string;
  readonly architecture: Architecture;
  readonly name: string;
  readonly rootDeviceName: string;
  readonly rootVolumeGib: number;
  /** Absent = Linux. */
  readonly platform?: 'windows';
}

/** Everything about a region that does not change while it runs. */
export interface RegionSettings {
  /** Default {@link SIMULATED_REGION}. */
  readonly region: string;
  /** Letters of the zones that exist; default `['a', 'b']`. */
  readonly zones: readonly (keyof typeof SIMULATED_SUBNETS)[];
  /** From RunInstances to `running`. Default 2 s. */
  readonly pendingMs: number;
  /** From RunInstances until SSH answers; never before `running`. Default 20 s. */
  readonly bootMs: number;
  /** From TerminateInstances to `terminated`. Default 1 s. */
  readonly terminateMs: number;
  /** From StopInstances to `stopped`. Default 1 s. */
  readonly stopMs: number;
  /** For how long DescribeInstances does not know a new instance. Default 0. */
  readonly listLagMs: number;
  /** By how much the states in DescribeInstances are behind the truth. Default 0. */
  readonly stateLagMs: number;
  /** For how long one may log in with a key that EC2 Instance Connect brought. Default 60 s. */
  readonly pushedKeyMs: number;
  /** From the notice to the end of an interrupted spot instance. Default 120 s. */
  readonly spotNoticeMs: number;
  /** For how long a terminated instance can still be described. Default 1 h. */
  readonly terminatedVisibleMs: number;
  /** Chooses the spot prices. Default `spillway`. */
  readonly seed: string;
  /** vCPUs of all living instances. Default 10,000. */
  readonly vcpusMax: number;
  /** Instances over the whole life of the region: what bounds its memory. Default 200,000. */
  readonly instancesEverMax: number;
  /** Offerings that do not exist, as `type-glob/zone-letter`. Default: `p3.*` is not in zone b. */
  readonly notOffered: readonly string[];
  /** Enforces EC2's published token buckets. Default true. */
  readonly throttling: boolean;
  /**
   * 0 to 15: which sixteenth of each subnet is used, so that several regions can run on one machine without
   * meeting on an address. Default 0.
   */
  readonly addressSlot: number;
}

export const DEFAULT_SETTINGS: RegionSettings = Object.freeze<RegionSettings>({
  region: SIMULATED_REGION,
  zones: ['a', 'b'],
  pendingMs: 2 * SECOND_MS,
  bootMs: 20 * SECOND_MS,
  terminateMs: SECOND_MS,
  stopMs: SECOND_MS,
  listLagMs: 0,
  stateLagMs: 0,
  pushedKeyMs: 60 * SECOND_MS,
  spotNoticeMs: 120 * SECOND_MS,
  terminatedVisibleMs: HOUR_MS,
  seed: 'spillway',
  vcpusMax: 10_000,
  instancesEverMax: 200_000,
  notOffered: ['p3.*/b'],
  throttling: true,
  addressSlot: 0,
});

/** Each of the sixteen slots of a /16 has 4,096 addresses. */
export const SLOT_ADDRESSES = 4096;
/** Like EC2, each slot keeps the first few for itself: .0, its gateway .1, and .2 to .4. */
export const FIRST_ADDRESS = 5;
/** Without .0 and .255 of each of the sixteen /24 blocks, which some clients take for network and broadcast, and .1 to .4. */
export const SLOT_ADDRESSES_USABLE = SLOT_ADDRESSES - 2 * 16 - 4;

const NETWORKS = { a: '127.20', b: '127.21' } as const;

export function listSubnets(settings: RegionSettings): SimulatedSubnet[] {
  return settings.zones.map((letter, index) => ({
    subnetId: SIMULATED_SUBNETS[letter],
    zone: `${settings.region}${letter}`,
    zoneId: `use1-az${index + 1}`,
    network: NETWORKS[letter],
  }));
}

export function listImages(): SimulatedImage[] {
  const linux = (['x86_64', 'arm64'] as const).map((architecture) => ({
    imageId: SIMULATED_IMAGES[architecture],
    architecture,
    name: `spillway-simulated-${architecture}`,
    rootDeviceName: '/dev/sda1',
    rootVolumeGib: 8,
  }));
  const windows = {
    imageId: SIMULATED_WINDOWS_IMAGE,
    architecture: 'x86_64' as const,
    name: 'spillway-simulated-windows',
    rootDeviceName: '/dev/sda1',
    rootVolumeGib: 30,
    platform: 'windows' as const,
  };
  return [...linux, windows];
}
