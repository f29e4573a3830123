/** Goal: what EC2 Instance Connect does with a key, for whom, and for how long. Method: the core of the region on a stepped clock. */
import { describe, expect, test } from 'vitest';
import { parseIamPolicy } from '../../src/simulator/iam.ts';
import type { Region } from '../../src/simulator/region.ts';
import { SIMULATED_ACCOUNT } from '../../src/simulator/world.ts';
import { makeKeyPair } from '../ssh/ssh-server.ts';
import { codeOf, LAUNCH, newRegion } from './support.ts';

const KEY = makeKeyPair().public;

function push(region: Region, InstanceId: string, changes: Record<string, string> = {}) {
  return region.perform('SendSSHPublicKey', { InstanceId, InstanceOSUser: 'ubuntu', SSHPublicKey: KEY, ...changes });
}

function running(policy: string | null = null) {
  const world = newRegion({}, policy);
  const tags = [{ Key: 'spillway:owner', Value: 'us' }];
  const answer = world.region.perform('RunInstances', {
    ...LAUNCH,
    TagSpecifications: [{ ResourceType: 'instance', Tags: tags }],
  });
  const id = answer.Instances?.[0]?.InstanceId ?? '';
  world.clock.step(30_000);
  return { ...world, id };
}

describe('a key that is pushed', () => {
  test('is good for its user and nobody else, for 60 s and no longer', () => {
    const { region, clock, id } = running();
    expect(region.pushedKeys(id, 'ubuntu')).toEqual([]);
    expect(push(region, id)).toMatchObject({ Success: true });
    expect(region.pushedKeys(id, 'ubuntu')).toEqual([KEY]);
    expect(region.pushedKeys(id, 'root')).toEqual([]);
    clock.step(59_999);
    expect(region.pushedKeys(id, 'ubuntu')).toEqual([KEY]);
    clock.step(1);
    expect(region.pushedKeys(id, 'ubuntu')).toEqual([]);
  });

  test('is one key however often it comes, and the last time counts', () => {
    const { region, clock, id } = running();
    push(region, id);
    clock.step(40_000);
    push(region, id);
    expect(region.pushedKeys(id, 'ubuntu')).toEqual([KEY]);
    clock.step(40_000);
    expect(region.pushedKeys(id, 'ubuntu')).toEqual([KEY]);
  });

  test.each([
    ['a key that is none', { SSHPublicKey: 'ssh-ed25519 AAAA' }, 'InvalidArgsException'],
    ['a user that is none', { InstanceOSUser: '-oProxyCommand=id' }, 'InvalidArgsException'],
    ['another zone', { AvailabilityZone: 'us-east-1b' }, 'EC2InstanceNotFoundException'],
    ['an unknown instance', { InstanceId: 'i-00000000000000000' }, 'EC2InstanceNotFoundException'],
  ])('for %s is refused', (_, change, code) => {
    const { region, id } = running();
    expect(codeOf(() => push(region, id, change))).toBe(code);
    expect(region.pushedKeys(id, 'ubuntu')).toEqual([]);
  });

  test('needs an instance that runs', () => {
    const { region } = newRegion();
    const id = region.perform('RunInstances', LAUNCH).Instances?.[0]?.InstanceId ?? '';
    expect(codeOf(() => push(region, id))).toBe('EC2InstanceStateInvalidException');
  });

  test('takes tokens of a bucket', () => {
    const { region, clock } = newRegion({ throttling: true });
    const id = region.perform('RunInstances', LAUNCH).Instances?.[0]?.InstanceId ?? '';
    clock.step(30_000);
    for (let calls = 0; calls < 50; calls += 1) push(region, id);
    expect(codeOf(() => push(region, id))).toBe('RequestLimitExceeded');
  });
});

test('rights are given by the tag of the instance and the name of the user', () => {
  const statement = (condition: object) => ({
    Effect: 'Allow',
    Action: 'ec2-instance-connect:SendSSHPublicKey',
    Resource: `arn:aws:ec2:us-east-1:${SIMULATED_ACCOUNT}:instance/*`,
    Condition: { StringEquals: condition },
  });
  const launching = { Effect: 'Allow', Action: ['ec2:RunInstances', 'ec2:CreateTags'], Resource: '*' };
  const codeWith = (condition: object): string | undefined => {
    const policy = JSON.stringify({ Version: '2012-10-17', Statement: [launching, statement(condition)] });
    expect(parseIamPolicy(policy)).toHaveLength(2);
    const { region, id } = running(policy);
    try {
      push(region, id);
      return undefined;
    } catch (error) {
      return (error as { code?: string }).code;
    }
  };
  expect(codeWith({ 'aws:ResourceTag/spillway:owner': 'us', 'ec2:osuser': 'ubuntu' })).toBeUndefined();
  expect(codeWith({ 'aws:ResourceTag/spillway:owner': 'them', 'ec2:osuser': 'ubuntu' })).toBe('UnauthorizedOperation');
  expect(codeWith({ 'aws:ResourceTag/spillway:owner': 'us', 'ec2:osuser': 'root' })).toBe('UnauthorizedOperation');
});
