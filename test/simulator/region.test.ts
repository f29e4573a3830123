import type { DescribeInstancesRequest, RunInstancesRequest } from '@aws-sdk/client-ec2';
import { describe, expect, test } from 'vitest';
import type { Region } from '../../src/simulator/region.ts';
import { SIMULATED_IMAGES, SIMULATED_SUBNETS } from '../../src/simulator/world.ts';
import { codeOf, LAUNCH, newRegion } from './support.ts';

const launch = (region: Region, input: Partial<RunInstancesRequest> = {}) =>
  (region.perform('RunInstances', { ...LAUNCH, ...input }).Instances ?? []).map(({ InstanceId }) => InstanceId ?? '');

const list = (region: Region, input: DescribeInstancesRequest = {}) =>
  (region.perform('DescribeInstances', input).Reservations ?? []).flatMap(({ Instances }) => Instances ?? []);

describe('client tokens', () => {
  test('the same token with the same request gives the same instances, however often', () => {
    const { region, clock } = newRegion();
    const first = launch(region, { ClientToken: 't', MaxCount: 3 });
    clock.step(60_000);
    expect(launch(region, { ClientToken: 't', MaxCount: 3 })).toEqual(first);
    expect(region.instances()).toHaveLength(3);
  });

  test('the same token with another request is refused', () => {
    const { region } = newRegion();
    launch(region, { ClientToken: 't' });
    expect(codeOf(() => launch(region, { ClientToken: 't', MaxCount: 2 }))).toBe('IdempotentParameterMismatch');
    expect(region.instances()).toHaveLength(1);
  });

  test('with a subnet the token counts per zone: in another zone it launches again', () => {
    const { region } = newRegion();
    const inA = launch(region, { ClientToken: 't', SubnetId: SIMULATED_SUBNETS.a });
    const inB = launch(region, { ClientToken: 't', SubnetId: SIMULATED_SUBNETS.b });
    expect(inB).not.toEqual(inA);
    expect(region.instances().map(({ zone }) => zone)).toEqual(['us-east-1a', 'us-east-1b']);
  });

  test('without a subnet the token counts for the whole region', () => {
    const { region } = newRegion();
    const { SubnetId: _, ...anywhere } = LAUNCH;
    const first = region.perform('RunInstances', { ...anywhere, ClientToken: 't' });
    expect(region.perform('RunInstances', { ...anywhere, ClientToken: 't' }).ReservationId).toBe(first.ReservationId);
  });

  test('a token is used up when all of its instances are terminated, not before', () => {
    const { region, clock } = newRegion();
    const ids = launch(region, { ClientToken: 't', MaxCount: 2 });
    region.perform('TerminateInstances', { InstanceIds: ids.slice(0, 1) });
    clock.step(5_000);
    expect(launch(region, { ClientToken: 't', MaxCount: 2 })).toEqual(ids);
    region.perform('TerminateInstances', { InstanceIds: ids });
    clock.step(5_000);
    expect(codeOf(() => launch(region, { ClientToken: 't', MaxCount: 2 }))).toBe('IdempotentInstanceTerminated');
  });

  test('a refused launch does not use the token up', () => {
    const { region } = newRegion();
    region.faults.setCapacity([{ instanceType: '*', zone: '*', market: '*', instancesMax: 0 }]);
    expect(codeOf(() => launch(region, { ClientToken: 't' }))).toBe('InsufficientInstanceCapacity');
    region.faults.setCapacity([]);
    expect(launch(region, { ClientToken: 't' })).toHaveLength(1);
  });
});

