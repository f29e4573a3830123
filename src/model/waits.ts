import { REACHING_WAITS } from './waits-reaching.ts';
import { SERVING_WAITS } from './waits-serving.ts';

/**
 * Every wait in the process, with its number: the code takes the numbers from here and has no others, `docs/waits.md` is
 * made from here, and a test shows for each that it ends. How long rows may stay in their states is in `state-waits.ts`.
 */
export const WAITS = { ...REACHING_WAITS, ...SERVING_WAITS };

export type WaitName = keyof typeof WAITS;

/** The published number of a wait. */
export function waitMs(name: WaitName): number {
  return WAITS[name].ms;
}
