/**
 * The only file that opens SSH connections in this process. ssh2 accepts ANY host when it gets no verifier; here every connection is made
 * from `HostKeyPin`s, which only a well-formed key can become, so that an unverified one cannot be written down.
 */
import assert from 'node:assert/strict';
import { connect as connectTcp } from 'node:net';
import type { Duplex } from 'node:stream';
import { NodeSSH } from 'node-ssh';
import type { Client, ConnectConfig } from 'ssh2';
import { AppError } from '../model/errors.ts';
import type { ShellHop, ShellJump, ShellLogin, ShellTarget } from '../ports/shell.ts';
import { fromCallback, raceAbort } from './abort.ts';
import { KEY_TYPE, fingerprintOf, isPinnedKey } from './host-key-pin.ts';
import type { HostKeyPin } from './host-key-pin.ts';
import { readLogin } from './login.ts';
import type { LoginOptions } from './login.ts';
import { pushNewKey } from './pushed-key.ts';
import { readPins } from './trust.ts';

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
  /** TCP. */
  readonly connectMs: number;
  /** Greeting, key exchange, host key. */
  readonly handshakeMs: number;
  readonly loginMs: number;
  readonly keepaliveMs: number;
  /** Unanswered keep-alives after which the connection counts as lost. */
  readonly keepalivesMax: number;
}

export interface ConnectOptions extends ConnectLimits {
  /** Socket of the SSH agent where a login names none. */
  readonly agentSocket: string | null;
}

/** A verified, logged-in connection. */
export interface Connection {
  readonly ssh: NodeSSH;
  readonly client: Client;
  /** Ends it and those to the jump hosts below. */
  close(): void;
}

/** ssh2's options with the verifier required: what `NodeSSH.connect` is called with, and nothing weaker. */
type VerifiedConfig = Omit<ConnectConfig, 'authHandler'> &
  LoginOptions & { readonly hostVerifier: (offered: Buffer) => boolean };

interface Verification {
  offered: Buffer | null;
  matched: boolean;
}

/**
 * Connects by way of the jump hosts, verifies each host and logs in. `control` ends it from outside, and is aborted with an
 * `AppError` when a connection fails later: everything that runs on it races against its signal.
 */
export async function openConnection(
  target: ShellTarget,
  options: ConnectOptions,
  control: AbortController,
): Promise<Connection> {
  // First, so that a host of which nothing is known is not even called.
  const proof = await raceAbort(control.signal, readProof(target, options));
  const below = await openJumps(target.jumps, options, control);
  try {
    const login = proof.login ?? (await pushedLogin(target, control.signal));
    const socket = await reach(below, target, options, control.signal);
    const own = await openHop(target, { socket, proof: { ...proof, login }, options, control });
    return {
      ...own,
      close: () => {
        own.close();
        below?.close();
      },
    };
  } catch (error) {
    below?.close();
    throw error;
  }
}

/** What goes both ways: what the host must prove, and what we do. */
interface Proof {
  readonly pins: readonly HostKeyPin[];
  readonly login: LoginOptions;
}

/** `login`: null when it is made when everything else is ready, because it does not keep. */
type ReadProof = Omit<Proof, 'login'> & { readonly login: LoginOptions | null };

async function readProof(hop: ShellHop, { agentSocket }: ConnectOptions): Promise<ReadProof> {
  const { login } = hop;
  return { pins: await readPins(hop), login: login.kind === 'pushed' ? null : await readLogin(login, agentSocket) };
}

async function pushedLogin({ login }: ShellHop, signal: AbortSignal): Promise<LoginOptions> {
  assert(login.kind === 'pushed', 'every other key has been read');
  return { authHandler: ['publickey'], privateKey: await pushNewKey(login, signal) };
}

/** The connection to the last jump host; null when there is none. */
export async function openJumps(
  jumps: readonly ShellJump[],
  options: ConnectOptions,
  control: AbortController,
): Promise<Connection | null> {
  const last = jumps.at(-1);
  if (last === undefined) return null;
  return await openConnection({ ...last, jumps: jumps.slice(0, -1), transport: 'ssh2' }, options, control);
}

/** Bytes to and from the hop's port, directly or through the connection below. */
export async function reach(
  below: Connection | null,
  hop: Pick<ShellHop, 'host' | 'port'>,
  { connectMs }: Pick<ConnectLimits, 'connectMs'>,
  signal: AbortSignal,
): Promise<Duplex> {
  const timeout = AbortSignal.timeout(connectMs);
  const opening = below === null ? dial(hop) : forward(below, hop);
  try {
    return await raceAbort(AbortSignal.any([signal, timeout]), opening);
  } catch (error) {
    // The socket may come after all; nobody would close it.
    void opening.then(
      (late) => late.destroy(),
      () => undefined,
    );
    if (error instanceof AppError) throw error;
    throw unreachable(hop, error);
  }
}

function dial({ host, port }: Pick<ShellHop, 'host' | 'port'>): Promise<Duplex> {
  return new Promise<Duplex>((resolve, reject) => {
    const socket = connectTcp({ host, port });
    socket.once('error', reject);
    socket.once('connect', () => {
      socket.off('error', reject);
      // SSH speaks in small packets both ways: waiting for acknowledgements costs 40 ms each.
      resolve(socket.setNoDelay(true));
    });
  });
}

async function forward(below: Connection, { host, port }: Pick<ShellHop, 'host' | 'port'>): Promise<Duplex> {
  return await fromCallback<Duplex>((done) =>
    below.client.forwardOut('127.0.0.1', 0, host, port, (error, channel) => done(error, channel)),
  );
}

interface HopParts {
  readonly socket: Duplex;
  readonly proof: Proof;
  readonly options: ConnectOptions;
  readonly control: AbortController;
}