describe('a launch', () => {
  test('goes from pending over running to booted, and says so in the log', () => {
    const { region, clock } = newRegion({ pendingMs: 2_000, bootMs: 20_000 });
    const [id = ''] = launch(region);
    expect(region.nextChangeAtMs()).toBe(clock.nowMs() + 2_000);
    clock.step(2_000);
    expect(list(region)[0]?.State?.Name).toBe('running');
    clock.step(18_000);
    region.advance(clock.nowMs());
    expect(region.eventsSince(0).map(({ kind }) => kind)).toEqual(['pending', 'running', 'booted']);
    expect(region.findInstance(id)).toMatchObject({ state: 'running', bootedAtMs: clock.nowMs() });
    expect(region.nextChangeAtMs()).toBeNull();
  });

  test('is given in part where capacity ends, and refused where less than MinCount is there', () => {
    const { region, clock } = newRegion();
    region.faults.setCapacity([
      {
        instanceType: 'c5.*',
        zone: 'us-east-1a',
        market: 'on-demand',
        instancesMax: 3,
        untilMs: clock.nowMs() + 1_000,
      },
    ]);
    expect(launch(region, { MinCount: 1, MaxCount: 5 })).toHaveLength(3);
    expect(codeOf(() => launch(region))).toBe('InsufficientInstanceCapacity');
    expect(launch(region, { SubnetId: SIMULATED_SUBNETS.b, MaxCount: 5 })).toHaveLength(5);
    clock.step(1_000);
    expect(launch(region, { MaxCount: 5 })).toHaveLength(5);
    region.faults.fulfilPartially(1);
    expect(codeOf(() => launch(region, { MinCount: 2, MaxCount: 2 }))).toBe('InsufficientInstanceCapacity');
  });

  test('may fail late: pending, then terminated with its reason, and never billed', () => {
    const { region, clock } = newRegion();
    region.faults.failStart('Server.InternalError');
    launch(region);
    clock.step(5_000);
    expect(list(region)[0]).toMatchObject({
      State: { Name: 'terminated' },
      StateReason: { Code: 'Server.InternalError' },
    });
    expect(region.bill().lines[0]?.instanceNanoUsd).toBe(0n);
  });

  test.each([
    ['InvalidAMIID.Malformed', { ImageId: 'ami-x' }],
    ['InvalidAMIID.NotFound', { ImageId: 'ami-00000000000000000' }],
    ['InvalidSubnetID.NotFound', { SubnetId: 'subnet-00000000' }],
    ['InvalidGroup.NotFound', { SecurityGroupIds: ['sg-00000000'] }],
    ['InvalidParameterValue', { InstanceType: 'c5.tiny' as 'c5.large' }],
    ['InvalidParameterValue', { ImageId: SIMULATED_IMAGES.arm64 }],
    ['InvalidParameterValue', { MinCount: 2, MaxCount: 1 }],
    ['InvalidParameterValue', { ClientToken: 'x'.repeat(65) }],
    ['InvalidParameterValue', { UserData: Buffer.alloc(16_385).toString('base64') }],
    ['InvalidUserData.Malformed', { UserData: 'not base64!' }],
    ['InvalidParameterValue', { IamInstanceProfile: { Name: 'nobody' } }],
    [
      'InvalidParameterValue',
      { TagSpecifications: [{ ResourceType: 'instance', Tags: [{ Key: 'aws:x', Value: '' }] }] },
    ],
    ['InvalidParameterCombination', { NetworkInterfaces: [{ DeviceIndex: 0, SubnetId: SIMULATED_SUBNETS.a }] }],
    ['SpotMaxPriceTooLow', { InstanceMarketOptions: { MarketType: 'spot', SpotOptions: { MaxPrice: '0.0001' } } }],
    ['Unsupported', { InstanceType: 'p3.2xlarge', SubnetId: SIMULATED_SUBNETS.b }],
    ['UnsupportedOperation', { EbsOptimized: true }],
    ['DryRunOperation', { DryRun: true }],
  ] as const)('is refused as %s: %o', (code, input) => {
    const { region } = newRegion();
    expect(codeOf(() => launch(region, input as Partial<RunInstancesRequest>))).toBe(code);
    expect(region.instances()).toEqual([]);
  });

  test('counts against the vCPU quota, which terminated instances give back', () => {
    const { region, clock } = newRegion({ vcpusMax: 4 });
    const ids = launch(region, { MaxCount: 5 });
    expect(ids).toHaveLength(2);
    expect(codeOf(() => launch(region))).toBe('VcpuLimitExceeded');
    region.perform('TerminateInstances', { InstanceIds: ids });
    clock.step(5_000);
    expect(launch(region)).toHaveLength(1);
  });

  test('takes addresses back from the terminated, so that a long life does not run out of them', () => {
    const { region, clock } = newRegion({ vcpusMax: 1_000_000 });
    const seen = new Set<string>();
    for (let round = 0; round < 10; round += 1) {
      const ids = launch(region, { MinCount: 900, MaxCount: 900 });
      for (const { privateIp, state } of region.instances()) if (state === 'pending') seen.add(privateIp);
      region.perform('TerminateInstances', { InstanceIds: ids });
      clock.step(10_000);
    }
    // 4,096 less .0 and .255 of sixteen blocks and four kept by the subnet.
    expect(seen.size).toBe(4_060);
    const tooMany = () => launch(region, { MinCount: 4_061, MaxCount: 4_061 });
    expect(codeOf(tooMany)).toBe('InsufficientFreeAddressesInSubnet');
    expect(launch(region, { MinCount: 4_060, MaxCount: 4_060 })).toHaveLength(4_060);
  });

  test('gives every living instance an address of its own', () => {
    const { region } = newRegion({ addressSlot: 15 });
    launch(region, { MinCount: 300, MaxCount: 300 });
    const addresses = region.instances().map(({ privateIp }) => privateIp);
    expect(new Set(addresses).size).toBe(300);
    expect(addresses.every((address) => address.startsWith('127.20.24'))).toBe(true);
  });
});

