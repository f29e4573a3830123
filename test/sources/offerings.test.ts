import { describe, expect, test } from 'vitest';
import { AppError } from '../../src/model/errors.ts';
import { HOUR_MS, MINUTE_MS } from '../../src/model/time.ts';
import type { InstanceType } from '../../src/model/offering.ts';
import type { Cloud, ImageFacts, SpotPrice, SubnetFacts } from '../../src/ports/cloud.ts';
import { createOfferingSource } from '../../src/sources/offerings.ts';
import { recordingLog } from '../support/log.ts';
import { worldPolicy } from '../support/world-policy.ts';
import { WorldTime } from '../support/world-time.ts';

function type(name: string, architecture: InstanceType['architecture'] = 'x86_64'): InstanceType {
  const resources = { cpuMilli: 2000, memoryMib: 4096, gpus: 0 };
  return { name, family: name.split('.')[0] ?? '', resources, architecture, burstable: false };
}

const IMAGE: ImageFacts = { imageId: 'ami-1', architecture: 'x86_64', rootDeviceName: '/dev/sda1', rootVolumeGib: 8 };

/** EC2's answers as a test sets them, and how often each was asked for. */
class Market {
  types: readonly InstanceType[] = [type('c5.large')];
  subnets: readonly SubnetFacts[] = [{ subnetId: 'subnet-a', zone: 'a', freeAddresses: 9 }];
  spot: readonly SpotPrice[] = [];
  images: readonly ImageFacts[] = [IMAGE];
  away = false;
  readonly asked = new Map<string, number>();
  readonly time = WorldTime.alone();
  readonly log = recordingLog();
  readonly source = createOfferingSource({
    cloud: this.cloud(),
    clock: this.time,
    log: { ...this.log, debug: () => undefined },
    listPriceUsdPerHour: (name) => (name === 'unpriced.large' ? null : 0.1),
    latestSpotPrices: async () => await this.answer('spot', () => this.spot),
  });

  private cloud(): Cloud {
    const never = async (): Promise<never> => await Promise.reject(new Error('offerings do not need this call'));
    return {
      runInstances: never,
      listInstances: never,
      terminateInstances: never,
      stopInstance: never,
      startInstance: never,
      listSpotPrices: never,
      consoleOutput: never,
      pushLoginKey: never,
      listSpotEnds: never,
      listInterruptions: never,
      listInstanceTypes: async () => await this.answer('types', () => this.types),
      describeSubnets: async () => await this.answer('subnets', () => this.subnets),
      describeImages: async () => await this.answer('images', () => this.images),
    };
  }

  private async answer<T>(what: string, value: () => T): Promise<T> {
    this.asked.set(what, (this.asked.get(what) ?? 0) + 1);
    if (this.away) throw new AppError('AWS_UNREACHABLE', 'EC2 is away', { remedy: 'wait' });
    return value();
  }
}

const policy = worldPolicy({ burst: { market: { spot: 0.5, onDemandBase: 0 } } });

