import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { isAllowed, parseIamPolicy, renderIamPolicy } from '../../src/simulator/iam.ts';
import type { Region } from '../../src/simulator/region.ts';
import { SIMULATED_ACCOUNT, SIMULATED_INSTANCE_PROFILE } from '../../src/simulator/world.ts';
import { codeOf, LAUNCH, newRegion } from './support.ts';

const OWNER = 'datacenter-1';
const template = readFileSync(new URL('../../infra/iam-policy.json', import.meta.url), 'utf8');
const rendered = renderIamPolicy(template, { region: 'us-east-1', accountId: SIMULATED_ACCOUNT, owner: OWNER });
const statements = (JSON.parse(rendered) as { Statement: { Sid: string }[] }).Statement;

const tagged = (owner: string) => ({
  TagSpecifications: (['instance', 'volume', 'network-interface', 'spot-instances-request'] as const).map(
    (ResourceType) => ({
      ResourceType,
      Tags: [{ Key: 'spillway:owner', Value: owner }],
    }),
  ),
});

/** A launch as the product makes it: everything tagged, IMDSv2 only, a role, and spot to cover its request too. */
const PRODUCT_LAUNCH = {
  ...LAUNCH,
  ...tagged(OWNER),
  MetadataOptions: { HttpTokens: 'required' as const },
  IamInstanceProfile: { Name: SIMULATED_INSTANCE_PROFILE },
  InstanceMarketOptions: { MarketType: 'spot' as const },
};

/** Rights are asked before the state is. */
function stopIfRunning(region: Region, id: string): void {
  const code = codeOf(() => region.perform('StopInstances', { InstanceIds: [id] }));
  if (code === 'UnauthorizedOperation') throw Object.assign(new Error(code), { code });
}

/** As above: an instance that is not running yet takes no key. */
function pushKeyIfRunning(region: Region, id: string): void {
  const code = codeOf(() =>
    region.perform('SendSSHPublicKey', {
      InstanceId: id,
      InstanceOSUser: 'ubuntu',
      SSHPublicKey: `ssh-ed25519 ${'A'.repeat(68)}`,
    }),
  );
  if (code !== 'EC2InstanceStateInvalidException') throw Object.assign(new Error(code), { code });
}

/** Every call the product makes, once. Gives the names of those that are refused. */
function refusedCalls(region: Region): string[] {
  const refused: string[] = [];
  const attempt = <T>(name: string, act: () => T): T | null => {
    try {
      return act();
    } catch (error) {
      if ((error as { code?: string }).code !== 'UnauthorizedOperation') throw error;
      refused.push(name);
      return null;
    }
  };
  attempt('DescribeInstanceTypes', () => region.perform('DescribeInstanceTypes', {}));
  attempt('DescribeSubnets', () => region.perform('DescribeSubnets', {}));
  attempt('DescribeImages', () => region.perform('DescribeImages', {}));
  attempt('DescribeSpotPriceHistory', () =>
    region.perform('DescribeSpotPriceHistory', { InstanceTypes: ['c5.large'] }),
  );
  attempt('DescribeInstances', () => region.perform('DescribeInstances', { MaxResults: 5 }));
  attempt('DescribeSpotInstanceRequests', () => region.perform('DescribeSpotInstanceRequests', {}));
  const launched = attempt('RunInstances', () => region.perform('RunInstances', PRODUCT_LAUNCH));
  for (const { InstanceId = '' } of launched?.Instances ?? []) {
    attempt('GetConsoleOutput', () => region.perform('GetConsoleOutput', { InstanceId }));
    attempt('SendSSHPublicKey', () => pushKeyIfRunning(region, InstanceId));
    attempt('StopInstances', () => stopIfRunning(region, InstanceId));
    attempt('StartInstances', () => region.perform('StartInstances', { InstanceIds: [InstanceId] }));
    attempt('TerminateInstances', () => region.perform('TerminateInstances', { InstanceIds: [InstanceId] }));
  }
  return refused;
}

