import type { ClientChannel } from 'ssh2';
import { AppError } from '../model/errors.ts';
import type { CommandResult, ShellTarget } from '../ports/shell.ts';
import { raceAbort } from './abort.ts';
import { collectOutput } from './clean-output.ts';
import type { OutputCollector } from './clean-output.ts';
import { nameOf } from './connect.ts';
import type { Connection } from './connect.ts';
import type { PreparedScript } from './dialect.ts';

/** The last words of a script that hung usually say on what. */
const TAIL_CHARS = 2000;

export interface ScriptRun {
  readonly target: ShellTarget;
  readonly prepared: PreparedScript;
  readonly deadlineMs: number;
  /** For the host to start a shell. */
  readonly execMs: number;
  readonly outputBytesMax: number;
  /** Aborts when the session ends. */
  readonly sessionSignal: AbortSignal;
}

/** Runs the script over a fresh channel. A non-zero exit is a result; TIMEOUT, SSH_COMMAND, SSH_UNREACHABLE are thrown. */
export async function runOver(connection: Connection, run: ScriptRun): Promise<CommandResult> {
  const control = new AbortController();
  const signal = AbortSignal.any([run.sessionSignal, control.signal]);
  const output = collectOutput(run.outputBytesMax);
  const timer = setTimeout(() => control.abort(timeoutError(run, output)), run.deadlineMs);
  const starting = setTimeout(() => {
    if (opened.channel === null) control.abort(timeoutError({ ...run, deadlineMs: run.execMs }, output));
  }, run.execMs);
  const opened: { channel: ClientChannel | null } = { channel: null };
  try {
    return await raceAbort(signal, execute(connection, { run, output, opened }));
  } finally {
    clearTimeout(timer);
    clearTimeout(starting);
    if (control.signal.aborted) {
      // sshd does not pass the signal on to root's sessions (no privilege separation there), nor before OpenSSH 7.9;
      // closing takes at least the script's input and output away.
      opened.channel?.signal('KILL');
      opened.channel?.close();
    }
  }
}

interface Execution {
  readonly run: ScriptRun;
  readonly output: OutputCollector;
  readonly opened: { channel: ClientChannel | null };
}

function execute(connection: Connection, { run, output, opened }: Execution): Promise<CommandResult> {
  return new Promise<CommandResult>((resolve, reject) => {
    // The listeners must be there before this callback returns: a short command's whole life can come in one packet.
    connection.client.exec(run.prepared.command, (error, channel) => {
      if (error) {
        reject(noShellError(run, error));
        return;
      }
      opened.channel = channel;
      let ended: Pick<CommandResult, 'exitCode' | 'signal'> | null = null;
      let failure: Error | undefined;
      let tail = '';
      channel.on('data', (chunk: Buffer) => {
        output.add('stdout', chunk);
        tail = (tail + chunk.toString('latin1')).slice(-TAIL_CHARS);
      });
      channel.stderr.on('data', (chunk: Buffer) => output.add('stderr', chunk));
      channel.on('exit', (exitCode: number | null, signal?: string) => {
        ended = { exitCode, signal: signal ?? null };
      });
      // A script that exits before it has read all its input makes our write fail; the exit status says what happened.
      channel.on('error', (cause: Error) => {
        failure = cause;
      });
      channel.on('close', () => {
        if (ended === null) reject(cutError(run, failure));
        else settle({ run, output, ended, tail }, { resolve, reject });
      });
      channel.end(run.prepared.input);
    });
  });
}

interface Ended {
  readonly run: ScriptRun;
  readonly output: OutputCollector;
  readonly ended: Pick<CommandResult, 'exitCode' | 'signal'>;
  /** The last of standard output. */
  readonly tail: string;
}

/** A dialect whose scripts say how they ended is believed, and nothing else: a shell in between may say another thing. */
function settle(
  { run, output, ended, tail }: Ended,
  { resolve, reject }: { readonly resolve: (result: CommandResult) => void; readonly reject: (error: Error) => void },
): void {
  const text = run.prepared.clean(output.text());
  const result = { output: text, truncated: output.isTruncated() };
  if (run.prepared.end === null) {
    resolve({ ...ended, ...result });
    return;
  }
  const exitCode = run.prepared.end(tail);
  if (exitCode === null) reject(noShellError(run, new Error(text.slice(-500) || 'nothing was said')));
  else resolve({ exitCode, signal: null, ...result });
}

export function noShellError(run: ScriptRun, cause: Error): AppError {
  return new AppError('SSH_COMMAND', `${nameOf(run.target)} did not start a shell.`, {
    remedy: `Check that the login shell of the user runs \`${run.prepared.program}\`, and that its authorized_keys forces no command.`,
    cause,
  });
}

export function cutError(run: ScriptRun, cause: Error | undefined): AppError {
  return new AppError('SSH_UNREACHABLE', `${nameOf(run.target)} ended the command without saying how.`, {
    remedy: 'Nothing to do if it happens once: the step is repeated. Else look at the console output of the machine.',
    cause,
  });
}

export function timeoutError(run: ScriptRun, output: OutputCollector): AppError {
  return new AppError('TIMEOUT', `A command on ${nameOf(run.target)} did not end within ${run.deadlineMs} ms.`, {
    remedy: 'Look at the end of its output below, or raise the deadline in the policy.',
    details: { outputTail: output.text().slice(-TAIL_CHARS) },
  });
}
