import type { Decision, Scaler, ScalerView } from '../../src/backtest/scaler.ts';
import { CheapestType } from '../../src/backtest/type-list.ts';
import type { Amount, NodeType } from '../../src/backtest/types.ts';
import { addAmounts, amountKey } from '../../src/backtest/types.ts';
import { endIdle } from './idle.ts';
import { uncovered } from './uncovered.ts';

export interface NaiveOptions {
  readonly types: readonly NodeType[];
  readonly holdS: number;
  readonly tickS: number;
  /** Tasks wait so long for a local place before a node is bought for them. */
  readonly waitS: number;
}

/** Equal nodes that are going to be launched. */
interface Planned {
  readonly type: NodeType;
  readonly used: Amount;
  count: number;
}

/**
 * Each task gets its own cheapest type, unless a node that is just being planned holds it for no more money. Nothing is
 * known of run times, and no task waits longer than `waitS`: what a planner has to beat.
 */
export function naive({ types, holdS, tickS, waitS }: NaiveOptions): Scaler {
  const cheapest = new CheapestType(types);
  return {
    name: waitS === 0 ? 'naive' : `naive, wait ${waitS} s`,
    tickS,
    decide(view) {
      const idle = endIdle(view, holdS);
      const planned = new Map<string, Planned>();
      for (const { need, count } of overdue(view, waitS)) {
        for (let task = 0; task < count; task += 1) join(planned, cheapest, need);
      }
      const launch = [...planned.values()].map(({ type, count }) => ({ type, count }));
      return { launch, terminate: idle.terminate, quietUntilS: Math.min(idle.quietUntilS, nextOverdueS(view, waitS)) };
    },
  };
}

function overdue(view: ScalerView, waitS: number): ReturnType<typeof uncovered> {
  if (waitS === 0) return uncovered(view);
  const pending = view.pending().map((group) => {
    return { need: group.need, staysLocal: group.staysLocal, count: group.submittedBy(view.nowS - waitS) };
  });
  return uncovered({ nodes: view.nodes, pending: () => pending.filter(({ count }) => count > 0) });
}

/** The oldest task that still may wait becomes overdue. */
function nextOverdueS(view: ScalerView, waitS: number): NonNullable<Decision['quietUntilS']> {
  if (waitS === 0) return Infinity;
  return view.pending().length > 0 ? view.nowS : Infinity;
}

function join(planned: Map<string, Planned>, cheapest: CheapestType, need: Amount): void {
  const own = cheapest.holding(need);
  if (own === null) return;
  let best: { from: Planned; type: NodeType; extra: number } | null = null;
  for (const from of planned.values()) {
    const type = cheapest.holding(addAmounts(from.used, need));
    if (type === null) continue;
    const extra = type.priceUsdPerHour - from.type.priceUsdPerHour;
    // A tenth of a cent per thousand hours: sizes of a family are rounded prices.
    if (extra <= own.priceUsdPerHour + 1e-6 && (best === null || extra < best.extra)) best = { from, type, extra };
  }
  if (best === null) return put(planned, { type: own, used: need });
  best.from.count -= 1;
  if (best.from.count === 0) planned.delete(keyOf(best.from));
  put(planned, { type: best.type, used: addAmounts(best.from.used, need) });
}

function put(planned: Map<string, Planned>, node: Omit<Planned, 'count'>): void {
  const key = keyOf(node);
  const known = planned.get(key);
  if (known === undefined) planned.set(key, { ...node, count: 1 });
  else known.count += 1;
}

function keyOf({ type, used }: Omit<Planned, 'count'>): string {
  return `${type.name} ${amountKey(used)}`;
}
