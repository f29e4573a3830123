import { describe, expect, test } from 'vitest';
import { createShell } from '../../src/ssh/shell.ts';
import { createTurns } from '../../src/ssh/turns.ts';
import { blackHole, fullHouse, shows } from '../support/waits.ts';
import { until } from '../support/wait.ts';
import { makeKeyPair, startSshServer, targetAt } from './ssh-server.ts';

const never = new AbortController().signal;

describe('turns', () => {
  test('so many of one key and so many in all, first come first served among those with room', async () => {
    const turns = createTurns({ allMax: 2, perKeyMax: 1 });
    const order: string[] = [];
    const take = async (key: string): Promise<Disposable> => {
      const turn = await turns.take(key, never);
      order.push(key);
      return turn;
    };
    const first = await take('a');
    const [second, third] = [take('a'), take('b')];
    const b = await third;
    const fourth = take('c');
    expect(order).toEqual(['a', 'b']);
    b[Symbol.dispose]();
    const c = await fourth;
    expect(order).toEqual(['a', 'b', 'c']);
    first[Symbol.dispose]();
    (await second)[Symbol.dispose]();
    c[Symbol.dispose]();
    expect(order).toEqual(['a', 'b', 'c', 'a']);
  });

  test('whoever gives up leaves no gap', async () => {
    const turns = createTurns({ allMax: 1, perKeyMax: 1 });
    const held = await turns.take('a', never);
    const control = new AbortController();
    const gone = turns.take('a', control.signal);
    const next = turns.take('a', never);
    control.abort(new Error('gave up'));
    await expect(gone).rejects.toThrow('gave up');
    held[Symbol.dispose]();
    (await next)[Symbol.dispose]();
    (await turns.take('a', never))[Symbol.dispose]();
  });

  test(`a session that finds no room fails in time, and with it the next one has it ${shows('ssh.turn')}`, async () => {
    const shell = createShell({ limits: { sessionsPerHostMax: 1, turnMs: 200 } });
    const server = await startSshServer({ exec: ({ channel }) => (channel.exit(0), void channel.end()) });
    const leave = Promise.withResolvers<void>();
    try {
      const long = shell.withSession(server.target, 60_000, async () => await leave.promise);
      await until('it is in', () => server.methods.length > 0);
      const attempt = shell.withSession(server.target, 60_000, async () => undefined);
      await expect(attempt).rejects.toMatchObject({
        code: 'TIMEOUT',
        message: expect.stringContaining('became free'),
        details: { noTurn: true },
      });
      leave.resolve();
      await long;
      await shell.withSession(server.target, 60_000, async () => undefined);
    } finally {
      server.stop();
    }
  });
});

test(`a host that takes no connection ends at the limit of TCP ${shows('ssh.connect')}`, async () => {
  const shell = createShell({ limits: { connectMs: 200 } });
  const place = { host: '127.0.0.1', user: 'tester', hostKey: makeKeyPair().public };
  const server = await startSshServer({});
  try {
    const target = targetAt({ ...place, port: await fullHouse(), identityFile: server.identityFile });
    const attempt = shell.withSession(target, 60_000, async () => undefined);
    await expect(attempt).rejects.toMatchObject({ code: 'SSH_UNREACHABLE' });
  } finally {
    server.stop();
  }
});

test('over the installed ssh, one that takes it and says nothing ends at the limits of all phases together', async () => {
  const shell = createShell({ limits: { connectMs: 100, handshakeMs: 100, loginMs: 100 } });
  const server = await startSshServer({});
  const hole = await blackHole();
  try {
    const place = { host: '127.0.0.1', port: hole.port, user: 'tester', hostKey: makeKeyPair().public };
    const target = { ...targetAt({ ...place, identityFile: server.identityFile }), transport: 'openssh' } as const;
    const attempt = shell.withSession(target, 60_000, async () => undefined);
    await expect(attempt).rejects.toMatchObject({ code: expect.stringMatching(/SSH_UNREACHABLE|CONFIG_INVALID/) });
    await until('it hung up', () => hole.sockets.size === 0);
  } finally {
    server.stop();
  }
});
