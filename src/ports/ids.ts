import type { IdPrefix } from '../model/ids.ts';

/** Randomness as the core may see it. Production: `node:crypto`; simulation: seeded. */
export interface Ids {
  /** A new id such as `mc-7f3ak2p9qx0z`. */
  next<P extends IdPrefix>(prefix: P): `${P}-${string}`;
  /** `bytes` random bytes as lower-case hex: nonces and tokens. */
  hex(bytes: number): string;
  /** A number in [0, 1) for jitter. */
  random(): number;
}
