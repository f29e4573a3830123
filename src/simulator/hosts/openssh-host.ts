/**
 * An SSH host by OpenSSH's sshd, in the foreground: for what the ssh2 package lacks (post-quantum key exchange, host
 * certificates). It logs in real accounts only, so the login name must be that of the user who runs the region, and its
 * SFTP server is not jailed.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { waitMs } from '../../model/waits.ts';
import type { HostSpec, RunningHost } from './host.ts';
import { hostKeyFile, loginEnvironment, pidFile, quote } from './host.ts';

export const SSHD_PATH = '/usr/sbin/sshd';
const SFTP_SERVERS = ['/usr/lib/openssh/sftp-server', '/usr/libexec/openssh/sftp-server', '/usr/lib/ssh/sftp-server'];
/** sshd that runs as root wants this folder; packages make it only when they start their own service. */
const PRIVILEGE_SEPARATION_DIRECTORY = '/run/sshd';

const START_POLL_MS = 20;
const ERROR_TEXT_MAX = 4_000;

/** How long we wait for sshd; see the list of waits. */
interface SshdWaits {
  readonly program: string;
  readonly startMs: number;
  readonly stopMs: number;
}

export const SSHD_WAITS: SshdWaits = Object.freeze({
  program: SSHD_PATH,
  startMs: waitMs('simulator.sshd-start'),
  stopMs: waitMs('simulator.sshd-stop'),
});

/** Starts sshd and waits until it accepts connections; rejects with what sshd said when it does not. */
export async function startOpensshHost(spec: HostSpec, waits: Partial<SshdWaits> = {}): Promise<RunningHost> {
  const { program, startMs, stopMs } = { ...SSHD_WAITS, ...waits };
  if (process.getuid?.() === 0) await mkdir(PRIVILEGE_SEPARATION_DIRECTORY, { recursive: true, mode: 0o755 });
  const child = spawn(program, ['-D', '-e', '-f', await writeConfig(spec)], {
    env: loginEnvironment(spec, ''),
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const kill = (): void => void child.kill('SIGKILL');
  // A simulation that ends by an exception must not leave daemons behind.
  process.once('exit', kill);
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said = (said + text).slice(-ERROR_TEXT_MAX);
  });
  const gone = once(child, 'close').catch((error: unknown) => error);
  const exited = once(child, 'exit').catch((error: unknown) => error);
  const deadline = performance.now() + startMs;
  while (!(await isListening(spec))) {
    if (child.exitCode !== null || child.pid === undefined || performance.now() > deadline) {
      kill();
      process.off('exit', kill);
      throw new Error(`sshd of ${spec.instanceId} does not start: ${said.trim()}`);
    }
    await sleep(START_POLL_MS);
  }
  return {
    close: async () => {
      child.kill('SIGTERM');
      await Promise.race([gone, sleep(stopMs, undefined, { ref: false })]);
      kill();
      // Until the kernel has ended it, it listens.
      await Promise.race([exited, sleep(SSHD_WAITS.stopMs, undefined, { ref: false })]);
      process.off('exit', kill);
    },
  };
}

async function writeConfig(spec: HostSpec): Promise<string> {
  const folder = join(spec.directory, '.host');
  const authorizedKeys = join(folder, 'authorized_keys');
  const login = join(folder, 'login');
  await writeFile(authorizedKeys, `${spec.authorizedKeys.join('\n')}\n`, { mode: 0o600 });
  const pushedKeys = join(folder, 'pushed-keys');
  await writeFile(pushedKeys, PUSHED_KEYS_SCRIPT);
  await writeFile(login, loginScript(spec));
  await chmod(login, 0o755);
  const config = join(folder, 'sshd_config');
  const lines = [
    `ListenAddress ${spec.address}:${spec.port}`,
    `HostKey ${hostKeyFile(spec.directory)}`,
    `AuthorizedKeysFile ${authorizedKeys}`,
    // Nothing of an image's own: sshd takes a program only from folders that nobody else may write to, and a script as its argument.
    ...(spec.imdsUrl === undefined
      ? []
      : [
          `AuthorizedKeysCommand /bin/sh ${pushedKeys} ${spec.imdsUrl} %u`,
          `AuthorizedKeysCommandUser ${userInfo().username}`,
        ]),
    'AuthenticationMethods publickey',
    'PasswordAuthentication no',
    'KbdInteractiveAuthentication no',
    'PermitRootLogin prohibit-password',
    'UsePAM no',
    // The folder above may belong to somebody else (/tmp does).
    'StrictModes no',
    `PidFile ${pidFile(spec.directory)}`,
    'PrintMotd no',
    'AcceptEnv LANG LC_*',
    'Subsystem sftp spillway-sftp',
    `ForceCommand ${login}`,
  ];
  await writeFile(config, `${lines.join('\n')}\n`, { mode: 0o600 });
  return config;
}

/** What ec2-instance-connect is on an image: asks the instance metadata for the keys of a user that may log in now. */
const PUSHED_KEYS_SCRIPT = `#!/bin/sh
token=$(curl -sf -m 5 -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' "$1/latest/api/token") || exit 0
curl -sf -m 5 -H "X-aws-ec2-metadata-token: $token" "$1/latest/meta-data/managed-ssh-keys/active-keys/$2/" || exit 0
`;

/** Every login goes through this: it gives the instance's environment and directory instead of the account's. */
function loginScript(spec: HostSpec): string {
  const exports = Object.entries(loginEnvironment(spec, '')).filter(([name]) => name !== 'USER' && name !== 'LOGNAME');
  return [
    '#!/bin/sh',
    ...exports.map(([name, value]) => `export ${name}=${quote(value)}`),
    `cd ${quote(spec.directory)} || exit 1`,
    'if [ "$SSH_ORIGINAL_COMMAND" = spillway-sftp ]; then',
    `  for server in ${SFTP_SERVERS.join(' ')}; do`,
    '    [ -x "$server" ] && exec "$server"',
    '  done',
    '  exit 127',
    'fi',
    'if [ -n "$SSH_ORIGINAL_COMMAND" ]; then exec /bin/sh -c "$SSH_ORIGINAL_COMMAND"; fi',
    'exec /bin/sh',
    '',
  ].join('\n');
}

function isListening({ address, port }: HostSpec): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: address, port });
    const finish = (isUp: boolean): void => {
      socket.destroy();
      resolve(isUp);
    };
    socket.once('connect', () => finish(true));
    socket.once('error', () => finish(false));
  });
}
