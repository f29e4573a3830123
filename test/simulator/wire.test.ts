import { request as httpRequest } from 'node:http';
import {
  CreateTagsCommand,
  DescribeImagesCommand,
  DescribeInstancesCommand,
  DescribeInstanceTypeOfferingsCommand,
  DescribeInstanceTypesCommand,
  DescribeSpotInstanceRequestsCommand,
  DescribeSpotPriceHistoryCommand,
  DescribeSubnetsCommand,
  EC2Client,
  GetConsoleOutputCommand,
  paginateDescribeInstances,
  paginateDescribeInstanceTypes,
  RunInstancesCommand,
  TerminateInstancesCommand,
} from '@aws-sdk/client-ec2';
import { afterEach, describe, expect, test } from 'vitest';
import { listInstanceTypes } from '../../src/cost/catalogue.ts';
import type { RunningRegion, StartRegionOptions } from '../../src/simulator/start.ts';
import { startRegion } from '../../src/simulator/start.ts';
import { SIMULATED_IMAGES, SIMULATED_SUBNETS } from '../../src/simulator/world.ts';
import { LAUNCH } from './support.ts';

// Goal: the unmodified SDK and the region understand each other. Boot is far away, so no host is started here.
const HOUR_MS = 3_600_000;
const open: { close(): unknown }[] = [];

async function start(options: StartRegionOptions = {}): Promise<{ running: RunningRegion; client: EC2Client }> {
  const running = await startRegion({ bootMs: HOUR_MS, sshPort: 2223, ...options });
  const client = clientOf(running);
  open.push({ close: () => running.stop() });
  return { running, client };
}

function clientOf(running: RunningRegion, credentials = running.accessKey, region = 'us-east-1'): EC2Client {
  const client = new EC2Client({ endpoint: running.endpoint, region, credentials, maxAttempts: 1 });
  open.push({ close: () => client.destroy() });
  return client;
}

afterEach(async () => {
  for (const thing of open.splice(0).toReversed()) await thing.close();
});

