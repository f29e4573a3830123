/** An SSH host in this process, by the ssh2 package's server: any user name, public keys only. */
import type { ChildProcessWithoutNullStreams } from 'node:child_process';
import { spawn } from 'node:child_process';
import { timingSafeEqual } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { Server as NetServer, Socket } from 'node:net';
import { createServer } from 'node:net';
import type { AuthContext, Connection, ParsedKey, ServerChannel, Session } from 'ssh2';
import ssh2 from 'ssh2';
import { waitMs } from '../../model/waits.ts';
import type { HostSpec, RunningHost } from './host.ts';
import { hostKeyFile, loginEnvironment } from './host.ts';
import { serveSftp } from './sftp.ts';

const CONNECTIONS_MAX = 64;

/** Listens on the host's address; rejects when it cannot (the port is taken or not ours to take). */
export async function startSsh2Host(spec: HostSpec, loginMs = waitMs('simulator.login')): Promise<RunningHost> {
  const keys = parseKeys(spec, spec.authorizedKeys);
  const sockets = new Set<Socket>();
  const listener = createServer((socket) => {
    sockets.add(socket);
    // Requests and answers are small: without this each would wait for the other side's delayed acknowledgement.
    socket.setNoDelay(true);
    socket.on('close', () => sockets.delete(socket));
    // A client that goes away in the middle of a handshake is no news.
    socket.on('error', () => socket.destroy());
    accept({ ...spec, loginMs }, keys, socket);
  });
  listener.maxConnections = CONNECTIONS_MAX;
  await listen(listener, spec);
  return {
    close: () =>
      new Promise((resolve) => {
        listener.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      }),
  };
}

function parseKeys({ instanceId, onError }: HostSpec, lines: readonly string[]): readonly ParsedKey[] {
  return lines.flatMap((line) => {
    const key = ssh2.utils.parseKey(line);
    if (key instanceof Error) onError(new Error(`authorized key of ${instanceId}: ${key.message}`));
    return key instanceof Error ? [] : [key];
  });
}

function listen(listener: NetServer, { port, address }: HostSpec): Promise<void> {
  return new Promise((resolve, reject) => {
    listener.once('error', reject);
    listener.listen({ port, host: address, exclusive: true }, () => {
      listener.off('error', reject);
      resolve();
    });
  });
}

/** One SSH server per connection, so that each presents the host key as it is in the file now. */
function accept(spec: HostSpec & { readonly loginMs: number }, keys: readonly ParsedKey[], socket: Socket): void {
  let server: ssh2.Server;
  try {
    server = new ssh2.Server({ hostKeys: [readFileSync(hostKeyFile(spec.directory))] });
  } catch (error) {
    spec.onError(new Error(`host key of ${spec.instanceId} cannot be used`, { cause: error }));
    socket.destroy();
    return;
  }
  const deadline = setTimeout(() => socket.destroy(), spec.loginMs);
  socket.on('close', () => clearTimeout(deadline));
  server.on('connection', (client) => {
    let user = '';
    client.on('authentication', (context) => {
      user = context.username;
      const pushed = parseKeys(spec, spec.pushedKeys?.(user) ?? []);
      if (isAuthentic(context, [...keys, ...pushed])) context.accept();
      else context.reject(['publickey']);
    });
    client.on('ready', () => {
      clearTimeout(deadline);
      client.on('session', (acceptSession) => serveSession(spec, user, acceptSession()));
    });
    client.on('error', () => endQuietly(client));
  });
  server.injectSocket(socket);
}

/** Protocol errors and resets are the client's affair; the host only lets go of it. */
function endQuietly(client: Connection): void {
  client.end();
}

function isAuthentic(context: AuthContext, keys: readonly ParsedKey[]): boolean {
  if (context.method !== 'publickey') return false;
  const { key, signature, blob, hashAlgo } = context;
  const known = keys.find((candidate) => {
    const data = candidate.getPublicSSH();
    return data.length === key.data.length && timingSafeEqual(data, key.data);
  });
  if (known === undefined) return false;
  // Without a signature the client only asks whether the key would do.
  return signature === undefined || blob === undefined || known.verify(blob, signature, hashAlgo);
}

function serveSession(spec: HostSpec, user: string, session: Session): void {
  const extra: Record<string, string> = {};
  // As sshd's `AcceptEnv LANG LC_*`.
  session.on('env', (accept, reject, { key, val }) => {
    if (!/^(?:LANG|LC_[A-Z]+)$/.test(key)) return reject?.();
    extra[key] = val;
    accept?.();
  });
  session.on('pty', (accept) => accept?.());
  session.on('window-change', (accept) => accept?.());
  const run = (channel: ServerChannel, args: readonly string[]): void => {
    const child = spawn('/bin/sh', args, {
      cwd: spec.directory,
      env: { ...extra, ...loginEnvironment(spec, user) },
      // A session of its own, as sshd gives it: a signal to the simulation's terminal does not reach it.
      detached: true,
      stdio: 'pipe',
    });
    session.on('signal', (accept, _reject, { name }) => {
      child.kill(`SIG${name}` as NodeJS.Signals);
      accept?.();
    });
    connect(channel, child);
  };
  session.on('exec', (accept, _reject, { command }) => run(accept(), ['-c', command]));
  session.on('shell', (accept) => run(accept(), []));
  session.on('sftp', (accept) => serveSftp(accept(), spec.directory));
}

/** As sshd does it: the channel stays open until the process is gone and everybody has closed its output. */
function connect(channel: ServerChannel, child: ChildProcessWithoutNullStreams): void {
  // The client may leave first; the process then writes into nothing and goes on.
  channel.on('error', () => child.stdin.destroy());
  child.stdin.on('error', () => child.stdin.destroy());
  channel.pipe(child.stdin);
  child.stdout.pipe(channel, { end: false });
  child.stderr.pipe(channel.stderr, { end: false });
  channel.on('close', () => {
    child.stdout.resume();
    child.stderr.resume();
  });
  child.on('error', (error) => {
    channel.stderr.write(`${error.message}\n`);
    channel.exit(127);
    channel.end();
  });
  child.on('close', (code, signal) => {
    if (signal === null) channel.exit(code ?? 0);
    else channel.exit(signal.replace(/^SIG/, ''));
    channel.end();
  });
}
