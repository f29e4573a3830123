/**
 * Goal: whatever a host does, every call ends in time with an error that names the right next step.
 * Method: ssh2's own server in this process, told to misbehave; nothing is mocked on the client's side.
 */
import { chmodSync } from 'node:fs';
import { afterEach, describe, expect, test } from 'vitest';
import { AppError } from '../../src/model/errors.ts';
import type { ErrorCode } from '../../src/model/errors.ts';
import type { ShellTarget } from '../../src/ports/shell.ts';
import { createShell } from '../../src/ssh/shell.ts';
import { freePort } from '../support/server-program.ts';
import { until } from '../support/wait.ts';
import { makeKeyPair, startRawServer, startSshServer } from './ssh-server.ts';
import type { Behaviour, TestSshServer } from './ssh-server.ts';
import { shows } from '../support/waits.ts';

// Limits are short only where a test waits for one to be met: a busy machine must not meet the others.
const shell = createShell();
const hasty = createShell({ limits: { handshakeMs: 500, loginMs: 500 } });
const servers: TestSshServer[] = [];

afterEach(() => {
  for (const server of servers.splice(0)) server.stop();
});

async function serve(behaviour: Behaviour): Promise<TestSshServer> {
  const server = await startSshServer(behaviour);
  servers.push(server);
  return server;
}

async function serveRaw(onConnection: Parameters<typeof startRawServer>[0]): Promise<TestSshServer> {
  const server = await startRawServer(onConnection);
  servers.push(server);
  return server;
}

async function failure(promise: Promise<unknown>): Promise<AppError> {
  const error = await promise.then(
    (value) => new Error(`it succeeded: ${JSON.stringify(value)}`),
    (reason: unknown) => reason,
  );
  if (!(error instanceof AppError)) throw error;
  expect(error.remedy).not.toBe('');
  return error;
}

function provingOnly(target: ShellTarget, hostKey: string): ShellTarget {
  return { ...target, trust: { kind: 'keys', keys: [hostKey] } };
}

async function failureCode(promise: Promise<unknown>): Promise<ErrorCode> {
  return (await failure(promise)).code;
}

function run(server: TestSshServer, deadlineMs = 5000, by = shell): Promise<unknown> {
  return by.withSession(server.target, 15_000, (session) => session.runScript('true', { deadlineMs }));
}

