import type { Scaler } from '../../src/backtest/scaler.ts';
import type { NodeType } from '../../src/backtest/types.ts';
import { clusterAutoscaler } from './cluster-autoscaler.ts';
import { escalator } from './escalator.ts';
import { karpenter } from './karpenter.ts';
import { naive } from './naive.ts';
import { ray } from './ray.ts';
import type { LogSettings } from './settings.ts';
import { slurm } from './slurm.ts';
import { targetTracking } from './target-tracking.ts';

/** Every peer's rule and the naive candidate, fresh: scalers remember what they saw. */
export function allBaselines(types: readonly NodeType[], { groups, single }: LogSettings): readonly Scaler[] {
  return [
    karpenter({ types, emptyS: 0 }),
    karpenter({ types, emptyS: 30 }),
    clusterAutoscaler({ groups }),
    slurm({ partitions: groups, suspendTimeS: 300 }),
    slurm({ partitions: groups, suspendTimeS: 600 }),
    ray({ types: groups }),
    targetTracking({ type: single }),
    escalator({ type: single }),
    naive({ types, holdS: 60, tickS: 5, waitS: 0 }),
    naive({ types, holdS: 60, tickS: 5, waitS: 300 }),
  ];
}

/** General-purpose types of the last four generations and GPU types, x86, without burstable ones. */
export function isUsual({ family, arch, burstable }: NodeType): boolean {
  return arch === 'x86_64' && !burstable && /^(?:[cmr][5-8][a-z-]*|g4dn|g5|g6|g6e|p3|p4d|p5)$/.test(family);
}
