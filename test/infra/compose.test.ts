import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { freePort } from '../support/server-program.ts';
import { redisProgram } from '../support/redis.ts';
import { findRunner } from '../../src/store/embedded-runner.ts';
import { ROOT } from './unit-file.ts';

interface Service {
  readonly image: string;
  readonly init: boolean;
  readonly read_only: boolean;
  readonly restart: string;
  readonly ports: readonly string[];
  readonly volumes: readonly string[];
  readonly tmpfs: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  readonly command?: readonly string[];
  readonly cap_drop: readonly string[];
  readonly security_opt: readonly string[];
  readonly healthcheck: Readonly<Record<'test' | 'interval' | 'timeout' | 'retries', unknown>>;
}

const text = readFileSync(`${ROOT}infra/compose.yaml`, 'utf8');
const compose = parse(text) as {
  readonly services: Readonly<Record<'postgres' | 'redis', Service>>;
  readonly volumes: Readonly<Record<string, unknown>>;
};
const services = Object.entries(compose.services);

describe('compose.yaml', () => {
  test.each(services)('runs %s pinned, checked, read-only, and for this host alone', (_name, service) => {
    expect(service.image).toMatch(/^[a-z]+:\d+-bookworm$/);
    expect(service.restart).toBe('unless-stopped');
    expect(service.init).toBe(true);
    expect(service.read_only).toBe(true);
    expect(service.cap_drop).toStrictEqual(['ALL']);
    expect(service.security_opt).toStrictEqual(['no-new-privileges:true']);
    expect(service.ports).toHaveLength(1);
    for (const port of service.ports) expect(port).toMatch(/^127\.0\.0\.1:\d+:\d+$/);
    expect(Object.keys(service.healthcheck).sort()).toStrictEqual([
      'interval',
      'retries',
      'start_period',
      'test',
      'timeout',
    ]);
  });

  test.each(services)('keeps the data of %s in a named volume', (_name, service) => {
    expect(service.volumes).toHaveLength(1);
    for (const volume of service.volumes) expect(Object.keys(compose.volumes)).toContain(volume.split(':')[0]);
  });

  test('takes each password from the environment, refuses to start without, and knows no default', () => {
    const secrets = services.flatMap(([, { environment }]) =>
      Object.entries(environment).filter(([name]) => /PASSWORD|AUTH/.test(name)),
    );
    expect(secrets.map(([name]) => name)).toStrictEqual(['POSTGRES_PASSWORD', 'REDISCLI_AUTH']);
    for (const [, value] of secrets) expect(value).toMatch(/^\$\{[A-Z]+_PASSWORD:\?[^}]+\}$/);
    // Nor does one stand on a command line, where every user of the host reads it.
    expect(compose.services.redis.command?.join(' ')).not.toContain('--requirepass');
  });

  test('runs the major version of Postgres that the embedded one has', async () => {
    const { majorVersion } = await findRunner();
    expect(compose.services.postgres.image).toBe(`postgres:${majorVersion}-bookworm`);
  });

  test('says at its head how DATABASE_URL and QUEUE_URL name the two', () => {
    const port = (name: 'postgres' | 'redis'): string => compose.services[name].ports[0]?.replace(/:\d+$/, '') ?? '';
    expect(text).toContain(`DATABASE_URL=postgres://spillway:POSTGRES_PASSWORD@${port('postgres')}/spillway`);
    expect(text).toContain(`QUEUE_URL=redis://:REDIS_PASSWORD@${port('redis')}`);
    expect(compose.services.postgres.environment).toMatchObject({ POSTGRES_USER: 'spillway', POSTGRES_DB: 'spillway' });
  });

  test.skipIf(redisProgram === null)(
    'starts a real Redis that asks for the password, evicts nothing and keeps a log',
    async () => {
      const folder = await mkdtemp(join(tmpdir(), 'spillway-compose-'));
      const port = await freePort();
      // Compose writes a dollar sign as two. Only place and port differ from what the container runs; later flags win.
      const [program = '', ...args] = (compose.services.redis.command ?? []).map((word) => word.replaceAll('$$', '$'));
      const server = spawn(program, [...args, '--dir', folder, '--port', String(port), '--bind', '127.0.0.1'], {
        stdio: 'ignore',
        env: { PATH: process.env['PATH'], REDISCLI_AUTH: 'open0sesame' },
      });
      const exited = once(server, 'exit');
      const client = new Redis({ host: '127.0.0.1', port, password: 'open0sesame', retryStrategy: () => 50 });
      const stranger = new Redis({ host: '127.0.0.1', port, lazyConnect: true, retryStrategy: () => null });
      for (const connection of [client, stranger]) connection.on('error', () => undefined);
      try {
        expect(await client.ping()).toBe('PONG');
        expect(await client.config('GET', 'maxmemory-policy')).toStrictEqual(['maxmemory-policy', 'noeviction']);
        expect(await client.config('GET', 'appendonly')).toStrictEqual(['appendonly', 'yes']);
        expect(await readdir(folder)).toContain('appendonlydir');
        await expect(stranger.ping()).rejects.toThrow('NOAUTH');
        // To the server itself, not to a shell in front of it: `exec` made them one.
        server.kill('SIGTERM');
        expect(await exited).toStrictEqual([0, null]);
      } finally {
        client.disconnect();
        stranger.disconnect();
        server.kill('SIGKILL');
        await exited;
        await rm(folder, { recursive: true, force: true });
      }
    },
  );
});
