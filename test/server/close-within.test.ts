import { once } from 'node:events';
import { connect, type AddressInfo } from 'node:net';
import { fastify, type FastifyInstance } from 'fastify';
import { describe, expect, onTestFinished, test } from 'vitest';
import { closeWithin } from '../../src/server/close-within.ts';
import type { Clock } from '../../src/ports/clock.ts';
import { realClock } from '../support/clock.ts';

async function start(clock: Clock, limitMs: number): Promise<{ server: FastifyInstance; port: number }> {
  const server = fastify({ forceCloseConnections: 'idle' });
  server.post('/', async () => 'ok');
  closeWithin(server, clock, limitMs);
  await server.listen({ host: '127.0.0.1', port: 0 });
  return { server, port: (server.server.address() as AddressInfo).port };
}

describe('closeWithin', () => {
  test('cuts off a client that never ends its request', { timeout: 5_000 }, async () => {
    const { server, port } = await start(realClock, 50);
    const client = connect(port, '127.0.0.1');
    onTestFinished(() => void client.destroy());
    const accepted = once(server.server, 'request');
    client.write('POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{');
    await accepted;
    client.on('error', () => undefined);
    const gone = once(client, 'close');

    await server.close();
    await expect(gone).resolves.toBeDefined();
  });

  test('stops waiting as soon as everyone has left', async () => {
    let waiting: AbortSignal | undefined;
    const clock: Clock = {
      ...realClock,
      sleep: async (_ms, signal) => {
        waiting = signal;
        await once(signal ?? new AbortController().signal, 'abort');
        throw new Error('aborted');
      },
    };
    const { server } = await start(clock, 60_000);

    await server.close();

    expect(waiting?.aborted).toBe(true);
  });
});
