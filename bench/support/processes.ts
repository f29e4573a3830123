import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

export const SPILLWAY = fileURLToPath(new URL('../../bin/spillway', import.meta.url));

/** Lines kept for the message when a process fails. */
const LINES_KEPT = 20;
const STOP_MS = 45_000;

export interface ProcessOptions {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly cwd: string;
  readonly env?: Readonly<Record<string, string>>;
  /** For its standard input, which is then closed; else it has none. */
  readonly input?: string;
}

/** A process under test, in a group of its own: Ctrl-C reaches the benchmark alone, which stops it. */
export class BenchProcess {
  readonly name: string;
  readonly #child: ChildProcess;
  readonly #lines: string[] = [];
  readonly #watchers = new Set<(line: string) => void>();
  readonly #exited: Promise<unknown>;

  constructor({ name, command, args, cwd, env, input }: ProcessOptions) {
    this.name = name;
    this.#child = spawn(command, [...args], {
      cwd,
      detached: true,
      stdio: [input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
      env: { PATH: process.env['PATH'], HOME: cwd, LANG: 'C.UTF-8', ...env },
    });
    this.#exited = once(this.#child, 'close');
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      if (stream !== null) createInterface({ input: stream }).on('line', (line) => this.#hear(line));
    }
    this.#child.stdin?.end(input);
    // Whatever ends the benchmark, it leaves nothing behind.
    const kill = (): void => this.#kill();
    process.once('exit', kill);
    void this.#exited.finally(() => process.off('exit', kill));
  }

  /** @throws when it could not be started */
  get pid(): number {
    if (this.#child.pid === undefined) throw new Error(`${this.name} could not be started`);
    return this.#child.pid;
  }

  /** The first line, of both of its streams, that matches. @throws when it ends before, or after `deadlineMs` */
  async line(pattern: RegExp, deadlineMs: number, signal: AbortSignal): Promise<RegExpExecArray> {
    const { promise, resolve, reject } = Promise.withResolvers<RegExpExecArray>();
    const look = (line: string): void => {
      const match = pattern.exec(line);
      if (match !== null) resolve(match);
    };
    const fail = (why: string): void => reject(new Error(`${this.name} ${why}:\n${this.#lines.join('\n')}`));
    const timer = setTimeout(() => fail(`said nothing expected within ${deadlineMs} ms`), deadlineMs);
    const abort = (): void => reject(signal.reason as Error);
    signal.addEventListener('abort', abort, { once: true });
    void this.#exited.then(() => fail('ended'));
    this.#watchers.add(look);
    for (const line of this.#lines) look(line);
    try {
      return await promise;
    } finally {
      clearTimeout(timer);
      signal.removeEventListener('abort', abort);
      this.#watchers.delete(look);
    }
  }

  /** SIGTERM, and SIGKILL to the whole group when that takes too long; resolves when it is gone. */
  async stop(): Promise<void> {
    this.#child.kill('SIGTERM');
    const timer = setTimeout(() => this.#kill(), STOP_MS);
    await this.#exited;
    clearTimeout(timer);
  }

  /** SIGKILL at once, to this process alone; resolves when it is gone. */
  async kill(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#exited;
  }

  #hear(line: string): void {
    this.#lines.push(line);
    if (this.#lines.length > LINES_KEPT) this.#lines.shift();
    for (const watcher of this.#watchers) watcher(line);
  }

  #kill(): void {
    const { pid, exitCode, signalCode } = this.#child;
    if (pid !== undefined && exitCode === null && signalCode === null) process.kill(-pid, 'SIGKILL');
  }
}

/** A port of 127.0.0.1 that is free now. */
export async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (typeof address !== 'object' || address === null) throw new Error('a TCP server has no port');
  return address.port;
}
