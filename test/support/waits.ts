import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { onTestFinished } from 'vitest';
import type { WaitName } from '../../src/model/waits.ts';
import { until } from './wait.ts';

/**
 * For the title of a test that shows that a wait ends. `test/waits/registry.test.ts` looks for these calls: each wait of the
 * list must have one, so the names stand there as literals.
 */
export function shows(names: WaitName | readonly WaitName[]): string {
  return `[${[names].flat().join(', ')}]`;
}

/** Takes connections and never says a word: a half-open socket, a dead proxy. Gone after the test. */
export async function blackHole(): Promise<{ readonly port: number; readonly sockets: ReadonlySet<Socket> }> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => socket.destroy());
    socket.on('close', () => sockets.delete(socket));
    socket.resume();
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return { port: (server.address() as AddressInfo).port, sockets };
}

/** A port on 127.0.0.1 on which no connection is ever made: its listener is stopped and its queue is full. Gone after the test. */
export async function fullHouse(): Promise<number> {
  const script = `const s = require('node:net').createServer();
    s.listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => console.log(s.address().port));`;
  const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
  const [said] = (await once(child.stdout, 'data')) as [Buffer];
  const port = Number(said.toString());
  child.kill('SIGSTOP');
  const guests: Socket[] = [];
  onTestFinished(() => {
    for (const guest of guests) guest.destroy();
    child.kill('SIGKILL');
  });
  // The queue takes two or three; the next one hangs for as long as the kernel repeats its question.
  let waiting = 0;
  await until('the queue is full', async () => {
    const guest = connect(port, '127.0.0.1');
    guest.on('error', () => guest.destroy());
    guests.push(guest);
    waiting += 1;
    guest.once('connect', () => (waiting -= 1));
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
    return waiting >= 3 && guests.length >= 6;
  });
  return port;
}