describe('DescribeInstances', () => {
  test('does not know a new instance until the lag is over, neither in lists nor by id', () => {
    const { region, clock } = newRegion({ listLagMs: 3_000 });
    const [id = ''] = launch(region);
    expect(list(region)).toEqual([]);
    expect(codeOf(() => list(region, { InstanceIds: [id] }))).toBe('InvalidInstanceID.NotFound');
    clock.step(3_000);
    expect(list(region, { InstanceIds: [id] })).toHaveLength(1);
  });

  test('may lag behind the truth: a terminated instance still seems to run', () => {
    const { region, clock } = newRegion({ stateLagMs: 5_000, pendingMs: 1_000 });
    const ids = launch(region);
    clock.step(60_000);
    region.perform('TerminateInstances', { InstanceIds: ids });
    clock.step(2_000);
    expect(list(region)[0]?.State?.Name).toBe('running');
    clock.step(5_000);
    expect(list(region)[0]?.State?.Name).toBe('terminated');
  });

  test('shows the terminated for an hour, without address, with the time and reason of the end', () => {
    const { region, clock } = newRegion();
    const ids = launch(region);
    clock.step(90_500);
    const endedAtMs = clock.nowMs();
    region.perform('TerminateInstances', { InstanceIds: ids });
    clock.step(10_000);
    const [gone] = list(region);
    expect(gone).toMatchObject({ State: { Code: 48 }, StateReason: { Code: 'Client.UserInitiatedShutdown' } });
    expect(gone?.StateTransitionReason).toMatch(/^User initiated \(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d GMT\)$/);
    expect(gone?.StateTransitionReason).toContain(new Date(endedAtMs).toISOString().slice(11, 19));
    expect(gone?.PrivateIpAddress).toBeUndefined();
    clock.step(3_600_000);
    expect(list(region)).toEqual([]);
    expect(codeOf(() => region.perform('TerminateInstances', { InstanceIds: ids }))).toBe('InvalidInstanceID.NotFound');
  });

  test('filters by token, tag, tag key, type, zone and state, with wildcards, and refuses unknown filters', () => {
    const { region } = newRegion();
    const tags = [{ ResourceType: 'instance' as const, Tags: [{ Key: 'spillway:owner', Value: 'me' }] }];
    const [mine] = launch(region, { ClientToken: 'one', TagSpecifications: tags });
    launch(region, { ClientToken: 'two', InstanceType: 'm5.large', SubnetId: SIMULATED_SUBNETS.b });
    for (const filter of [
      ['client-token', 'one'],
      ['tag:spillway:owner', 'm?'],
      ['tag-key', 'spillway:*'],
      ['instance-type', 'c5.*'],
      ['availability-zone', 'us-east-1a'],
      ['subnet-id', SIMULATED_SUBNETS.a],
    ] as const) {
      const found = list(region, { Filters: [{ Name: filter[0], Values: [filter[1]] }] });
      expect(found.map(({ InstanceId }) => InstanceId)).toEqual([mine]);
    }
    expect(list(region, { Filters: [{ Name: 'instance-state-name', Values: ['pending', 'running'] }] })).toHaveLength(
      2,
    );
    expect(list(region, { Filters: [{ Name: 'instance-state-name', Values: ['terminated'] }] })).toEqual([]);
    expect(codeOf(() => list(region, { Filters: [{ Name: 'colour', Values: ['red'] }] }))).toBe(
      'InvalidParameterValue',
    );
  });

  test('pages hold on to their question: sizes, tokens and ids with pages are checked', () => {
    const { region } = newRegion();
    launch(region, { MinCount: 7, MaxCount: 7 });
    const first = region.perform('DescribeInstances', { MaxResults: 5 });
    expect(list(region, { MaxResults: 5, NextToken: first.NextToken })).toHaveLength(2);
    const other = {
      Filters: [{ Name: 'instance-type', Values: ['c5.large'] }],
      MaxResults: 5,
      NextToken: first.NextToken,
    };
    expect(codeOf(() => list(region, other))).toBe('InvalidNextToken');
    region.faults.failNext('DescribeInstances', { code: 'InternalError', after: 1 });
    expect(list(region, { MaxResults: 5 })).toHaveLength(5);
    expect(codeOf(() => list(region, { MaxResults: 5, NextToken: first.NextToken }))).toBe('InternalError');
    expect(codeOf(() => list(region, { MaxResults: 4 }))).toBe('InvalidParameterValue');
    expect(codeOf(() => list(region, { MaxResults: 1001 }))).toBe('InvalidParameterValue');
  });
});

