import type { Instance } from '@aws-sdk/client-ec2';
import { describe, expect, test } from 'vitest';
import {
  parseTransitionTime,
  toCloudInstance,
  toImageFacts,
  toInstanceType,
  toSpotPrice,
  toSubnetFacts,
} from '../../src/cloud/facts.ts';

describe('toCloudInstance', () => {
  const whole: Instance = {
    InstanceId: 'i-0123456789abcdef0',
    State: { Name: 'terminated' },
    ClientToken: 'sw1.x',
    InstanceType: 'c6a.large',
    Placement: { AvailabilityZone: 'eu-central-1a' },
    InstanceLifecycle: 'spot',
    PrivateIpAddress: '10.0.0.7',
    LaunchTime: new Date('2026-11-22T10:00:00Z'),
    StateTransitionReason: 'User initiated (2026-11-22 12:17:02 GMT)',
    StateReason: { Code: 'Client.UserInitiatedShutdown' },
    Tags: [{ Key: 'spillway:owner', Value: 'x' }, { Key: 'empty' }],
    ImageId: 'ami-1',
    SubnetId: 'subnet-1',
    SecurityGroups: [{ GroupId: 'sg-1', GroupName: 'a' }, { GroupId: 'sg-2' }, { GroupName: 'without an id' }],
    IamInstanceProfile: { Arn: 'arn:aws:iam::1:instance-profile/agent' },
    RootDeviceName: '/dev/xvda',
  };

  test('every field is read', () => {
    expect(toCloudInstance(whole)).toEqual({
      instanceId: 'i-0123456789abcdef0',
      state: 'terminated',
      clientToken: 'sw1.x',
      instanceType: 'c6a.large',
      zone: 'eu-central-1a',
      market: 'spot',
      privateIp: '10.0.0.7',
      launchTimeMs: Date.parse('2026-11-22T10:00:00Z'),
      endedAtMs: Date.parse('2026-11-22T12:17:02Z'),
      endCode: 'Client.UserInitiatedShutdown',
      tags: { 'spillway:owner': 'x', empty: '' },
      origin: {
        imageId: 'ami-1',
        subnetId: 'subnet-1',
        securityGroupIds: ['sg-1', 'sg-2'],
        instanceProfile: 'arn:aws:iam::1:instance-profile/agent',
        rootDeviceName: '/dev/xvda',
      },
    });
  });

  test('an instance EC2 knows little of yet is listed with what there is', () => {
    expect(toCloudInstance({ InstanceId: 'i-1', State: { Name: 'pending' } })).toEqual({
      instanceId: 'i-1',
      state: 'pending',
      clientToken: '',
      instanceType: '',
      zone: '',
      market: 'on-demand',
      privateIp: null,
      launchTimeMs: null,
      endedAtMs: null,
      endCode: null,
      tags: {},
      origin: { imageId: '', subnetId: '', securityGroupIds: [], instanceProfile: null, rootDeviceName: '' },
    });
  });

  test('a living instance has no end, even where an older stop left its time behind', () => {
    const running = toCloudInstance({ ...whole, State: { Name: 'running' } });
    expect([running?.endedAtMs, running?.endCode]).toEqual([null, null]);
  });

  test('without an id or with a state we do not know it cannot be judged', () => {
    expect(toCloudInstance({ State: { Name: 'running' } })).toBeNull();
    expect(toCloudInstance({ InstanceId: 'i-1' })).toBeNull();
    expect(toCloudInstance({ InstanceId: 'i-1', State: { Name: 'paused' as 'running' } })).toBeNull();
  });
});

test.each([
  ['User initiated (2026-11-22 12:17:02 GMT)', Date.parse('2026-11-22T12:17:02Z')],
  ['Server.SpotInstanceTermination (2024-02-29 00:00:00 GMT)', Date.parse('2024-02-29T00:00:00Z')],
  ['', null],
  ['User initiated', null],
  ['User initiated (2026-13-45 99:99:99 GMT)', null],
  ['User initiated (2026-11-22 12:17:02 CET)', null],
])('the end of an instance is read from %j', (reason, atMs) => {
  expect(parseTransitionTime(reason)).toBe(atMs);
});

describe('instance types', () => {
  const base = {
    InstanceType: 'c6a.large',
    VCpuInfo: { DefaultVCpus: 2 },
    MemoryInfo: { SizeInMiB: 4096 },
    ProcessorInfo: { SupportedArchitectures: ['x86_64'] },
  } as const;
  const info = { ...base, ProcessorInfo: { SupportedArchitectures: ['i386' as const, 'x86_64' as const] } };

  test('hardware becomes what the planner counts in', () => {
    expect(toInstanceType(info)).toEqual({
      name: 'c6a.large',
      family: 'c6a',
      resources: { cpuMilli: 2000, memoryMib: 4096, gpus: 0 },
      architecture: 'x86_64',
      burstable: false,
    });
  });

  test('GPUs of every kind are added up, and bursts and Arm are told', () => {
    const type = toInstanceType({
      ...info,
      ProcessorInfo: { SupportedArchitectures: ['arm64'] },
      GpuInfo: { Gpus: [{ Count: 4 }, { Count: 1 }] },
      BurstablePerformanceSupported: true,
    });
    expect(type).toMatchObject({ resources: { gpus: 5 }, architecture: 'arm64', burstable: true });
  });

  test('a Mac host or one without figures is no machine for us', () => {
    expect(toInstanceType({ ...info, ProcessorInfo: { SupportedArchitectures: ['arm64_mac'] } })).toBeNull();
    expect(toInstanceType({ ...info, VCpuInfo: {} })).toBeNull();
    expect(toInstanceType({ ...info, MemoryInfo: {} })).toBeNull();
  });
});

test('a spot price without a number above zero is no price', () => {
  const price = {
    InstanceType: 'c6a.large' as const,
    AvailabilityZone: 'a',
    Timestamp: new Date(5),
    SpotPrice: '0.0312',
  };
  expect(toSpotPrice(price)).toEqual({ instanceType: 'c6a.large', zone: 'a', atMs: 5, priceUsdPerHour: 0.0312 });
  for (const SpotPrice of ['', '0', '-1', 'abc', 'NaN']) expect(toSpotPrice({ ...price, SpotPrice })).toBeNull();
});

test('a subnet without its zone and an image without a root device are left out', () => {
  expect(toSubnetFacts({ SubnetId: 's', AvailabilityZone: 'a', AvailableIpAddressCount: 9 })).toEqual({
    subnetId: 's',
    zone: 'a',
    freeAddresses: 9,
  });
  expect(toSubnetFacts({ SubnetId: 's' })).toBeNull();
  const image = {
    ImageId: 'ami-1',
    Architecture: 'arm64' as const,
    RootDeviceName: '/dev/xvda',
    BlockDeviceMappings: [{ DeviceName: '/dev/sdb' }, { DeviceName: '/dev/xvda', Ebs: { VolumeSize: 8 } }],
  };
  expect(toImageFacts(image)).toEqual({
    imageId: 'ami-1',
    architecture: 'arm64',
    rootDeviceName: '/dev/xvda',
    rootVolumeGib: 8,
  });
  expect(toImageFacts({ ImageId: 'ami-1', Architecture: 'arm64' })).toBeNull();
});
