import type { NodeType } from '../../backtest/types.ts';
import { listInstanceTypes } from '../../cost/catalogue.ts';

/** The types of the built-in price table (us-east-1, on demand). */
export function builtInTypes(): readonly NodeType[] {
  return listInstanceTypes().map((type) => ({
    name: type.name,
    capacity: { cpuMilli: type.vcpus * 1000, memoryMib: type.memoryMib, gpuMilli: type.gpus * 1000 },
    priceUsdPerHour: type.priceUsdPerHour,
    family: type.family,
    arch: type.arch,
    burstable: type.burstable,
    spotUsdPerHour: null,
  }));
}
