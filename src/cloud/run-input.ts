import assert from 'node:assert/strict';
import type { ResourceType, RunInstancesCommandInput, Tag } from '@aws-sdk/client-ec2';
import type { LaunchBody } from '../model/launch.ts';
import type { RunRequest } from '../ports/cloud.ts';

/** EC2 takes more, but asks to break large launches up; one answer of this size still comes in seconds. */
export const LAUNCH_COUNT_MAX = 100;
/** EC2's limit on client tokens. */
const TOKEN_CHARS_MAX = 64;

/**
 * RunInstances' parameters from the immutable body. A pure function of its input, sorted where order is free: EC2
 * compares a replay with the original and refuses what differs (IdempotentParameterMismatch). For the same reason a
 * change of this mapping must wait until no launch made by the old one is open.
 */
export function toRunInput(request: RunRequest): RunInstancesCommandInput {
  const { body, token } = request;
  assert(request.region === body.region, 'a launch is sent to the region it was planned for');
  assert(token.length > 0 && token.length <= TOKEN_CHARS_MAX, 'EC2 takes client tokens of 1 to 64 characters');
  assert(
    Number.isInteger(body.count) && body.count >= 1 && body.count <= LAUNCH_COUNT_MAX,
    'a launch is 1 to 100 machines',
  );
  return {
    ClientToken: token,
    ImageId: body.imageId,
    InstanceType: body.instanceType as NonNullable<RunInstancesCommandInput['InstanceType']>,
    // One is enough to go on with; EC2 gives as many as it can up to the maximum.
    MinCount: 1,
    MaxCount: body.count,
    SubnetId: body.subnetId,
    ...(body.securityGroupIds.length > 0 && { SecurityGroupIds: [...body.securityGroupIds] }),
    UserData: Buffer.from(request.userData, 'utf8').toString('base64'),
    // The default, `stop`, would leave a paid volume behind when a machine shuts itself down.
    InstanceInitiatedShutdownBehavior: 'terminate',
    MetadataOptions: { HttpEndpoint: 'enabled', HttpTokens: 'required', HttpPutResponseHopLimit: 1 },
    BlockDeviceMappings: [
      {
        DeviceName: body.rootDeviceName,
        Ebs: { VolumeSize: body.volumeGib, VolumeType: 'gp3', DeleteOnTermination: true, Encrypted: true },
      },
    ],
    TagSpecifications: taggedKinds(body).map((kind) => ({ ResourceType: kind, Tags: toTags(body.tags) })),
    ...profileInput(body),
    ...marketInput(body),
    // `unlimited`, the default of t3 and t4g, bills surplus credits that no price per hour shows.
    ...(/^t\d/.test(body.instanceType) && { CreditSpecification: { CpuCredits: 'standard' } }),
  };
}

function taggedKinds(body: LaunchBody): readonly ResourceType[] {
  const always = ['instance', 'volume', 'network-interface'] as const;
  return body.market === 'spot' ? [...always, 'spot-instances-request'] : always;
}

function toTags(tags: Readonly<Record<string, string>>): Tag[] {
  return Object.entries(tags)
    .map(([Key, Value]) => ({ Key, Value }))
    .sort((a, b) => (a.Key < b.Key ? -1 : 1));
}

function profileInput(body: LaunchBody): Pick<RunInstancesCommandInput, 'IamInstanceProfile'> {
  if (body.instanceProfile === null) return {};
  const isArn = body.instanceProfile.startsWith('arn:');
  return { IamInstanceProfile: isArn ? { Arn: body.instanceProfile } : { Name: body.instanceProfile } };
}

function marketInput(body: LaunchBody): Pick<RunInstancesCommandInput, 'InstanceMarketOptions'> {
  if (body.market === 'on-demand') return {};
  // One-time, because a persistent request would launch again behind our back. No MaxPrice: AWS advises against it,
  // and the cap is the on-demand price.
  return {
    InstanceMarketOptions: {
      MarketType: 'spot',
      SpotOptions: { SpotInstanceType: 'one-time', InstanceInterruptionBehavior: 'terminate' },
    },
  };
}
