import type { Resources } from '../model/resources.ts';

/** Order of plain UTF-16 text: the same on every machine, unlike `localeCompare`. */
export function compareText(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}

/** MiB that weigh as much as one vCPU when shapes are compared: the ratio of EC2's general-purpose (`m`) families. */
const MIB_PER_VCPU = 4096;

/**
 * vCPUs that weigh as much as one GPU: what EC2's types with GPUs have for each lies between 4 and 64, mostly at 4 to 12.
 */
const VCPUS_PER_GPU = 8;

/** How big a shape is, as one number, so that unlike shapes can be sorted; unit: vCPUs of a general-purpose machine. */
export function sizeOf(shape: Resources): number {
  return shape.cpuMilli / 1000 + shape.memoryMib / MIB_PER_VCPU + shape.gpus * VCPUS_PER_GPU;
}

/** Small before big; whoever has more GPUs is bigger, whatever else it has: they are the scarcest. Shapes of one size are ordered too, because a plan may not depend on the order of its input. */
export function compareResources(a: Resources, b: Resources): number {
  return a.gpus - b.gpus || sizeOf(a) - sizeOf(b) || a.cpuMilli - b.cpuMilli || a.memoryMib - b.memoryMib;
}

/** Money as an integer for sums and comparisons: a sum of floats would depend on the order of its parts. */
export function nanoOf(usd: number): number {
  return Math.round(usd * 1e9);
}

/** Back from nano-dollars, for reports. */
export function usdOf(nano: number): number {
  return nano / 1e9;
}
