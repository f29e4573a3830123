/**
 * Goal: after the first log-in a machine proves a key that nobody else ever had, wherever the joining process died on the way.
 * Method: the scripts of the first contact over real connections to simulated hosts, one in this process and one by OpenSSH;
 * the rows are a variable.
 */
import { readdirSync, readFileSync, writeFileSync, rmSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { deriveHostKey } from '../../src/cloud/host-key.ts';
import { makeContact, type FirstContact } from '../../src/jobs/first-contact.ts';
import type { StepPorts } from '../../src/jobs/ports.ts';
import type { MachineIn } from '../../src/model/machine.ts';
import type { MachineRecord } from '../../src/ports/machines.ts';
import type { Shell, ShellSession } from '../../src/ports/shell.ts';
import { hostKeyFile, prepareDirectory, type HostSpec, type RunningHost } from '../../src/simulator/hosts/host.ts';
import { SSHD_PATH, startOpensshHost } from '../../src/simulator/hosts/openssh-host.ts';
import { startSsh2Host } from '../../src/simulator/hosts/ssh2-host.ts';
import { createShell } from '../../src/ssh/shell.ts';
import { createCredentials } from '../../src/wiring/credentials.ts';
import { quietLog } from '../support/log.ts';
import { freePort } from '../support/server-program.ts';
import { until } from '../support/wait.ts';
import { sshdProgram } from '../support/sshd.ts';
import { worldPolicy } from '../support/world-policy.ts';
import { makeKeyPair } from './ssh-server.ts';

const NONCE = 'ab'.repeat(16);
const KEY = Buffer.alloc(32, 3);
const credentials = createCredentials(KEY);
const shell = createShell();
const cleanups: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

interface Stage {
  readonly directory: string;
  /** The pinned key and whether it is confirmed, as the row has them. */
  row: MachineRecord['hostKey'];
  contact(through?: Shell): Promise<FirstContact>;
  /** Logs in believing this key alone. */
  proves(key: string): Promise<boolean>;
}

async function startStage(kind: 'ssh2' | 'openssh'): Promise<Stage> {
  const directory = await mkdtemp(join(tmpdir(), 'spillway-contact-'));
  cleanups.push(async () => await rm(directory, { recursive: true, force: true }));
  await prepareDirectory(directory, deriveHostKey(KEY, NONCE).privateOpenSsh);
  const login = makeKeyPair();
  const identityFile = join(directory, 'login');
  writeFileSync(identityFile, login.private, { mode: 0o600 });
  const port = await freePort();
  const spec: HostSpec = {
    instanceId: 'i-0123',
    address: '127.0.0.1',
    port,
    directory,
    vcpus: 2,
    memoryMib: 4096,
    gpus: 0,
    arch: 'x86_64',
    authorizedKeys: [login.public],
    path: process.env['PATH'] ?? '',
    imdsUrl: 'http://127.0.0.1:1/no-metadata',
    onError: (error) => {
      throw error;
    },
  };
  const host: RunningHost = await (kind === 'openssh' ? startOpensshHost(spec) : startSsh2Host(spec));
  cleanups.push(async () => await host.close());
  const base = worldPolicy({});
  const ssh = { user: userInfo().username, port, identityFile, hostKey: 'injected' } as const;
  const policy = { ...base, join: { ...base.join, ssh } };
  const stage: Stage = {
    directory,
    row: null,
    contact: async (through = shell) => {
      const machines = {
        pinHostKey: async (_id: string, key: string) => {
          stage.row ??= { key, confirmed: false };
          return stage.row.key;
        },
      };
      const timings = { joinPollMs: 1 };
      // Of the many things that a step may touch, and a row holds, those that a first contact does.
      const ports = { shell: through, credentials, machines, timings, log: quietLog } as unknown as StepPorts;
      const machine = { id: 'mc-1', state: 'joining', instanceId: 'i-0123' } as unknown as MachineIn<'joining'>;
      const record = { machine, hostKey: stage.row, launch: { nonce: NONCE, body: {} } } as unknown as MachineRecord;
      return await whenReachable(
        async () => await makeContact(ports, record, machine, { policy, address: '127.0.0.1' }),
      );
    },
    proves: async (key) => {
      const place = { host: '127.0.0.1', port, user: ssh.user, jumps: [], transport: 'ssh2' } as const;
      const target = {
        ...place,
        login: { kind: 'file', file: identityFile },
        trust: { kind: 'keys', keys: [key] },
      } as const;
      try {
        await whenReachable(async () => await shell.withSession(target, 10_000, async () => undefined));
        return true;
      } catch (error) {
        if ((error as { code?: string }).code === 'SSH_HOST_KEY') return false;
        throw error;
      }
    },
  };
  return stage;
}

/** sshd takes no connections while it reads its keys anew; the step comes again then, and so do we. */
async function whenReachable<T>(act: () => Promise<T>): Promise<T> {
  const found = await until('the host takes connections', async () => {
    try {
      return { value: await act() };
    } catch (error) {
      if ((error as { code?: string }).code === 'SSH_UNREACHABLE') return null;
      throw error;
    }
  });
  return found.value;
}

/** A shell whose process dies at the `nth` script: before it is sent, or after it has run. */
function dyingShell(nth: number, moment: 'before' | 'after'): Shell {
  let scripts = 0;
  return {
    isOpen: shell.isOpen,
    withSession: async (target, deadlineMs, use) =>
      await shell.withSession(target, deadlineMs, async (session) => {
        const dying: ShellSession = {
          upload: session.upload,
          runScript: async (script, options) => {
            scripts += 1;
            if (scripts === nth && moment === 'before') throw new Error('died');
            const result = await session.runScript(script, options);
            if (scripts === nth) throw new Error('died');
            return result;
          },
        };
        return await use(dying);
      }),
  };
}

const bootstrap = deriveHostKey(KEY, NONCE);
const kinds = (['ssh2', 'openssh'] as const).filter((kind) => kind === 'ssh2' || sshdProgram === SSHD_PATH);

describe.each(kinds)('the first contact with a host by %s', (kind) => {
  test('ends with a key of its own in place of the one that was injected, of which nothing is left', async () => {
    const stage = await startStage(kind);
    expect(await stage.proves(bootstrap.publicOpenSsh)).toBe(true);
    const contact = await stage.contact();
    const pinned = stage.row?.key ?? '';
    expect(pinned).toMatch(/^ssh-ed25519 /);
    expect(pinned).not.toBe(bootstrap.publicOpenSsh);
    expect(contact).toEqual({ kind: 'trusted', trust: { kind: 'keys', keys: [pinned] } });
    expect(await stage.proves(pinned)).toBe(true);
    expect(await stage.proves(bootstrap.publicOpenSsh)).toBe(false);
    const keyFolder = join(hostKeyFile(stage.directory), '..');
    const texts = readdirSync(keyFolder, { withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map(({ name }) => readFileSync(join(keyFolder, name), 'utf8'));
    expect(texts.some((text) => text.includes(bootstrap.privateOpenSsh.split('\n')[2] ?? ''))).toBe(false);
    expect(texts.filter((text) => text.includes('PRIVATE KEY'))).toHaveLength(1);
  });

  test('done again changes nothing', async () => {
    const stage = await startStage(kind);
    await stage.contact();
    const first = stage.row;
    expect(await stage.contact()).toMatchObject({ kind: 'trusted' });
    expect(stage.row).toEqual(first);
    expect(await stage.proves(first?.key ?? '')).toBe(true);
  });

  test('whoever dies on the way, the next one ends it', async () => {
    for (const [nth, moment] of [
      [1, 'before'],
      [1, 'after'],
      [2, 'before'],
      [2, 'after'],
    ] as const) {
      const stage = await startStage(kind);
      await expect(stage.contact(dyingShell(nth, moment))).rejects.toThrow('died');
      expect(await stage.contact(), `${nth} ${moment}`).toMatchObject({ kind: 'trusted' });
      expect(await stage.proves(stage.row?.key ?? '')).toBe(true);
      expect(await stage.proves(bootstrap.publicOpenSsh)).toBe(false);
    }
  });

  test('a key that the row has forgotten is believed again, because we once proved it on this machine', async () => {
    const stage = await startStage(kind);
    await stage.contact();
    const made = stage.row?.key ?? '';
    stage.row = null;

    expect(await stage.contact()).toEqual({ kind: 'trusted', trust: { kind: 'keys', keys: [made] } });
    expect(stage.row).toMatchObject({ key: made });
  });

  test('a proof for another machine, or none, is worth nothing', async () => {
    const stage = await startStage(kind);
    await stage.contact();
    const key = stage.row?.key ?? '';
    const file = `${hostKeyFile(stage.directory)}.proof`;
    stage.row = null;

    writeFileSync(file, `${credentials.hostKeyProof({ nonce: NONCE, instanceId: 'i-0124', key })}\n`);
    await expect(stage.contact()).rejects.toMatchObject({ code: 'SSH_HOST_KEY' });
    rmSync(file);
    await expect(stage.contact()).rejects.toMatchObject({ code: 'SSH_HOST_KEY' });
    expect(stage.row).toBeNull();
  });

  test('two at the same time agree on one key', async () => {
    const stage = await startStage(kind);
    const outcomes = await Promise.allSettled([stage.contact(), stage.contact(), stage.contact()]);
    const kindsOfEnd = outcomes.map((outcome) =>
      outcome.status === 'fulfilled' ? outcome.value.kind : (outcome.reason as { code?: string }).code,
    );
    // Whoever comes late finds a new key; the step reads its row again then.
    for (const end of kindsOfEnd) expect(['trusted', 'later', 'SSH_HOST_KEY', 'SSH_UNREACHABLE']).toContain(end);
    expect(await stage.contact()).toMatchObject({ kind: 'trusted' });
    expect(await stage.proves(stage.row?.key ?? '')).toBe(true);
  });
});

test('a machine on which nobody can become root, or without ssh-keygen, is told at once and not tried again', async () => {
  const stage = await startStage('ssh2');
  const answering = (exitCode: number): Shell => ({
    isOpen: shell.isOpen,
    withSession: async (_target, _deadlineMs, use) =>
      await use({
        upload: async () => undefined,
        runScript: async () => ({ exitCode, signal: null, output: 'why', truncated: false }),
      }),
  });
  for (const never of [77, 69]) {
    expect(await stage.contact(answering(never))).toMatchObject({ kind: 'failed', detail: { output: 'why' } });
  }
  expect(await stage.contact(answering(1))).toMatchObject({ kind: 'later' });
});
