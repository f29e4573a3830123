import type { Constraints } from '../../src/model/constraints.ts';
import type { Resources } from '../../src/model/resources.ts';

/** The columns of a task that say what it needs and where it may run. */
export function kindColumns(
  shape: Resources,
  { arch = null, localOnly = false, spotOk = true }: Partial<Constraints> = {},
) {
  const needs = { cpu_milli: shape.cpuMilli, memory_mib: shape.memoryMib, gpus: shape.gpus };
  return { ...needs, arch, local_only: localOnly, spot_ok: spotOk };
}
