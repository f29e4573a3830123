import { createHmac, timingSafeEqual } from 'node:crypto';

/** 128 random bits as hex, made once per launch row. */
const NONCE_PATTERN = /^[0-9a-f]{32}$/;
const TOKEN_PATTERN = /^sw1\.([0-9a-f]{32})\.([1-9]\d{0,2})\.([A-Za-z0-9_-]{22})$/;
/** `sw1.` 4 + nonce 32 + `.` 1 + attempt at most 3 + `.` 1 + hash 22 = 63; EC2 takes at most 64. */
const ATTEMPT_MAX = 999;
/** 22 base64url characters carry 132 bits of the SHA-256: a forger's chance per try is 2^-132. */
const HASH_CHARS = 22;

/**
 * The client token of one attempt of a launch: `sw1.<nonce>.<attempt>.<hash>`, at most 63 ASCII characters.
 * EC2 shows it for as long as it shows the instance and nobody can change it later, so that the keyed hash proves that
 * this deployment asked for the instance. `nonce` is 32 hex digits, `attempt` is 1 to 999; anything else is a bug.
 */
export function makeLaunchToken(key: Buffer, nonce: string, attempt: number): string {
  if (!NONCE_PATTERN.test(nonce)) throw new RangeError('The nonce of a launch token is 32 lower-case hex digits.');
  if (!Number.isInteger(attempt) || attempt < 1 || attempt > ATTEMPT_MAX) {
    throw new RangeError(`The attempt of a launch token is 1 to ${ATTEMPT_MAX}, not ${attempt}.`);
  }
  return `sw1.${nonce}.${attempt}.${hashOf(key, nonce, attempt)}`;
}

/** What a client token says if this deployment's key made it, else null: a foreign, edited or random token. */
export function verifyLaunchToken(key: Buffer, token: string): { nonce: string; attempt: number } | null {
  const [, nonce, attemptText, hash] = TOKEN_PATTERN.exec(token) ?? [];
  if (nonce === undefined || attemptText === undefined || hash === undefined) return null;
  const attempt = Number(attemptText);
  // The pattern fixes the length of both, which timingSafeEqual demands.
  const same = timingSafeEqual(Buffer.from(hash, 'ascii'), Buffer.from(hashOf(key, nonce, attempt), 'ascii'));
  return same ? { nonce, attempt } : null;
}

function hashOf(key: Buffer, nonce: string, attempt: number): string {
  // The label keeps this hash apart from the others made with the deployment key (host keys).
  const hmac = createHmac('sha256', key).update(`spillway launch token v1|${nonce}|${attempt}`);
  return hmac.digest('base64url').slice(0, HASH_CHARS);
}
