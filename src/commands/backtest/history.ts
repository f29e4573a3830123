import { makeTrace } from '../../backtest/trace.ts';
import type { Amount, Trace } from '../../backtest/types.ts';
import type { Resources } from '../../model/resources.ts';
import type { History } from '../../ports/history.ts';

/** What the database remembers of a workload, as a job log. Seconds count from `fromMs`. */
export function traceOf(history: History, { name, fromMs }: { readonly name: string; readonly fromMs: number }): Trace {
  const tasks = history.tasks.map((task) => ({
    submitS: (task.submittedAtMs - fromMs) / 1000,
    runS: task.ranMs === null ? null : Math.max(0, task.ranMs) / 1000,
    cores: task.cpuMilli / 1000,
    memoryMib: task.memoryMib,
    gpus: task.gpus,
    queue: '',
    staysLocal: task.localOnly,
  }));
  return makeTrace(name, tasks);
}

/** The same capacity or shape in the words of the backtest. */
export function amountOf({ cpuMilli, memoryMib, gpus }: Resources): Amount {
  return { cpuMilli, memoryMib, gpuMilli: gpus * 1000 };
}
