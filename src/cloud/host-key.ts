import assert from 'node:assert/strict';
import { createHmac, createPrivateKey, createPublicKey } from 'node:crypto';

const KEY_TYPE = 'ssh-ed25519';
/** PKCS#8 wrapping of a bare 32-byte Ed25519 seed (RFC 8410, section 7). */
const PKCS8_ED25519_PREFIX = Buffer.from('302e020100300506032b657004220420', 'hex');
const SEED_BYTES = 32;
/** What the format pads to when the key is not encrypted (openssh PROTOCOL.key). */
const OPENSSH_BLOCK_BYTES = 8;
const PEM_LINE_CHARS = 70;

/** An SSH host key pair in OpenSSH's own formats. */
export interface HostKey {
  /** `-----BEGIN OPENSSH PRIVATE KEY-----...`, with a newline at the end. A secret: never logged, never stored. */
  readonly privateOpenSsh: string;
  /** `ssh-ed25519 AAAA...` without a comment. */
  readonly publicOpenSsh: string;
}

/**
 * The one-time host key that a launch puts on its machines. It follows from the deployment key and the nonce of the
 * launch, so that rows need no private half and a replayed launch carries the same user-data to the byte.
 */
export function deriveHostKey(deploymentKey: Buffer, nonce: string): HostKey {
  assert(deploymentKey.length >= SEED_BYTES, 'the deployment key has at least 256 bits');
  const seed = createHmac('sha256', deploymentKey).update(`spillway host key v1|${nonce}`).digest();
  const publicBytes = ed25519PublicBytes(seed);
  const publicBlob = Buffer.concat([sshString(KEY_TYPE), sshString(publicBytes)]);
  return {
    privateOpenSsh: openSshPrivatePem(seed, publicBytes, publicBlob),
    publicOpenSsh: `${KEY_TYPE} ${publicBlob.toString('base64')}`,
  };
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

function openSshPrivatePem(seed: Buffer, publicBytes: Buffer, publicBlob: Buffer): string {
  // The check number only has to occur twice; ours follows from the public key, because the text must come out the same.
  const check = publicBytes.subarray(0, 4);
  const body = Buffer.concat([
    check,
    check,
    publicBlob,
    sshString(Buffer.concat([seed, publicBytes])),
    sshString('spillway'),
  ]);
  const padBytes = (OPENSSH_BLOCK_BYTES - (body.length % OPENSSH_BLOCK_BYTES)) % OPENSSH_BLOCK_BYTES;
  const padding = Buffer.from(Array.from({ length: padBytes }, (_, index) => index + 1));
  const keyCount = Buffer.from([0, 0, 0, 1]);
  const file = Buffer.concat([
    Buffer.from('openssh-key-v1\0', 'ascii'),
    sshString('none'),
    sshString('none'),
    sshString(''),
    keyCount,
    sshString(publicBlob),
    sshString(Buffer.concat([body, padding])),
  ]);
  const lines = file.toString('base64').match(new RegExp(`.{1,${PEM_LINE_CHARS}}`, 'g')) ?? [];
  return ['-----BEGIN OPENSSH PRIVATE KEY-----', ...lines, '-----END OPENSSH PRIVATE KEY-----', ''].join('\n');
}

/** An SSH wire string: four bytes of length, then the bytes. */
function sshString(value: string | Buffer): Buffer {
  const bytes = typeof value === 'string' ? Buffer.from(value, 'utf8') : value;
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return Buffer.concat([length, bytes]);
}
