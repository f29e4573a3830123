import { open } from 'node:fs/promises';
import ssh2 from 'ssh2';
import { AppError } from '../model/errors.ts';

/** The largest RSA key file is below 16 KiB; more is another file. */
const KEY_FILE_BYTES_MAX = 64 * 1024;
const NEW_KEY_HINT = 'make one with `ssh-keygen -t ed25519 -N "" -f FILE`';

/** A private key that can log in, with its public half. */
export interface Identity {
  /** The text of the key file. A secret: never logged, never stored. */
  readonly privateKey: string;
  /** `ssh-ed25519 AAAA...` without a comment, as authorized_keys takes it. */
  readonly publicKey: string;
}

/**
 * Reads a private key file (OpenSSH's own format or PEM, not encrypted). Throws CONFIG_KEY_FILE when the file is missing,
 * unreadable, not a private key, or locked with a passphrase, which nobody could type into a service.
 */
export async function readIdentity(path: string): Promise<Identity> {
  const text = await readKeyFile(path);
  if (isEncrypted(text)) {
    throw keyFileError(`The SSH key ${path} is locked with a passphrase.`, {
      remedy: `Name a key without one: ${NEW_KEY_HINT}, readable by Spillway's user only.`,
    });
  }
  const parsed = ssh2.utils.parseKey(text);
  if (parsed instanceof Error || !parsed.isPrivateKey()) {
    throw keyFileError(`${path} is not an SSH private key that Spillway can read.`, {
      remedy: `Name the private half (not .pub) of an Ed25519, ECDSA or RSA key, or ${NEW_KEY_HINT}.`,
      cause: parsed instanceof Error ? parsed : undefined,
    });
  }
  return { privateKey: text, publicKey: `${parsed.type} ${parsed.getPublicSSH().toString('base64')}` };
}

/** The OpenSSH public key line of a private key file, e.g. for `authorizedKey` of a launch. Errors as `readIdentity`. */
export async function readPublicKey(path: string): Promise<string> {
  return (await readIdentity(path)).publicKey;
}

async function readKeyFile(path: string): Promise<string> {
  try {
    await using file = await open(path, 'r');
    const buffer = Buffer.alloc(KEY_FILE_BYTES_MAX);
    const stats = await file.stat();
    // A directory, pipe or device could make us wait or read for ever.
    if (!stats.isFile()) throw new Error('it is not a regular file');
    const { bytesRead } = await file.read(buffer, 0, buffer.length, 0);
    return buffer.toString('utf8', 0, bytesRead);
  } catch (error) {
    throw keyFileError(`The SSH key ${path} cannot be read.`, {
      remedy: 'Correct the path in join.ssh.identity.file, or give the user that runs Spillway the right to read it.',
      cause: error,
    });
  }
}

/** Both old PEM forms say so in a header; OpenSSH's own format names its cipher right after the magic. */
function isEncrypted(text: string): boolean {
  if (/^-----BEGIN ENCRYPTED PRIVATE KEY-----/m.test(text) || /^Proc-Type: 4,ENCRYPTED/m.test(text)) return true;
  const body = /-----BEGIN OPENSSH PRIVATE KEY-----([A-Za-z0-9+/=\s]+)-----END/.exec(text)?.[1];
  if (body === undefined) return false;
  const bytes = Buffer.from(body, 'base64');
  const cipherStart = 'openssh-key-v1\0'.length + 4;
  return bytes.length > cipherStart + 4 && bytes.toString('latin1', cipherStart, cipherStart + 4) !== 'none';
}

function keyFileError(message: string, options: { remedy: string; cause?: unknown }): AppError {
  return new AppError('CONFIG_KEY_FILE', message, options);
}
