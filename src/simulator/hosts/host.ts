import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import ssh2 from 'ssh2';
import type { Architecture } from '../../model/offering.ts';
import { deriveHostKey } from '../../cloud/host-key.ts';
import { INSTANCE_VARIABLE } from './processes.ts';

/** What a host needs to know to stand in for one instance. */
export interface HostSpec {
  readonly instanceId: string;
  /** Loopback address it listens on, and nowhere else. */
  readonly address: string;
  readonly port: number;
  /** HOME and working directory of every command. */
  readonly directory: string;
  readonly vcpus: number;
  readonly memoryMib: number;
  readonly gpus: number;
  readonly arch: Architecture;
  /** `authorized_keys` lines. */
  readonly authorizedKeys: readonly string[];
  /** Further public keys that a user may log in with now. */
  readonly pushedKeys?: (user: string) => readonly string[];
  /** PATH of commands, behind the instance's own `bin`. */
  readonly path: string;
  /** Base URL of its instance metadata; absent = it has none. */
  readonly imdsUrl?: string;
  /** Where errors of the host itself go. */
  readonly onError: (error: unknown) => void;
}

export interface RunningHost {
  /** Closes the listener and every connection. Processes are not its business. */
  close(): Promise<void>;
}

/** The host key's file, read anew for each connection, so that a login can rotate it as on a real host. */
export function hostKeyFile(directory: string): string {
  return join(directory, '.host', 'ssh_host_ed25519_key');
}

/** A file in this folder named `shutdown` ends the instance from inside. */
export function controlDirectory(directory: string): string {
  return join(directory, '.host', 'control');
}

/** The environment of a login: nothing of the simulation's own environment but what is named here. */
export function loginEnvironment(spec: HostSpec, user: string): Record<string, string> {
  return {
    HOME: spec.directory,
    USER: user,
    LOGNAME: user,
    SHELL: '/bin/sh',
    LANG: 'C.UTF-8',
    PATH: `${join(spec.directory, 'bin')}:${spec.path}`,
    SPILLWAY_CPUS: String(spec.vcpus),
    SPILLWAY_MEMORY_MIB: String(spec.memoryMib),
    SPILLWAY_GPUS: String(spec.gpus),
    SPILLWAY_ARCH: spec.arch,
    SPILLWAY_SIMULATED_IMDS: spec.imdsUrl ?? '',
    SPILLWAY_HOST_KEY_FILE: hostKeyFile(spec.directory),
    [INSTANCE_VARIABLE]: spec.instanceId,
  };
}

/** Stock images let their user become root without a password; here everybody is the user who runs the region. */
const SUDO = [
  '#!/bin/sh',
  'while [ $# -gt 0 ]; do',
  '  case $1 in',
  '    -u) shift 2 ;;',
  '    --) shift; break ;;',
  '    -*) shift ;;',
  '    *) break ;;',
  '  esac',
  'done',
  'exec "$@"',
  '',
].join('\n');

/** Where sshd writes its process id; a host of the ssh2 package has none, and reads its key for each connection. */
export function pidFile(directory: string): string {
  return join(directory, '.host', 'sshd.pid');
}

/** `systemctl reload ssh` as an image has it. Nothing on a host may ever reach the services of the machine it runs on. */
function systemctl(directory: string): string {
  const pid = quote(pidFile(directory));
  return `#!/bin/sh\n[ "$1" = reload ] && [ -f ${pid} ] && kill -HUP "$(cat ${pid})"\n`;
}

/** Wherever there is an SSH server there is ssh-keygen; a machine that only simulates one may lack it. */
const KEYGEN_PLACES = ['/usr/bin/ssh-keygen', '/usr/local/bin/ssh-keygen', '/bin/ssh-keygen'];
const hasKeygen = KEYGEN_PLACES.some((place) => existsSync(place));
const KEYGEN_PROGRAM = new URL(`./keygen${extname(import.meta.filename)}`, import.meta.url);
const KEYGEN = `#!/bin/sh\nexec ${quote(process.execPath)} ${quote(fileURLToPath(KEYGEN_PROGRAM))} "$@"\n`;

/** Makes the instance's files: its folder, its host key, and a `shutdown` that works. Gives the public host key. */
export async function prepareDirectory(directory: string, hostKeyPrivate: string | null): Promise<string> {
  await mkdir(controlDirectory(directory), { recursive: true, mode: 0o700 });
  await mkdir(join(directory, 'bin'), { recursive: true });
  // cloud-init sets host keys at the first boot only: one that was rotated since outlives a stop and a start.
  const privateKey =
    (await readIfThere(hostKeyFile(directory))) ??
    hostKeyPrivate ??
    deriveHostKey(randomBytes(32), 'unnamed').privateOpenSsh;
  const parsed = ssh2.utils.parseKey(privateKey);
  if (parsed instanceof Error) throw new Error(`the host key in the user-data cannot be read: ${parsed.message}`);
  const publicKey = `${parsed.type} ${parsed.getPublicSSH().toString('base64')}`;
  await writeFile(hostKeyFile(directory), privateKey.endsWith('\n') ? privateKey : `${privateKey}\n`, { mode: 0o600 });
  await writeFile(`${hostKeyFile(directory)}.pub`, `${publicKey}\n`);
  for (const name of ['shutdown', 'poweroff', 'halt']) {
    const script = join(directory, 'bin', name);
    await writeFile(script, `#!/bin/sh\n: > ${quote(join(controlDirectory(directory), 'shutdown'))}\n`);
    await chmod(script, 0o755);
  }
  await writeFile(join(directory, 'bin', 'sudo'), SUDO, { mode: 0o755 });
  await writeFile(join(directory, 'bin', 'systemctl'), systemctl(directory), { mode: 0o755 });
  if (!hasKeygen) await writeFile(join(directory, 'bin', 'ssh-keygen'), KEYGEN, { mode: 0o755 });
  return publicKey;
}

async function readIfThere(file: string): Promise<string | null> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return null;
    throw error;
  }
}

/** What the console of a booted instance shows; the key block is in the form cloud-init prints. */
export function consoleText(address: string, publicKey: string, problem: string | null): string {
  return [
    `[    0.000000] Linux simulated (boot ${randomBytes(4).toString('hex')})`,
    ...(problem === null ? [] : [`cloud-init: ${problem}`]),
    '-----BEGIN SSH HOST KEY KEYS-----',
    `${publicKey} root@ip-${address.replaceAll('.', '-')}`,
    '-----END SSH HOST KEY KEYS-----',
    `ip-${address.replaceAll('.', '-')} login: `,
    '',
  ].join('\r\n');
}

/** Single quotes for `sh`. */
export function quote(text: string): string {
  return `'${text.replaceAll("'", String.raw`'\''`)}'`;
}