async function openHop(
  hop: ShellHop,
  { socket, proof: { pins, login }, options, control }: HopParts,
): Promise<Connection> {
  const verification: Verification = { offered: null, matched: false };
  const phase = new AbortController();
  const signal = AbortSignal.any([control.signal, phase.signal]);
  let client: Client | null = null;
  try {
    const config: VerifiedConfig = {
      ...login,
      sock: socket,
      username: hop.user,
      hostVerifier: (offered: Buffer) => {
        verification.offered = offered;
        verification.matched = pins.some((pin) => isPinnedKey(pin, offered));
        return verification.matched;
      },
      algorithms: ALGORITHMS,
      readyTimeout: options.handshakeMs + options.loginMs,
      keepaliveInterval: options.keepaliveMs,
      keepaliveCountMax: options.keepalivesMax,
      agentForward: false,
    };
    const ssh = new NodeSSH();
    // node-ssh's type knows its own additions; all else goes to ssh2 as it is.
    const connecting = ssh.connect(config as Parameters<NodeSSH['connect']>[0]);
    client = ssh.connection;
    assert(client !== null, 'node-ssh makes its client before it waits');
    const made = client;
    watch(made, hop, control);
    await watchPhases(made, { hop, options, phase, until: raceAbort(signal, connecting) });
    assert(verification.matched, 'nobody is logged in to a host that was not verified');
    return { ssh, client: made, close: () => void made.destroy() };
  } catch (error) {
    client?.destroy();
    socket.destroy();
    throw toConnectError(error, hop, { pins, verification });
  }
}

interface Phases {
  readonly hop: ShellHop;
  readonly options: ConnectLimits;
  readonly phase: AbortController;
  readonly until: Promise<unknown>;
}

/** Each phase of connecting has a time of its own: what hangs is then told by the phase it hangs in. */
async function watchPhases(client: Client, { hop, options, phase, until }: Phases): Promise<void> {
  const limit = (what: string, ms: number): NodeJS.Timeout =>
    setTimeout(() => phase.abort(unreachable(hop, new Error(`${what} took longer than ${ms} ms`))), ms);
  let timer = limit('the handshake', options.handshakeMs);
  client.once('handshake', () => {
    clearTimeout(timer);
    timer = limit('the log-in', options.loginMs);
  });
  try {
    await until;
  } finally {
    clearTimeout(timer);
  }
}

/** node-ssh stops listening once it is connected; an `error` nobody listens to would end the process. */
function watch(client: Client, hop: ShellHop, control: AbortController): void {
  let ready = false;
  client.on('ready', () => {
    ready = true;
  });
  client.on('error', (error) => {
    if (ready) control.abort(lostError(hop, error));
  });
  client.on('close', () => {
    if (ready) control.abort(lostError(hop, undefined));
  });
}

function lostError(hop: ShellHop, cause: unknown): AppError {
  return new AppError('SSH_UNREACHABLE', `The SSH connection to ${nameOf(hop)} was lost.`, {
    remedy: 'Nothing to do if it happens once; else check the route to the machine and its console output.',
    cause,
  });
}

interface Seen {
  readonly pins: readonly HostKeyPin[];
  readonly verification: Verification;
}

function toConnectError(error: unknown, hop: ShellHop, { pins, verification }: Seen): AppError {
  if (verification.offered !== null && !verification.matched) {
    return wrongKeyError(hop, {
      cause: error,
      details: {
        expected: pins.map(({ fingerprint }) => fingerprint).join(', '),
        offered: fingerprintOf(verification.offered),
        offeredKey: `${KEY_TYPE} ${verification.offered.toString('base64')}`,
        host: nameOf(hop),
      },
    });
  }
  if (error instanceof AppError) return error;
  // Where an agent has no key that the host takes, ssh2 says so only by running out of ways to log in.
  if (readLevel(error) === 'client-authentication' || readLevel(error) === 'agent') return authError(hop, error);
  return unreachable(hop, error);
}

/** @param more what was expected and offered, where it is known */
export function wrongKeyError(
  hop: Pick<ShellHop, 'host' | 'port'>,
  more: { readonly cause: unknown; readonly details: Readonly<Record<string, string>> },
): AppError {
  return new AppError('SSH_HOST_KEY', `${nameOf(hop)} proved another host key than the one it was given.`, {
    remedy: 'Do not log in by hand: somebody may stand in between, or the address belongs to another machine now.',
    ...more,
  });
}

export function authError(hop: ShellHop, cause: unknown): AppError {
  return new AppError('SSH_AUTH', `${nameOf(hop)} refused the key of user ${hop.user}.`, {
    remedy: `Check that join.ssh.user is the image's login and that ${checkOf(hop.login)}.`,
    cause,
  });
}

function checkOf(login: ShellLogin): string {
  switch (login.kind) {
    case 'file':
      return `${login.file} is the key it was given`;
    case 'agent':
      return 'that of the SSH agent is the key it was given';
    case 'pushed':
      return 'the image has ec2-instance-connect, as Amazon Linux and Ubuntu have it';
  }
}

export function unreachable(hop: Pick<ShellHop, 'host' | 'port'>, cause: unknown): AppError {
  return new AppError('SSH_UNREACHABLE', `${nameOf(hop)} did not complete an SSH connection.`, {
    remedy: 'Check the route and the security group (TCP from here to the SSH port), and the console output.',
    cause,
  });
}

function readLevel(error: unknown): string | null {
  const level = error instanceof Error && 'level' in error ? error.level : null;
  return typeof level === 'string' ? level : null;
}

/** `host:port` for messages. */
export function nameOf(target: Pick<ShellHop, 'host' | 'port'>): string {
  return `${target.host}:${target.port}`;
}
