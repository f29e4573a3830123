import type { RunInstancesRequest } from '@aws-sdk/client-ec2';
import { describe, expect, test } from 'vitest';
import { nanoUsdFromDecimal } from '../../src/model/money.ts';
import { findInstanceType } from '../../src/cost/catalogue.ts';
import { nextPriceChangeMs, spotPriceAt } from '../../src/simulator/spot-prices.ts';
import { LAUNCH, newRegion } from './support.ts';

const SECOND_MS = 1000;
const C5_LARGE = nanoUsdFromDecimal('0.085');

/** Runs one instance for `runMs` after `running`, ends it, and gives its line of the bill a while later. */
function billOfOne(
  runMs: number,
  input: Partial<RunInstancesRequest> = {},
  beforeEnd: (setup: ReturnType<typeof newRegion>) => void = () => {},
) {
  const setup = newRegion({ pendingMs: 5 * SECOND_MS, terminateMs: 3 * SECOND_MS });
  const { region, clock } = setup;
  const ids =
    region.perform('RunInstances', { ...LAUNCH, ...input }).Instances?.map(({ InstanceId }) => InstanceId ?? '') ?? [];
  clock.step(5 * SECOND_MS + runMs);
  beforeEnd(setup);
  region.perform('TerminateInstances', { InstanceIds: ids });
  clock.step(600 * SECOND_MS);
  const [line] = region.bill().lines;
  if (line === undefined) throw new Error('no line on the bill');
  return { line, ...setup };
}

/** Hourly price times seconds, rounded half up: the arithmetic of the test, not that of the bill. */
const cost = (pricePerHour: bigint, seconds: number) => (pricePerHour * BigInt(seconds) + 1800n) / 3600n;