describe('TerminateInstances', () => {
  test('is all or nothing, names what it does not know, and may be repeated', () => {
    const { region, clock } = newRegion();
    const ids = launch(region, { MaxCount: 2 });
    clock.step(10_000);
    const stranger = 'i-00000000000000000';
    expect(() => region.perform('TerminateInstances', { InstanceIds: [...ids, stranger] })).toThrow(stranger);
    expect(region.instances().map(({ state }) => state)).toEqual(['running', 'running']);
    const states = () =>
      region
        .perform('TerminateInstances', { InstanceIds: ids })
        .TerminatingInstances?.map(({ CurrentState }) => CurrentState?.Name);
    expect(states()).toEqual(['shutting-down', 'shutting-down']);
    const end = region.instances()[0]?.endedAtMs;
    clock.step(10_000);
    expect(states()).toEqual(['terminated', 'terminated']);
    expect(region.instances()[0]?.endedAtMs).toBe(end);
  });
});

describe('ends that nobody asked for', () => {
  test('an interrupted spot instance gets its notice, then ends, and its request says why', () => {
    const { region, clock } = newRegion({ spotNoticeMs: 120_000 });
    const [id = ''] = launch(region, { InstanceMarketOptions: { MarketType: 'spot' } });
    const [onDemand = ''] = launch(region);
    clock.step(30_000);
    expect(region.interrupt(onDemand)).toBe(false);
    expect(region.interrupt(id)).toBe(true);
    expect(region.interrupt(id)).toBe(false);
    const request = () => region.perform('DescribeSpotInstanceRequests', {}).SpotInstanceRequests?.[0];
    const status = () => request()?.Status?.Code;
    const noticedAtMs = clock.nowMs();
    expect(status()).toBe('marked-for-termination');
    clock.step(119_999);
    expect(request()?.Status).toMatchObject({ Code: 'marked-for-termination', UpdateTime: new Date(noticedAtMs) });
    expect(region.findInstance(id)?.state).toBe('running');
    clock.step(5_000);
    expect(region.findInstance(id)?.state).toBe('terminated');
    expect(status()).toBe('instance-terminated-no-capacity');
    expect(list(region, { InstanceIds: [id] })[0]?.StateReason?.Code).toBe('Server.SpotInstanceTermination');
  });

  test('a shutdown from inside terminates or stops, as the launch said', () => {
    const { region, clock } = newRegion();
    const [ends = ''] = launch(region, { InstanceInitiatedShutdownBehavior: 'terminate' });
    const [stops = ''] = launch(region);
    clock.step(30_000);
    expect([region.shutDownFromInside(ends), region.shutDownFromInside(stops)]).toEqual([true, true]);
    clock.step(5_000);
    expect(region.findInstance(ends)?.state).toBe('terminated');
    expect(region.findInstance(stops)?.state).toBe('stopped');
    expect(list(region, { InstanceIds: [ends] })[0]?.StateReason?.Code).toBe('Client.InstanceInitiatedShutdown');
    region.perform('TerminateInstances', { InstanceIds: [stops] });
    clock.step(5_000);
    expect(region.findInstance(stops)?.state).toBe('terminated');
  });
});

