import type { Scaler } from '../../src/backtest/scaler.ts';
import { CheapestType } from '../../src/backtest/type-list.ts';
import type { Amount, NodeType } from '../../src/backtest/types.ts';
import { addAmounts, amountKey } from '../../src/backtest/types.ts';
import { uncovered } from './uncovered.ts';

/** Nodes planned in one round that are equal so far. */
interface Planned {
  readonly used: Amount;
  readonly pods: number;
  count: number;
}

const TICK_S = 10;
/** Disruption budget: a tenth of the nodes at a time. */
const BUDGET_SHARE = 0.1;

/**
 * Karpenter as documented in its scheduler and consolidation: pods by cpu, then memory, then age; each goes to the planned node
 * with the fewest pods that some type can still hold, else to a new one; the cheapest type that holds the sum is launched.
 * Of consolidation only the step that needs no eviction: empty nodes go, a tenth of all at a time.
 */
export function karpenter({ types, emptyS }: { types: readonly NodeType[]; emptyS: number }): Scaler {
  const cheapest = new CheapestType(types);
  return {
    name: `Karpenter, empty after ${emptyS} s`,
    tickS: TICK_S,
    decide(view) {
      const pods = [...uncovered(view)].sort(
        (a, b) => b.need.cpuMilli - a.need.cpuMilli || b.need.memoryMib - a.need.memoryMib,
      );
      let planned: Planned[] = [];
      for (const { need, count } of pods) {
        for (let pod = 0; pod < count; pod += 1) planned = addPod(planned, cheapest, need);
      }
      const launch = planned.flatMap(({ used, count }) => {
        const type = cheapest.holding(used);
        return type === null ? [] : [{ type, count }];
      });
      const empty = view.idleNodes().filter(({ idleSinceS }) => view.nowS - (idleSinceS ?? Infinity) >= emptyS);
      const terminate = empty.slice(0, Math.ceil(view.nodeCount * BUDGET_SHARE)).map(({ id }) => id);
      return { launch, terminate, quietUntilS: view.idleNodes().length > 0 ? view.nowS : Infinity };
    },
  };
}

/** `planned` stays ordered by pods, fewest first; of equal ones the older. */
function addPod(planned: Planned[], cheapest: CheapestType, need: Amount): Planned[] {
  if (cheapest.holding(need) === null) return planned;
  for (const node of planned) {
    const used = addAmounts(node.used, need);
    if (cheapest.holding(used) === null) continue;
    node.count -= 1;
    return insert(
      planned.filter(({ count }) => count > 0),
      { used, pods: node.pods + 1, count: 1 },
    );
  }
  return insert(planned, { used: need, pods: 1, count: 1 });
}

function insert(planned: Planned[], node: Planned): Planned[] {
  const same = planned.find(({ pods, used }) => pods === node.pods && amountKey(used) === amountKey(node.used));
  if (same !== undefined) {
    same.count += 1;
    return planned;
  }
  const at = planned.findIndex(({ pods }) => pods > node.pods);
  return at === -1 ? [...planned, node] : planned.toSpliced(at, 0, node);
}
