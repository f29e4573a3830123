import { AppError } from '../model/errors.ts';
import type { ShellRoute, ShellSession, ShellTarget } from '../ports/shell.ts';
import { nameOf } from './connect.ts';
import type { ConnectOptions } from './connect.ts';

export interface TransportOptions extends ConnectOptions {
  /** For the host to start a shell. */
  readonly execMs: number;
  /** One `upload` with all its files. */
  readonly uploadMs: number;
  /** Kept of a script's output unless the call says otherwise. */
  readonly outputBytesMax: number;
}

export interface OpenSession {
  readonly session: ShellSession;
  close(): Promise<void>;
}

/**
 * One way to speak SSH. What it opens ends when `control` is aborted, and it aborts `control` itself, with an `AppError`, when
 * a connection that stood is lost.
 */
export interface Transport {
  open(target: ShellTarget, control: AbortController): Promise<OpenSession>;
  /** True when the port takes a connection; throws as `open` does. */
  isOpen(route: ShellRoute, control: AbortController): Promise<boolean>;
}

export function uploadRefused(target: ShellTarget, cause: unknown): AppError {
  return new AppError('SSH_COMMAND', `${nameOf(target)} did not take the uploaded files.`, {
    remedy: 'Check that its disk has room, that the home directory is writable, and that sshd offers SFTP.',
    cause,
  });
}

export function lateUploadError(target: ShellTarget, uploadMs: number): AppError {
  return new AppError('TIMEOUT', `${nameOf(target)} did not take the uploaded files within ${uploadMs} ms.`, {
    remedy: 'Check the disk of the machine and the speed of the route to it.',
  });
}