describe('a stop and a start', () => {
  const running = (input: Partial<RunInstancesRequest> = {}) => {
    const made = newRegion({ pendingMs: 2000, bootMs: 20_000, stopMs: 10_000 });
    const [id = ''] = launch(made.region, input);
    made.clock.step(30_000);
    const power = (action: 'StartInstances' | 'StopInstances'): unknown =>
      made.region.perform(action, { InstanceIds: [id] });
    return { ...made, id, power, shown: () => list(made.region, { InstanceIds: [id] })[0] };
  };

  test('keep the instance and its private address, and begin a life that boots anew', () => {
    const { region, clock, id, power, shown } = running();
    const before = shown();
    expect(power('StopInstances')).toMatchObject({ StoppingInstances: [{ CurrentState: { Name: 'stopping' } }] });
    clock.step(10_000);
    expect(shown()).toMatchObject({ State: { Name: 'stopped' }, PrivateIpAddress: before?.PrivateIpAddress });
    expect(shown()?.StateTransitionReason).toMatch(/^User initiated \(.* GMT\)$/);
    expect(power('StartInstances')).toMatchObject({ StartingInstances: [{ CurrentState: { Name: 'pending' } }] });
    expect(region.findInstance(id)).toMatchObject({ state: 'pending', bootedAtMs: null });
    clock.step(20_000);
    expect(region.findInstance(id)).toMatchObject({ state: 'running', bootedAtMs: clock.nowMs() });
    // LaunchTime is that of the last start, as at EC2.
    expect(shown()?.LaunchTime?.getTime()).toBe((before?.LaunchTime?.getTime() ?? 0) + 40_000);
    expect(region.eventsSince(0).filter(({ launched }) => launched !== null)).toHaveLength(1);
  });

  test('are safe to repeat, and refused on the way elsewhere', () => {
    const { clock, power } = running();
    expect(power('StartInstances')).toMatchObject({ StartingInstances: [{ PreviousState: { Name: 'running' } }] });
    power('StopInstances');
    expect(codeOf(() => power('StartInstances'))).toBe('IncorrectInstanceState');
    power('StopInstances');
    clock.step(10_000);
    power('StopInstances');
    power('StartInstances');
    expect(codeOf(() => power('StopInstances'))).toBe('IncorrectInstanceState');
  });

  test('find no room where EC2 or the quota has none, and take none while stopped', () => {
    const { region, clock, power } = running({ InstanceType: 'c5.large' });
    power('StopInstances');
    clock.step(10_000);
    region.faults.setCapacity([{ instanceType: 'c5.large', zone: '*', market: '*', instancesMax: 1 }]);
    const [other = ''] = launch(region, { InstanceType: 'c5.large' });
    expect(codeOf(() => power('StartInstances'))).toBe('InsufficientInstanceCapacity');
    region.perform('TerminateInstances', { InstanceIds: [other] });
    clock.step(10_000);
    power('StartInstances');
  });

  test('are not for one-time spot instances', () => {
    const { power } = running({ InstanceMarketOptions: { MarketType: 'spot' } });
    expect(codeOf(() => power('StopInstances'))).toBe('UnsupportedOperation');
  });
});

describe('the core', () => {
  test('gives the same events for the same calls, ids and times', () => {
    const run = (): unknown => {
      const { region, clock } = newRegion();
      const ids = launch(region, { MaxCount: 3, ClientToken: 't' });
      clock.step(45_000);
      region.perform('TerminateInstances', { InstanceIds: ids.slice(1) });
      clock.step(45_000);
      return [region.eventsSince(0), region.instances(), region.bill()];
    };
    expect(run()).toEqual(run());
    expect((run() as unknown[][])[0]).toHaveLength(3 * 3 + 2 * 2);
  });

  test('refills its token buckets by the clock', () => {
    const { region, clock } = newRegion({ throttling: true });
    for (let call = 0; call < 5; call += 1) launch(region);
    expect(codeOf(() => launch(region))).toBe('RequestLimitExceeded');
    clock.step(1_000);
    expect(launch(region)).toHaveLength(1);
    expect(launch(region)).toHaveLength(1);
    expect(codeOf(() => launch(region))).toBe('RequestLimitExceeded');
  });

  test('an injected error has no effect and is counted down', () => {
    const { region } = newRegion();
    region.faults.failNext('RunInstances', { code: 'InternalError', times: 2 });
    expect(codeOf(() => launch(region))).toBe('InternalError');
    expect(codeOf(() => launch(region))).toBe('InternalError');
    expect(launch(region)).toHaveLength(1);
    expect(region.instances()).toHaveLength(1);
  });
});
