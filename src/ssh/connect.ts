/**
 * The only file that opens SSH connections. ssh2 accepts ANY host when it gets no verifier; here every connection is made
 * from a `HostKeyPin`, which only a well-formed key can become, so that an unverified one cannot be written down.
 */
import assert from 'node:assert/strict';
import { NodeSSH } from 'node-ssh';
import type { Client, ConnectConfig } from 'ssh2';
import { AppError } from '../model/errors.ts';
import type { ShellTarget } from '../ports/shell.ts';
import { raceAbort } from './abort.ts';
import { fingerprintOf, isPinnedKey, parseHostKeyPin } from './host-key-pin.ts';
import type { HostKeyPin } from './host-key-pin.ts';
import { readIdentity } from './public-key.ts';

/**
 * GCM only: with it the Terrapin attack has nothing to cut. One key exchange and one kind of host key, both of which
 * every OpenSSH since 6.5 (2014) speaks.
 */
const ALGORITHMS = {
  kex: ['curve25519-sha256', 'curve25519-sha256@libssh.org'],
  serverHostKey: ['ssh-ed25519'],
  cipher: ['aes256-gcm@openssh.com', 'aes128-gcm@openssh.com'],
  compress: ['none'],
} satisfies NonNullable<ConnectConfig['algorithms']>;

export interface ConnectLimits {
  /** TCP, key exchange and login together. */
  readonly connectMs: number;
  readonly keepaliveMs: number;
  /** Unanswered keep-alives after which the connection counts as lost. */
  readonly keepalivesMax: number;
}

/** A verified, logged-in connection. */
export interface Connection {
  readonly ssh: NodeSSH;
  readonly client: Client;
}

/** ssh2's options with the verifier required: what `NodeSSH.connect` is called with, and nothing weaker. */
type VerifiedConfig = ConnectConfig & {
  readonly privateKey: string;
  readonly hostVerifier: (offered: Buffer) => boolean;
};

interface Verification {
  offered: Buffer | null;
  matched: boolean;
}

/**
 * Connects, verifies the host and logs in. `control` ends it from outside, and is aborted with an `AppError` when the
 * connection fails later: everything that runs on the connection races against its signal.
 */
export async function openConnection(
  target: ShellTarget,
  limits: ConnectLimits,
  control: AbortController,
): Promise<Connection> {
  const pin = parseHostKeyPin(target.hostKey);
  const identity = await raceAbort(control.signal, readIdentity(target.identityFile));
  const verification: Verification = { offered: null, matched: false };
  const config: VerifiedConfig = {
    host: target.host,
    port: target.port,
    username: target.user,
    privateKey: identity.privateKey,
    // Without this list ssh2 also offers `none` first; passwords and questions are never answered.
    authHandler: ['publickey'],
    hostVerifier: (offered: Buffer) => {
      verification.offered = offered;
      verification.matched = isPinnedKey(pin, offered);
      return verification.matched;
    },
    algorithms: ALGORITHMS,
    readyTimeout: limits.connectMs,
    keepaliveInterval: limits.keepaliveMs,
    keepaliveCountMax: limits.keepalivesMax,
    agentForward: false,
  };
  const ssh = new NodeSSH();
  const connecting = ssh.connect(config);
  const client = ssh.connection;
  assert(client !== null, 'node-ssh makes its client before it waits');
  watch(client, target, control);
  // SSH speaks in small packets both ways: waiting for acknowledgements costs 40 ms each.
  client.setNoDelay(true);
  try {
    await raceAbort(control.signal, connecting);
  } catch (error) {
    client.destroy();
    throw toConnectError(error, target, { pin, verification });
  }
  assert(verification.matched, 'nobody is logged in to a host that was not verified');
  return { ssh, client };
}

/** node-ssh stops listening once it is connected; an `error` nobody listens to would end the process. */
function watch(client: Client, target: ShellTarget, control: AbortController): void {
  let ready = false;
  client.on('ready', () => {
    ready = true;
  });
  client.on('error', (error) => {
    if (ready) control.abort(lostError(target, error));
  });
  client.on('close', () => {
    if (ready) control.abort(lostError(target, undefined));
  });
}

function lostError(target: ShellTarget, cause: unknown): AppError {
  return new AppError('SSH_UNREACHABLE', `The SSH connection to ${nameOf(target)} was lost.`, {
    remedy: 'Nothing to do if it happens once; else check the route to the machine and its console output.',
    cause,
  });
}

interface Seen {
  readonly pin: HostKeyPin;
  readonly verification: Verification;
}

function toConnectError(error: unknown, target: ShellTarget, { pin, verification }: Seen): AppError {
  if (error instanceof AppError) return error;
  if (verification.offered !== null && !verification.matched) {
    return new AppError('SSH_HOST_KEY', `${nameOf(target)} proved another host key than the one it was given.`, {
      remedy: 'Do not log in by hand: somebody may stand in between, or the address belongs to another machine now.',
      cause: error,
      details: { expected: pin.fingerprint, offered: fingerprintOf(verification.offered) },
    });
  }
  if (readLevel(error) === 'client-authentication') {
    return new AppError('SSH_AUTH', `${nameOf(target)} refused the key of user ${target.user}.`, {
      remedy: `Check that join.ssh.user is the image's login and that ${target.identityFile} is the key it was given.`,
      cause: error,
    });
  }
  return new AppError('SSH_UNREACHABLE', `${nameOf(target)} did not complete an SSH connection.`, {
    remedy: 'Check the route and the security group (TCP from here to the SSH port), and the console output.',
    cause: error,
  });
}

function readLevel(error: unknown): string | null {
  const level = error instanceof Error && 'level' in error ? error.level : null;
  return typeof level === 'string' ? level : null;
}

/** `host:port` for messages. */
export function nameOf(target: Pick<ShellTarget, 'host' | 'port'>): string {
  return `${target.host}:${target.port}`;
}
