import type { Scaler } from '../../src/backtest/scaler.ts';
import type { Amount, NodeType } from '../../src/backtest/types.ts';
import { scaleAmount, subtractAmounts, timesInto } from '../../src/backtest/types.ts';
import { endIdle } from './idle.ts';
import type { Batch } from './uncovered.ts';
import { uncovered } from './uncovered.ts';

const TICK_S = 5;
const IDLE_TIMEOUT_S = 300;
const NODES_PER_ROUND_MAX = 2000;

/** How good a node is for what it would take: compared from the first figure on, higher is better. */
type Score = readonly [gpuOk: number, kinds: number, least: number, mean: number];

interface Filled {
  readonly type: NodeType;
  readonly score: Score;
  readonly left: readonly Batch[];
}

/**
 * Ray's second autoscaler: all requests are tried on one fresh node of each type, the node with the best utilization score is
 * kept with what it took, and so on until nothing is left. Idle nodes go after five minutes.
 */
export function ray({ types }: { types: readonly NodeType[] }): Scaler {
  return {
    name: 'Ray v2, idle 300 s',
    tickS: TICK_S,
    decide(view) {
      const counts = new Map<NodeType, number>();
      let left = [...uncovered(view)].sort(
        (a, b) => kindsOf(b.need) - kindsOf(a.need) || sumOf(b.need) - sumOf(a.need),
      );
      for (let node = 0; node < NODES_PER_ROUND_MAX && left.length > 0; node += 1) {
        const best = types.map((type) => fillOne(type, left)).reduce(better, null);
        if (best === null) break;
        counts.set(best.type, (counts.get(best.type) ?? 0) + 1);
        left = [...best.left];
      }
      return { launch: [...counts].map(([type, count]) => ({ type, count })), ...endIdle(view, IDLE_TIMEOUT_S) };
    },
  };
}

function kindsOf({ gpuMilli }: Amount): number {
  return gpuMilli > 0 ? 3 : 2;
}

/** Ray adds up amounts of different kinds as they are: cores, bytes, GPUs. */
function sumOf({ cpuMilli, memoryMib, gpuMilli }: Amount): number {
  return cpuMilli / 1000 + memoryMib * 1_048_576 + gpuMilli / 1000;
}

function better(best: Filled | null, next: Filled | null): Filled | null {
  if (best === null || next === null) return best ?? next;
  for (const [at, value] of next.score.entries()) {
    const other = best.score[at] ?? 0;
    if (value !== other) return value > other ? next : best;
  }
  return best;
}

/** Null when the type takes none of the requests. */
function fillOne(type: NodeType, requests: readonly Batch[]): Filled | null {
  let free = type.capacity;
  let taken = 0;
  let asksGpu = false;
  const left: Batch[] = [];
  for (const { need, count } of requests) {
    const here = Math.min(count, timesInto(need, free));
    free = subtractAmounts(free, scaleAmount(need, here));
    taken += here;
    asksGpu ||= need.gpuMilli > 0;
    if (here < count) left.push({ need, count: count - here });
  }
  if (taken === 0) return null;
  return { type, score: scoreOf(type.capacity, free, asksGpu), left };
}

/** Of the kinds the type has: how many are used, and total times the cube of the used share. */
function scoreOf(capacity: Amount, free: Amount, asksGpu: boolean): Score {
  const used = (whole: number, rest: number): number => whole * ((whole - rest) / whole) ** 3;
  const parts: readonly [number, number][] = [
    [capacity.cpuMilli / 1000, free.cpuMilli / 1000],
    [capacity.memoryMib / 1024, free.memoryMib / 1024],
    [capacity.gpuMilli / 1000, free.gpuMilli / 1000],
  ];
  const utils = parts.filter(([whole]) => whole > 0).map(([whole, rest]) => used(whole, rest));
  const gpuOk = capacity.gpuMilli > 0 && !asksGpu ? 0 : 1;
  const kinds = utils.filter((util) => util > 0).length;
  return [gpuOk, kinds, Math.min(...utils), utils.reduce((sum, util) => sum + util, 0) / utils.length];
}
