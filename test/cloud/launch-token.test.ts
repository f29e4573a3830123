import { randomBytes } from 'node:crypto';
import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { makeLaunchToken, verifyLaunchToken } from '../../src/cloud/launch-token.ts';

const key = Buffer.alloc(32, 7);
const nonce = '0123456789abcdef0123456789abcdef';

function nonces(): fc.Arbitrary<string> {
  return fc.uint8Array({ minLength: 16, maxLength: 16 }).map((bytes) => Buffer.from(bytes).toString('hex'));
}

test('every token of attempts 1 to 999 fits into the 64 characters of EC2 and verifies to what it was made of', () => {
  fc.assert(
    fc.property(nonces(), fc.integer({ min: 1, max: 999 }), (anyNonce, attempt) => {
      const token = makeLaunchToken(key, anyNonce, attempt);
      expect(token).toMatch(/^sw1\.[0-9a-f]{32}\.\d{1,3}\.[A-Za-z0-9_-]{22}$/);
      expect(token.length).toBeLessThanOrEqual(64);
      expect(verifyLaunchToken(key, token)).toEqual({ nonce: anyNonce, attempt });
    }),
  );
});

test('the token of a launch is the same whenever it is made', () => {
  expect(makeLaunchToken(key, nonce, 1)).toBe('sw1.0123456789abcdef0123456789abcdef.1.p7DS1UcnOm0V0oV-uRklI4');
});

test('a token of another key is foreign', () => {
  expect(verifyLaunchToken(randomBytes(32), makeLaunchToken(key, nonce, 1))).toBeNull();
});

test('a token with any character changed is foreign', () => {
  const token = makeLaunchToken(key, nonce, 12);
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: token.length - 1 }),
      fc.constantFrom('0', 'a', '1', 'Z', '.', '-', '_', ' ', 'é'),
      (at, char) => {
        if (token[at] === char) return;
        expect(verifyLaunchToken(key, `${token.slice(0, at)}${char}${token.slice(at + 1)}`)).toBeNull();
      },
    ),
  );
});

test.each(['', 'sw1', 'b1946ac9-2492-d234-7c62-35b4d2611184', `sw1.${nonce}.0.${'A'.repeat(22)}`, `sw1.${nonce}.1.`])(
  'what does not look like a token is foreign: %j',
  (token) => {
    expect(verifyLaunchToken(key, token)).toBeNull();
  },
);

test.each([0, 1000, 1.5, Number.NaN, -1])('an attempt of %s is a bug', (attempt) => {
  expect(() => makeLaunchToken(key, nonce, attempt)).toThrow(RangeError);
});

test.each(['', 'ABC', nonce.toUpperCase(), `${nonce}0`])('a nonce of %j is a bug', (bad) => {
  expect(() => makeLaunchToken(key, bad, 1)).toThrow(RangeError);
});
