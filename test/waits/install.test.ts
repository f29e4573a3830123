import { rm } from 'node:fs/promises';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { installHost } from '../../src/commands/agent/install-host.ts';
import { AppError } from '../../src/model/errors.ts';
import { acceptNewHost } from '../../src/ssh/accept-new.ts';
import { ServiceClient } from '../../src/commands/service-client.ts';
import { blackHole, shows } from '../support/waits.ts';

describe('installing an agent', () => {
  test(`on a host that shows no key ${shows('ssh.keyscan')}`, async () => {
    const folder = mkdtempSync(join(tmpdir(), 'spillway-known-'));
    onTestFinished(async () => await rm(folder, { recursive: true }));
    const { port } = await blackHole();
    const scan = acceptNewHost(join(folder, 'known_hosts'), { host: '127.0.0.1', port }, 500);
    await expect(scan).rejects.toMatchObject({ code: 'SSH_UNREACHABLE' });
  });

  test(`that never reports ${shows('cli.install-report')}`, async () => {
    class Service extends ServiceClient {
      override async get<T extends object>(): Promise<T> {
        throw new AppError('NOT_FOUND', 'there is no such agent', { remedy: '' });
      }
    }
    let nowMs = 0;
    const result = { exitCode: 0, signal: null, output: 'manager=none\n', truncated: false };
    const installing = installHost(
      {
        shell: { isOpen: async () => true, withSession: async <T>() => result.output as T },
        service: new Service({ kind: 'socket', path: '/nowhere' }, AbortSignal.timeout(60_000)),
        script: '',
        labels: {},
        orderer: { by: 'ada', reason: null },
        login: { kind: 'agent', socket: null },
        knownHosts: '/nowhere',
        caPem: null,
        allowHttp: false,
        reportMs: 5000,
        nowMs: () => nowMs,
        sleep: async (ms) => void (nowMs += ms),
        tell: () => undefined,
      },
      { user: 'ops', host: 'rack-1', port: 22 },
    );
    await expect(installing).rejects.toMatchObject({ code: 'TIMEOUT' });
    expect(nowMs).toBe(5000);
  });
});
