import type { Amount, Trace, TraceTask } from '../../backtest/types.ts';
import { amountKey } from '../../backtest/types.ts';
import type { Resources } from '../../model/resources.ts';
import type { History } from '../../ports/history.ts';

/** What the database remembers of a workload, as a job log. Seconds count from `fromMs`. */
export function traceOf(history: History, { name, fromMs }: { readonly name: string; readonly fromMs: number }): Trace {
  // Equal needs are one object: the replay groups by it.
  const needs = new Map<string, Amount>();
  const intern = (need: Amount): Amount => {
    const key = amountKey(need);
    const known = needs.get(key) ?? need;
    needs.set(key, known);
    return known;
  };
  const tasks = history.tasks.flatMap((task): TraceTask[] => {
    if (task.ranMs === null) return [];
    const submitS = (task.submittedAtMs - fromMs) / 1000;
    const common = { submitS, runS: Math.max(0, task.ranMs) / 1000, need: intern(amountOf(task)), queue: '' };
    return [task.localOnly ? { ...common, staysLocal: true } : common];
  });
  return { name, tasks, skipped: history.tasks.length - tasks.length };
}

/** The same capacity or shape in the words of the backtest. */
export function amountOf({ cpuMilli, memoryMib, gpus }: Resources): Amount {
  return { cpuMilli, memoryMib, gpuMilli: gpus * 1000 };
}