describe('the host is verified', () => {
  test('a host that proves another key than the pinned one is refused before login', async () => {
    const server = await serve({ exec: ({ channel }) => channel.exit(0) });
    const other = provingOnly(server.target, makeKeyPair().public);
    const error = await failure(shell.withSession(other, 5000, () => Promise.resolve('in')));
    expect(error.code).toBe('SSH_HOST_KEY');
    expect(error.retryable).toBe(false);
    expect(error.details).toEqual({
      expected: expect.stringMatching(/^SHA256:.{43}$/),
      offered: expect.stringMatching(/^SHA256:.{43}$/),
      offeredKey: expect.stringMatching(/^ssh-ed25519 [A-Za-z0-9+/]{68}$/),
      host: `${server.target.host}:${server.target.port}`,
    });
    expect(server.methods).toEqual([]);
  });

  test.each(['', 'ssh-ed25519', 'ssh-rsa AAAA', 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5', '*'])(
    'a pin that is no ssh-ed25519 key (%j) opens no connection at all',
    async (hostKey) => {
      const server = await serve({});
      const target = provingOnly(server.target, hostKey);
      expect(await failureCode(shell.withSession(target, 5000, () => Promise.resolve()))).toBe('SSH_HOST_KEY');
      expect(server.sockets.size).toBe(0);
    },
  );

  test('a host that offers only weaker algorithms is not connected to', async () => {
    const server = await serve({ algorithms: { cipher: ['aes128-ctr'] } });
    expect(await failureCode(run(server))).toBe('SSH_UNREACHABLE');
    expect(server.methods).toEqual([]);
  });
});

describe('login', () => {
  test('a refused key is SSH_AUTH, and nothing but keys is ever tried', async () => {
    const server = await serve({ authentication: 'refuse' });
    expect(await failureCode(run(server))).toBe('SSH_AUTH');
    expect(new Set(server.methods)).toEqual(new Set(['publickey']));
  });

  test(`a server that never answers the log-in ends at its limit ${shows('ssh.login')}`, async () => {
    const server = await serve({ authentication: 'hang' });
    expect(await failureCode(run(server, 5000, hasty))).toBe('SSH_UNREACHABLE');
  });

  test('a missing key file is CONFIG_KEY_FILE and opens no connection', async () => {
    const server = await serve({});
    const target = { ...server.target, login: { kind: 'file', file: `${server.identityFile}.missing` } as const };
    expect(await failureCode(shell.withSession(target, 5000, () => Promise.resolve()))).toBe('CONFIG_KEY_FILE');
    expect(server.sockets.size).toBe(0);
  });
});

describe('the network', () => {
  test('a closed port is SSH_UNREACHABLE, and not open', async () => {
    const server = await serve({});
    const target = { ...server.target, port: await freePort() };
    expect(await failureCode(shell.withSession(target, 5000, () => Promise.resolve()))).toBe('SSH_UNREACHABLE');
    expect(await shell.isOpen(target, 1000)).toBe(false);
    expect(await shell.isOpen(server.target, 1000)).toBe(true);
  });

  test(`a server that accepts and says nothing ends at the limit of the handshake ${shows('ssh.handshake')}`, async () => {
    const server = await serveRaw(() => undefined);
    expect(await failureCode(run(server, 5000, hasty))).toBe('SSH_UNREACHABLE');
  });

  test('the deadline of the session holds while connecting, too', async () => {
    const server = await serveRaw(() => undefined);
    const error = await failure(shell.withSession(server.target, 200, () => Promise.resolve()));
    expect(error.code).toBe('SSH_UNREACHABLE');
    await until('the client hung up', () => server.sockets.size === 0);
  });

  test('a greeting that never ends is cut off', async () => {
    const server = await serveRaw((socket) => {
      const line = `${'x'.repeat(1000)}\r\n`.repeat(16);
      const feed = (): void => {
        while (!socket.destroyed && socket.write(line));
      };
      socket.on('drain', feed);
      feed();
    });
    expect(await failureCode(run(server, 5000, hasty))).toBe('SSH_UNREACHABLE');
    await until('the client hung up', () => server.sockets.size === 0);
  });

  test('a connection that is reset during the handshake is SSH_UNREACHABLE', async () => {
    const server = await serveRaw((socket) => {
      socket.write('SSH-2.0-test\r\n', () => socket.resetAndDestroy());
    });
    expect(await failureCode(run(server))).toBe('SSH_UNREACHABLE');
  });
});

describe('commands', () => {
  test(`a command that hangs ends at its deadline, with its last words ${shows('ssh.ready-command')}`, async () => {
    const server = await serve({ exec: ({ channel }) => void channel.write('waiting for the lock\n') });
    const error = await failure(run(server, 1500));
    expect(error.code).toBe('TIMEOUT');
    expect(error.details).toEqual({ outputTail: 'waiting for the lock\n' });
  });

  test(`a shell that is never started ends at the deadline of the command, or before ${shows('ssh.exec')}`, async () => {
    const server = await serve({ exec: 'hang' });
    expect(await failureCode(run(server, 600_000, createShell({ limits: { execMs: 300 } })))).toBe('TIMEOUT');
    expect(await failureCode(run(server, 300))).toBe('TIMEOUT');
  });

  test('a refused command is SSH_COMMAND', async () => {
    const server = await serve({ exec: 'refuse' });
    expect(await failureCode(run(server))).toBe('SSH_COMMAND');
  });

  test(`the session deadline ends a command and the connection, and the session is of no use afterwards ${shows(['ssh.join', 'ssh.hook', 'ssh.rotate'])}`, async () => {
    const server = await serve({ exec: ({ channel }) => void channel.write('.') });
    let late: Promise<unknown> = Promise.resolve();
    const error = await failure(
      shell.withSession(server.target, 2000, async (session) => {
        await session.runScript('true', { deadlineMs: 60_000 }).catch(() => {
          late = session.runScript('true', { deadlineMs: 60_000 });
          return late;
        });
      }),
    );
    expect(error.code).toBe('TIMEOUT');
    await until('the client hung up', () => server.sockets.size === 0);
    expect(await failureCode(late)).toBe('TIMEOUT');
  });

  test('a connection cut in the middle of a command is no result but SSH_UNREACHABLE', async () => {
    const server = await serve({
      exec: ({ channel, socket }) => void channel.write('half done\n', () => socket.destroy()),
    });
    expect(await failureCode(run(server))).toBe('SSH_UNREACHABLE');
  });

  test('a channel that closes without an exit status is no result either', async () => {
    const server = await serve({ exec: ({ channel }) => channel.close() });
    expect(await failureCode(run(server))).toBe('SSH_UNREACHABLE');
  });

  test(`a machine that stops answering in mid-command is noticed by the keep-alives ${shows('ssh.keepalive')}`, async () => {
    const server = await serve({ exec: ({ socket }) => void socket.pause().removeAllListeners('data') });
    expect(await failureCode(run(server, 60_000, createShell({ limits: { keepaliveMs: 100 } })))).toBe(
      'SSH_UNREACHABLE',
    );
  });

  test('an end by signal is told as such', async () => {
    const server = await serve({
      exec: ({ channel }) => {
        channel.write('bye\n');
        channel.exit('TERM', false, '');
        channel.close();
      },
    });
    expect(await run(server)).toEqual({ exitCode: null, signal: 'SIGTERM', output: 'bye\n', truncated: false });
  });

  test('100 MB of output are read to the end, and the first MiB is kept', async () => {
    const block = Buffer.alloc(64 * 1024, 'spill\n');
    const server = await serve({
      exec: ({ channel }) => {
        let blocksLeft = (100 * 1024 * 1024) / block.length;
        const feed = (): void => {
          while (blocksLeft > 0) {
            blocksLeft -= 1;
            if (!channel.write(block)) return void channel.once('drain', feed);
          }
          channel.exit(3);
          channel.end();
        };
        feed();
      },
    });
    const result = await shell.withSession(server.target, 60_000, (session) =>
      session.runScript('true', { deadlineMs: 60_000 }),
    );
    expect(result).toMatchObject({ exitCode: 3, signal: null, truncated: true });
    expect(result.output.length).toBe(1024 * 1024);
  }, 60_000);

  test('control characters of a hostile machine do not get through', async () => {
    const server = await serve({
      exec: ({ channel }) => {
        channel.write('\u001b]0;owned\u0007ok\u001b[2J\u202e\r\n\tdone\u0000');
        channel.exit(0);
        channel.end();
      },
    });
    expect(await run(server)).toMatchObject({ output: 'ok\n\tdone' });
  });

  const upload = (server: TestSshServer, by = shell): Promise<unknown> =>
    by.withSession(server.target, 10_000, (session) => session.upload([{ path: 'a', content: 'a', mode: 0o600 }]));

  test('an upload to a server without SFTP is SSH_COMMAND', async () => {
    expect(await failureCode(upload(await serve({})))).toBe('SSH_COMMAND');
  });

  test(`an upload that hangs ends at its limit ${shows('ssh.upload')}`, async () => {
    expect(
      await failureCode(upload(await serve({ sftp: () => undefined }), createShell({ limits: { uploadMs: 500 } }))),
    ).toBe('TIMEOUT');
  });

  test('a connection cut in the middle of an upload is SSH_UNREACHABLE', async () => {
    expect(await failureCode(upload(await serve({ sftp: (socket) => socket.destroy() })))).toBe('SSH_UNREACHABLE');
    expect(await failureCode(upload(await serve({ sftp: (socket) => void socket.resetAndDestroy() })))).toBe(
      'SSH_UNREACHABLE',
    );
  });

  test('what the caller throws comes through unchanged, and the connection is closed', async () => {
    const server = await serve({});
    const thrown = new Error('mine');
    await expect(shell.withSession(server.target, 5000, () => Promise.reject(thrown))).rejects.toBe(thrown);
    await until('the client hung up', () => server.sockets.size === 0);
  });
});

test('a key file that others may not read is still read by its owner', async () => {
  const server = await serve({ exec: ({ channel }) => (channel.exit(0), void channel.end()) });
  chmodSync(server.identityFile, 0o400);
  expect(await run(server)).toMatchObject({ exitCode: 0 });
});
