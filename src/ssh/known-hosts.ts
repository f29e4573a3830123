import { createHmac } from 'node:crypto';
import { open } from 'node:fs/promises';
import { AppError } from '../model/errors.ts';
import type { ShellHop } from '../ports/shell.ts';

/** A datacenter's list of hosts is far smaller; more is another file. */
const FILE_BYTES_MAX = 4 * 1024 * 1024;

/** The Ed25519 keys that a known_hosts file has for a host, and those that it has revoked. */
interface KnownKeys {
  readonly keys: readonly string[];
  readonly revoked: readonly string[];
}

/**
 * Reads a known_hosts text as `ssh` does: plain and hashed names, patterns with `*`, `?` and `!`, `[host]:port`. Marks other
 * than `@revoked` are left out: an authority is another mode.
 */
export function findKnownKeys(text: string, host: string, port: number): KnownKeys {
  const name = port === 22 ? host.toLowerCase() : `[${host.toLowerCase()}]:${port}`;
  const lines = text.split('\n').flatMap((line) => parseLine(line) ?? []);
  const about = lines.filter(({ names }) => matchesNames(names, name));
  const revoked = about.filter(({ mark }) => mark === '@revoked').map(({ key }) => key);
  const keys = about.filter(({ mark, key }) => mark === null && !revoked.includes(key)).map(({ key }) => key);
  return { keys, revoked };
}

interface KnownLine {
  readonly mark: string | null;
  readonly names: string;
  readonly key: string;
}

/** Null for comments, empty lines and keys of other kinds. */
function parseLine(line: string): KnownLine | null {
  const fields = line.trim().split(/\s+/);
  const mark = fields[0]?.startsWith('@') === true ? fields[0] : null;
  const [names = '', type, base64 = ''] = mark === null ? fields : fields.slice(1);
  if (names.startsWith('#') || type !== 'ssh-ed25519') return null;
  return { mark, names, key: `${type} ${base64}` };
}

function matchesNames(names: string, name: string): boolean {
  if (names.startsWith('|1|')) return matchesHash(names, name);
  const patterns = names.toLowerCase().split(',');
  if (patterns.some((pattern) => pattern.startsWith('!') && matchesPattern(pattern.slice(1), name))) return false;
  return patterns.some((pattern) => !pattern.startsWith('!') && matchesPattern(pattern, name));
}

function matchesHash(hashed: string, name: string): boolean {
  const [, , salt = '', hash = ''] = hashed.split('|');
  return createHmac('sha1', Buffer.from(salt, 'base64')).update(name).digest('base64') === hash;
}

/** `*` and `?` as in a file name; linear in practice, because names are short and stars few. */
function matchesPattern(pattern: string, name: string): boolean {
  const source = pattern
    .replaceAll(/[\\^$.|+()[\]{}]/g, String.raw`\$&`)
    .replaceAll('*', '.*')
    .replaceAll('?', '.');
  return new RegExp(`^${source}$`, 's').test(name);
}

/** The keys that the file has for the host. @throws AppError SSH_HOST_KEY when there is none; CONFIG_KEY_FILE */
export async function readKnownKeys(
  file: string,
  { host, port }: Pick<ShellHop, 'host' | 'port'>,
): Promise<readonly string[]> {
  const { keys } = findKnownKeys(await readTrustFile(file), host, port);
  if (keys.length > 0) return keys;
  throw new AppError('SSH_HOST_KEY', `${file} has no ssh-ed25519 key for ${host}, port ${port}.`, {
    remedy: 'Add a line for the host, or a pattern for its subnet, to the known_hosts file that the policy names.',
  });
}

/** The text of a file of public keys. @throws AppError CONFIG_KEY_FILE */
export async function readTrustFile(path: string): Promise<string> {
  try {
    await using file = await open(path, 'r');
    const stats = await file.stat();
    // A directory, pipe or device could make us wait or read for ever.
    if (!stats.isFile() || stats.size > FILE_BYTES_MAX) throw new Error('it is no regular file, or too large');
    return await file.readFile('utf8');
  } catch (cause) {
    throw new AppError('CONFIG_KEY_FILE', `The file of host keys ${path} cannot be read.`, {
      remedy: 'Correct the path in join.ssh, or give the user that runs Spillway the right to read it.',
      cause,
    });
  }
}
