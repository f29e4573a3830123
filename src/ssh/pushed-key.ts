import assert from 'node:assert/strict';
import { generateKeyPair } from 'node:crypto';
import { promisify } from 'node:util';
import { openSshKeyPair, type OpenSshKeyPair } from '../model/openssh-key.ts';
import type { PushedLogin } from '../ports/shell.ts';
import { raceAbort } from './abort.ts';

/**
 * Makes a key pair for one log-in and has its public half pushed. For the moment before the log-in and no earlier: what is
 * pushed is good for a minute. Gives the private half, in OpenSSH's own format.
 */
export async function pushNewKey({ push }: PushedLogin, signal: AbortSignal): Promise<string> {
  const { privateOpenSsh, publicOpenSsh } = await makeKeyPair();
  await raceAbort(signal, push(publicOpenSsh));
  return privateOpenSsh;
}

async function makeKeyPair(): Promise<OpenSshKeyPair> {
  const { privateKey } = await promisify(generateKeyPair)('ed25519');
  const { d, x } = privateKey.export({ format: 'jwk' });
  assert(typeof d === 'string' && typeof x === 'string', 'an Ed25519 JWK has d and x');
  return openSshKeyPair(Buffer.from(d, 'base64url'), Buffer.from(x, 'base64url'));
}
