import { AppError } from '../model/errors.ts';
import type { ShellSession, ShellTarget, UploadFile } from '../ports/shell.ts';
import { raceAbort } from './abort.ts';
import { openConnection, openJumps, reach } from './connect.ts';
import type { Connection } from './connect.ts';
import { dialectOf } from './dialects.ts';
import { runOver } from './run-script.ts';
import { uploadOver } from './sftp-upload.ts';
import { uploadRefused, lateUploadError, type Transport, type TransportOptions } from './transport.ts';

/** SSH in this process, over node-ssh. */
export function createSsh2Transport(options: TransportOptions): Transport {
  return {
    open: async (target, control) => {
      const connection = await openConnection(target, options, control);
      const session = createSession({ target, connection, options, signal: control.signal });
      return { session, close: async () => connection.close() };
    },
    isOpen: async (route, control) => {
      const below = await openJumps(route.jumps, options, control);
      try {
        const socket = await reach(below, route, options, control.signal);
        socket.destroy();
        return true;
      } finally {
        below?.close();
      }
    },
  };
}

interface SessionParts {
  readonly target: ShellTarget;
  readonly connection: Connection;
  readonly options: TransportOptions;
  readonly signal: AbortSignal;
}

function createSession(parts: SessionParts): ShellSession {
  const { target, connection, options, signal } = parts;
  return {
    upload: async (files) => await upload(parts, files),
    runScript: async (script, { deadlineMs, outputBytesMax = options.outputBytesMax }) => {
      const prepared = dialectOf(target.shell).prepare(script, deadlineMs);
      if (prepared.files.length > 0) await upload(parts, prepared.files);
      const { execMs } = options;
      return await runOver(connection, { target, prepared, deadlineMs, execMs, outputBytesMax, sessionSignal: signal });
    },
  };
}

async function upload(parts: SessionParts, files: readonly UploadFile[]): Promise<void> {
  const { target, connection, options } = parts;
  const control = new AbortController();
  const timer = setTimeout(() => control.abort(lateUploadError(target, options.uploadMs)), options.uploadMs);
  const signal = AbortSignal.any([parts.signal, control.signal]);
  try {
    await raceAbort(
      signal,
      connection.ssh.withSFTP((sftp) => uploadOver(sftp, files, dialectOf(target.shell))),
    );
  } catch (error) {
    // Bugs (a path we should not have asked for) and our own errors keep their names.
    if (error instanceof AppError || !isSftpFailure(error)) throw error;
    throw uploadRefused(target, error);
  } finally {
    clearTimeout(timer);
  }
}

/** Failures of the server or the channel; an AssertionError is ours. */
function isSftpFailure(error: unknown): boolean {
  return error instanceof Error && error.name !== 'AssertionError';
}