const withoutStatement = (index: number) =>
  JSON.stringify({ Version: '2012-10-17', Statement: statements.filter((_, other) => other !== index) });

describe('infra/iam-policy.json', () => {
  test('suffices for every call the product makes', () => {
    expect(refusedCalls(newRegion({}, rendered).region)).toEqual([]);
  });

  test.each(statements.map(({ Sid }, index) => [Sid, index] as const))('needs its statement %s', (_sid, index) => {
    expect(refusedCalls(newRegion({}, withoutStatement(index)).region)).not.toEqual([]);
  });

  test('allows no action the product does not use', () => {
    const actions = parseIamPolicy(rendered).flatMap((statement) => statement.actions);
    expect(actions.filter((action) => action.includes('*'))).toEqual([]);
    const region = newRegion({}, rendered).region;
    expect(codeOf(() => region.perform('DescribeInstanceStatus', {}))).toBe('UnauthorizedOperation');
  });

  test.each([
    ['without any tag', { TagSpecifications: [] }],
    ['with the tag of another owner', tagged('somebody-else')],
    [
      'with an untagged volume',
      { TagSpecifications: tagged(OWNER).TagSpecifications.filter(({ ResourceType }) => ResourceType !== 'volume') },
    ],
    ['without IMDSv2', { MetadataOptions: { HttpTokens: 'optional' as const } }],
  ])('refuses a launch %s', (_what, change) => {
    const { region } = newRegion({}, rendered);
    expect(codeOf(() => region.perform('RunInstances', { ...PRODUCT_LAUNCH, ...change }))).toBe(
      'UnauthorizedOperation',
    );
    expect(region.instances()).toEqual([]);
  });

  test('says what is missing before a dry run says that all would be well', () => {
    const { region } = newRegion({}, rendered);
    expect(codeOf(() => region.perform('RunInstances', { ...PRODUCT_LAUNCH, DryRun: true }))).toBe('DryRunOperation');
    expect(
      codeOf(() => region.perform('RunInstances', { ...PRODUCT_LAUNCH, TagSpecifications: [], DryRun: true })),
    ).toBe('UnauthorizedOperation');
  });

  test('does not let an instance without the owner tag be terminated, nor the tag be put on later', () => {
    // Both owners share one account: the foreign instance is launched under a policy of its own.
    const both = JSON.stringify({
      Version: '2012-10-17',
      Statement: [
        ...statements,
        {
          Effect: 'Allow',
          Action: ['ec2:RunInstances', 'ec2:CreateTags', 'iam:PassRole'],
          Resource: '*',
          Condition: {
            StringNotEquals: { 'aws:RequestTag/spillway:owner': OWNER },
            Null: { 'aws:ResourceTag/other': 'true' },
          },
        },
      ],
    });
    const { region } = newRegion({}, both);
    const [foreign] = region.perform('RunInstances', { ...PRODUCT_LAUNCH, ...tagged('somebody-else') }).Instances ?? [];
    const id = foreign?.InstanceId ?? '';
    expect(codeOf(() => region.perform('TerminateInstances', { InstanceIds: [id] }))).toBe('UnauthorizedOperation');
    expect(codeOf(() => region.perform('GetConsoleOutput', { InstanceId: id }))).toBe('UnauthorizedOperation');
    const take = () =>
      region.perform('CreateTags', { Resources: [id], Tags: [{ Key: 'spillway:owner', Value: OWNER }] });
    expect(codeOf(take)).toBe('UnauthorizedOperation');
    expect(region.instances()[0]?.state).toBe('pending');
  });
});

