/**
 * Stands for a machine with Windows and its OpenSSH: takes exactly the command line that Windows' default shells understand alike,
 * reads what it says by PowerShell's grammar, and looks at the uploaded script as the real one would. What a script does is the test's.
 */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import ssh2 from 'ssh2';
import type { ServerChannel } from 'ssh2';
import type { ShellTarget } from '../../src/ports/shell.ts';
import { serveSftp } from '../../src/simulator/hosts/sftp.ts';
import { literalsOf, mistakesOf } from '../support/powershell.ts';
import { makeKeyPair, targetAt } from './ssh-server.ts';

const COMMAND =
  /^powershell\.exe -NoLogo -NoProfile -NonInteractive -ExecutionPolicy Bypass -EncodedCommand ([A-Za-z0-9+/]+={0,2})$/;
/** What cmd.exe takes. */
const COMMAND_CHARS_MAX = 8191;

export interface Ran {
  readonly exitCode: number;
  readonly stdout?: Buffer | string;
  readonly stderr?: string;
}

export interface WindowsHostOptions {
  /** What a script does; its text is that between prologue and end. */
  readonly run: (script: string, host: WindowsHost) => Ran | 'hang' | 'cut' | 'no powershell';
  readonly hostKey?: string;
  /** A PowerShell in between tells every failure as 1. */
  readonly defaultShell?: 'cmd' | 'powershell';
}

export interface WindowsHost {
  readonly target: ShellTarget;
  /** The user's profile. */
  readonly directory: string;
  /** Private half; what the next connection is shown. */
  hostKey: string;
  /** Scripts, in order, each with the time the machine gives it. */
  readonly runs: { readonly script: string; readonly deadlineMs: number }[];
  /** Modes that somebody wanted to set: Windows has none. */
  readonly modesSet: string[];
  readonly sockets: ReadonlySet<Socket>;
  fileAt(path: string): string | null;
  stop(): void;
}

export async function startWindowsHost({
  run,
  hostKey,
  defaultShell = 'cmd',
}: WindowsHostOptions): Promise<WindowsHost> {
  const directory = mkdtempSync(join(tmpdir(), 'spillway-windows-'));
  const identityFile = join(directory, 'login');
  writeFileSync(identityFile, makeKeyPair().private, { mode: 0o600 });
  const sockets = new Set<Socket>();
  const net = createServer((socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    serve(socket);
  });
  net.listen(0, '127.0.0.1');
  await once(net, 'listening');
  const address = net.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  const first = hostKey ?? makeKeyPair().private;
  const place = { host: '127.0.0.1', port: address.port, user: 'administrator', identityFile };
  const host: WindowsHost = {
    target: { ...targetAt({ ...place, hostKey: publicHalf(first) }), shell: 'powershell' },
    directory,
    hostKey: first,
    runs: [],
    modesSet: [],
    sockets,
    fileAt: (path) => (existsSync(join(directory, path)) ? readFileSync(join(directory, path), 'utf8') : null),
    stop: () => {
      net.close();
      for (const socket of sockets) socket.destroy();
      rmSync(directory, { recursive: true, force: true });
    },
  };
  return host;

  function serve(socket: Socket): void {
    // Made anew for each connection, so that a key that was taken up is shown from the next one on.
    const server = new ssh2.Server({ hostKeys: [host.hostKey] }, (client) => {
      client.on('error', () => socket.destroy());
      client.on('authentication', (context) => context.accept());
      client.on('session', (accept) => {
        const session = accept();
        session.on('sftp', (acceptSftp) => {
          const sftp = acceptSftp();
          sftp.on('SETSTAT', (_id, path) => host.modesSet.push(path));
          serveSftp(sftp, directory);
        });
        session.on('exec', (acceptExec, _reject, { command }) => {
          const channel = acceptExec();
          const ran = runCommand(host, command, run);
          if (ran === 'hang') return;
          if (ran === 'cut') socket.destroy();
          else answer(channel, ran, defaultShell);
        });
      });
    });
    // Documented by ssh2, and missing in its types.
    (server as unknown as { injectSocket(socket: Socket): void }).injectSocket(socket);
  }
}

/** The public half of a host key. */
export function publicHalf(privateKey: string): string {
  const parsed = ssh2.utils.parseKey(privateKey);
  if (parsed instanceof Error) throw parsed;
  return `${parsed.type} ${parsed.getPublicSSH().toString('base64')}`;
}

interface Answer {
  readonly out: Buffer;
  readonly error: string;
  readonly exitCode: number;
}

function answer(channel: ServerChannel, { out, error, exitCode }: Answer, defaultShell: 'cmd' | 'powershell'): void {
  if (error !== '') channel.stderr.write(error);
  channel.write(out);
  channel.exit(defaultShell === 'powershell' && exitCode !== 0 ? 1 : exitCode);
  channel.end();
}

function refuse(why: string): Answer {
  return { out: Buffer.alloc(0), error: `'${why}'\r\n`, exitCode: 1 };
}

function runCommand(host: WindowsHost, command: string, run: WindowsHostOptions['run']): Answer | 'hang' | 'cut' {
  const encoded = COMMAND.exec(command)?.[1];
  if (encoded === undefined || command.length > COMMAND_CHARS_MAX) return refuse('not a command of ours');
  const start = Buffer.from(encoded, 'base64').toString('utf16le');
  const mistakes = mistakesOf(start);
  if (mistakes.length > 0) return refuse(mistakes.join('\n'));
  const literals = literalsOf(start);
  const path = literals.find((text) => text.startsWith('.spillway\\run-'))?.replaceAll('\\', '/') ?? '';
  const token = /run-(.+)\.ps1$/.exec(path)?.[1] ?? '';
  const deadlineMs = Number(/WaitForExit\((\d+)\)/.exec(start)?.[1]);
  const content = existsSync(join(host.directory, path)) ? readFileSync(join(host.directory, path)) : Buffer.alloc(0);
  const sum = createHash('sha256').update(content).digest('hex').toUpperCase();
  const text = content.toString('utf8');
  const end = (code: number): string => `\r\nspillway-exit:${token}:${code}\r\n`;
  // Without its mark Windows PowerShell reads a file in another encoding; a file that is no script ends with 1.
  if (!literals.includes(sum) || !text.startsWith('\uFEFF') || mistakesOf(text).length > 0)
    return { out: Buffer.from(end(70)), error: 'spillway: the script did not arrive whole\r\n', exitCode: 70 };
  const script = text.slice(text.indexOf('& {\n') + 4, text.lastIndexOf('\n  }\n} catch {'));
  host.runs.push({ script, deadlineMs });
  const ran = run(script, host);
  if (ran === 'hang' || ran === 'cut') return ran;
  if (ran === 'no powershell') return refuse('powershell.exe is not recognized as an internal or external command');
  rmSync(join(host.directory, path));
  const out = Buffer.concat([Buffer.from(ran.stdout ?? ''), Buffer.from(end(ran.exitCode))]);
  return { out, error: ran.stderr ?? '', exitCode: ran.exitCode };
}
