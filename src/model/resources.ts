/**
 * An amount of machine: what a task needs, what an agent has, what is in use.
 * Integers, so that sums and comparisons are exact: 1000 milli-CPU is one vCPU or core.
 */
export interface Resources {
  readonly cpuMilli: number;
  readonly memoryMib: number;
}

export const NO_RESOURCES: Resources = Object.freeze({ cpuMilli: 0, memoryMib: 0 });

export function addResources(a: Resources, b: Resources): Resources {
  return { cpuMilli: a.cpuMilli + b.cpuMilli, memoryMib: a.memoryMib + b.memoryMib };
}

/** `a` minus `b`, never below zero: an agent that reports more in use than it has offers nothing, not a debt. */
export function subtractResources(a: Resources, b: Resources): Resources {
  return { cpuMilli: Math.max(0, a.cpuMilli - b.cpuMilli), memoryMib: Math.max(0, a.memoryMib - b.memoryMib) };
}

export function multiplyResources(a: Resources, count: number): Resources {
  return { cpuMilli: a.cpuMilli * count, memoryMib: a.memoryMib * count };
}

export function fits(need: Resources, room: Resources): boolean {
  return need.cpuMilli <= room.cpuMilli && need.memoryMib <= room.memoryMib;
}

/** How many times `need` goes into `room`. A need of zero in every dimension is a bug of the caller. */
export function timesFitting(need: Resources, room: Resources): number {
  const byCpu = need.cpuMilli === 0 ? Infinity : Math.floor(room.cpuMilli / need.cpuMilli);
  const byMemory = need.memoryMib === 0 ? Infinity : Math.floor(room.memoryMib / need.memoryMib);
  return Math.min(byCpu, byMemory);
}

/** A stable key for grouping equal shapes, e.g. `2000c4096m`. */
export function shapeKey(shape: Resources): string {
  return `${shape.cpuMilli}c${shape.memoryMib}m`;
}
