import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { findInstanceType, listInstanceTypes } from '../../src/cost/catalogue.ts';

const folder = process.env['SPILLWAY_CATALOGUE'] ?? '';
const csvPath = join(folder, 'ec2-us-east-1.csv');
const hasCsv = folder !== '' && existsSync(csvPath);
if (!hasCsv) {
  process.stderr.write(
    'SKIPPED: the catalogue is not compared with the price list; SPILLWAY_CATALOGUE names no folder\n',
  );
}

describe('the catalogue', () => {
  test('holds some 300 types with distinct names', () => {
    const names = listInstanceTypes().map((type) => type.name);
    expect(names.length).toBeGreaterThanOrEqual(300);
    expect(new Set(names).size).toBe(names.length);
  });

  test('knows well-known sizes and prices, also those that do not follow from the size', () => {
    expect(findInstanceType('m5.large')).toMatchObject({
      vcpus: 2,
      memoryMib: 8192,
      arch: 'x86_64',
      priceUsdPerHour: 0.096,
    });
    expect(findInstanceType('c6g.metal')).toMatchObject({
      vcpus: 64,
      arch: 'arm64',
      priceUsdPerHour: 2.3066,
      bareMetal: true,
    });
    expect(findInstanceType('t3.nano')).toMatchObject({
      vcpus: 2,
      memoryMib: 512,
      priceUsdPerHour: 0.0052,
      burstable: true,
    });
    expect(findInstanceType('g4dn.12xlarge')).toMatchObject({ vcpus: 48, gpus: 4, priceUsdPerHour: 3.912 });
    expect(findInstanceType('c7g.medium')).toMatchObject({ vcpus: 1, priceUsdPerHour: 0.0363 });
    expect(findInstanceType('m5.tiny')).toBeUndefined();
  });

  test('has the families with GPUs, each type with its count', () => {
    const withGpus = listInstanceTypes().filter(({ gpus }) => gpus > 0);
    expect([...new Set(withGpus.map(({ family }) => family))]).toEqual(['g4dn', 'g5', 'g6', 'g6e', 'p3', 'p4d', 'p5']);
    expect(findInstanceType('g6e.12xlarge')).toMatchObject({ vcpus: 48, memoryMib: 393_216, gpus: 4 });
    expect(findInstanceType('p4d.24xlarge')).toMatchObject({ vcpus: 96, memoryMib: 1_179_648, gpus: 8 });
    expect(findInstanceType('p5.48xlarge')).toMatchObject({ memoryMib: 2_097_152, gpus: 8, priceUsdPerHour: 55.04 });
    expect(findInstanceType('p5.4xlarge')).toMatchObject({ vcpus: 16, gpus: 1, priceUsdPerHour: 6.88 });
  });

  test.runIf(hasCsv)('agrees with the public price list in every column of every type', () => {
    const rows = readFileSync(csvPath, 'utf8').trim().split('\n').slice(1);
    const listed = new Map(rows.map((row) => [row.slice(0, row.indexOf(',')), row.split(',').slice(1, 6).join()]));
    for (const type of listInstanceTypes()) {
      const { name, vcpus, memoryMib, gpus, arch, priceUsdPerHour } = type;
      expect(`${name},${[vcpus, memoryMib, gpus, arch, priceUsdPerHour].join()}`).toBe(`${name},${listed.get(name)}`);
    }
  });
});
