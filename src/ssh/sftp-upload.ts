import assert from 'node:assert/strict';
import type { SFTPWrapper } from 'ssh2';
import type { UploadFile } from '../ports/shell.ts';
import { fromCallback } from './abort.ts';

/** SSH_FX_NO_SUCH_FILE of the SFTP draft, version 3. */
const NO_SUCH_FILE = 2;
/** What we upload is for its user alone; the files themselves have the modes they are given. */
const FOLDER_MODE = 0o700;
const SEGMENT_PATTERN = /^[A-Za-z0-9._@+-]{1,100}$/;
const SEGMENTS_MAX = 10;

/** True for a path below the home directory made of plain names: not absolute, no `..`, nothing a shell would expand. */
export function isUploadPath(path: string): boolean {
  const segments = path.split('/');
  return (
    segments.length <= SEGMENTS_MAX &&
    segments.every((segment) => SEGMENT_PATTERN.test(segment) && segment !== '.' && segment !== '..')
  );
}

/** Writes the files one after the other. Safe to repeat, also when an earlier try was cut. */
export async function uploadOver(
  sftp: SFTPWrapper,
  files: readonly UploadFile[],
  { hasModes }: { readonly hasModes: boolean },
): Promise<void> {
  for (const file of files) assert(isUploadPath(file.path), `not a path below the home directory: ${file.path}`);
  for (const file of files) {
    await ensureFolders(sftp, file.path);
    // A new file rather than a new content: a shell that still runs the old one reads on in it, no link is followed,
    // and the mode holds before the first byte is there.
    await removeIfThere(sftp, file.path);
    const options = { mode: file.mode, flag: 'wx' } as const;
    try {
      await fromCallback<void>((done) => sftp.writeFile(file.path, Buffer.from(file.content, 'utf8'), options, done));
    } catch (error) {
      // Half of a file would keep a full disk full. Where it cannot be removed, the first error is the one to tell.
      await removeIfThere(sftp, file.path).catch(() => undefined);
      throw error;
    }
    // The server's umask may have taken bits away. Windows has no modes; there the folder of the user protects what is in it.
    if (hasModes) await fromCallback<void>((done) => sftp.chmod(file.path, file.mode, done));
  }
}

async function ensureFolders(sftp: SFTPWrapper, path: string): Promise<void> {
  const segments = path.split('/');
  for (let depth = 1; depth < segments.length; depth += 1) {
    const folder = segments.slice(0, depth).join('/');
    if (await isThere(sftp, folder)) continue;
    await fromCallback<void>((done) => sftp.mkdir(folder, { mode: FOLDER_MODE }, done));
  }
}

async function isThere(sftp: SFTPWrapper, path: string): Promise<boolean> {
  try {
    await fromCallback((done) => sftp.stat(path, done));
    return true;
  } catch (error) {
    if (isNoSuchFile(error)) return false;
    throw error;
  }
}

async function removeIfThere(sftp: SFTPWrapper, path: string): Promise<void> {
  try {
    await fromCallback<void>((done) => sftp.unlink(path, done));
  } catch (error) {
    if (!isNoSuchFile(error)) throw error;
  }
}

function isNoSuchFile(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === NO_SUCH_FILE;
}
