import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { copyFile, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { findServerProgram, freePort } from './server-program.ts';
import { until } from './wait.ts';

/** Null when this machine has none: `describe.skipIf(sshdProgram === null)`. Looked for when a test file imports this. */
export const sshdProgram = findServerProgram({ name: 'sshd', debianPackage: 'openssh-server' });
/** The client, for the transport that runs it. Null as above. */
export const sshProgram = findServerProgram({ name: 'ssh', debianPackage: 'openssh-client' });

export interface TestSshd {
  readonly host: string;
  readonly port: number;
  /** The user the tests run as: without root, sshd can log in nobody else. */
  readonly user: string;
  /** Its public host key, `ssh-ed25519 AAAA...`. */
  readonly hostKey: string;
  /** Private key file that may log in. */
  readonly identityFile: string;
  readonly process: ChildProcess;
  stop(): Promise<void>;
}

export interface SshdOptions {
  /** Whose key may log in; default: one that is made for it. */
  readonly identityFile?: string;
  /** Signs a certificate for its host key: the authority's key file, and the names in the certificate. */
  readonly certificate?: { readonly caFile: string; readonly names: readonly string[] };
  /** More lines of its configuration; of two about one thing the first counts. */
  readonly settings?: readonly string[];
  /** Where it writes its log; default: nowhere. */
  readonly logFile?: string;
  /** The network it is in: what its command begins with there, and its address. Default: this one, on loopback. */
  readonly network?: { readonly within: readonly string[]; readonly address: string };
}

/** `ssh-keygen`, for a key without a passphrase. */
export function makeKeyFile(file: string): void {
  execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', 'spillway-test', '-f', file], { timeout: 10_000 });
}

/** OpenSSH's sshd, on 127.0.0.1 unless told, with a host key and a user key made for it. Key log-in only. */
export async function startSshd(options: SshdOptions = {}): Promise<TestSshd> {
  if (sshdProgram === null) throw new Error('there is no sshd here: guard the suite with sshdProgram');
  // sshd wants this folder when it is root; the package makes it only when its service starts.
  if (process.getuid?.() === 0) await mkdir('/run/sshd', { recursive: true, mode: 0o755 });
  const folder = await mkdtemp(join(tmpdir(), 'spillway-sshd-'));
  const hostKeyFile = join(folder, 'host_key');
  const identityFile = options.identityFile ?? join(folder, 'user_key');
  makeKeyFile(hostKeyFile);
  if (options.identityFile === undefined) makeKeyFile(identityFile);
  await copyFile(`${identityFile}.pub`, join(folder, 'authorized_keys'));
  const port = await freePort();
  const configFile = join(folder, 'sshd_config');
  const settings = [...(options.settings ?? [])];
  if (options.certificate !== undefined) {
    const { caFile, names } = options.certificate;
    const args = ['-q', '-s', caFile, '-I', 'test', '-h', '-n', names.join(','), '-V', '+1h', `${hostKeyFile}.pub`];
    execFileSync('ssh-keygen', args, { timeout: 10_000 });
    settings.push(`HostCertificate ${hostKeyFile}-cert.pub`);
  }
  const { within, address: host } = options.network ?? { within: [], address: '127.0.0.1' };
  await writeFile(configFile, `${settings.join('\n')}\n${configText(folder, { host, port })}`);
  const logArgs = options.logFile === undefined ? ['-e'] : ['-E', options.logFile];
  const [program, ...args] = [...within, sshdProgram, '-D', ...logArgs, '-f', configFile];
  const child = spawn(program, args, { stdio: 'ignore' });
  const kill = (): void => void child.kill('SIGKILL');
  process.once('exit', kill);
  // From another network it cannot be asked; it writes this file once it listens.
  const isUp = async (): Promise<boolean> =>
    options.network === undefined ? await greets(port) : existsSync(join(folder, 'sshd.pid'));
  await until('sshd answers', async () => child.exitCode === null && (await isUp()));
  return {
    host,
    port,
    user: userInfo().username,
    hostKey: (await readFile(`${hostKeyFile}.pub`, 'utf8')).trim(),
    identityFile,
    process: child,
    stop: async () => {
      process.off('exit', kill);
      if (child.exitCode === null && child.signalCode === null) {
        const exited = once(child, 'exit');
        child.kill('SIGTERM');
        await exited;
      }
      await rm(folder, { recursive: true, force: true });
    },
  };
}

function configText(folder: string, { host, port }: Pick<TestSshd, 'host' | 'port'>): string {
  const settings = [
    `Port ${port}`,
    `ListenAddress ${host}`,
    `HostKey ${join(folder, 'host_key')}`,
    `AuthorizedKeysFile ${join(folder, 'authorized_keys')}`,
    `PidFile ${join(folder, 'sshd.pid')}`,
    'PasswordAuthentication no',
    'KbdInteractiveAuthentication no',
    'PermitRootLogin prohibit-password',
    // The folder is in /tmp, which everybody may write to.
    'StrictModes no',
    'UsePAM no',
    'Subsystem sftp internal-sftp',
  ];
  return `${settings.join('\n')}\n`;
}

async function greets(port: number): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const socket = connect(port, '127.0.0.1');
  socket.setTimeout(1_000, () => resolve(false));
  socket.once('data', (data) => resolve(data.toString().startsWith('SSH-2.0')));
  socket.once('error', () => resolve(false));
  return promise.finally(() => socket.destroy());
}
