import type { NodeView, Scaler, ScalerView } from '../../src/backtest/scaler.ts';
import type { Amount, NodeType } from '../../src/backtest/types.ts';
import { NOTHING, addAmounts, amountFits, scaleAmount, subtractAmounts } from '../../src/backtest/types.ts';

const TICK_S = 60;
const LOCK_S = 120;
const SOFT_DELETE_S = 60;
const SCALE_UP_PERCENT = 70;

/**
 * Atlassian's Escalator on one node group: what all pods ask for, pending ones too, against the capacity that is not tainted.
 * Below 40 % two nodes are tainted, below 10 % five, the oldest first; a tainted node that is empty for a minute goes.
 */
export function escalator({ type }: { type: NodeType }): Scaler {
  const taintedAtS = new Map<number, number>();
  let lockedUntilS = -Infinity;
  return {
    name: 'Escalator',
    tickS: TICK_S,
    decide(view) {
      const nodes = [...view.nodes];
      const terminate = nodes.filter((node) => isGoing(node, taintedAtS, view.nowS)).map(({ id }) => id);
      for (const id of terminate) taintedAtS.delete(id);
      if (view.nowS < lockedUntilS) return { launch: [], terminate };
      const untainted = nodes.filter(({ id, cordoned }) => !cordoned && !terminate.includes(id));
      const wanted = wantedMore(view, type, untainted);
      if (wanted > 0) {
        const uncordon = [...taintedAtS.keys()].slice(0, wanted);
        for (const id of uncordon) taintedAtS.delete(id);
        const count = wanted - uncordon.length;
        if (count > 0) lockedUntilS = view.nowS + LOCK_S;
        return { launch: count > 0 ? [{ type, count }] : [], terminate, uncordon };
      }
      const cordon = untainted.slice(0, tooMany(percentUsed(view, type, untainted))).map(({ id }) => id);
      for (const id of cordon) taintedAtS.set(id, view.nowS);
      return { launch: [], terminate, cordon };
    },
  };
}

function isGoing({ id, runningTasks, idleSinceS }: NodeView, taintedAtS: Map<number, number>, nowS: number): boolean {
  const atS = taintedAtS.get(id);
  if (atS === undefined || runningTasks > 0 || idleSinceS === null) return false;
  return nowS - Math.max(atS, idleSinceS) >= SOFT_DELETE_S;
}

/** All that the group's pods ask for. */
function requests(view: ScalerView, type: NodeType): Amount {
  let sum = NOTHING;
  for (const { type: own, free } of view.nodes) sum = addAmounts(sum, subtractAmounts(own.capacity, free));
  for (const { need, count, staysLocal } of view.pending()) {
    if (!staysLocal && amountFits(need, type.capacity)) sum = addAmounts(sum, scaleAmount(need, count));
  }
  return sum;
}

function percentUsed(view: ScalerView, { capacity, ...type }: NodeType, untainted: readonly NodeView[]): number {
  const used = requests(view, { capacity, ...type });
  const share = (part: number, whole: number): number => (part === 0 ? 0 : (100 * part) / (whole * untainted.length));
  return Math.max(share(used.cpuMilli, capacity.cpuMilli), share(used.memoryMib, capacity.memoryMib));
}

function wantedMore(view: ScalerView, type: NodeType, untainted: readonly NodeView[]): number {
  const percent = percentUsed(view, type, untainted);
  if (percent === 0) return 0;
  if (untainted.length === 0) {
    const used = requests(view, type);
    const nodes = Math.max(used.cpuMilli / type.capacity.cpuMilli, used.memoryMib / type.capacity.memoryMib);
    return Math.ceil(nodes / (SCALE_UP_PERCENT / 100));
  }
  const more = Math.ceil((untainted.length * (percent - SCALE_UP_PERCENT)) / SCALE_UP_PERCENT);
  return Math.max(more, isStarving(view, type, untainted) ? 1 : 0);
}

/** `scale_on_starve`: a pod fits no node although the share is low. */
function isStarving(view: ScalerView, type: NodeType, untainted: readonly NodeView[]): boolean {
  return view
    .pending()
    .some(
      ({ need, staysLocal }) =>
        !staysLocal && amountFits(need, type.capacity) && !untainted.some(({ free }) => amountFits(need, free)),
    );
}

function tooMany(percent: number): number {
  if (percent < 10) return 5;
  return percent < 40 ? 2 : 0;
}
