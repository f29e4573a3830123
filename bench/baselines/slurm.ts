import type { Scaler } from '../../src/backtest/scaler.ts';
import type { Amount, NodeType } from '../../src/backtest/types.ts';
import { amountFits } from '../../src/backtest/types.ts';
import { endIdle } from './idle.ts';
import { fill, uncovered } from './uncovered.ts';

const TICK_S = 10;
const RESUMES_PER_TICK = (300 / 60) * TICK_S;
const SUSPENDS_PER_TICK = (60 / 60) * TICK_S;

export interface SlurmOptions {
  /** One partition each; a job belongs to the first whose node holds it. */
  readonly partitions: readonly NodeType[];
  readonly suspendTimeS: number;
}

/** Slurm's power saving: nodes are resumed for jobs that no booting node is promised to, and suspended after SuspendTime. */
export function slurm({ partitions, suspendTimeS }: SlurmOptions): Scaler {
  return {
    name: `Slurm, SuspendTime ${suspendTimeS} s`,
    tickS: TICK_S,
    decide(view) {
      const counts = new Map<NodeType, number>();
      const rooms = new Map<NodeType, Amount[]>();
      let resumed = 0;
      let isCut = false;
      for (const { need, count } of uncovered(view)) {
        const type = partitions.find(({ capacity }) => amountFits(need, capacity));
        if (type === undefined) continue;
        const free = rooms.get(type) ?? [];
        rooms.set(type, free);
        let left = fill(free, { need, count });
        for (; left > 0 && resumed < RESUMES_PER_TICK; resumed += 1) {
          free.push(type.capacity);
          counts.set(type, (counts.get(type) ?? 0) + 1);
          left = fill(free, { need, count: left });
        }
        isCut ||= left > 0;
      }
      const idle = endIdle(view, suspendTimeS);
      const terminate = idle.terminate.slice(0, SUSPENDS_PER_TICK);
      const isLate = isCut || terminate.length < idle.terminate.length;
      const launch = [...counts].map(([type, count]) => ({ type, count }));
      return { launch, terminate, quietUntilS: isLate ? view.nowS : idle.quietUntilS };
    },
  };
}
