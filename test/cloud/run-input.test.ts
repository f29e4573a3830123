import { expect, test } from 'vitest';
import { toRunInput } from '../../src/cloud/run-input.ts';
import { body, runRequest } from './builders.ts';

test('a body becomes exactly these parameters', () => {
  expect(toRunInput(runRequest())).toEqual({
    ClientToken: 'sw1.token',
    ImageId: body.imageId,
    InstanceType: 'c6a.large',
    MinCount: 1,
    MaxCount: 2,
    SubnetId: body.subnetId,
    SecurityGroupIds: body.securityGroupIds,
    UserData: Buffer.from('#cloud-config\n').toString('base64'),
    InstanceInitiatedShutdownBehavior: 'terminate',
    MetadataOptions: { HttpEndpoint: 'enabled', HttpTokens: 'required', HttpPutResponseHopLimit: 1 },
    BlockDeviceMappings: [
      {
        DeviceName: body.rootDeviceName,
        Ebs: { VolumeSize: 20, VolumeType: 'gp3', DeleteOnTermination: true, Encrypted: true },
      },
    ],
    TagSpecifications: ['instance', 'volume', 'network-interface'].map((ResourceType) => ({
      ResourceType,
      Tags: [
        { Key: 'Name', Value: 'spillway' },
        { Key: 'spillway:owner', Value: 'test' },
      ],
    })),
  });
});

test('spot is asked for once, and the request itself bears our tags', () => {
  const input = toRunInput(runRequest({ body: { market: 'spot' } }));
  expect(input.InstanceMarketOptions).toEqual({
    MarketType: 'spot',
    SpotOptions: { SpotInstanceType: 'one-time', InstanceInterruptionBehavior: 'terminate' },
  });
  expect(input.TagSpecifications?.map((specification) => specification.ResourceType)).toContain(
    'spot-instances-request',
  );
});

test('a profile may be a name or an ARN', () => {
  const arn = 'arn:aws:iam::1:instance-profile/x';
  expect(toRunInput(runRequest({ body: { instanceProfile: 'x' } })).IamInstanceProfile).toEqual({ Name: 'x' });
  expect(toRunInput(runRequest({ body: { instanceProfile: arn } })).IamInstanceProfile).toEqual({ Arn: arn });
});

test('burstable types may not run up a bill beyond their price', () => {
  const credits = (instanceType: string) => toRunInput(runRequest({ body: { instanceType } })).CreditSpecification;
  expect([credits('t3.large'), credits('t4g.large'), credits('trn1.2xlarge')]).toEqual([
    { CpuCredits: 'standard' },
    { CpuCredits: 'standard' },
    undefined,
  ]);
});

test('the order in which a row gives its tags does not change the request', () => {
  const turned = { 'spillway:owner': 'test', Name: 'spillway' };
  expect(JSON.stringify(toRunInput(runRequest({ body: { tags: turned } })))).toBe(
    JSON.stringify(toRunInput(runRequest())),
  );
});

test('without security groups the default one of the network applies', () => {
  expect(toRunInput(runRequest({ body: { securityGroupIds: [] } }))).not.toHaveProperty('SecurityGroupIds');
});

test('a body planned for another region is a bug', () => {
  expect(() => toRunInput(runRequest({ region: 'eu-central-1' }))).toThrow('region');
});

test.each([0, 101, 1.5])('a launch of %s machines is a bug', (count) => {
  expect(() => toRunInput(runRequest({ body: { count } }))).toThrow('1 to 100');
});

test.each(['', 'x'.repeat(65)])('a token of a length EC2 does not take is a bug', (token) => {
  expect(() => toRunInput(runRequest({ token }))).toThrow('64');
});
