import type { NodeView, ScalerView } from '../../src/backtest/scaler.ts';
import type { Amount } from '../../src/backtest/types.ts';

/** Room that is on its way, as peers' rules see it. */
export interface BareNode {
  readonly free: Amount;
}

/** One moment for a peer's rule: tasks that wait, and room they may take. */
export function stillView(
  pending: readonly { readonly need: Amount; readonly count: number }[],
  rooms: readonly BareNode[],
): ScalerView {
  const nodes = rooms.map(({ free }, id) => nodeOf(id, free));
  return {
    nowS: 0,
    pending: () =>
      pending.map(({ need, count }, order) => ({
        need,
        count,
        oldestSubmitS: 0,
        staysLocal: false,
        order,
        submittedBy: () => count,
        submitS: (position) => (position < count ? 0 : Infinity),
      })),
    nodes,
    nodeCount: nodes.length,
    locals: [],
    idleNodes: () => [],
  };
}

function nodeOf(id: number, free: Amount): NodeView {
  return {
    id,
    type: {
      name: 'room',
      capacity: free,
      priceUsdPerHour: 0,
      family: 'room',
      arch: 'x86_64',
      burstable: false,
      spotUsdPerHour: null,
    },
    state: 'booting',
    free,
    runningTasks: 0,
    launchedAtS: 0,
    readyAtS: Infinity,
    idleSinceS: null,
    cordoned: false,
  };
}
