import { createHash, timingSafeEqual } from 'node:crypto';
import { AppError } from '../model/errors.ts';

export const KEY_TYPE = 'ssh-ed25519';
/** Wire form: length 11, `ssh-ed25519`, length 32, the key. */
const BLOB_HEAD = Buffer.from('0000000b7373682d6564323535313900000020', 'hex');
const BLOB_BYTES = BLOB_HEAD.length + 32;

/** The one key a host must prove. Made only by `parseHostKeyPin`. */
export interface HostKeyPin {
  readonly blob: Buffer;
  readonly fingerprint: string;
}

/** Reads `ssh-ed25519 AAAA... [comment]`. Anything else throws SSH_HOST_KEY: without a key there is no connection. */
export function parseHostKeyPin(line: string): HostKeyPin {
  const [type, base64] = line.trim().split(/\s+/);
  const blob = Buffer.from(base64 ?? '', 'base64');
  const wellFormed = blob.length === BLOB_BYTES && blob.subarray(0, BLOB_HEAD.length).equals(BLOB_HEAD);
  if (type !== KEY_TYPE || !wellFormed) {
    throw new AppError('SSH_HOST_KEY', 'The host key on record is not an ssh-ed25519 public key.', {
      remedy: 'Let Spillway replace the machine; its host key cannot be verified.',
    });
  }
  return { blob, fingerprint: fingerprintOf(blob) };
}

/** True when the host offers exactly the pinned key, compared as raw bytes. */
export function isPinnedKey(pin: HostKeyPin, offered: Buffer): boolean {
  return offered.length === pin.blob.length && timingSafeEqual(offered, pin.blob);
}

/** As `ssh-keygen -l` prints it: `SHA256:` and base64 without padding. */
export function fingerprintOf(blob: Buffer): string {
  return `SHA256:${createHash('sha256').update(blob).digest('base64').replaceAll('=', '')}`;
}
