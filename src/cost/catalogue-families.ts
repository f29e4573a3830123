/**
 * Real EC2 types, one family a line, because a family's prices are linear in size but for a few sizes.
 * Source: AWS public price list for us-east-1, Linux, shared tenancy, on demand, as of 2026-07-20.
 *
 * `family architecture memoryMibPerVcpu usdPerVcpuHour priceDecimals | sizes`
 * A size is `name[:vcpus][/memoryMib][*gpus][@usdPerHour]`; what is left out follows from the name and the family:
 * medium 1 vCPU, large 2, xlarge 4, Nxlarge and metal-Nxl 4N. `a..b` is every step of the usual ladder from a to b.
 * Prices that follow are rounded half up to the given decimals, as the price list does.
 */
export const FAMILY_TABLE = `
c5   x86_64 2048 0.0425   4 | large..4xlarge 9xlarge 12xlarge 18xlarge 24xlarge metal:96
c5a  x86_64 2048 0.0385   4 | large..24xlarge
c6a  x86_64 2048 0.03825  4 | large..48xlarge metal:192
c6i  x86_64 2048 0.0425   4 | large..32xlarge metal:128
c6g  arm64  2048 0.034    4 | medium..16xlarge metal:64@2.3066
c7a  x86_64 2048 0.05132  5 | medium..48xlarge metal-48xl
c7i  x86_64 2048 0.044625 5 | large..24xlarge metal-24xl@4.7124 48xlarge metal-48xl
c7g  arm64  2048 0.03625  4 | medium..16xlarge metal:64
c8g  arm64  2048 0.03988  5 | medium..24xlarge metal-24xl@4.21133 48xlarge metal-48xl
c8i  x86_64 2048 0.046855 5 | large..48xlarge metal-48xl@9.89578 96xlarge metal-96xl
m5   x86_64 4096 0.048    4 | large..24xlarge metal:96
m5a  x86_64 4096 0.043    4 | large..24xlarge
m6a  x86_64 4096 0.0432   4 | large..48xlarge metal:192
m6i  x86_64 4096 0.048    4 | large..32xlarge metal:128
m6g  arm64  4096 0.0385   4 | medium..16xlarge metal:64@2.6112
m7a  x86_64 4096 0.05796  5 | medium..48xlarge metal-48xl
m7i  x86_64 4096 0.0504   4 | large..24xlarge metal-24xl@5.32224 48xlarge metal-48xl
m7g  arm64  4096 0.0408   4 | medium..16xlarge metal:64
m8i  x86_64 4096 0.05292  5 | large..48xlarge metal-48xl 96xlarge metal-96xl
r5   x86_64 8192 0.063    4 | large..24xlarge metal:96
r5a  x86_64 8192 0.0565   4 | large..24xlarge
r6a  x86_64 8192 0.0567   4 | large..48xlarge metal:192
r6i  x86_64 8192 0.063    4 | large..32xlarge metal:128
r6g  arm64  8192 0.0504   4 | medium..16xlarge metal:64@3.4191
r7a  x86_64 8192 0.076075 5 | medium..48xlarge metal-48xl
r7i  x86_64 8192 0.06615  4 | large..24xlarge metal-24xl@6.98544 48xlarge metal-48xl
r7g  arm64  8192 0.05355  4 | medium..16xlarge metal:64
t3   x86_64 4096 0.0416   4 | nano:2/512@0.0052 micro:2/1024@0.0104 small:2/2048@0.0208 medium:2/4096@0.0416 large..2xlarge
t3a  x86_64 4096 0.0376   4 | nano:2/512@0.0047 micro:2/1024@0.0094 small:2/2048@0.0188 medium:2/4096@0.0376 large..2xlarge
t4g  arm64  4096 0.0336   4 | nano:2/512@0.0042 micro:2/1024@0.0084 small:2/2048@0.0168 medium:2/4096@0.0336 large..2xlarge
g4dn x86_64 4096 0.1315   4 | xlarge*1 2xlarge*1@0.752 4xlarge*1@1.204 8xlarge*1@2.176 12xlarge*4@3.912 16xlarge*1@4.352 metal:96*8@7.824
g5   x86_64 4096 0.2515   4 | xlarge*1 2xlarge*1@1.212 4xlarge*1@1.624 8xlarge*1@2.448 16xlarge*1@4.096 12xlarge*4@5.672 24xlarge*4@8.144 48xlarge*8@16.288
g6   x86_64 4096 0.2012   4 | xlarge*1 2xlarge*1@0.9776 4xlarge*1@1.3232 8xlarge*1@2.0144 16xlarge*1@3.3968 12xlarge*4@4.6016 24xlarge*4@6.6752 48xlarge*8@13.3504
g6e  x86_64 8192 0.46525 5 | xlarge*1 2xlarge*1@2.24208 4xlarge*1@3.00424 8xlarge*1@4.52856 16xlarge*1@7.57719 12xlarge*4@10.49264 24xlarge*4@15.06559 48xlarge*8@30.13118
p3   x86_64 7808 0.3825   4 | 2xlarge*1 8xlarge*4 16xlarge*8
p4d  x86_64 12288 0.228725 6 | 24xlarge*8@21.957642
p5   x86_64 16384 0.43   2 | 4xlarge*1 48xlarge/2097152*8@55.04
`;

/** The steps that `a..b` in {@link FAMILY_TABLE} walks. */
export const SIZE_LADDER: readonly string[] = [
  'medium',
  'large',
  'xlarge',
  '2xlarge',
  '4xlarge',
  '8xlarge',
  '12xlarge',
  '16xlarge',
  '24xlarge',
  '32xlarge',
  '48xlarge',
  '96xlarge',
];
