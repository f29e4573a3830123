import type { Resources } from '../model/resources.ts';

/** Order of plain UTF-16 text: the same on every machine, unlike `localeCompare`. */
export function compareText(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}

/** MiB that weigh as much as one vCPU when shapes are compared: the ratio of EC2's general-purpose (`m`) families. */
const MIB_PER_VCPU = 4096;

/** How big a shape is, as one number, so that unlike shapes can be sorted; unit: vCPUs of a general-purpose machine. */
export function sizeOf(shape: Resources): number {
  return shape.cpuMilli / 1000 + shape.memoryMib / MIB_PER_VCPU;
}

/** Small before big. Shapes of one size are ordered too, because a plan may not depend on the order of its input. */
export function compareResources(a: Resources, b: Resources): number {
  return sizeOf(a) - sizeOf(b) || a.cpuMilli - b.cpuMilli || a.memoryMib - b.memoryMib;
}

/** Money as an integer for sums and comparisons: a sum of floats would depend on the order of its parts. */
export function nanoOf(usd: number): number {
  return Math.round(usd * 1e9);
}

/** Back from nano-dollars, for reports. */
export function usdOf(nano: number): number {
  return nano / 1e9;
}
