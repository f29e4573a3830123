/**
 * An amount of machine: what a task needs, what an agent has, what is in use.
 * Integers, so that sums and comparisons are exact: 1000 milli-CPU is one vCPU or core.
 */
export interface Resources {
  readonly cpuMilli: number;
  readonly memoryMib: number;
  /** Whole devices; a task has its GPUs to itself. */
  readonly gpus: number;
}

/** What can be measured as in use: GPUs are given away whole, and nobody looks how busy they are. */
export type MeasuredUse = Pick<Resources, 'cpuMilli' | 'memoryMib'>;

export const NO_RESOURCES: Resources = Object.freeze({ cpuMilli: 0, memoryMib: 0, gpus: 0 });

export function addResources(a: Resources, b: Resources): Resources {
  return { cpuMilli: a.cpuMilli + b.cpuMilli, memoryMib: a.memoryMib + b.memoryMib, gpus: a.gpus + b.gpus };
}

/** `a` minus `b`, never below zero: an agent that reports more in use than it has offers nothing, not a debt. */
export function subtractResources(a: Resources, b: Resources): Resources {
  return {
    cpuMilli: Math.max(0, a.cpuMilli - b.cpuMilli),
    memoryMib: Math.max(0, a.memoryMib - b.memoryMib),
    gpus: Math.max(0, a.gpus - b.gpus),
  };
}

export function multiplyResources(a: Resources, count: number): Resources {
  return { cpuMilli: a.cpuMilli * count, memoryMib: a.memoryMib * count, gpus: a.gpus * count };
}

export function fits(need: Resources, room: Resources): boolean {
  return need.cpuMilli <= room.cpuMilli && need.memoryMib <= room.memoryMib && need.gpus <= room.gpus;
}

/** How many times `need` goes into `room`. A need of zero in every dimension is a bug of the caller. */
export function timesFitting(need: Resources, room: Resources): number {
  const byCpu = need.cpuMilli === 0 ? Infinity : Math.floor(room.cpuMilli / need.cpuMilli);
  const byMemory = need.memoryMib === 0 ? Infinity : Math.floor(room.memoryMib / need.memoryMib);
  const byGpus = need.gpus === 0 ? Infinity : Math.floor(room.gpus / need.gpus);
  return Math.min(byCpu, byMemory, byGpus);
}

/** A stable key for grouping equal shapes, e.g. `2000c4096m` or `8000c32768m1g`. Without GPUs it names none: queues keep their names. */
export function shapeKey(shape: Resources): string {
  return `${shape.cpuMilli}c${shape.memoryMib}m${shape.gpus === 0 ? '' : `${shape.gpus}g`}`;
}
