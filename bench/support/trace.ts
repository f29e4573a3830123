import type { Trace, TraceTask } from '../../src/backtest/types.ts';

/** Two days of small tasks with a burst each noon: enough to run every rule, not enough to judge one. Always the same. */
export function generatedTrace(): Trace {
  let state = 20_261_122;
  const random = (): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
  const shapes = [1, 2, 4, 8].map((cores) => ({ cpuMilli: cores * 1000, memoryMib: cores * 2048, gpuMilli: 0 }));
  const tasks: TraceTask[] = [];
  for (let atS = 0; atS < 2 * 86_400;) {
    const isNoon = Math.abs((atS % 86_400) - 43_200) < 3600;
    atS += Math.ceil(-Math.log(1 - random()) * (isNoon ? 8 : 90));
    const need = shapes[Math.floor(random() ** 2 * shapes.length)]!;
    tasks.push({ submitS: atS, runS: 20 + Math.ceil(-Math.log(1 - random()) * 900), need, queue: 'generated' });
  }
  return { name: 'generated-2d', tasks, skipped: 0 };
}