describe('the policy evaluator', () => {
  const allow = (condition: object, context: Record<string, string[]>) =>
    isAllowed(
      parseIamPolicy(
        JSON.stringify({
          Version: '2012-10-17',
          Statement: [{ Effect: 'Allow', Action: 'ec2:*', Resource: '*', Condition: condition }],
        }),
      ),
      { action: 'ec2:RunInstances', resource: 'arn:x', context: new Map(Object.entries(context)) },
    );

  test.each([
    ['StringEquals, same', { StringEquals: { k: 'a' } }, { k: ['a'] }, true],
    ['StringEquals, other', { StringEquals: { k: 'a' } }, { k: ['b'] }, false],
    ['StringEquals, absent', { StringEquals: { k: 'a' } }, {}, false],
    ['StringEqualsIfExists, absent', { StringEqualsIfExists: { k: 'a' } }, {}, true],
    ['StringLike', { StringLike: { k: 'a*' } }, { k: ['abc'] }, true],
    ['StringNotEquals, absent', { StringNotEquals: { k: 'a' } }, {}, true],
    ['StringNotEquals, same', { StringNotEquals: { k: ['a', 'b'] } }, { k: ['a'] }, false],
    ['Null true, absent', { Null: { k: 'true' } }, {}, true],
    ['Null false, absent', { Null: { k: 'false' } }, {}, false],
    ['ForAllValues, subset', { 'ForAllValues:StringEquals': { k: ['a', 'b'] } }, { k: ['a'] }, true],
    ['ForAllValues, one outside', { 'ForAllValues:StringEquals': { k: ['a', 'b'] } }, { k: ['a', 'c'] }, false],
    ['ForAllValues, absent', { 'ForAllValues:StringEquals': { k: ['a'] } }, {}, true],
    ['ForAnyValue, one inside', { 'ForAnyValue:StringEquals': { k: ['a'] } }, { k: ['a', 'c'] }, true],
    ['ForAnyValue, absent', { 'ForAnyValue:StringEquals': { k: ['a'] } }, {}, false],
    ['Bool', { Bool: { k: true } }, { k: ['true'] }, true],
    ['NumericLessThanEquals', { NumericLessThanEquals: { k: 1 } }, { k: ['2'] }, false],
    ['ArnEquals with a wildcard', { ArnEquals: { k: 'arn:aws:*:role/x' } }, { k: ['arn:aws:iam::1:role/x'] }, true],
    ['two keys, one of which fails', { StringEquals: { k: 'a', l: 'b' } }, { k: ['a'], l: ['c'] }, false],
  ] as const)('%s', (_name, condition, context, expected) => {
    // As the table's rows are typed, each lacks the others' keys.
    expect(allow(condition, context as unknown as Record<string, string[]>)).toBe(expected);
  });

  test('lets a Deny win over every Allow', () => {
    const policy = parseIamPolicy(
      JSON.stringify({
        Version: '2012-10-17',
        Statement: [
          { Effect: 'Allow', Action: '*', Resource: '*' },
          { Effect: 'Deny', Action: 'ec2:Terminate*', Resource: '*' },
        ],
      }),
    );
    const ask = (action: string) => isAllowed(policy, { action, resource: '*', context: new Map() });
    expect([ask('ec2:RunInstances'), ask('ec2:TerminateInstances')]).toEqual([true, false]);
  });

  test.each([
    ['an unknown operator', { Effect: 'Allow', Action: '*', Resource: '*', Condition: { DateLessThan: { k: 'x' } } }],
    ['NotAction', { Effect: 'Allow', NotAction: '*', Resource: '*' }],
    ['a missing effect', { Action: '*', Resource: '*' }],
  ])('refuses to load a policy with %s instead of ignoring it', (_what, statement) => {
    expect(() => parseIamPolicy(JSON.stringify({ Version: '2012-10-17', Statement: [statement] }))).toThrow(
      'IAM policy',
    );
  });

  test('refuses to render a template with a placeholder nobody fills, and quotes what it fills in', () => {
    const place = { region: 'r', accountId: '1', owner: 'a"b' };
    expect(() => renderIamPolicy('{"x": "${Nobody}"}', place)).toThrow('${Nobody}');
    expect(JSON.parse(renderIamPolicy('{"x": "${Owner}"}', place))).toEqual({ x: 'a"b' });
  });
});