describe('the wire protocol, spoken by the SDK', () => {
  test('a launch with everything the product sends comes back as it was sent', async () => {
    const { client } = await start();
    const tags = [{ Key: 'spillway:owner', Value: 'a <b> & "c"' }];
    const launched = await client.send(
      new RunInstancesCommand({
        ...LAUNCH,
        MaxCount: 2,
        ClientToken: 'token-1',
        UserData: Buffer.from('#cloud-config\n').toString('base64'),
        InstanceMarketOptions: { MarketType: 'spot', SpotOptions: { SpotInstanceType: 'one-time' } },
        InstanceInitiatedShutdownBehavior: 'terminate',
        IamInstanceProfile: { Name: 'spillway-agent' },
        MetadataOptions: { HttpTokens: 'required', HttpPutResponseHopLimit: 1 },
        BlockDeviceMappings: [
          { DeviceName: '/dev/sda1', Ebs: { VolumeSize: 20, VolumeType: 'gp3', DeleteOnTermination: true } },
        ],
        TagSpecifications: (['instance', 'volume', 'network-interface', 'spot-instances-request'] as const).map(
          (ResourceType) => ({
            ResourceType,
            Tags: tags,
          }),
        ),
      }),
    );
    expect(launched.Instances).toHaveLength(2);
    const [instance] = launched.Instances ?? [];
    expect(instance).toMatchObject({
      InstanceType: 'c5.large',
      ClientToken: 'token-1',
      InstanceLifecycle: 'spot',
      State: { Code: 0, Name: 'pending' },
      Placement: { AvailabilityZone: 'us-east-1a' },
      SubnetId: SIMULATED_SUBNETS.a,
      Tags: tags,
      MetadataOptions: { HttpTokens: 'required', HttpPutResponseHopLimit: 1 },
      IamInstanceProfile: { Arn: 'arn:aws:iam::123456789012:instance-profile/spillway-agent' },
    });
    expect(instance?.InstanceId).toMatch(/^i-[0-9a-f]{17}$/);
    expect(instance?.PrivateIpAddress).toMatch(/^127\.20\./);
    expect(instance?.LaunchTime).toBeInstanceOf(Date);

    const spot = await client.send(
      new DescribeSpotInstanceRequestsCommand({ SpotInstanceRequestIds: [instance?.SpotInstanceRequestId ?? ''] }),
    );
    expect(spot.SpotInstanceRequests).toMatchObject([{ State: 'active', Status: { Code: 'fulfilled' }, Tags: tags }]);
  });

  test('pages of DescribeInstances come through the SDK paginator, each instance once', async () => {
    const { client } = await start();
    await client.send(new RunInstancesCommand({ ...LAUNCH, MinCount: 12, MaxCount: 12 }));
    const sizes: number[] = [];
    const ids = new Set<string | undefined>();
    const filters = [{ Name: 'instance-state-name', Values: ['pending', 'running'] }];
    for await (const page of paginateDescribeInstances({ client, pageSize: 5 }, { Filters: filters })) {
      const instances = (page.Reservations ?? []).flatMap((reservation) => reservation.Instances ?? []);
      sizes.push(instances.length);
      for (const { InstanceId } of instances) ids.add(InstanceId);
    }
    expect(sizes).toEqual([5, 5, 2]);
    expect(ids.size).toBe(12);
  });

  test('the catalogue, subnets, images, offerings and spot prices can be read', async () => {
    const { client } = await start();
    let types = 0;
    for await (const page of paginateDescribeInstanceTypes({ client }, {})) types += page.InstanceTypes?.length ?? 0;
    expect(types).toBe(listInstanceTypes().length);
    const named = await client.send(new DescribeInstanceTypesCommand({ InstanceTypes: ['c6g.xlarge'] }));
    expect(named.InstanceTypes).toMatchObject([
      {
        VCpuInfo: { DefaultVCpus: 4 },
        MemoryInfo: { SizeInMiB: 8192 },
        ProcessorInfo: { SupportedArchitectures: ['arm64'] },
      },
    ]);
    const { Subnets: subnets } = await client.send(new DescribeSubnetsCommand({}));
    expect(
      subnets?.map(({ SubnetId, AvailabilityZone, CidrBlock }) => [SubnetId, AvailabilityZone, CidrBlock]),
    ).toEqual([
      [SIMULATED_SUBNETS.a, 'us-east-1a', '127.20.0.0/16'],
      [SIMULATED_SUBNETS.b, 'us-east-1b', '127.21.0.0/16'],
    ]);
    const images = await client.send(new DescribeImagesCommand({ ImageIds: [SIMULATED_IMAGES.arm64] }));
    expect(images.Images).toMatchObject([{ Architecture: 'arm64', RootDeviceName: '/dev/sda1', State: 'available' }]);
    const offerings = await client.send(
      new DescribeInstanceTypeOfferingsCommand({
        LocationType: 'availability-zone',
        Filters: [{ Name: 'instance-type', Values: ['p3.2xlarge', 'c5.large'] }],
      }),
    );
    expect(offerings.InstanceTypeOfferings?.map(({ InstanceType, Location }) => `${InstanceType} ${Location}`)).toEqual(
      ['c5.large us-east-1a', 'c5.large us-east-1b', 'p3.2xlarge us-east-1a'],
    );
    const prices = await client.send(
      new DescribeSpotPriceHistoryCommand({
        InstanceTypes: ['c5.large'],
        StartTime: new Date(),
        ProductDescriptions: ['Linux/UNIX'],
      }),
    );
    expect(prices.SpotPriceHistory).toHaveLength(2);
    for (const { SpotPrice, Timestamp } of prices.SpotPriceHistory ?? []) {
      expect(Number(SpotPrice)).toBeGreaterThan(0.085 * 0.2);
      expect(Number(SpotPrice)).toBeLessThan(0.085 * 0.6);
      expect(Timestamp).toBeInstanceOf(Date);
    }
  });

  test('errors reach the caller with the code as name, EC2 status and request id', async () => {
    const { running, client } = await start();
    const cases = [
      [new RunInstancesCommand({ ...LAUNCH, ImageId: 'ami-00000000' }), 'InvalidAMIID.NotFound', 400],
      [new RunInstancesCommand({ ...LAUNCH, DryRun: true }), 'DryRunOperation', 412],
      [new TerminateInstancesCommand({ InstanceIds: ['i-00000000000000000'] }), 'InvalidInstanceID.NotFound', 400],
      [
        new DescribeInstancesCommand({ InstanceIds: ['i-00000000000000000'], MaxResults: 5 }),
        'InvalidParameterCombination',
        400,
      ],
      [new GetConsoleOutputCommand({ InstanceId: 'nonsense' }), 'InvalidInstanceID.Malformed', 400],
      [new RunInstancesCommand({ ...LAUNCH, KeyName: 'mine' }), 'UnsupportedOperation', 400],
    ] as const;
    for (const [command, name, status] of cases) {
      const error: unknown = await client.send(command as RunInstancesCommand).catch((error: unknown) => error);
      expect(error).toMatchObject({ name, $metadata: { httpStatusCode: status } });
    }
    running.region.faults.failNext('DescribeInstances', { code: 'RequestLimitExceeded', message: 'slow down' });
    await expect(client.send(new DescribeInstancesCommand({}))).rejects.toMatchObject({
      name: 'RequestLimitExceeded',
      message: 'slow down',
      $metadata: { httpStatusCode: 503, requestId: expect.stringMatching(/^[0-9a-f-]{36}$/) },
    });
  });

  test('wrong key, wrong secret and wrong region are refused as AuthFailure', async () => {
    const { running } = await start();
    const { accessKeyId, secretAccessKey } = running.accessKey;
    for (const client of [
      clientOf(running, { accessKeyId: 'AKIANOBODY', secretAccessKey }),
      clientOf(running, { accessKeyId, secretAccessKey: 'wrong' }),
      clientOf(running, running.accessKey, 'eu-central-1'),
    ]) {
      await expect(client.send(new DescribeInstancesCommand({}))).rejects.toMatchObject({
        name: 'AuthFailure',
        $metadata: { httpStatusCode: 401 },
      });
    }
  });

  test('a lost reply cuts the connection after the effect, and the same token finds it again', async () => {
    const { running, client } = await start();
    running.region.faults.loseReply('RunInstances');
    const launch = new RunInstancesCommand({ ...LAUNCH, ClientToken: 'lost' });
    await expect(client.send(launch)).rejects.toMatchObject({ code: 'ECONNRESET' });
    expect(running.instances()).toHaveLength(1);
    const again = await client.send(new RunInstancesCommand({ ...LAUNCH, ClientToken: 'lost' }));
    expect(again.Instances?.map(({ InstanceId }) => InstanceId)).toEqual(
      running.instances().map(({ instanceId }) => instanceId),
    );
  });

  test('bursts of launches run into the published bucket of RunInstances', async () => {
    const { client } = await start();
    const results = await Promise.allSettled(
      Array.from({ length: 12 }, () => client.send(new RunInstancesCommand({ ...LAUNCH }))),
    );
    const refused = results.flatMap((result) => (result.status === 'rejected' ? [(result.reason as Error).name] : []));
    expect(refused.length).toBeGreaterThan(0);
    expect(new Set(refused)).toEqual(new Set(['RequestLimitExceeded']));
  });

  test('a tag can be put on an instance', async () => {
    const { client } = await start();
    const { Instances: [instance] = [] } = await client.send(new RunInstancesCommand({ ...LAUNCH }));
    await client.send(
      new CreateTagsCommand({ Resources: [instance?.InstanceId ?? ''], Tags: [{ Key: 'Name', Value: 'x' }] }),
    );
    const found = await client.send(new DescribeInstancesCommand({ Filters: [{ Name: 'tag:Name', Values: ['x'] }] }));
    expect(found.Reservations?.[0]?.Instances?.[0]?.InstanceId).toBe(instance?.InstanceId);
  });
});

