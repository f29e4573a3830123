/** Goal: whoever calls us and falls silent is let go of. Method: raw sockets against each server, with small numbers. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type { Server } from 'node:http';
import { connect, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { FastifyInstance } from 'fastify';
import { describe, expect, onTestFinished, test } from 'vitest';
import { createAgentApi } from '../../src/server/agent-api/create-agent-api.ts';
import { createOperatorApi } from '../../src/server/operator-api/create-operator-api.ts';
import { hostKeyFile, type HostSpec } from '../../src/simulator/hosts/host.ts';
import { startOpensshHost } from '../../src/simulator/hosts/openssh-host.ts';
import { killInstanceProcesses } from '../../src/simulator/hosts/processes.ts';
import { startSsh2Host } from '../../src/simulator/hosts/ssh2-host.ts';
import { createWireServer } from '../../src/simulator/wire/server.ts';
import { MemoryGateway } from '../server/agent-api/memory-gateway.ts';
import { newRegion } from '../simulator/support.ts';
import { makeKeyPair } from '../ssh/ssh-server.ts';
import { randomIds, realClock } from '../support/clock.ts';
import { quietLog } from '../support/log.ts';
import { freePort } from '../support/server-program.ts';
import { sshdProgram } from '../support/sshd.ts';
import { shows } from '../support/waits.ts';

/** Longer than any test waits, and not beyond Node's own 300 s: a limit that a test is not about. */
const FAR = 240_000;
const REQUEST = 'GET /none HTTP/1.1\r\nHost: localhost\r\n';

/** Sends a text, and resolves with everything that came once the server has hung up. */
async function untilHungUp(port: number, text: string): Promise<string> {
  const socket = connect(port, '127.0.0.1');
  onTestFinished(() => void socket.destroy());
  let said = '';
  socket.on('data', (chunk: Buffer) => (said += chunk.toString()));
  // A reset is a way of hanging up.
  socket.on('error', () => socket.destroy());
  socket.write(text);
  await once(socket, 'close');
  return said;
}

async function listening(server: Server | FastifyInstance): Promise<number> {
  if ('listen' in server && 'server' in server) {
    await server.listen({ host: '127.0.0.1', port: 0 });
    onTestFinished(async () => await server.close());
    return (server.server.address() as AddressInfo).port;
  }
  const plain = server;
  plain.listen(0, '127.0.0.1');
  await once(plain, 'listening');
  onTestFinished(() => {
    plain.closeAllConnections();
    plain.close();
  });
  return (plain.address() as AddressInfo).port;
}

type Waits = Readonly<Record<'headersMs' | 'requestMs' | 'silenceMs' | 'idleMs', number>>;
const NONE: Waits = { headersMs: FAR, requestMs: FAR, silenceMs: FAR, idleMs: FAR };

const SERVERS: readonly (readonly [string, (waits: Waits) => Server | FastifyInstance])[] = [
  [
    'agent API',
    (waits) => {
      const limits = { ...waits, checkMs: 50, closeMs: 100 };
      return createAgentApi({
        gateway: new MemoryGateway(),
        clock: realClock,
        deploymentKey: Buffer.alloc(32, 7),
        ids: randomIds,
        log: quietLog,
        limits,
      });
    },
  ],
  [
    'operator API',
    (waits) =>
      createOperatorApi({
        actions: {} as never,
        reports: {} as never,
        metrics: {} as never,
        log: quietLog as never,
        clock: realClock,
        agentUrl: 'http://localhost',
        waits: { ...waits, closeMs: 100 },
      }),
  ],
  [
    'simulated region',
    (waits) => {
      const { region } = newRegion();
      const options = { region, accessKeys: [], onChange: () => undefined, onError: () => undefined };
      return createWireServer({ ...options, waits: { ...waits, checkMs: 50 } });
    },
  ],
];

