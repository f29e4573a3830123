import { readCatalogueCsv } from '../../src/backtest/catalogue.ts';
import type { NodeType } from '../../src/backtest/types.ts';
import { readTextFile } from '../../src/commands/backtest/files.ts';
import type { Offering } from '../../src/model/offering.ts';
import type { BenchContext } from './bench.ts';
import { offeringsOf } from './planner-inputs.ts';

/** The types of the price list that `SPILLWAY_CATALOGUE` names; null when none is named, which is told. */
export async function readCatalogueTypes({ progress }: BenchContext): Promise<readonly NodeType[] | null> {
  const file = process.env['SPILLWAY_CATALOGUE'];
  if (file === undefined || file === '') {
    progress('SPILLWAY_CATALOGUE is not set: types are made up or those of the built-in price table');
    return null;
  }
  return readCatalogueCsv(await readTextFile(file), file);
}

/** A type in three zones, on demand. */
export function toOffering({ name, family, capacity, arch, burstable, priceUsdPerHour }: NodeType): Offering[] {
  const { cpuMilli, memoryMib, gpuMilli } = capacity;
  const resources = { cpuMilli, memoryMib, gpus: gpuMilli / 1000 };
  return offeringsOf({ name, family, resources, architecture: arch, burstable }, priceUsdPerHour);
}
