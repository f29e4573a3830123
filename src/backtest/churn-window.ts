import { BILLED_MIN_MS } from '../model/money.ts';
import { SECOND_MS } from '../model/time.ts';
import { CHURN_WINDOW_MS } from '../planner/churn.ts';
import type { ChurnView } from '../planner/types.ts';
import { toMs } from './production-view.ts';
import type { NodeType } from './types.ts';

const WINDOW_S = CHURN_WINDOW_MS / SECOND_MS;
const START_MIN_S = BILLED_MIN_MS / SECOND_MS;

interface Gone {
  readonly size: string;
  readonly atS: number;
  /** A node of its size that is launched until then replaces it too soon. */
  readonly untilS: number;
}

interface Wanted {
  readonly size: string;
  readonly atS: number;
}

/** What the service reads from its rows: nodes that were let go within the last hour, and those that were replaced too soon. */
export class ChurnWindow {
  #gone: Gone[] = [];
  #wanted: Wanted[] = [];

  letGo(type: NodeType, atS: number, startS: number): void {
    this.#gone.push({ size: sizeOf(type), atS, untilS: atS + Math.max(START_MIN_S, startS) });
  }

  launch(type: NodeType, atS: number, count: number): void {
    for (let node = 0; node < count; node += 1) this.#wanted.push({ size: sizeOf(type), atS });
  }

  view(nowS: number): ChurnView {
    this.#gone = this.#gone.filter(({ atS }) => atS > nowS - WINDOW_S);
    this.#wanted = this.#wanted.filter(({ atS }) => atS > nowS - WINDOW_S);
    const replacements = new Set<Wanted>();
    let missed = 0;
    for (const gone of this.#gone) {
      const found = this.#wanted.filter(({ size, atS }) => size === gone.size && atS > gone.atS && atS <= gone.untilS);
      if (found.length > 0) missed += 1;
      for (const each of found) replacements.add(each);
    }
    const lastS = Math.max(...[...replacements].map(({ atS }) => atS));
    return {
      letGo: this.#gone.length,
      missed: Math.min(missed, replacements.size),
      lastMissedAtMs: replacements.size === 0 ? null : toMs(lastS),
    };
  }
}

function sizeOf({ capacity: { cpuMilli, memoryMib, gpuMilli } }: NodeType): string {
  return `${cpuMilli}/${memoryMib}/${gpuMilli}`;
}
