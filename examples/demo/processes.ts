import { spawn, type ChildProcess } from 'node:child_process';
import { createWriteStream, type WriteStream } from 'node:fs';

export interface ChildOptions {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
  /** Everything the process says goes here. */
  readonly logFile: string;
}

/** A process of the demo, in a process group of its own, so that Ctrl-C reaches the demo alone and it decides the order. */
export class Child {
  readonly name: string;
  private readonly process: ChildProcess;
  private readonly log: WriteStream;
  private readonly exit: Promise<number>;
  private exitCode: number | null = null;

  constructor(options: ChildOptions) {
    this.name = options.name;
    this.log = createWriteStream(options.logFile, { flags: 'a' });
    this.process = spawn(options.command, options.args, {
      cwd: options.cwd,
      env: { ...options.env },
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.process.stdout?.pipe(this.log, { end: false });
    this.process.stderr?.pipe(this.log, { end: false });
    this.exit = new Promise((resolve) => {
      const finish = (code: number): void => {
        this.exitCode = code;
        this.log.end();
        resolve(code);
      };
      this.process.once('error', () => finish(127));
      this.process.once('exit', (code, signal) => finish(code ?? (signal === null ? 1 : 128)));
    });
  }

  get isOver(): boolean {
    return this.exitCode !== null;
  }

  /** Resolves with the first line of standard output that matches; rejects when the process ends before. */
  async firstLine(pattern: RegExp, deadlineMs: number): Promise<RegExpExecArray> {
    return await new Promise((resolve, reject) => {
      let text = '';
      const timer = setTimeout(
        () => reject(new Error(`${this.name} said nothing expected within ${deadlineMs} ms`)),
        deadlineMs,
      );
      this.process.stdout?.on('data', (chunk: Buffer) => {
        text += chunk.toString();
        const match = pattern.exec(text);
        if (match === null) return;
        clearTimeout(timer);
        resolve(match);
      });
      void this.exit.then((code): void => {
        clearTimeout(timer);
        reject(new Error(`${this.name} ended with exit code ${code}`));
        return undefined;
      });
    });
  }

  /** SIGTERM, then, after `patienceMs`, SIGKILL to its whole group; resolves when it is gone. */
  async stop(patienceMs: number): Promise<void> {
    if (this.isOver) return;
    this.process.kill('SIGTERM');
    const timer = setTimeout(() => this.killGroup(), patienceMs);
    await this.exit;
    clearTimeout(timer);
  }

  /** SIGKILL at once, to this process alone; resolves when it is gone. */
  async kill(): Promise<void> {
    if (this.isOver) return;
    this.process.kill('SIGKILL');
    await this.exit;
  }

  private killGroup(): void {
    const { pid } = this.process;
    if (pid === undefined || this.isOver) return;
    process.kill(-pid, 'SIGKILL');
  }
}
