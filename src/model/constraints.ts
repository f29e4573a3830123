import type { Site } from './agent.ts';
import type { Architecture, Market } from './offering.ts';

/** Where a task may run; its shape says how much it needs there. */
export interface Constraints {
  /** Null = any. */
  readonly arch: Architecture | null;
  /** Never in the cloud. */
  readonly localOnly: boolean;
  /** False: not on a machine that the spot market may take back. */
  readonly spotOk: boolean;
}

/** No constraints at all. */
export const ANYWHERE: Constraints = Object.freeze({ arch: null, localOnly: false, spotOk: true });

/** Where an agent stands, as far as constraints ask. */
export interface Place {
  readonly site: Site;
  /** Null = not known: then it does not serve work that asks for one. */
  readonly arch: Architecture | null;
  /** Null on-prem. */
  readonly market: Market | null;
}

/** True when a task with these constraints may run there. */
export function mayRunAt({ arch, localOnly, spotOk }: Constraints, place: Place): boolean {
  if (localOnly && place.site !== 'on-prem') return false;
  if (!spotOk && place.market === 'spot') return false;
  return arch === null || arch === place.arch;
}

/** A stable key for grouping, empty without constraints: e.g. `-arm64-local`. */
export function constraintsKey({ arch, localOnly, spotOk }: Constraints): string {
  return `${arch === null ? '' : `-${arch}`}${localOnly ? '-local' : ''}${spotOk ? '' : '-nospot'}`;
}
