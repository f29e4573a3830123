import type { NodeView, PendingView } from '../../src/backtest/scaler.ts';
import type { Amount } from '../../src/backtest/types.ts';
import { amountFits, scaleAmount, subtractAmounts, timesInto } from '../../src/backtest/types.ts';

/** Equal tasks that wait. */
export interface Batch {
  readonly need: Amount;
  readonly count: number;
}

/** Pending tasks that may run in the cloud, for which no booting node has room; first come first served. */
export function uncovered(view: {
  pending(): readonly Pick<PendingView, 'need' | 'count' | 'staysLocal'>[];
  readonly nodes: Iterable<NodeView>;
}): readonly Batch[] {
  const pending = view.pending().filter(({ staysLocal }) => !staysLocal);
  if (pending.length === 0) return [];
  const rooms: Amount[] = [];
  for (const { state, free } of view.nodes) if (state === 'booting') rooms.push(free);
  const left: Batch[] = [];
  for (const { need, count } of pending) {
    const rest = fill(rooms, { need, count });
    if (rest > 0) left.push({ need, count: rest });
  }
  return left;
}

/** Puts tasks into rooms, first fit; changes the rooms and returns how many tasks are left. */
export function fill(rooms: Amount[], { need, count }: Batch): number {
  let left = count;
  for (let at = 0; at < rooms.length && left > 0; at += 1) {
    const room = rooms[at]!;
    if (!amountFits(need, room)) continue;
    const taken = Math.min(left, timesInto(need, room));
    rooms[at] = subtractAmounts(room, scaleAmount(need, taken));
    left -= taken;
  }
  return left;
}