describe('the bill', () => {
  test.each([
    [59, 60],
    [60, 60],
    [61, 61],
    [3600, 3600],
  ])('charges %i seconds of running as %i: pending and shutting-down are free', (ran, billed) => {
    const { line } = billOfOne(ran * SECOND_MS);
    expect(line.billedSeconds).toBe(billed);
    expect(line.instanceNanoUsd).toBe(cost(C5_LARGE, billed));
  });

  test('charges each start for 60 s at least, and while it is stopped the volume only', () => {
    const { line } = billOfOne(100 * SECOND_MS, {}, ({ region, clock }) => {
      const ids = region.instances().map(({ instanceId }) => instanceId);
      region.perform('StopInstances', { InstanceIds: ids });
      clock.step(3600 * SECOND_MS);
      region.perform('StartInstances', { InstanceIds: ids });
      clock.step(15 * SECOND_MS);
    });
    expect(line.billedSeconds).toBe(100 + 60);
    expect(line.instanceNanoUsd).toBe(cost(C5_LARGE, 160));
    const existed = 5 + 100 + 3600 + 15 + 3;
    const month = 30n * 86_400n;
    const gibMonth = nanoUsdFromDecimal('0.08') * 8n;
    const wanted = (gibMonth * BigInt(existed)) / month;
    expect(Number(line.volumeNanoUsd - wanted)).toBeLessThan(Number(wanted) / 10);
  });

  test('charges nothing for an instance that ended while pending', () => {
    const { region, clock } = newRegion({ pendingMs: 5 * SECOND_MS });
    const ids = region.perform('RunInstances', LAUNCH).Instances?.map(({ InstanceId }) => InstanceId ?? '') ?? [];
    clock.step(SECOND_MS);
    region.perform('TerminateInstances', { InstanceIds: ids });
    clock.step(60 * SECOND_MS);
    expect(region.bill().lines[0]).toMatchObject({ billedSeconds: 0, instanceNanoUsd: 0n });
  });

  test('bills what still runs up to now', () => {
    const { region, clock } = newRegion({ pendingMs: 0 });
    region.perform('RunInstances', { ...LAUNCH, MinCount: 2, MaxCount: 2 });
    clock.step(100 * SECOND_MS);
    const bill = region.bill();
    expect(bill.lines.map(({ billedSeconds }) => billedSeconds)).toEqual([100, 100]);
    expect(bill.totalNanoUsd).toBe(bill.lines.reduce((sum, line) => sum + line.totalNanoUsd, 0n));
  });

  test('charges each second of a spot instance at the price of its hour', () => {
    // It runs from 20 minutes before a price change to 40 minutes after it.
    const type = findInstanceType('c5.large')!;
    const start = nextPriceChangeMs(Date.UTC(2026, 6, 20, 12)) - 1200 * SECOND_MS;
    const { region, clock } = newRegion({ pendingMs: 0 });
    clock.step(start - clock.nowMs());
    const spot = { InstanceMarketOptions: { MarketType: 'spot' as const } };
    const ids =
      region.perform('RunInstances', { ...LAUNCH, ...spot }).Instances?.map(({ InstanceId }) => InstanceId ?? '') ?? [];
    clock.step(3600 * SECOND_MS);
    region.perform('TerminateInstances', { InstanceIds: ids });
    clock.step(60 * SECOND_MS);
    const before = spotPriceAt('spillway', type, 'us-east-1a', start);
    const after = spotPriceAt('spillway', type, 'us-east-1a', start + 1200 * SECOND_MS);
    expect(after).not.toBe(before);
    expect(region.bill().lines[0]?.instanceNanoUsd).toBe(cost(before, 1200) + cost(after, 2400));
  });

  test.each([
    ['free when AWS takes it back within its first hour', 1800, 0],
    ['paid when AWS takes it back later', 3600, 3720],
  ])('a spot instance is %s', (_what, ranBefore, billed) => {
    const { region, clock } = newRegion({ pendingMs: 0, spotNoticeMs: 120 * SECOND_MS });
    const spot = { InstanceMarketOptions: { MarketType: 'spot' as const } };
    const [instance] = region.perform('RunInstances', { ...LAUNCH, ...spot }).Instances ?? [];
    clock.step(ranBefore * SECOND_MS);
    expect(region.interrupt(instance?.InstanceId ?? '')).toBe(true);
    clock.step(600 * SECOND_MS);
    expect(region.bill().lines[0]?.billedSeconds).toBe(billed);
  });

  test('charges gp3 per second from launch to deletion at the length of the month, and orphans on', () => {
    const root = { DeviceName: '/dev/sda1', Ebs: { VolumeSize: 100, VolumeType: 'gp3' as const } };
    // 5 s pending, 100 s running, 3 s ending; July has 31 days.
    const { line } = billOfOne(100 * SECOND_MS, { BlockDeviceMappings: [root] });
    const month = 31 * 86_400;
    expect(Number(line.volumeNanoUsd)).toBe(Math.round((0.08e9 * 100 * 108) / month));
    const orphan = { DeviceName: '/dev/sdb', Ebs: { VolumeSize: 100, DeleteOnTermination: false } };
    const kept = billOfOne(100 * SECOND_MS, { BlockDeviceMappings: [orphan] }).line;
    expect(Number(kept.volumeNanoUsd)).toBe(
      Math.round((0.08e9 * 100 * (105 + 600)) / month) + Math.round((0.08e9 * 8 * 108) / month),
    );
  });

  test('charges a volume that lives across the end of a month at both months', () => {
    const { region, clock } = newRegion();
    clock.step(Date.UTC(2026, 6, 31, 23) - clock.nowMs());
    region.perform('RunInstances', LAUNCH);
    clock.step(2 * 3600 * SECOND_MS);
    const perSecond = (days: number) => Math.round((0.08e9 * 8 * 3600) / (days * 86_400));
    expect(Number(region.bill().lines[0]?.volumeNanoUsd)).toBe(perSecond(31) + perSecond(31));
    clock.step(Date.UTC(2026, 8, 1, 1) - clock.nowMs());
    const august = Math.round(0.08e9 * 8);
    expect(Number(region.bill().lines[0]?.volumeNanoUsd)).toBe(perSecond(31) + august + perSecond(30));
  });

  test('charges public IPv4 only where there is one', () => {
    expect(billOfOne(3600 * SECOND_MS).line.publicIpv4NanoUsd).toBe(0n);
    const { SubnetId, SecurityGroupIds: Groups, ...rest } = LAUNCH;
    const { region, clock } = newRegion({ pendingMs: 0 });
    const card = { DeviceIndex: 0, SubnetId, Groups, AssociatePublicIpAddress: true };
    region.perform('RunInstances', { ...rest, NetworkInterfaces: [card] });
    clock.step(7200 * SECOND_MS);
    expect(region.bill().lines[0]?.publicIpv4NanoUsd).toBe(nanoUsdFromDecimal('0.01'));
  });
});

describe('spot prices', () => {
  test('are the same for the same seed, differ by zone and hour, and stay below on-demand', () => {
    const type = findInstanceType('m5.4xlarge')!;
    const at = Date.UTC(2026, 0, 1);
    const prices = Array.from({ length: 24 }, (_, hour) => spotPriceAt('s', type, 'us-east-1a', at + hour * 3_600_000));
    expect(prices).toEqual(
      Array.from({ length: 24 }, (_, hour) => spotPriceAt('s', type, 'us-east-1a', at + hour * 3_600_000)),
    );
    expect(new Set(prices).size).toBeGreaterThan(12);
    expect(prices.every((price) => price > 0n && price < (type.priceNanoUsdPerHour * 6n) / 10n)).toBe(true);
    expect(spotPriceAt('s', type, 'us-east-1b', at)).not.toBe(prices[0]);
    expect(spotPriceAt('t', type, 'us-east-1a', at)).not.toBe(prices[0]);
    expect(spotPriceAt('s', type, 'us-east-1a', at + 3_599_999)).toBe(prices[0]);
  });
});
