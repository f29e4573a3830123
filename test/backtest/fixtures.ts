import type { Decision, Scaler, ScalerView } from '../../src/backtest/scaler.ts';
import type { Amount, NodeType, TraceTask } from '../../src/backtest/types.ts';

export function amount(cores: number, gib = 2 * cores, gpus = 0): Amount {
  return { cpuMilli: cores * 1000, memoryMib: gib * 1024, gpuMilli: gpus * 1000 };
}

export function task(submitS: number, runS: number, need: Amount = amount(1)): TraceTask {
  return { submitS, runS, need, queue: '' };
}

/** $36 per hour is a cent a second. */
export function nodeType(name: string, capacity: Amount, priceUsdPerHour = 36): NodeType {
  const family = name.split('.')[0] ?? '';
  return { name, capacity, priceUsdPerHour, family, arch: 'x86_64', burstable: false, spotUsdPerHour: null };
}

/** The sizes of one family, linear in price: $0.04 per core. */
export const SIZES: readonly NodeType[] = [2, 4, 8, 16, 32].map((cores) =>
  nodeType(`c6a.${cores}`, amount(cores), cores * 0.04),
);

/** A scaler made of a function; asked every ten seconds. */
export function scaler(decide: (view: ScalerView) => Partial<Decision>): Scaler {
  return { name: 'test', tickS: 10, decide: (view) => ({ launch: [], terminate: [], ...decide(view) }) };
}

/** Always the same numbers from 0 to 1. */
export function makeRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

/** Tasks of four sizes with bursts; run times from a minute to hours. */
export function randomTasks(seed: number, count: number): TraceTask[] {
  const random = makeRandom(seed);
  let atS = 0;
  return Array.from({ length: count }, () => {
    atS += random() < 0.5 ? 0 : Math.ceil(random() * 400);
    const cores = [1, 2, 4, 8][Math.floor(random() * 4)] ?? 1;
    return task(atS, 30 + Math.ceil(random() ** 3 * 8000), amount(cores, cores * (random() < 0.3 ? 8 : 2)));
  });
}
