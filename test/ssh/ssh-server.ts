import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import type { Server as NetServer, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import ssh2 from 'ssh2';
import type { ServerChannel, ServerConfig } from 'ssh2';
import { deriveHostKey } from '../../src/cloud/host-key.ts';
import type { ShellJump, ShellTarget } from '../../src/ports/shell.ts';

export interface ExecScene {
  readonly channel: ServerChannel;
  readonly command: string;
  /** The TCP connection below, to cut it. */
  readonly socket: Socket;
}

export interface Behaviour {
  readonly hostKey?: string;
  readonly algorithms?: NonNullable<ServerConfig['algorithms']>;
  readonly authentication?: 'accept' | 'refuse' | 'hang';
  /** 'refuse' answers the exec request with a failure. */
  readonly exec?: ((scene: ExecScene) => void) | 'refuse' | 'hang';
  /** What the first file request meets; without it there is no SFTP. */
  readonly sftp?: (socket: Socket) => void;
}

export interface TestSshServer {
  readonly target: PlainTarget;
  /** What `target` logs in with. */
  readonly identityFile: string;
  /** Login methods that clients tried, in order. */
  readonly methods: string[];
  /** Connections open now. */
  readonly sockets: ReadonlySet<Socket>;
  stop(): void;
}

/** It can be a host on the way, too. */
export type PlainTarget = ShellTarget & ShellJump;

/** A target in the plainest form: one key to prove, one file to log in with, nothing between. */
export function targetAt(place: {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly hostKey: string;
  readonly identityFile: string;
}): PlainTarget {
  const { host, port, user, hostKey, identityFile } = place;
  return {
    host,
    port,
    user,
    trust: { kind: 'keys', keys: [hostKey] },
    login: { kind: 'file', file: identityFile },
    jumps: [],
    transport: 'ssh2',
  };
}

/** Not ssh2's own generator: it drops a leading zero byte, so that one of its keys in 256 is malformed. */
export function makeKeyPair(): { private: string; public: string } {
  const pair = deriveHostKey(randomBytes(32), 'test');
  return { private: pair.privateOpenSsh, public: pair.publicOpenSsh };
}

/** An SSH server in this process that misbehaves as told; `target` logs in to it properly. */
export async function startSshServer(behaviour: Behaviour = {}): Promise<TestSshServer> {
  const hostKey = behaviour.hostKey ?? makeKeyPair().private;
  const methods: string[] = [];
  const sockets = new Set<Socket>();
  let current: Socket | null = null;
  const ssh = new ssh2.Server(
    { hostKeys: [hostKey], ...(behaviour.algorithms && { algorithms: behaviour.algorithms }) },
    (client) => {
      const socket = current as Socket;
      // Clients that give up reset the connection: that is what these tests make them do.
      client.on('error', () => socket.destroy());
      client.on('authentication', (context) => {
        methods.push(context.method);
        if (behaviour.authentication === 'hang') return;
        if (behaviour.authentication === 'refuse') context.reject(['publickey']);
        else context.accept();
      });
      client.on('session', (accept) => {
        const session = accept();
        if (behaviour.sftp) {
          const meet = behaviour.sftp;
          session.on('sftp', (acceptSftp) => void acceptSftp().on('REMOVE', () => meet(socket)));
        }
        session.on('exec', (acceptExec, rejectExec, info) => {
          if (behaviour.exec === 'hang') return;
          if (behaviour.exec === 'refuse' || behaviour.exec === undefined) {
            rejectExec();
            return;
          }
          behaviour.exec({ channel: acceptExec(), command: info.command, socket });
        });
      });
    },
  );
  const net = createServer((socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    current = socket;
    socket.setNoDelay(true);
    // Documented by ssh2, and missing in its types.
    (ssh as unknown as { injectSocket(socket: Socket): void }).injectSocket(socket);
  });
  const parsed = ssh2.utils.parseKey(hostKey);
  if (parsed instanceof Error) throw parsed;
  const hostPublic = `${parsed.type} ${parsed.getPublicSSH().toString('base64')}`;
  return finish(net, { hostPublic, methods, sockets });
}

/** A TCP server that is no SSH server; `target` points at it. */
export async function startRawServer(onConnection: (socket: Socket) => void): Promise<TestSshServer> {
  const sockets = new Set<Socket>();
  const net = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => socket.destroy());
    socket.on('close', () => sockets.delete(socket));
    socket.resume();
    onConnection(socket);
  });
  return finish(net, { hostPublic: makeKeyPair().public, methods: [], sockets });
}

async function finish(
  net: NetServer,
  { hostPublic, methods, sockets }: { hostPublic: string; methods: string[]; sockets: Set<Socket> },
): Promise<TestSshServer> {
  net.listen(0, '127.0.0.1');
  await once(net, 'listening');
  const address = net.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  const folder = mkdtempSync(join(tmpdir(), 'spillway-ssh-test-'));
  const identityFile = join(folder, 'id_ed25519');
  writeFileSync(identityFile, makeKeyPair().private, { mode: 0o600 });
  return {
    target: targetAt({ host: '127.0.0.1', port: address.port, user: 'tester', hostKey: hostPublic, identityFile }),
    identityFile,
    methods,
    sockets,
    stop: () => {
      net.close();
      for (const socket of sockets) socket.destroy();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
