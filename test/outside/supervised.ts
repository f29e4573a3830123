import { spawn, type ChildProcess } from 'node:child_process';
import { openSync, closeSync } from 'node:fs';
import { until } from '../support/wait.ts';

export interface Program {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
  readonly logFile: string;
}

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** Between an end by itself and the next start, as an init system waits; after a kill of ours it starts at once. */
const RESTART_MS = 300;
const STOP_MS = 20_000;

/** A process that is started again whenever it ends, as an init system does, until it is stopped. */
export class Supervised {
  readonly program: Program;
  readonly exits: Exit[] = [];
  #child: ChildProcess | null = null;
  #wanted = true;
  #timer: NodeJS.Timeout | null = null;

  constructor(program: Program) {
    this.program = program;
    this.#start();
  }

  /** SIGKILL, and a new process at once. */
  async kill(): Promise<void> {
    const child = await until(`${this.program.name} runs`, () => this.#child);
    const ended = this.exits.length;
    child.kill('SIGKILL');
    await until(`${this.program.name} is gone`, () => this.exits.length > ended);
    this.#startNow();
  }

  signal(name: 'SIGSTOP' | 'SIGCONT' | 'SIGHUP'): void {
    this.#child?.kill(name);
  }

  /** SIGTERM for good, and SIGKILL when that takes too long. */
  async stop(): Promise<void> {
    this.#wanted = false;
    if (this.#timer !== null) clearTimeout(this.#timer);
    const child = this.#child;
    if (child === null) return;
    child.kill('SIGCONT');
    child.kill('SIGTERM');
    const late = setTimeout(() => child.kill('SIGKILL'), STOP_MS);
    await until(`${this.program.name} has stopped`, () => this.#child === null, { deadlineMs: 2 * STOP_MS });
    clearTimeout(late);
  }

  #startNow(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    if (this.#wanted && this.#child === null) this.#start();
  }

  #start(): void {
    const { command, args, env, cwd, logFile } = this.program;
    const log = openSync(logFile, 'a');
    const child = spawn(command, [...args], { cwd, env: { ...env }, detached: true, stdio: ['ignore', log, log] });
    closeSync(log);
    this.#child = child;
    child.once('error', () => this.#ended({ code: 127, signal: null }));
    child.once('exit', (code, signal) => this.#ended({ code, signal }));
  }

  #ended(exit: Exit): void {
    this.exits.push(exit);
    this.#child = null;
    if (this.#wanted) this.#timer = setTimeout(() => this.#startNow(), RESTART_MS);
  }
}
