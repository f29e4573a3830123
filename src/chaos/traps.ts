import type { Chance } from './chance.ts';
import type { FaultRates } from './sim.ts';

/** Stops come twice: they are what fences are for. */
const KINDS = [
  'stop-before',
  'stop-after',
  'stop-before',
  'stop-after',
  'crash-before',
  'crash-after',
  'lose',
  'drop',
  'slow',
] as const;

/** Where transactions begin and end, other statements, and everything that is not Postgres: chosen alike. */
type Realm = 'edge' | 'sql' | 'outside';
const REALMS = ['edge', 'edge', 'sql', 'outside'] as const;

function realmOf(site: string): Realm {
  if (/:sql\.(?:begin|commit)\b/.test(site)) return 'edge';
  return site.includes(':sql.') ? 'sql' : 'outside';
}

/** Faults that wait at a place for whoever comes by next. */
export class Traps {
  private readonly seen = new Set<string>();
  private readonly places: Readonly<Record<Realm, string[]>> = { edge: [], sql: [], outside: [] };
  private readonly waiting = new Map<string, string>();

  set(chance: Chance): void {
    const places = this.places[chance.pick('trap:realm', REALMS)];
    const kind = chance.pick('trap:kind', KINDS);
    const place = places[chance.integer('trap:place', 0, Math.max(0, places.length - 1))];
    if (place !== undefined) this.waiting.set(place, kind);
  }

  /** Somebody comes by. @param rates whose kinds are possible here */
  spring(site: string, rates: FaultRates): string | null {
    if (!this.seen.has(site)) {
      this.seen.add(site);
      this.places[realmOf(site)].push(site);
    }
    const kind = this.waiting.get(site);
    if (kind === undefined) return null;
    this.waiting.delete(site);
    return kind in rates ? kind : null;
  }
}
