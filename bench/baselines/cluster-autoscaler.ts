import type { Decision, Scaler, ScalerView } from '../../src/backtest/scaler.ts';
import type { Amount, NodeType } from '../../src/backtest/types.ts';
import { NOTHING, addAmounts, amountFits, scaleAmount, subtractAmounts, timesInto } from '../../src/backtest/types.ts';
import type { Batch } from './uncovered.ts';
import { uncovered } from './uncovered.ts';

const TICK_S = 10;
const NODES_PER_SCALEUP_MAX = 1000;
const EMPTY_AT_ONCE_MAX = 10;
const UNNEEDED_S = 600;

export interface ClusterAutoscalerOptions {
  /** Node groups, each of one type. */
  readonly groups: readonly NodeType[];
  /** No node goes within this time of a scale-up; 600 is the default of the real one. */
  readonly delayAfterAddS?: number;
}

/**
 * Cluster Autoscaler with its default expander: every node group is tried for all pending pods, biggest first, always into the
 * last node added; the group with the least waste is scaled, one per loop. Nodes empty for ten minutes go, ten at a time.
 */
export function clusterAutoscaler({ groups, delayAfterAddS = 600 }: ClusterAutoscalerOptions): Scaler {
  let scaledUpAtS = -Infinity;
  return {
    name: 'Cluster Autoscaler, least-waste',
    tickS: TICK_S,
    decide(view) {
      const pods = uncovered(view);
      const options = groups.flatMap((type) => estimate(type, pods));
      options.sort((a, b) => a.waste - b.waste || a.type.priceUsdPerHour - b.type.priceUsdPerHour);
      const [best] = options;
      if (best !== undefined) {
        scaledUpAtS = view.nowS;
        return { launch: [{ type: best.type, count: best.count }], terminate: [] };
      }
      return scaleDown(view, scaledUpAtS + delayAfterAddS);
    },
  };
}

function scaleDown(view: ScalerView, allowedFromS: number): Decision {
  const idle = view.idleNodes();
  if (idle.length === 0) return { launch: [], terminate: [], quietUntilS: Infinity };
  if (view.nowS < allowedFromS) return { launch: [], terminate: [], quietUntilS: allowedFromS };
  const unneeded = idle.filter(({ idleSinceS }) => view.nowS - (idleSinceS ?? Infinity) >= UNNEEDED_S);
  return { launch: [], terminate: unneeded.slice(0, EMPTY_AT_ONCE_MAX).map(({ id }) => id) };
}

interface Option {
  readonly type: NodeType;
  readonly count: number;
  readonly waste: number;
}

/** Nodes of this type for the pods, by the binpacking estimator; nothing when it holds none of them. */
function estimate(type: NodeType, pods: readonly Batch[]): Option[] {
  const { capacity } = type;
  const size = ({ cpuMilli, memoryMib }: Amount): number =>
    cpuMilli / capacity.cpuMilli + memoryMib / capacity.memoryMib;
  const fitting = pods.filter(({ need }) => amountFits(need, capacity)).sort((a, b) => size(b.need) - size(a.need));
  let last: Amount = NOTHING;
  let count = 0;
  let used = NOTHING;
  for (const batch of fitting) {
    let left = batch.count;
    while (left > 0) {
      const taken = Math.min(left, timesInto(batch.need, last));
      last = subtractAmounts(last, scaleAmount(batch.need, taken));
      used = addAmounts(used, scaleAmount(batch.need, taken));
      left -= taken;
      if (left === 0 || count === NODES_PER_SCALEUP_MAX) break;
      last = capacity;
      count += 1;
    }
  }
  if (count === 0) return [];
  const share = (part: number, whole: number): number => (whole === 0 ? 1 : part / (count * whole));
  const waste = 2 - share(used.cpuMilli, capacity.cpuMilli) - share(used.memoryMib, capacity.memoryMib);
  return [{ type, count, waste }];
}
