import type { NodeView, Scaler, ScalerView } from '../../src/backtest/scaler.ts';
import type { NodeType } from '../../src/backtest/types.ts';

const TICK_S = 60;
const TARGET = 0.7;
const WARM_UP_S = 300;
const BREACHES_OUT = 3;
const BREACHES_IN = 15;

/** An EC2 Auto Scaling group of one type with target tracking on CPU: it sees how busy its nodes are, never what waits. */
export function targetTracking({ type }: { type: NodeType }): Scaler {
  let high = 0;
  let low = 0;
  return {
    name: 'target tracking 70 %',
    tickS: TICK_S,
    decide(view) {
      const warm = [...view.nodes].filter(({ readyAtS }) => view.nowS >= readyAtS + WARM_UP_S);
      if (view.nodeCount === 0) return { launch: [{ type, count: 1 }], terminate: [] };
      const used = shareUsed(warm);
      high = used > TARGET ? high + 1 : 0;
      low = used < 0.9 * TARGET ? low + 1 : 0;
      const desired = Math.max(1, Math.ceil((warm.length * used) / TARGET));
      const missing = desired - view.nodeCount;
      if (high >= BREACHES_OUT && missing > 0) return { launch: [{ type, count: missing }], terminate: [] };
      if (low < BREACHES_IN || missing >= 0) return { launch: [], terminate: [] };
      return { launch: [], terminate: idleIds(view).slice(0, -missing) };
    },
  };
}

function shareUsed(nodes: readonly NodeView[]): number {
  const all = nodes.reduce((sum, { type }) => sum + type.capacity.cpuMilli, 0);
  const free = nodes.reduce((sum, node) => sum + node.free.cpuMilli, 0);
  return all === 0 ? 0 : (all - free) / all;
}

function idleIds(view: ScalerView): number[] {
  return view.idleNodes().map(({ id }) => id);
}
