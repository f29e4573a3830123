import { randomBytes, randomUUID } from 'node:crypto';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { runInside, runOutside, stretchTripwire } from '../../src/chaos/tripwire.ts';

const FORBIDDEN: readonly (readonly [string, () => unknown])[] = [
  ['Date.now', () => Date.now()],
  ['new Date()', () => new Date()],
  ['Math.random', () => Math.random()],
  ['performance.now', () => performance.now()],
  ['setTimeout', () => clearTimeout(setTimeout(() => undefined, 0))],
  ['setInterval', () => clearInterval(setInterval(() => undefined, 1_000))],
  ['process.hrtime', () => process.hrtime()],
  ['randomUUID', () => randomUUID()],
  ['randomBytes', () => randomBytes(4)],
  ['AbortSignal.timeout', () => AbortSignal.timeout(1_000)],
];

let restore: () => void = () => undefined;

beforeEach(() => {
  restore = stretchTripwire();
});

afterEach(() => restore());

test.each(FORBIDDEN)('%s throws inside the simulation, and only there', (_name, use) => {
  expect(() => runInside(use)).toThrow(/was used inside the simulation/);
  expect(() => use()).not.toThrow();
  expect(() => runInside(() => runOutside(use))).not.toThrow();
});

test('follows the code of a process through its awaits', async () => {
  const late = runInside(async () => {
    await Promise.resolve();
    await Promise.resolve();
    return Date.now();
  });
  await expect(late).rejects.toThrow('Date.now'.split('.')[1]);
});

test('leaves dates of a known moment alone', () => {
  expect(runInside(() => new Date(0).toISOString())).toBe('1970-01-01T00:00:00.000Z');
});
