import { type ChildProcess, type ChildProcessByStdio, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Readable, Writable } from 'node:stream';
import { promisify } from 'node:util';
import { AppError } from '../model/errors.ts';
import { waitMs } from '../model/waits.ts';
import { KEX_WANTED } from './openssh-config.ts';

export const SSH_PROGRAM = '/usr/bin/ssh';
/** What `ssh` gets of an environment: the shell that starts its ProxyJump, and where that finds programs. */
const ENVIRONMENT = { PATH: '/usr/bin:/bin', SHELL: '/bin/sh', LANG: 'C' };
/** Of what `ssh` says when it fails. */
const SAID_CHARS_MAX = 4000;

/**
 * Starts the program in the arguments and ends it when standard input closes: `ssh` must not outlive the service, whatever
 * ends that.
 */
const TETHER = `exec 3<&0
"$@" </dev/null 3<&- &
child=$!
{ cat <&3; kill "$child"; } >/dev/null 2>&1 &
wait "$child"`;

export type SshChild = ChildProcessByStdio<Writable, Readable, Readable>;

/** A process of `ssh` in a group of its own, which `endGroup` ends with everything it started. */
export function startSsh(args: readonly string[]): SshChild {
  return spawn(SSH_PROGRAM, args, { env: ENVIRONMENT, stdio: 'pipe', detached: true });
}

/** As `startSsh`, for one that stays: it ends with this process. */
export function startTethered(args: readonly string[]): SshChild {
  return spawn('/bin/sh', ['-c', TETHER, 'sh', SSH_PROGRAM, ...args], {
    env: ENVIRONMENT,
    stdio: 'pipe',
    detached: true,
  });
}

/** The end of what a process writes to standard error. */
export function collectSaid(child: SshChild): () => string {
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said = (said + text).slice(-SAID_CHARS_MAX);
  });
  return () => said.trim();
}

/** Ends the process and all that it started: SIGTERM, then SIGKILL. */
export async function endGroup(child: ChildProcess, endMs = waitMs('ssh.end')): Promise<void> {
  const { pid } = child;
  if (pid === undefined) return;
  const gone = child.exitCode === null && child.signalCode === null ? once(child, 'exit') : Promise.resolve();
  killGroup(pid, 'SIGTERM');
  const late = setTimeout(() => killGroup(pid, 'SIGKILL'), endMs);
  try {
    await gone;
  } finally {
    clearTimeout(late);
    killGroup(pid, 'SIGKILL');
  }
}

function killGroup(pid: number, signal: 'SIGTERM' | 'SIGKILL'): void {
  try {
    process.kill(-pid, signal);
  } catch (error) {
    // ESRCH: nobody of the group is left, which is all we want.
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/** The key exchanges that we want and the installed `ssh` knows. @throws AppError CONFIG_INVALID when there is no `ssh` */
export async function readKex(program = SSH_PROGRAM, programMs = waitMs('ssh.programs')): Promise<readonly string[]> {
  try {
    const { stdout } = await promisify(execFile)(program, ['-Q', 'kex'], {
      env: ENVIRONMENT,
      timeout: programMs,
      killSignal: 'SIGKILL',
    });
    const known = new Set(stdout.split('\n'));
    const kex = KEX_WANTED.filter((name) => known.has(name));
    if (kex.length === 0) throw new Error('it knows no key exchange with curve25519');
    return kex;
  } catch (cause) {
    throw new AppError('CONFIG_INVALID', `join.ssh.transport is openssh, and ${program} cannot be used.`, {
      remedy: 'Install the OpenSSH client (Debian: openssh-client), or leave join.ssh.transport out.',
      cause,
    });
  }
}
