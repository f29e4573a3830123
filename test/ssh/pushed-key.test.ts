/**
 * Goal: a log-in with a key that EC2 Instance Connect brings works where the key was brought, for a minute, and leaves nothing.
 * Method: both transports, against simulated hosts of both kinds; the region brings the keys, without its wire.
 */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, test } from 'vitest';
import { renderUserData } from '../../src/cloud/user-data.ts';
import { AppError } from '../../src/model/errors.ts';
import type { PushedLogin, ShellTarget } from '../../src/ports/shell.ts';
import { hostKeyFile } from '../../src/simulator/hosts/host.ts';
import { startRegion, type RunningRegion } from '../../src/simulator/start.ts';
import { createShell } from '../../src/ssh/shell.ts';
import { LAUNCH } from '../simulator/support.ts';
import { freePort } from '../support/server-program.ts';
import { sshdProgram, sshProgram } from '../support/sshd.ts';
import { until } from '../support/wait.ts';
import { makeKeyPair } from './ssh-server.ts';

const USER = userInfo().username;
const shell = createShell();
const cleanups: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** Sessions of other tests have their folders elsewhere. */
const { TMPDIR: outer } = process.env;
const inner = mkdtempSync(join(tmpdir(), 'sw-'));
process.env['TMPDIR'] = inner;
afterAll(() => {
  if (outer === undefined) delete process.env['TMPDIR'];
  else process.env['TMPDIR'] = outer;
  rmSync(inner, { recursive: true, force: true });
});

const folders = (): string[] => readdirSync(inner).filter((name) => name.startsWith('sw-ssh-'));

interface Stage {
  readonly folder: string;
  readonly region: RunningRegion;
  readonly instanceId: string;
  readonly target: Omit<ShellTarget, 'login' | 'transport'>;
  /** Brings a key to the host, and keeps what it was. */
  readonly push: PushedLogin['push'];
  readonly pushed: string[];
}

/** A host with nobody's key in its user-data. */
async function startStage(host: 'ssh2' | 'openssh', pushedKeyMs = 60_000): Promise<Stage> {
  const dataDir = await mkdtemp(join(tmpdir(), 'spillway-pushed-'));
  cleanups.push(async () => await rm(dataDir, { recursive: true, force: true }));
  const sshPort = await freePort();
  const region = await startRegion({
    host,
    sshPort,
    dataDir,
    pendingMs: 10,
    bootMs: 20,
    throttling: false,
    pushedKeyMs,
  });
  cleanups.push(async () => await region.stop());
  const userData = renderUserData({ hostKey: 'own', authorizedKey: null, sshUser: 'ubuntu' });
  const UserData = Buffer.from(userData).toString('base64');
  const answer = region.region.perform('RunInstances', { ...LAUNCH, UserData });
  const instanceId = answer.Instances?.[0]?.InstanceId ?? '';
  const address = region.region.findInstance(instanceId)?.privateIp ?? '';
  // Nobody called the wire, which is when a region looks at its clock.
  await until('its host is up', async () => {
    await fetch(`${region.endpoint}/_region/healthz`);
    return existsSync(hostKeyFile(join(dataDir, instanceId))) && (await isOpen(address, sshPort));
  });
  const hostKey = readFileSync(`${hostKeyFile(join(dataDir, instanceId))}.pub`, 'utf8').trim();
  const pushed: string[] = [];
  return {
    folder: dataDir,
    region,
    instanceId,
    pushed,
    target: { host: address, port: sshPort, user: USER, trust: { kind: 'keys', keys: [hostKey] }, jumps: [] },
    push: async (publicKey) => {
      pushed.push(publicKey);
      region.region.perform('SendSSHPublicKey', {
        InstanceId: instanceId,
        InstanceOSUser: USER,
        SSHPublicKey: publicKey,
      });
    },
  };
}

async function isOpen(host: string, port: number): Promise<boolean> {
  return await shell.isOpen({ host, port, jumps: [], transport: 'ssh2' }, 1000);
}

const transports = (['ssh2', 'openssh'] as const).filter((name) => name === 'ssh2' || sshProgram !== null);
const kinds = (['ssh2', 'openssh'] as const).filter((name) => name === 'ssh2' || sshdProgram !== null);
const pairs = transports.flatMap((transport) => kinds.map((host) => [transport, host] as const));

