import { quoteValue } from '../model/units.ts';
import type { CsvRow } from './records.ts';
import { FileProblems, parseDecimal, readCsv } from './records.ts';
import type { NodeType } from './types.ts';

const COLUMNS = {
  required: ['instance_type', 'vcpus', 'memory_mib', 'gpus', 'arch', 'on_demand_usd_per_hour'],
  optional: ['spot_usd_per_hour', 'spot_interruption_band', 'gpu_name', 'accelerators', 'local_nvme_gb'],
};
const TYPE_NAME = /^[a-z0-9-]{1,40}\.[a-z0-9-]{1,40}$/;

/**
 * Instance types with prices from a CSV file: `instance_type,vcpus,memory_mib,gpus,arch,on_demand_usd_per_hour` and, if
 * known, `spot_usd_per_hour`. Types without a price are left out. @throws AppError INPUT_INVALID
 */
export function readCatalogueCsv(text: string, name: string): readonly NodeType[] {
  const problems = new FileProblems(name);
  const types = new Map<string, NodeType>();
  for (const row of readCsv(text, COLUMNS, problems)) {
    if (row.get('on_demand_usd_per_hour') === '') continue;
    const type = readType(row, problems);
    if (types.has(type.name)) problems.add(row.number, `${type.name} is there twice`);
    types.set(type.name, type);
  }
  problems.throwIfAny();
  return [...types.values()];
}

function readType(row: CsvRow, problems: FileProblems): NodeType {
  const number = (column: string, max: number): number => {
    const value = parseDecimal(row.get(column), 0, max);
    if (value === null) {
      problems.add(row.number, `${column} ${quoteValue(row.get(column))} is not a number from 0 to ${max}`);
    }
    return value ?? 0;
  };
  const name = row.get('instance_type');
  const arch = row.get('arch');
  if (!TYPE_NAME.test(name)) problems.add(row.number, `${quoteValue(name)} is not the name of an instance type`);
  if (arch !== 'x86_64' && arch !== 'arm64') problems.add(row.number, `arch ${quoteValue(arch)}: x86_64 or arm64`);
  const family = name.split('.')[0] ?? '';
  return {
    name,
    capacity: {
      cpuMilli: Math.round(number('vcpus', 1e5) * 1000),
      memoryMib: Math.floor(number('memory_mib', 1e9)),
      gpuMilli: Math.round(number('gpus', 1000) * 1000),
    },
    priceUsdPerHour: number('on_demand_usd_per_hour', 1e6),
    family,
    arch: arch === 'arm64' ? 'arm64' : 'x86_64',
    burstable: /^t\d/.test(family),
    spotUsdPerHour: row.get('spot_usd_per_hour') === '' ? null : number('spot_usd_per_hour', 1e6),
  };
}
