import type { ShellHop } from '../ports/shell.ts';
import type { HostKeyPin } from './host-key-pin.ts';
import type { ConnectLimits } from './connect.ts';

/** Best first; those that the installed `ssh` does not know are left out. The last two are what every server since 2014 speaks. */
export const KEX_WANTED: readonly string[] = [
  'mlkem768x25519-sha256',
  'sntrup761x25519-sha512',
  'sntrup761x25519-sha512@openssh.com',
  'curve25519-sha256',
  'curve25519-sha256@libssh.org',
];

/** One hop, with what was read for it from files that the policy names. */
export interface PreparedHop extends Pick<ShellHop, 'host' | 'port' | 'user'> {
  readonly trust:
    | { readonly kind: 'keys'; readonly pins: readonly HostKeyPin[] }
    /** Public key lines of authorities. */
    | { readonly kind: 'ca'; readonly authorities: readonly string[] };
  readonly login: 'file' | 'agent';
}

export interface ConfigParts {
  readonly folder: string;
  /** In the order they are gone through. */
  readonly hops: readonly PreparedHop[];
  readonly kex: readonly string[];
  readonly limits: ConnectLimits;
}

/** What a hop is called in the files; nothing that a user wrote is part of a file name or a command line. */
export function aliasOf(index: number): string {
  return `spillway-${index}`;
}

/** `ssh -F` with this reads no other file: neither the user's nor the system's. */
export function renderConfig({ folder, hops, kex, limits }: ConfigParts): string {
  const blocks = hops.map((hop, index) => [`Host ${aliasOf(index)}`, ...hopLines(hop, { folder, index })]);
  return [...blocks.flat(), 'Host *', ...commonLines(kex, limits), ''].join('\n');
}

function hopLines(hop: PreparedHop, { folder, index }: { readonly folder: string; readonly index: number }): string[] {
  const [identity, agent] =
    hop.login === 'file' ? [fileOf(folder, `id-${index}`), 'none'] : ['none', fileOf(folder, `agent-${index}`)];
  return [
    `  HostName ${hop.host}`,
    `  Port ${hop.port}`,
    `  User ${hop.user}`,
    ...(index === 0 ? [] : [`  ProxyJump ${aliasOf(index - 1)}`]),
    `  UserKnownHostsFile ${fileOf(folder, `known-${index}`)}`,
    `  IdentityFile ${identity}`,
    `  IdentityAgent ${agent}`,
    `  IdentitiesOnly ${hop.login === 'file' ? 'yes' : 'no'}`,
    // A certificate names the address; a key is looked up under a name that only our file has.
    ...(hop.trust.kind === 'ca' ? [] : [`  HostKeyAlias ${aliasOf(index)}`]),
    `  HostKeyAlgorithms ${hop.trust.kind === 'ca' ? 'ssh-ed25519-cert-v01@openssh.com,ssh-ed25519' : 'ssh-ed25519'}`,
  ];
}

function commonLines(kex: readonly string[], limits: ConnectLimits): string[] {
  return [
    '  BatchMode yes',
    '  StrictHostKeyChecking yes',
    '  GlobalKnownHostsFile /dev/null',
    '  UpdateHostKeys no',
    '  VerifyHostKeyDNS no',
    '  CheckHostIP no',
    '  PreferredAuthentications publickey',
    '  PubkeyAuthentication yes',
    '  PasswordAuthentication no',
    '  KbdInteractiveAuthentication no',
    '  ForwardAgent no',
    '  ForwardX11 no',
    '  ClearAllForwardings no',
    '  Compression no',
    `  KexAlgorithms ${kex.join(',')}`,
    '  Ciphers aes256-gcm@openssh.com,aes128-gcm@openssh.com',
    `  ConnectTimeout ${Math.ceil((limits.connectMs + limits.handshakeMs) / 1000)}`,
    `  ServerAliveInterval ${Math.ceil(limits.keepaliveMs / 1000)}`,
    `  ServerAliveCountMax ${limits.keepalivesMax}`,
    // Banners and messages of the day are the host's words, not ssh's.
    '  LogLevel ERROR',
  ];
}

/** Quoted, and with `%` kept from being a token. */
function fileOf(folder: string, name: string): string {
  return `"${folder.replaceAll('%', '%%')}/${name}"`;
}

/** The known_hosts file of one hop: all that is in it is about this hop. */
export function renderKnownHosts({ trust }: PreparedHop, index: number): string {
  const lines =
    trust.kind === 'ca'
      ? trust.authorities.map((line) => `@cert-authority * ${line}`)
      : trust.pins.map(({ blob }) => `${aliasOf(index)} ssh-ed25519 ${blob.toString('base64')}`);
  return `${lines.join('\n')}\n`;
}
