import { execFileSync, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import {
  accessSync,
  constants,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { until } from '../support/wait.ts';

const SCRIPT = new URL('../../src/agent/spillway-agent.sh', import.meta.url).pathname;

/** A shell and a client on whose PATH is nothing but what the agent says it needs. */
export interface Toolbox {
  readonly shell: 'dash' | 'busybox ash' | 'bash';
  readonly client: 'curl' | 'wget';
}

const TOOLS = ['base64', 'head', 'mkdir', 'rm', 'setsid', 'sleep', 'tail', 'timeout', 'cat', 'mv', 'uname'];

/** The path of a program; null when this machine has none. */
export function which(program: string): string | null {
  for (const folder of (process.env['PATH'] ?? '').split(delimiter)) {
    const path = join(folder, program);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EACCES') throw error;
    }
  }
  return null;
}

export function isAvailable(toolbox: Toolbox): boolean {
  return which(toolbox.shell.split(' ')[0]!) !== null && which(toolbox.client) !== null;
}

function makePath(folder: string, toolbox: Toolbox): string {
  const bin = join(folder, 'bin');
  mkdirSync(bin);
  const busybox = toolbox.shell === 'busybox ash' ? which('busybox') : null;
  for (const tool of TOOLS) symlinkSync(busybox ?? which(tool)!, join(bin, tool));
  symlinkSync(busybox ?? which(toolbox.shell)!, join(bin, 'sh'));
  symlinkSync(which(toolbox.client)!, join(bin, toolbox.client));
  return bin;
}

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

const CERTIFICATES = '/etc/ssl/certs';

/** What a command begins with whose machine believes the certificates in a folder, and no others. */
function withTrusted(folder: string): readonly string[] {
  const user = process.getuid?.() === 0 ? [] : ['--user', '--map-root-user'];
  const script = `mount --bind '${folder}' ${CERTIFICATES} && exec "$@"`;
  return [
    which('unshare') ?? 'unshare',
    ...user,
    '--mount',
    which('sh') ?? 'sh',
    '-c',
    `PATH=$PATH:/usr/bin:/bin; ${script}`,
    'sh',
  ];
}

/** Null where a process may be given other certificates to believe; else why not. */
export function trustMissing(): string | null {
  try {
    const [program, ...args] = [...withTrusted(tmpdir()), which('openssl') ?? 'openssl', 'version'];
    execFileSync(program, args, { timeout: 10_000, stdio: 'pipe' });
    return null;
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    process.stderr.write(`SKIPPED: that an agent believes its own CA alone: ${why}\n`);
    return why;
  }
}

/** A folder as /etc/ssl/certs is: one file of all certificates, and each under the hash of its name. */
export function makeTrusted(folder: string, certificatePem: string): string {
  const trusted = join(folder, 'trusted');
  const file = join(trusted, 'ca-certificates.crt');
  mkdirSync(trusted);
  writeFileSync(file, certificatePem);
  const hash = execFileSync('openssl', ['x509', '-hash', '-noout', '-in', file], { encoding: 'utf8' }).trim();
  symlinkSync('ca-certificates.crt', join(trusted, `${hash}.0`));
  return trusted;
}

/** One machine: a folder with the agent's state, and the agent's processes, one after the other. */
export class AgentMachine {
  readonly folder = mkdtempSync(join(tmpdir(), 'spillway-agent-test-'));
  readonly state = join(this.folder, 'state');
  output = '';
  readonly #bin: string;
  settings: Readonly<Record<string, string>>;
  #process: ChildProcess | null = null;
  #exit: Promise<Exit> | null = null;

  constructor(toolbox: Toolbox, settings: Readonly<Record<string, string>>) {
    this.#bin = makePath(this.folder, toolbox);
    this.settings = settings;
  }

  /** @param trusted a folder of certificates that this machine believes, in the place of its own; needs `mountsMissing` null */
  start(changes: Readonly<Record<string, string>> = {}, trusted: string | null = null): void {
    this.settings = { ...this.settings, ...changes };
    const lines = Object.entries({ SPILLWAY_STATE_DIR: this.state, ...this.settings });
    const envFile = join(this.folder, 'agent.env');
    writeFileSync(envFile, lines.map(([key, value]) => `${key}=${value}\n`).join(''), { mode: 0o600 });
    const own = [join(this.#bin, 'sh'), SCRIPT, envFile];
    const [program = '', ...args] = trusted === null ? own : [...withTrusted(trusted), ...own];
    const child = spawn(program, args, {
      env: { PATH: this.#bin },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (chunk: Buffer) => (this.output += chunk.toString()));
    this.#process = child;
    this.#exit = new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('exit', (code, signal) => resolve({ code, signal }));
    });
  }

  /** Puts one more program on its PATH. */
  bring(program: string): void {
    symlinkSync(which(program)!, join(this.#bin, program));
  }

  get pid(): number {
    return this.#process?.pid ?? 0;
  }

  signal(signal: NodeJS.Signals): void {
    this.#process?.kill(signal);
  }

  /** How the agent ended; waits for it. */
  async exited(): Promise<Exit> {
    if (this.#exit === null) throw new Error('the agent was not started');
    return this.#exit;
  }

  /** The command lines of all processes of this machine: those that name its folder or stand in it. */
  processes(): readonly { readonly pid: number; readonly commandLine: string }[] {
    return allProcesses().filter(
      ({ commandLine, folder }) => commandLine.includes(this.folder) || folder.startsWith(this.folder),
    );
  }

  /** Ends everything, however the test went, and fails when something cannot be ended. */
  async clean(): Promise<void> {
    if (this.#process !== null && this.#process.exitCode === null && this.#process.signalCode === null) {
      this.#process.kill('SIGKILL');
      await this.exited();
    }
    await until('no process of the machine is left', () => {
      const left = this.processes();
      for (const { pid } of left) killIfThere(pid);
      return left.length === 0;
    });
    rmSync(this.folder, { recursive: true, force: true });
  }
}

function killIfThere(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/** What every user of the machine can see of its processes. */
export function allProcesses(): readonly { pid: number; commandLine: string; folder: string }[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => {
      try {
        const commandLine = readFileSync(`/proc/${name}/cmdline`, 'utf8').replaceAll('\0', ' ');
        return [{ pid: Number(name), commandLine, folder: readlinkSync(`/proc/${name}/cwd`) }];
      } catch (error) {
        // It ended while we looked, or is a zombie without a folder.
        const code = (error as NodeJS.ErrnoException).code ?? '';
        if (['ENOENT', 'ESRCH', 'EACCES'].includes(code)) return [];
        throw error;
      }
    });
}
