import { randomBytes } from 'node:crypto';
import { link, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';

import { AppError, describeError } from '../model/errors.ts';

const KEY_PATTERN = /^[0-9a-f]{64}$/;

/**
 * Reads the deployment key, 32 bytes as hex, and makes it on the first start. It signs launch tokens and derives the one-time
 * host keys: with another key, this installation would not know its own machines, so a damaged file is never replaced.
 * @throws AppError CONFIG_KEY_FILE
 */
export async function ensureDeploymentKey(file: string): Promise<Buffer> {
  const existing = await readKey(file);
  if (existing !== null) return existing;
  // Written whole under another name and linked: two first starts at once end with one key, never with half a one.
  // A random name, because process ids meet: in containers that share the folder each service is process 1.
  const draft = `${file}.${randomBytes(6).toString('hex')}`;
  try {
    await mkdir(dirname(file), { recursive: true });
    await writeFile(draft, `${randomBytes(32).toString('hex')}\n`, { mode: 0o600, flag: 'wx' });
    await link(draft, file);
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw keyError(file, error);
  } finally {
    await rm(draft, { force: true });
  }
  const made = await readKey(file);
  if (made === null) throw keyError(file, new Error('it vanished right after it was written'));
  return made;
}

async function readKey(file: string): Promise<Buffer | null> {
  let text: string;
  try {
    text = (await readFile(file, 'utf8')).trim();
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return null;
    throw keyError(file, error);
  }
  if (!KEY_PATTERN.test(text)) {
    throw new AppError(
      'CONFIG_KEY_FILE',
      `the deployment key ${file} cannot be used: it does not hold 64 hexadecimal digits`,
      {
        remedy: 'restore the file from a backup; machines launched with another key cannot be joined or recognised',
      },
    );
  }
  return Buffer.from(text, 'hex');
}

function keyError(file: string, cause: unknown): AppError {
  return new AppError('CONFIG_KEY_FILE', `the deployment key ${file} cannot be used: ${describeError(cause)}`, {
    remedy:
      'let this user read the file and write its folder, or set SPILLWAY_KEY_FILE (or SPILLWAY_DATA_DIR) to another place',
    cause,
  });
}
