import type { Amount, NodeType } from './types.ts';
import { amountFits, amountKey } from './types.ts';

/** Types that no other type beats: none holds as much of everything and costs no more. Cheapest first. */
export function keepUnbeaten(types: readonly NodeType[]): NodeType[] {
  const kept: NodeType[] = [];
  for (const type of [...types].sort(compareTypes)) {
    if (!kept.some((better) => amountFits(type.capacity, better.capacity))) kept.push(type);
  }
  return kept;
}

function compareTypes(a: NodeType, b: NodeType): number {
  return (
    a.priceUsdPerHour - b.priceUsdPerHour ||
    b.capacity.cpuMilli - a.capacity.cpuMilli ||
    b.capacity.memoryMib - a.capacity.memoryMib ||
    b.capacity.gpuMilli - a.capacity.gpuMilli ||
    (a.name < b.name ? -1 : 1)
  );
}

/** Finds the cheapest type for a need, and remembers what it found. */
export class CheapestType {
  readonly #types: readonly NodeType[];
  readonly #found = new Map<string, NodeType | null>();

  constructor(types: readonly NodeType[]) {
    this.#types = keepUnbeaten(types);
  }

  /** Null when no type holds the need. */
  holding(need: Amount): NodeType | null {
    const key = amountKey(need);
    let found = this.#found.get(key);
    if (found === undefined) {
      found = this.#types.find(({ capacity }) => amountFits(need, capacity)) ?? null;
      this.#found.set(key, found);
    }
    return found;
  }
}
