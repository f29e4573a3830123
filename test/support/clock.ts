import { randomBytes } from 'node:crypto';
import { setTimeout } from 'node:timers/promises';
import type { IdPrefix } from '../../src/model/ids.ts';
import type { Clock } from '../../src/ports/clock.ts';
import type { Ids } from '../../src/ports/ids.ts';

/** The machine's clock, for tests against real servers. */
export const realClock: Clock = {
  nowMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  sleep: async (ms, signal) => {
    await setTimeout(ms, undefined, signal === undefined ? {} : { signal });
  },
};

const ALPHABET = '0123456789abcdefghijklmnopqrstuv';

/** Random ids, for tests in which two runs must not meet. */
export const randomIds: Ids = {
  next: <P extends IdPrefix>(prefix: P) => {
    const text = Array.from(randomBytes(12), (byte) => ALPHABET[byte % ALPHABET.length]).join('');
    return `${prefix}-${text}`;
  },
  hex: (bytes) => randomBytes(bytes).toString('hex'),
  random: () => randomBytes(4).readUInt32BE() / 2 ** 32,
};