describe('offerings', () => {
  test('are every type in every subnet, on demand at the list price and on spot at the last one', async () => {
    const market = new Market();
    market.subnets = [
      { subnetId: 'subnet-a', zone: 'a', freeAddresses: 9 },
      { subnetId: 'subnet-b', zone: 'b', freeAddresses: 9 },
    ];
    market.spot = [{ instanceType: 'c5.large', zone: 'b', atMs: 0, priceUsdPerHour: 0.03 }];
    const offerings = await market.source.list(policy);
    expect(offerings?.map((each) => [each.subnetId, each.market, each.priceUsdPerHour])).toEqual([
      ['subnet-a', 'on-demand', 0.1],
      ['subnet-b', 'on-demand', 0.1],
      ['subnet-b', 'spot', 0.03],
    ]);
  });

  test('with a licence cost what both cost together, to the nano-dollar, and burstable types are left out', async () => {
    const market = new Market();
    market.images = [{ ...IMAGE, platform: 'windows' }];
    market.types = [type('c5.large'), { ...type('t3.large'), burstable: true }];
    const windows = worldPolicy({ burst: { license: { usdPerVcpuHour: 0.046 } }, recipe: { shell: 'powershell' } });
    const offerings = await market.source.list(windows);
    expect(offerings?.map((each) => [each.instanceType.name, each.priceUsdPerHour])).toEqual([['c5.large', 0.192]]);
  });

  test('are not known where the image runs another system than the recipe is written for', async () => {
    const market = new Market();
    market.images = [{ ...IMAGE, platform: 'windows' }];
    expect(await market.source.list(policy)).toBeNull();
    expect(market.log.lines.at(-1)?.details['error']).toBe('The image ami-1 runs Windows.');
    market.images = [IMAGE];
    expect(await market.source.list(worldPolicy({ recipe: { shell: 'powershell' } }))).toBeNull();
    expect(market.log.lines.at(-1)?.details['error']).toBe('The image ami-1 does not run Windows.');
  });

  test.each<[string, (market: Market) => void]>([
    ['types of an architecture without an image', (market) => (market.types = [type('c6g.large', 'arm64')])],
    ['types that nobody knows the price of', (market) => (market.types = [type('unpriced.large')])],
    ['subnets without a free address', (market) => (market.subnets = [{ subnetId: 's', zone: 'a', freeAddresses: 0 }])],
  ])('leave out %s', async (_what, change) => {
    const market = new Market();
    change(market);
    expect(await market.source.list(policy)).toEqual([]);
  });

  test('leave out the spot market where the policy does not use it', async () => {
    const market = new Market();
    market.spot = [{ instanceType: 'c5.large', zone: 'a', atMs: 0, priceUsdPerHour: 0.03 }];
    const offerings = await market.source.list(worldPolicy());
    expect(offerings?.map(({ market: name }) => name)).toEqual(['on-demand']);
  });

  test('are remembered: types for an hour, addresses and prices for a minute', async () => {
    const market = new Market();
    await market.source.list(policy);
    await market.time.run(MINUTE_MS - 1);
    await market.source.list(policy);
    expect(Object.fromEntries(market.asked)).toMatchObject({ types: 1, subnets: 1, spot: 1 });
    await market.time.run(1);
    await market.source.list(policy);
    expect(Object.fromEntries(market.asked)).toMatchObject({ types: 1, subnets: 2, spot: 2 });
    await market.time.run(HOUR_MS);
    await market.source.list(policy);
    expect(Object.fromEntries(market.asked)).toMatchObject({ types: 2, subnets: 3, spot: 3 });
  });

  test('are remembered for each set of subnets by itself', async () => {
    const market = new Market();
    await market.source.list(policy);
    await market.source.list(worldPolicy({ name: 'other', burst: { subnets: ['subnet-z'] } }));
    expect(market.asked.get('subnets')).toBe(2);
  });

  test('are null while they were never known', async () => {
    const market = new Market();
    market.away = true;
    expect(await market.source.list(policy)).toBeNull();
    expect(market.log.lines).toHaveLength(1);
    market.away = false;
    expect(await market.source.list(policy)).toHaveLength(1);
  });

  test('fall back on the last answer when a new one cannot be had', async () => {
    const market = new Market();
    const before = await market.source.list(policy);
    await market.time.run(2 * HOUR_MS);
    const { source, log } = market;
    // Images never change, so the adapter answers them from memory; everything else is away.
    const away = new AppError('AWS_UNREACHABLE', 'EC2 is away', { remedy: 'wait' });
    const broken = { types: market.types, subnets: market.subnets, spot: market.spot };
    Object.defineProperty(market, 'types', {
      get: () => {
        throw away;
      },
    });
    Object.defineProperty(market, 'subnets', {
      get: () => {
        throw away;
      },
    });
    Object.defineProperty(market, 'spot', {
      get: () => {
        throw away;
      },
    });
    expect(broken.types).toHaveLength(1);
    expect(await source.list(policy)).toEqual(before);
    expect(log.lines.map(({ message }) => message)).toEqual([
      'could not be read again; the last answer is used',
      'could not be read again; the last answer is used',
      'could not be read again; the last answer is used',
    ]);
  });

  test('do not hide a bug behind an old answer', async () => {
    const market = new Market();
    await market.source.list(policy);
    await market.time.run(2 * HOUR_MS);
    Object.defineProperty(market, 'types', {
      get: () => {
        throw new TypeError('a bug');
      },
    });
    await expect(market.source.list(policy)).rejects.toThrow('a bug');
  });

  test('tell the facts of an image', async () => {
    expect(await new Market().source.image('us-east-1', 'ami-1')).toEqual(IMAGE);
  });
});
