import assert from 'node:assert/strict';
import { createHmac, createPrivateKey, createPublicKey } from 'node:crypto';
import { openSshKeyPair, type OpenSshKeyPair } from '../model/openssh-key.ts';

/** PKCS#8 wrapping of a bare 32-byte Ed25519 seed (RFC 8410, section 7). */
const PKCS8_ED25519_PREFIX = Buffer.from('302e020100300506032b657004220420', 'hex');
const SEED_BYTES = 32;

/** An SSH host key pair. */
export type HostKey = OpenSshKeyPair;

/**
 * The one-time host key that a launch puts on its machines. It follows from the deployment key and the nonce of the
 * launch, so that rows need no private half and a replayed launch carries the same user-data to the byte.
 */
export function deriveHostKey(deploymentKey: Buffer, nonce: string): HostKey {
  assert(deploymentKey.length >= SEED_BYTES, 'the deployment key has at least 256 bits');
  const seed = createHmac('sha256', deploymentKey).update(`spillway host key v1|${nonce}`).digest();
  return openSshKeyPair(seed, ed25519PublicBytes(seed));
}

/**
 * What a machine keeps beside the key that it made, so that a database that forgot the key can believe it again: nobody without
 * the deployment key can make it for another key, or for another machine. No secret by itself.
 */
export function hostKeyProof(deploymentKey: Buffer, made: MadeKey): string {
  const text = `spillway host key proof v1|${made.nonce}|${made.instanceId}|${made.key}`;
  return createHmac('sha256', deploymentKey).update(text).digest('hex');
}

/** A key that a machine made, and which machine. */
export interface MadeKey {
  /** Of its launch. */
  readonly nonce: string;
  readonly instanceId: string;
  /** `ssh-ed25519 AAAA...` without a comment. */
  readonly key: string;
}

function ed25519PublicBytes(seed: Buffer): Buffer {
  const privateKey = createPrivateKey({
    key: Buffer.concat([PKCS8_ED25519_PREFIX, seed]),
    format: 'der',
    type: 'pkcs8',
  });
  const { x } = createPublicKey(privateKey).export({ format: 'jwk' });
  assert(typeof x === 'string', 'an Ed25519 JWK has x');
  return Buffer.from(x, 'base64url');
}