describe.each(SERVERS)('the %s', (name, create) => {
  test(`hangs up on headers that never end ${shows(['agent-api.headers', 'operator-api.headers', 'simulator.headers'])}`, async () => {
    const port = await listening(create({ ...NONE, headersMs: 200 }));
    expect(await untilHungUp(port, REQUEST)).toContain('408');
  });

  test(`hangs up on a body that never ends ${shows(['agent-api.request', 'operator-api.request', 'simulator.request'])}`, async () => {
    const port = await listening(create({ ...NONE, headersMs: 200, requestMs: 300 }));
    const head = 'POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{';
    expect(await untilHungUp(port, head)).toMatch(/408|404|40\d/);
  });

  test(`hangs up when no further request comes ${shows(['agent-api.idle', 'operator-api.idle', 'simulator.idle'])}`, async () => {
    const port = await listening(create({ ...NONE, idleMs: 100 }));
    expect(await untilHungUp(port, `${REQUEST}\r\n`)).toMatch(/^HTTP\/1.1 4\d\d/);
  });

  // The region takes what loops send it and needs no such limit besides the others.
  test.skipIf(name === 'simulated region')(
    `hangs up on a connection without a word ${shows(['agent-api.silence', 'operator-api.silence'])}`,
    async () => {
      const port = await listening(create({ ...NONE, silenceMs: 200 }));
      expect(await untilHungUp(port, '')).not.toContain('200 OK');
    },
  );

  test.skipIf(name === 'simulated region')(
    `cuts off whoever is still connected when it closes ${shows(['agent-api.close', 'operator-api.close'])}`,
    async () => {
      const server = create(NONE) as FastifyInstance;
      const port = await listening(server);
      const arrived = once(server.server, 'request');
      const head =
        'POST /v1/tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{';
      const gone = untilHungUp(port, name === 'agent API' ? head.replace('/v1/tasks', '/agent/v1/register') : head);
      await arrived;
      await server.close();
      expect(await gone).not.toContain('200 OK');
    },
  );
});

describe('a simulated host', () => {
  const aSpec = async (): Promise<HostSpec> => {
    const directory = mkdtempSync(join(tmpdir(), 'spillway-host-'));
    onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
    mkdirSync(join(directory, '.host'), { recursive: true });
    const spec: HostSpec = {
      instanceId: 'i-0123456789abcdef0',
      address: '127.0.0.1',
      port: await freePort(),
      directory,
      vcpus: 1,
      memoryMib: 1024,
      gpus: 0,
      arch: 'x86_64',
      authorizedKeys: [],
      path: process.env['PATH'] ?? '',
      onError: () => undefined,
    };
    writeFileSync(hostKeyFile(directory), makeKeyPair().private, { mode: 0o600 });
    return spec;
  };

  test(`hangs up on a client that never logs in ${shows('simulator.login')}`, async () => {
    const spec = await aSpec();
    const host = await startSsh2Host(spec, 100);
    onTestFinished(async () => await host.close());
    expect(await untilHungUp(spec.port, '')).toContain('SSH-2.0');
  });

  test(`whose sshd never listens is not waited for ${shows('simulator.sshd-start')}`, async () => {
    const spec = await aSpec();
    const program = join(spec.directory, 'sshd');
    writeFileSync(program, '#!/bin/sh\nexec sleep 60\n');
    chmodSync(program, 0o755);
    await expect(startOpensshHost(spec, { program, startMs: 200 })).rejects.toThrow('does not start');
  });

  test.skipIf(sshdProgram === null)(
    `whose sshd does not hear SIGTERM is killed ${shows('simulator.sshd-stop')}`,
    async () => {
      const spec = await aSpec();
      const wrapper = join(spec.directory, 'sshd');
      // The shell that stands before it hears no SIGTERM, and tells its number.
      writeFileSync(wrapper, `#!/bin/sh\ntrap '' TERM\nexec ${sshdProgram} "$@"\n`);
      chmodSync(wrapper, 0o755);
      const host = await startOpensshHost(spec, { program: wrapper, stopMs: 100 });
      await host.close();
      await expect(once(connect(spec.port, '127.0.0.1'), 'connect')).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    },
  );

  test(`with processes that stay is told so ${shows('simulator.processes')}`, async () => {
    const directory = mkdtempSync(join(tmpdir(), 'spillway-host-'));
    onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
    const child = spawn('sleep', ['60'], { cwd: directory, stdio: 'ignore' });
    await once(child, 'spawn');
    // One round: it is killed, and nobody has looked whether it went.
    expect(await killInstanceProcesses('i-none', directory, 1)).toBe(false);
  });
});
