import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { spawn } from 'node:child_process';
import fastify, { type FastifyInstance } from 'fastify';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { listenOnSocket, listenOnTcp } from '../../src/wiring/listeners.ts';
import { until } from '../support/wait.ts';
import { shows } from '../support/waits.ts';

let folder = '';
let apps: FastifyInstance[] = [];
let servers: Server[] = [];
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'spillway-listen-'));
});
afterEach(async () => {
  await Promise.all(apps.map(async (app) => await app.close()));
  for (const server of servers) server.close();
  apps = [];
  servers = [];
  await rm(folder, { recursive: true, force: true });
});

function newApp(): FastifyInstance {
  const app = fastify();
  apps.push(app);
  return app;
}

async function occupy(
  where: { readonly port: number; readonly host: string } | { readonly path: string },
): Promise<Server> {
  const server = createServer();
  servers.push(server);
  server.listen(where);
  await once(server, 'listening');
  return server;
}

describe('listening on TCP', () => {
  test('gives the port that the system chose', async () => {
    const port = await listenOnTcp(newApp(), { host: '127.0.0.1', port: 0 }, 'SPILLWAY_LISTEN');
    expect(port).toBeGreaterThan(0);
  });

  test('names the address and the variable when the port is taken', async () => {
    const address = (await occupy({ port: 0, host: '127.0.0.1' })).address();
    const port = typeof address === 'object' && address !== null ? address.port : 0;
    const listening = listenOnTcp(newApp(), { host: '127.0.0.1', port }, 'SPILLWAY_LISTEN');
    await expect(listening).rejects.toMatchObject({
      code: 'PORT_IN_USE',
      message: `cannot listen on 127.0.0.1:${port}`,
      remedy: 'stop what uses it, or set SPILLWAY_LISTEN to another address',
    });
  });
});

describe('listening on a socket', () => {
  test('makes its folder and lets owner and group in', async () => {
    const path = join(folder, 'run', 'spillway.sock');
    await listenOnSocket(newApp(), path);
    expect((await stat(path)).mode & 0o777).toBe(0o660);
  });

  test('replaces the socket that a killed process left behind', async () => {
    const path = join(folder, 'spillway.sock');
    const script = `require('node:net').createServer().listen(${JSON.stringify(path)})`;
    const child = spawn(process.execPath, ['-e', script], { stdio: 'ignore' });
    await until('the other process listens', () => existsSync(path));
    child.kill('SIGKILL');
    await once(child, 'exit');
    expect(existsSync(path)).toBe(true);
    await listenOnSocket(newApp(), path);
  });

  test('replaces a plain file in its place', async () => {
    const path = join(folder, 'spillway.sock');
    await writeFile(path, 'left over');
    await listenOnSocket(newApp(), path);
    expect((await stat(path)).isSocket()).toBe(true);
  });

  test(`does not push a living service aside ${shows('service.socket-answer')}`, async () => {
    const path = join(folder, 'spillway.sock');
    const other = await occupy({ path });
    await expect(listenOnSocket(newApp(), path)).rejects.toMatchObject({ code: 'PORT_IN_USE' });
    expect(other.listening).toBe(true);
    expect(existsSync(path)).toBe(true);
  });

  test('tells a path that is too long', async () => {
    const listening = listenOnSocket(newApp(), join(folder, 'x'.repeat(200), 'spillway.sock'));
    await expect(listening).rejects.toMatchObject({ code: 'PORT_IN_USE' });
  });
});
