import { connect as connectTcp } from 'node:net';
import { AppError } from '../model/errors.ts';
import { waitMs } from '../model/waits.ts';
import type { Shell, ShellSession, ShellTarget, UploadFile } from '../ports/shell.ts';
import { raceAbort } from './abort.ts';
import { nameOf, openConnection } from './connect.ts';
import type { ConnectLimits, Connection } from './connect.ts';
import { runOver } from './run-script.ts';
import { uploadOver } from './sftp-upload.ts';

export interface ShellLimits extends ConnectLimits {
  /** One `upload` with all its files. */
  readonly uploadMs: number;
  /** Kept of a script's output unless the call says otherwise. */
  readonly outputBytesMax: number;
}

/**
 * A login takes below 1 s; 15 s leave room for a machine that is still busy booting. Three keep-alives of 10 s notice a
 * vanished machine in 40 s, where TCP alone would wait for a quarter of an hour.
 */
export const DEFAULT_SHELL_LIMITS: ShellLimits = Object.freeze({
  connectMs: waitMs('ssh.connect'),
  keepaliveMs: waitMs('ssh.keepalive'),
  keepalivesMax: 3,
  uploadMs: waitMs('ssh.upload'),
  outputBytesMax: 1024 * 1024,
});

export interface ShellOptions {
  /** Those left out come from `DEFAULT_SHELL_LIMITS`. */
  readonly limits?: Partial<ShellLimits>;
}

/** SSH over node-ssh: keys only, the host always verified, no agent forwarding, every wait bounded. */
export function createShell(options: ShellOptions = {}): Shell {
  const limits: ShellLimits = { ...DEFAULT_SHELL_LIMITS, ...options.limits };
  return {
    isOpen,
    withSession: async (target, deadlineMs, use) => {
      const control = new AbortController();
      const phase: Phase = { connected: false };
      const timer = setTimeout(() => control.abort(lateError(target, deadlineMs, phase)), deadlineMs);
      let connection: Connection | null = null;
      try {
        connection = await openConnection(target, limits, control);
        phase.connected = true;
        const session = createSession({ target, connection, limits, signal: control.signal });
        return await raceAbort(control.signal, use(session));
      } finally {
        clearTimeout(timer);
        // A `use` that goes on after its time finds every call refused.
        control.abort(closedError(target));
        connection?.client.destroy();
      }
    },
  };
}

interface Phase {
  connected: boolean;
}

interface SessionParts {
  readonly target: ShellTarget;
  readonly connection: Connection;
  readonly limits: ShellLimits;
  readonly signal: AbortSignal;
}

function createSession({ target, connection, limits, signal }: SessionParts): ShellSession {
  return {
    upload: (files) => upload({ target, connection, limits, signal }, files),
    runScript: (script, { deadlineMs, outputBytesMax = limits.outputBytesMax }) =>
      runOver(connection, { target, script, deadlineMs, outputBytesMax, sessionSignal: signal }),
  };
}

async function upload(parts: SessionParts, files: readonly UploadFile[]): Promise<void> {
  const { target, connection, limits } = parts;
  const control = new AbortController();
  const timer = setTimeout(() => control.abort(lateUploadError(target, limits.uploadMs)), limits.uploadMs);
  const signal = AbortSignal.any([parts.signal, control.signal]);
  try {
    await raceAbort(
      signal,
      connection.ssh.withSFTP((sftp) => uploadOver(sftp, files)),
    );
  } catch (error) {
    // Bugs (a path we should not have asked for) and our own errors keep their names.
    if (error instanceof AppError || !isSftpFailure(error)) throw error;
    throw new AppError('SSH_COMMAND', `${nameOf(target)} did not take the uploaded files.`, {
      remedy: 'Check that its disk has room, that the home directory is writable, and that sshd offers SFTP.',
      cause: error,
    });
  } finally {
    clearTimeout(timer);
  }
}

/** Failures of the server or the channel; an AssertionError is ours. */
function isSftpFailure(error: unknown): boolean {
  return error instanceof Error && error.name !== 'AssertionError';
}

/** True when something accepts TCP there in time; false for refused, unreachable, unknown and silent alike. */
function isOpen(host: string, port: number, deadlineMs: number): Promise<boolean> {
  return new Promise<boolean>((resolve) => {
    const socket = connectTcp({ host, port });
    const finish = (open: boolean): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(open);
    };
    const timer = setTimeout(() => finish(false), deadlineMs);
    socket.once('connect', () => finish(true));
    socket.on('error', () => finish(false));
  });
}

function lateError(target: ShellTarget, deadlineMs: number, phase: Phase): AppError {
  if (!phase.connected) {
    return new AppError(
      'SSH_UNREACHABLE',
      `${nameOf(target)} did not complete an SSH connection in ${deadlineMs} ms.`,
      {
        remedy: 'Check the route and the security group (TCP from here to the SSH port), and the console output.',
      },
    );
  }
  return new AppError('TIMEOUT', `The SSH session with ${nameOf(target)} was not done within ${deadlineMs} ms.`, {
    remedy: 'See which step takes long in the log of the machine, or raise the deadline in the policy.',
  });
}

function lateUploadError(target: ShellTarget, uploadMs: number): AppError {
  return new AppError('TIMEOUT', `${nameOf(target)} did not take the uploaded files within ${uploadMs} ms.`, {
    remedy: 'Check the disk of the machine and the speed of the route to it.',
  });
}

function closedError(target: ShellTarget): AppError {
  return new AppError('SSH_UNREACHABLE', `The SSH session with ${nameOf(target)} has been closed.`, {
    remedy: 'This session is over; open another one.',
  });
}
