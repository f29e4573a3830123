import { nanoUsdFromNumber, nanoUsdToNumber } from '../model/money.ts';
import type { InstanceType } from '../model/offering.ts';
import type { WorkloadPolicy } from '../model/policy.ts';

/**
 * What an hour of a type costs on demand with the licence of the policy's images; null = it is not known. The table is for Linux, and
 * EC2 adds the licence of Windows per vCPU, but for burstable types: those have prices of their own for each size.
 */
export function withLicense(
  listPriceUsdPerHour: number | null,
  type: Pick<InstanceType, 'resources' | 'burstable'>,
  { burst }: Pick<WorkloadPolicy, 'burst'>,
): number | null {
  const { license } = burst;
  if (license === undefined || listPriceUsdPerHour === null) return listPriceUsdPerHour;
  if (type.burstable) return null;
  // Whole nano-dollars: both were decimals, and their sum is the one that is billed.
  const licenseNano = nanoUsdFromNumber((license.usdPerVcpuHour * type.resources.cpuMilli) / 1000);
  return nanoUsdToNumber(nanoUsdFromNumber(listPriceUsdPerHour) + licenseNano);
}
