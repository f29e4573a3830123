import type { UtilizationView } from '../planner/types.ts';
import { toMs } from './production-view.ts';
import type { ScalerView } from './scaler.ts';
import type { Amount } from './types.ts';
import { NOTHING, addAmounts, subtractAmounts } from './types.ts';

interface UseSample {
  readonly atS: number;
  readonly used: Amount;
  readonly capacity: Amount;
}

/** How busy the agents were, averaged over a window of time, as the service's samples would tell. */
export class UtilizationWindow {
  readonly #windowS: number;
  #samples: UseSample[] = [];

  constructor(windowS: number) {
    this.#windowS = windowS;
  }

  /** Takes a sample of all agents, local ones and ready nodes. */
  add(view: ScalerView): void {
    let used = NOTHING;
    let capacity = NOTHING;
    const count = (whole: Amount, free: Amount): void => {
      capacity = addAmounts(capacity, whole);
      used = addAmounts(used, subtractAmounts(whole, free));
    };
    for (const local of view.locals) count(local.capacity, local.free);
    for (const { state, type, free } of view.nodes) if (state === 'ready') count(type.capacity, free);
    this.#samples = this.#samples.filter(({ atS }) => atS > view.nowS - this.#windowS);
    this.#samples.push({ atS: view.nowS, used, capacity });
  }

  /** Null without a sample or without any capacity. */
  mean(): UtilizationView | null {
    const oldest = this.#samples[0];
    const newest = this.#samples.at(-1);
    const sum = (pick: (sample: UseSample) => Amount): Amount => this.#samples.map(pick).reduce(addAmounts, NOTHING);
    const used = sum((sample) => sample.used);
    const capacity = sum((sample) => sample.capacity);
    if (oldest === undefined || newest === undefined || capacity.cpuMilli === 0) return null;
    const count = this.#samples.length;
    return {
      cpu: used.cpuMilli / capacity.cpuMilli,
      memory: capacity.memoryMib === 0 ? 0 : used.memoryMib / capacity.memoryMib,
      oldestSampleAtMs: toMs(oldest.atS),
      newestSampleAtMs: toMs(newest.atS),
      capacity: {
        cpuMilli: Math.round(capacity.cpuMilli / count),
        memoryMib: Math.round(capacity.memoryMib / count),
        gpus: capacity.gpuMilli / 1000 / count,
      },
    };
  }
}