describe.each(pairs)('over %s, with a host of the kind %s', (transport, kind) => {
  const hello = async ({ target }: Stage, push: PushedLogin['push']): Promise<string> =>
    await shell.withSession(
      { ...target, transport, login: { kind: 'pushed', push } },
      20_000,
      async (session) => (await session.runScript('echo in', { deadlineMs: 5000 })).output,
    );

  test('each log-in has a key of its own, which lets in', async () => {
    const stage = await startStage(kind);
    expect(await hello(stage, stage.push)).toBe('in\n');
    expect(await hello(stage, stage.push)).toBe('in\n');
    expect(new Set(stage.pushed).size).toBe(2);
    expect(stage.pushed.every((key) => /^ssh-ed25519 [A-Za-z0-9+/]{68}$/.test(key))).toBe(true);
  });

  test('a key that was not pushed, that has expired, or is another user’s does not', async () => {
    const stage = await startStage(kind);
    const refused = {
      code: 'SSH_AUTH',
      remedy: expect.stringContaining('ec2-instance-connect') as string,
    };
    await expect(hello(stage, async () => undefined)).rejects.toMatchObject(refused);
    const other = async (SSHPublicKey: string): Promise<void> => {
      const { region, instanceId: InstanceId } = stage;
      region.region.perform('SendSSHPublicKey', { InstanceId, InstanceOSUser: 'somebody', SSHPublicKey });
    };
    await expect(hello(stage, other)).rejects.toMatchObject(refused);
    const late = await startStage(kind, 0);
    await expect(hello(late, late.push)).rejects.toMatchObject(refused);
    expect(late.pushed).toHaveLength(1);
  });

  test('a push that fails is told as what it is, and nobody is called', async () => {
    const stage = await startStage(kind);
    const before = folders();
    const failing = async (): Promise<void> => {
      throw new AppError('AWS_AUTH', 'no right to push', { remedy: 'none' });
    };
    await expect(hello(stage, failing)).rejects.toMatchObject({ code: 'AWS_AUTH', message: 'no right to push' });
    expect(folders()).toEqual(before);
  });

  test('a host that proves another key gets no log-in', async () => {
    const stage = await startStage(kind);
    const strange = { ...stage.target, trust: { kind: 'keys', keys: [makeKeyPair().public] } } as const;
    await expect(hello({ ...stage, target: strange }, stage.push)).rejects.toMatchObject({ code: 'SSH_HOST_KEY' });
  });
});

test.skipIf(sshProgram === null)(
  'the private half lies in the folder of the session until the log-in, and no longer',
  async () => {
    const stage = await startStage('ssh2');
    const before = folders();
    const own = (): string => join(inner, folders().find((name) => !before.includes(name)) ?? 'none');
    const push = async (publicKey: string): Promise<void> => {
      expect(statSync(own()).mode & 0o777).toBe(0o700);
      expect(readdirSync(own())).not.toContain('id-0');
      await stage.push(publicKey);
    };
    const target = { ...stage.target, transport: 'openssh', login: { kind: 'pushed', push } } as const;
    await shell.withSession(target, 20_000, async (session) => {
      expect(readdirSync(own())).toContain('config');
      expect(readdirSync(own())).not.toContain('id-0');
      // Further scripts go over the connection that stands.
      expect(await session.runScript('echo on', { deadlineMs: 5000 })).toMatchObject({ output: 'on\n' });
    });
    expect(folders()).toEqual(before);
    expect(stage.pushed).toHaveLength(1);
  },
);

test.each(transports)('over %s no key is pushed before the session has its turn', async (transport) => {
  const stage = await startStage('ssh2');
  const narrow = createShell({ limits: { sessionsMax: 1, turnMs: 50 } });
  const target = { ...stage.target, transport, login: { kind: 'pushed', push: stage.push } } as const;
  await narrow.withSession(target, 20_000, async () => {
    await expect(narrow.withSession(target, 20_000, async () => undefined)).rejects.toMatchObject({ code: 'TIMEOUT' });
  });
  expect(stage.pushed).toHaveLength(1);
});

test('no key is pushed before the jump hosts are passed', async () => {
  const stage = await startStage('ssh2');
  const login = { kind: 'file', file: join(stage.folder, 'id') } as const;
  await writeFile(login.file, makeKeyPair().private, { mode: 0o600 });
  const { host, user, trust } = stage.target;
  const jumps = [{ host, user, trust, login, port: await freePort() }];
  const target = { ...stage.target, jumps, transport: 'ssh2', login: { kind: 'pushed', push: stage.push } } as const;
  await expect(shell.withSession(target, 20_000, async () => undefined)).rejects.toMatchObject({
    code: 'SSH_UNREACHABLE',
  });
  expect(stage.pushed).toEqual([]);
});
