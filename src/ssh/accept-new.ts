import { execFile } from 'node:child_process';
import { appendFile, mkdir, readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { promisify } from 'node:util';
import { AppError } from '../model/errors.ts';
import { waitMs } from '../model/waits.ts';
import { parseHostKeyPin } from './host-key-pin.ts';
import { findKnownKeys } from './known-hosts.ts';

const OUTPUT_BYTES_MAX = 64 * 1024;

/**
 * Trusts a host that nobody has seen: its Ed25519 key goes into the known_hosts file, and its fingerprint is returned. Null when
 * the file knows the host already, which a key that is offered now never changes.
 * @throws AppError SSH_UNREACHABLE
 */
export async function acceptNewHost(
  file: string,
  { host, port }: { readonly host: string; readonly port: number },
  scanMs = waitMs('ssh.keyscan'),
): Promise<string | null> {
  const { keys, revoked } = findKnownKeys(await readIfThere(file), host, port);
  if (keys.length + revoked.length > 0) return null;
  const key = await scan(host, port, scanMs);
  const { fingerprint } = parseHostKeyPin(key);
  await mkdir(dirname(file), { recursive: true, mode: 0o700 });
  await appendFile(file, `${port === 22 ? host : `[${host}]:${port}`} ${key}\n`, { mode: 0o600 });
  return fingerprint;
}

async function readIfThere(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return '';
    throw new AppError('CONFIG_KEY_FILE', `The file of host keys ${file} cannot be read.`, {
      remedy: 'Name another one, or mend its rights.',
      cause,
    });
  }
}

/** OpenSSH's own program: it never logs in. */
async function scan(host: string, port: number, scanMs: number): Promise<string> {
  const remedy = 'Check the address, the port, and that ssh-keyscan of OpenSSH is installed here.';
  const args = ['-T', String(Math.ceil(scanMs / 1000)), '-t', 'ed25519', '-p', String(port), '--', host];
  try {
    const { stdout } = await promisify(execFile)('ssh-keyscan', args, {
      timeout: scanMs,
      killSignal: 'SIGKILL',
      maxBuffer: OUTPUT_BYTES_MAX,
    });
    const key = /(?:^|\n)[^#\s]\S* (ssh-ed25519 [A-Za-z0-9+/=]+)/.exec(stdout)?.[1];
    if (key !== undefined) return key;
  } catch (cause) {
    throw new AppError('SSH_UNREACHABLE', `The host key of ${host}, port ${port}, could not be read.`, {
      remedy,
      cause,
    });
  }
  throw new AppError('SSH_UNREACHABLE', `${host}, port ${port}, shows no ssh-ed25519 host key.`, { remedy });
}
