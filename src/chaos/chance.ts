import type { IdPrefix } from '../model/ids.ts';
import type { Ids } from '../ports/ids.ts';

/** FNV-1a over UTF-16 units with murmur's finish, 32 bits: quick and well mixed, which is all a schedule needs. */
function hash32(text: string, basis: number): number {
  let hash = basis | 0;
  for (let index = 0; index < text.length; index += 1) hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

/** A short name for a text, the same in every run. */
export function nameText(text: string): string {
  return hash32(text, 0x811c9dc5).toString(36);
}

/**
 * Every choice of a run. Each depends on the seed, the place that asks, and how often it asked before, and on nothing else:
 * leaving one fault out leaves all other choices where they are, which is what makes a failing run shrink.
 */
export class Chance {
  private readonly basis: number;
  private readonly visits = new Map<string, number>();

  constructor(seed: number) {
    this.basis = hash32(`seed ${seed}`, 0x811c9dc5);
  }

  /** In [0, 1), and the name of this choice: `site#visit`. */
  roll(site: string): { readonly value: number; readonly id: string; readonly visit: number } {
    const visit = (this.visits.get(site) ?? 0) + 1;
    this.visits.set(site, visit);
    const id = `${site}#${visit}`;
    return { value: hash32(id, this.basis) / 2 ** 32, id, visit };
  }

  /** A whole number from `low` to `high`, both included. */
  integer(site: string, low: number, high: number): number {
    return low + Math.floor(this.roll(site).value * (high - low + 1));
  }

  pick<T>(site: string, items: readonly [T, ...T[]]): T {
    return items[this.integer(site, 0, items.length - 1)] ?? items[0];
  }
}

/** Ids of one process or world: each a hash of the seed, its owner and a count. */
export class ChanceIds implements Ids {
  private readonly chance: Chance;
  private readonly owner: string;

  constructor(chance: Chance, owner: string) {
    this.chance = chance;
    this.owner = owner;
  }

  next<P extends IdPrefix>(prefix: P): `${P}-${string}` {
    return `${prefix}-${this.hex(6)}`;
  }

  hex(bytes: number): string {
    let text = '';
    while (text.length < bytes * 2) {
      const word = Math.floor(this.chance.roll(`${this.owner}:id`).value * 2 ** 32);
      text += word.toString(16).padStart(8, '0');
    }
    return text.slice(0, bytes * 2);
  }

  random(): number {
    return this.chance.roll(`${this.owner}:jitter`).value;
  }
}
