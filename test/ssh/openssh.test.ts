/** What is particular to the installed `ssh`: its files, its algorithms, its processes. The contract is in sshd.test.ts. */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ShellTarget } from '../../src/ports/shell.ts';
import { aliasOf, KEX_WANTED, renderConfig, renderKnownHosts } from '../../src/ssh/openssh-config.ts';
import { endGroup, readKex, startSsh } from '../../src/ssh/openssh-process.ts';
import { createShell, DEFAULT_SHELL_LIMITS } from '../../src/ssh/shell.ts';
import { sshdProgram, sshProgram, startSshd } from '../support/sshd.ts';
import type { TestSshd } from '../support/sshd.ts';
import { until } from '../support/wait.ts';
import { shows } from '../support/waits.ts';
import { targetAt } from './ssh-server.ts';

const shell = createShell();
const folders = (): string[] => readdirSync(tmpdir()).filter((name) => name.startsWith('sw-ssh-'));

describe('the files that ssh reads', () => {
  const hop = {
    host: '10.0.0.7',
    port: 2222,
    user: 'ubuntu',
    login: 'file',
    trust: { kind: 'keys', pins: [] },
  } as const;
  const config = renderConfig({
    folder: '/tmp/100% sure',
    hops: [{ ...hop, host: 'jump.example', login: 'agent' }, hop],
    kex: KEX_WANTED,
    limits: DEFAULT_SHELL_LIMITS,
  });

  test('leave nothing to chance or to other files', () => {
    for (const line of [
      'BatchMode yes',
      'StrictHostKeyChecking yes',
      'GlobalKnownHostsFile /dev/null',
      'UpdateHostKeys no',
      'PasswordAuthentication no',
      'KbdInteractiveAuthentication no',
      'ForwardAgent no',
      'Ciphers aes256-gcm@openssh.com,aes128-gcm@openssh.com',
    ]) {
      expect(config).toContain(`\n  ${line}\n`);
    }
    expect(config).toContain(`ProxyJump ${aliasOf(0)}`);
    expect(config).toContain('IdentityFile "/tmp/100%% sure/id-1"');
  });

  test('know an authority for certificates only', () => {
    const ca = { ...hop, trust: { kind: 'ca', authorities: ['ssh-ed25519 AAAA'] } } as const;
    expect(renderKnownHosts(ca, 0)).toBe('@cert-authority * ssh-ed25519 AAAA\n');
  });
});

describe.skipIf(sshdProgram === null || sshProgram === null)('a session over the installed ssh', () => {
  let sshd: TestSshd;
  let log = '';
  beforeAll(async () => {
    log = join(mkdtempSync(join(tmpdir(), 'spillway-openssh-')), 'log');
    sshd = await startSshd({ settings: ['LogLevel DEBUG1'], logFile: log });
  });
  afterAll(async () => {
    await sshd.stop();
    rmSync(join(log, '..'), { recursive: true });
  });
  const target = (): ShellTarget => ({ ...targetAt(sshd), transport: 'openssh' });

  test('has a post-quantum key exchange where both sides know one', async () => {
    const kex = await readKex();
    await shell.withSession(target(), 20_000, async (session) => await session.runScript('', { deadlineMs: 5000 }));
    const agreed = /kex: algorithm: (\S+)/.exec(readFileSync(log, 'utf8'))?.[1];
    expect(kex).toContain(agreed);
    const known = execFileSync(sshdProgram ?? '', ['-T', '-f', '/dev/null', '-h', sshd.identityFile], {
      encoding: 'utf8',
      timeout: 10_000,
    });
    const [best] = kex.filter((name) => known.includes(name));
    expect(agreed).toBe(best);
  });

  test('leaves no file and no process behind, also when it fails', async () => {
    const before = folders();
    let used = '';
    await shell.withSession(target(), 20_000, async (session) => {
      const [folder] = folders().filter((name) => !before.includes(name));
      expect(statSync(join(tmpdir(), folder ?? '')).mode & 0o777).toBe(0o700);
      await session.runScript('true', { deadlineMs: 5000 });
      used = folder ?? '';
      expect(processesOf(used).length).toBeGreaterThan(0);
    });
    const wrong = {
      ...target(),
      trust: { kind: 'keys', keys: [`ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI${'A'.repeat(43)}`] } as const,
    };
    await expect(shell.withSession(wrong, 20_000, async () => undefined)).rejects.toMatchObject({
      code: 'SSH_HOST_KEY',
    });
    expect(folders()).toEqual(before);
    await until('no process is left', () => processesOf(used).length === 0);
  });

  test('an exit code of ssh itself, 255, is the script’s own when the script says so', async () => {
    const result = await shell.withSession(
      target(),
      20_000,
      async (session) => await session.runScript('exit 255', { deadlineMs: 5000 }),
    );
    expect(result).toMatchObject({ exitCode: 255, signal: null });
  });

  test('a connection that is lost ends what runs, and is no result', async () => {
    const before = folders();
    const attempt = shell.withSession(target(), 20_000, async (session) => {
      const [folder = ''] = folders().filter((name) => !before.includes(name));
      const running = session.runScript('sleep 60', { deadlineMs: 30_000 });
      for (const pid of processesOf(folder)) process.kill(Number(pid), 'SIGKILL');
      return await running;
    });
    await expect(attempt).rejects.toMatchObject({ code: 'SSH_UNREACHABLE' });
  });
});

/** Processes whose command line names the folder. */
function processesOf(folder: string): string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(folder);
      } catch {
        return false;
      }
    });
}

describe('programs that do not behave', () => {
  test(`an ssh that never answers is no ssh ${shows('ssh.programs')}`, async () => {
    const folder = mkdtempSync(join(tmpdir(), 'spillway-program-'));
    try {
      const program = join(folder, 'ssh');
      writeFileSync(program, '#!/bin/sh\nexec sleep 60\n');
      chmodSync(program, 0o755);
      await expect(readKex(program, 100)).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
      await expect(readKex(join(folder, 'missing'))).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  test(`one that does not heed SIGTERM is killed with all it started ${shows('ssh.end')}`, async () => {
    const stubborn = spawn('/bin/sh', ['-c', "trap '' TERM; echo up; sleep 60 & wait; sleep 60"], {
      detached: true,
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    await once(stubborn.stdout, 'data');
    await endGroup(stubborn, 100);
    expect(stubborn.signalCode).toBe('SIGKILL');
    await until('its children are gone, too', () => {
      try {
        process.kill(-(stubborn.pid ?? 0), 0);
        return false;
      } catch {
        return true;
      }
    });
  });

  test.skipIf(sshProgram === null)('one that has ended is ended without a word', async () => {
    const child = startSsh(['-V']);
    await once(child, 'exit');
    await expect(endGroup(child)).resolves.toBeUndefined();
  });
});
