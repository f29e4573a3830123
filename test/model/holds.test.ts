import { describe, expect, it } from 'vitest';
import { holdKeysOf, holdKeyText, quotaFamilyOf } from '../../src/model/holds.ts';

describe('the quota family of an instance type', () => {
  it.each([
    ['c6a.large', 'standard'],
    ['m7i-flex.large', 'standard'],
    ['r8g.metal-24xl', 'standard'],
    ['t3.micro', 'standard'],
    ['i4i.large', 'standard'],
    ['im4gn.large', 'standard'],
    ['is4gen.large', 'standard'],
    ['d3en.xlarge', 'standard'],
    ['h1.2xlarge', 'standard'],
    ['z1d.large', 'standard'],
    ['a1.medium', 'standard'],
    ['g5.xlarge', 'g-and-vt'],
    ['gr6.4xlarge', 'g-and-vt'],
    ['vt1.3xlarge', 'g-and-vt'],
    ['p5.48xlarge', 'p'],
    ['x2idn.16xlarge', 'x'],
    ['f2.6xlarge', 'f'],
    ['inf2.xlarge', 'inf'],
    ['trn1.2xlarge', 'trn'],
    ['dl1.24xlarge', 'dl'],
    ['hpc7a.96xlarge', 'hpc'],
    ['mac2.metal', 'mac'],
    ['u-6tb1.metal', 'high-memory'],
    ['u7i-12tb.224xlarge', 'high-memory'],
  ])('of %s is %s', (type, family) => {
    expect(quotaFamilyOf(type)).toBe(family);
  });
});

it('an offering can be held by itself, with its subnet, its quota or its region', () => {
  const offering = {
    region: 'eu-central-1',
    instanceType: 'c6a.large',
    zone: 'eu-central-1a',
    subnetId: 'subnet-1',
    market: 'spot',
  } as const;
  expect(holdKeysOf(offering).map(holdKeyText)).toEqual([
    'offering:c6a.large/eu-central-1a/spot',
    'subnet:subnet-1',
    'quota:eu-central-1/standard/spot',
    'region:eu-central-1',
  ]);
});
