/**
 * Words of the backtest. A trace is a list of tasks that really ran somewhere; a replay runs them again on a virtual clock,
 * on local agents and on nodes that a scaler launches. Times are seconds, because job logs count in seconds.
 */

/** What a task needs or a node has. Whole numbers, so that sums are exact; GPUs in thousandths, because tasks share them. */
export interface Amount {
  readonly cpuMilli: number;
  readonly memoryMib: number;
  readonly gpuMilli: number;
}

/** One line of a trace. */
export interface TraceTask {
  readonly submitS: number;
  readonly runS: number;
  readonly need: Amount;
  /** As the log calls it; empty = none. */
  readonly queue: string;
  /** Never runs in the cloud, whatever it costs in waiting. */
  readonly staysLocal?: boolean;
}

export interface Trace {
  readonly name: string;
  /** By submission; equal moments in the order of the file. */
  readonly tasks: readonly TraceTask[];
  /** Lines left out because they do not say how long the task ran, or on how many cores. */
  readonly skipped: number;
}

/** An instance type at its price. */
export interface NodeType {
  /** e.g. `c6a.4xlarge` */
  readonly name: string;
  readonly capacity: Amount;
  readonly priceUsdPerHour: number;
  /** e.g. `c6a` */
  readonly family: string;
  readonly arch: 'x86_64' | 'arm64';
  /** `t*`: the vCPUs are a burst, not a promise. */
  readonly burstable: boolean;
  /** Average spot price; null = not known. */
  readonly spotUsdPerHour: number | null;
}

export const NOTHING: Amount = Object.freeze({ cpuMilli: 0, memoryMib: 0, gpuMilli: 0 });

export function amountFits(need: Amount, room: Amount): boolean {
  return need.cpuMilli <= room.cpuMilli && need.memoryMib <= room.memoryMib && need.gpuMilli <= room.gpuMilli;
}

export function addAmounts(a: Amount, b: Amount): Amount {
  return {
    cpuMilli: a.cpuMilli + b.cpuMilli,
    memoryMib: a.memoryMib + b.memoryMib,
    gpuMilli: a.gpuMilli + b.gpuMilli,
  };
}

/** May go below zero: the caller has made sure that it fits, or wants to see the debt. */
export function subtractAmounts(a: Amount, b: Amount): Amount {
  return {
    cpuMilli: a.cpuMilli - b.cpuMilli,
    memoryMib: a.memoryMib - b.memoryMib,
    gpuMilli: a.gpuMilli - b.gpuMilli,
  };
}

export function scaleAmount(a: Amount, times: number): Amount {
  return { cpuMilli: a.cpuMilli * times, memoryMib: a.memoryMib * times, gpuMilli: a.gpuMilli * times };
}

/** How many times `need` goes into `room`; Infinity for a need of nothing. */
export function timesInto(need: Amount, room: Amount): number {
  const times = (part: number, whole: number): number => (part === 0 ? Infinity : Math.floor(whole / part));
  return Math.min(
    times(need.cpuMilli, room.cpuMilli),
    times(need.memoryMib, room.memoryMib),
    times(need.gpuMilli, room.gpuMilli),
  );
}

/** Equal for equal amounts. */
export function amountKey({ cpuMilli, memoryMib, gpuMilli }: Amount): string {
  return `${cpuMilli}c${memoryMib}m${gpuMilli}g`;
}