describe('the HTTP face', () => {
  test('the control face tells health, bill and instances, and takes faults and interruptions', async () => {
    const { running, client } = await start();
    const call = async (path: string, body?: unknown) => {
      const response = await fetch(
        `${running.endpoint}/_region/${path}`,
        body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) },
      );
      return { status: response.status, body: (await response.json()) as Record<string, unknown> };
    };
    expect(await call('healthz')).toEqual({ status: 200, body: { status: 'ok' } });
    expect(
      await call('faults', { kind: 'error', action: 'RunInstances', code: 'InsufficientInstanceCapacity' }),
    ).toMatchObject({ status: 200 });
    await expect(client.send(new RunInstancesCommand({ ...LAUNCH }))).rejects.toMatchObject({
      name: 'InsufficientInstanceCapacity',
    });
    expect((await call('faults', { kind: 'error', action: 'RunInstances', code: 'NoSuchCode' })).status).toBe(400);
    const { Instances: [instance] = [] } = await client.send(
      new RunInstancesCommand({ ...LAUNCH, InstanceMarketOptions: { MarketType: 'spot' } }),
    );
    expect(await call('interrupt', { instanceId: instance?.InstanceId })).toEqual({
      status: 200,
      body: { done: true },
    });
    expect((await call('interrupt', { instanceId: instance?.InstanceId })).status).toBe(409);
    expect((await call('bill')).body).toMatchObject({ lines: [{ instanceId: instance?.InstanceId, market: 'spot' }] });
    expect((await call('instances')).body).toMatchObject({ instances: [{ state: 'pending' }] });
    expect((await call('events')).body).toMatchObject({
      events: [
        { seq: 0, kind: 'pending' },
        { seq: 1, kind: 'interruption-notice' },
      ],
    });
    expect((await call('nothing')).status).toBe(404);
  });

  test('a body beyond the limit is refused before it is read to the end', async () => {
    const { running } = await start();
    const status = await new Promise<number | string>((resolve) => {
      const request = httpRequest(running.endpoint, { method: 'POST' }, (response) =>
        resolve(response.statusCode ?? 0),
      );
      request.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? ''));
      request.end(Buffer.alloc(3 * 1024 * 1024, 'a'));
    });
    expect([413, 'ECONNRESET', 'EPIPE']).toContain(status);
  });

  test('a port in use is said with its remedy, and nothing stays behind', async () => {
    const { running } = await start();
    const port = Number(new URL(running.endpoint).port);
    await expect(startRegion({ port, sshPort: 2223 })).rejects.toMatchObject({
      code: 'PORT_IN_USE',
      remedy: expect.any(String),
    });
  });
});
