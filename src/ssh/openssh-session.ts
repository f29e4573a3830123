import { dirname, join } from 'node:path';
import assert from 'node:assert/strict';
import { constants } from 'node:os';
import { AppError } from '../model/errors.ts';
import type { CommandResult, ShellSession, ShellTarget, UploadFile } from '../ports/shell.ts';
import { raceAbort } from './abort.ts';
import { collectOutput } from './clean-output.ts';
import { endGroup, startSsh, type SshChild } from './openssh-process.ts';
import { quoteForSh } from './quote.ts';
import { cutError, noShellError, timeoutError, type ScriptRun } from './run-script.ts';
import { shDialect } from './sh-dialect.ts';
import { isUploadPath } from './sftp-upload.ts';
import { lateUploadError, uploadRefused, type TransportOptions } from './transport.ts';

/**
 * What runs on the host. `ssh` ends with 255 for its own troubles as for a script that does, so that the host itself says, on
 * standard error, that it began and how the script ended; both streams of the script are standard output.
 */
const REMOTE = `sh -c 'printf "spillway-start:%s\\n" "$$" >&2; sh -s 2>&1; printf "spillway-exit:%s\\n" "$?" >&2'`;
const START = /^spillway-start:(\d+)$/m;
const EXIT = /^spillway-exit:(\d+)$/m;
/** Marks are short; a host may write more there, and is not listened to for ever. */
const MARKS_CHARS_MAX = 64 * 1024;
/** A shell tells an end by signal n as 128 + n. */
const SIGNAL_BASE = 128;

export interface SessionParts {
  readonly target: ShellTarget;
  readonly folder: string;
  readonly alias: string;
  readonly options: TransportOptions;
  readonly control: AbortController;
}

/** Scripts and uploads as clients of the master process of the session. */
export function createOpensshSession(parts: SessionParts): ShellSession {
  const { target, options, control } = parts;
  const run = async (script: string, deadlineMs: number, outputBytesMax: number): Promise<CommandResult> =>
    await runOver(parts, {
      target,
      prepared: shDialect.prepare(script, deadlineMs),
      deadlineMs,
      execMs: options.execMs,
      outputBytesMax,
      sessionSignal: control.signal,
    });
  return {
    upload: async (files) => {
      for (const file of files) assert(isUploadPath(file.path), `not a path below the home directory: ${file.path}`);
      const result = await run(uploadScript(files), options.uploadMs, options.outputBytesMax).catch(
        (error: unknown) => {
          if (error instanceof AppError && error.code === 'TIMEOUT' && !control.signal.aborted) {
            throw lateUploadError(target, options.uploadMs);
          }
          throw error;
        },
      );
      if (result.exitCode !== 0) throw uploadRefused(target, new Error(result.output.slice(-500)));
    },
    runScript: async (script, { deadlineMs, outputBytesMax = options.outputBytesMax }) =>
      await run(script, deadlineMs, outputBytesMax),
  };
}

/** A new file rather than a new content, as SFTP does it; needs no SFTP. `printf` is built into sh, so that no argument is too long. */
function uploadScript(files: readonly UploadFile[]): string {
  const commands = files.flatMap(({ path, content, mode }) => [
    ...(dirname(path) === '.' ? [] : [`mkdir -p ${quoteForSh(dirname(path))}`]),
    `rm -f ${quoteForSh(path)}`,
    // Half of a file would keep a full disk full.
    `printf %s ${quoteForSh(content)} >${quoteForSh(path)} || { rm -f ${quoteForSh(path)}; exit 1; }`,
    `chmod ${mode.toString(8)} ${quoteForSh(path)}`,
  ]);
  return ['set -eu', 'umask 077', 'cd "$HOME"', 'set -C', ...commands].join('\n');
}

async function runOver(parts: SessionParts, run: ScriptRun): Promise<CommandResult> {
  const timeout = new AbortController();
  const output = collectOutput(run.outputBytesMax);
  const abortAs = (limitMs: number) => () => timeout.abort(timeoutError({ ...run, deadlineMs: limitMs }, output));
  const timer = setTimeout(abortAs(run.deadlineMs), run.deadlineMs);
  const starting = setTimeout(abortAs(run.execMs), run.execMs);
  const child = startSsh([...clientArgs(parts), REMOTE]);
  const marks = readMarks(child, () => clearTimeout(starting));
  try {
    const signal = AbortSignal.any([run.sessionSignal, timeout.signal]);
    await raceAbort(signal, finish(child, { run, onOutput: (chunk) => output.add('stdout', chunk) }));
    return resultOf({ child, run, marks: marks(), output });
  } finally {
    clearTimeout(timer);
    clearTimeout(starting);
    await endGroup(child);
    const pid = START.exec(marks())?.[1];
    if (timeout.signal.aborted && pid !== undefined) await killRemote(parts, pid);
  }
}

/** Only through the master: where that is gone, `exit 1` stands in for a way to the host. */
function clientArgs({ folder, alias }: SessionParts): readonly string[] {
  const own = ['-o', 'ControlMaster=no', '-o', 'ProxyJump=none', '-o', 'ProxyCommand=exit 1', '-T'];
  return ['-F', join(folder, 'config'), '-S', join(folder, 'mux'), ...own, alias];
}

function readMarks(child: SshChild, onStart: () => void): () => string {
  let marks = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    marks = (marks + text).slice(-MARKS_CHARS_MAX);
    if (START.test(marks)) onStart();
  });
  return () => marks;
}

interface Finishing {
  readonly run: ScriptRun;
  readonly onOutput: (chunk: Buffer) => void;
}

function finish(child: SshChild, { run, onOutput }: Finishing): Promise<void> {
  return new Promise<void>((resolve, reject) => {
    child.stdout.on('data', onOutput);
    child.once('error', (cause) => reject(cutError(run, cause)));
    child.once('close', () => resolve());
    // A script that exits before it has read all its input makes our write fail; the mark says what happened.
    child.stdin.on('error', () => child.stdin.destroy());
    child.stdin.end(run.prepared.input);
  });
}

interface Ended {
  readonly child: SshChild;
  readonly run: ScriptRun;
  readonly marks: string;
  readonly output: ReturnType<typeof collectOutput>;
}

function resultOf({ child, run, marks, output }: Ended): CommandResult {
  const code = EXIT.exec(marks)?.[1];
  if (code === undefined) {
    const said = new Error(marks.trim() === '' ? 'nothing was said' : marks.trim().slice(-500));
    // The host answered, and what it ran was not our shell.
    if (child.exitCode !== null && child.exitCode !== 255 && !START.test(marks)) throw noShellError(run, said);
    throw cutError(run, said);
  }
  const common = { output: output.text(), truncated: output.isTruncated() };
  const signal = nameOfSignal(Number(code) - SIGNAL_BASE);
  if (signal !== null) return { exitCode: null, signal, ...common };
  return { exitCode: Number(code), signal: null, ...common };
}

function nameOfSignal(number: number): string | null {
  return Object.entries(constants.signals).find(([, value]) => value === number)?.[0] ?? null;
}

/** What outlived its time is ended with all it started, as far as the host lets us. */
async function killRemote(parts: SessionParts, pid: string): Promise<void> {
  const child = startSsh([...clientArgs(parts), `kill -KILL -${pid} 2>/dev/null || kill -KILL ${pid}`]);
  child.stdin.end();
  const late = setTimeout(() => child.kill('SIGKILL'), parts.options.execMs);
  await new Promise<void>((resolve) => {
    child.once('close', () => resolve());
    child.once('error', () => resolve());
  });
  clearTimeout(late);
}
