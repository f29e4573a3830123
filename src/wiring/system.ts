import { randomBytes } from 'node:crypto';
import { setTimeout as sleepMs } from 'node:timers/promises';

import type { Clock } from '../ports/clock.ts';
import type { Ids } from '../ports/ids.ts';

/** The machine's clock. */
export const systemClock: Clock = {
  nowMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  async sleep(ms, signal) {
    await sleepMs(ms, undefined, signal === undefined ? {} : { signal });
  },
};

const ID_ALPHABET = '0123456789abcdefghjkmnpqrstvwxyz';
const ID_LENGTH = 12;

/** The machine's randomness. */
export const systemIds: Ids = {
  next(prefix) {
    // 32 characters divide 256 evenly: a byte modulo 32 prefers none of them.
    const characters = [...randomBytes(ID_LENGTH)].map((byte) => ID_ALPHABET[byte % ID_ALPHABET.length]);
    return `${prefix}-${characters.join('')}`;
  },
  hex: (bytes) => randomBytes(bytes).toString('hex'),
  random: () => randomBytes(4).readUInt32BE() / 2 ** 32,
};
