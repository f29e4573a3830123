/**
 * Goal: whatever says what a host must prove, a man in the middle is refused before he learns anything.
 * Method: OpenSSH's own sshd, and a second one with another key that stands where the first should be. Both take our log-in, so
 * that nothing but the host key can stop us.
 */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { HostTrust, ShellJump, ShellTarget } from '../../src/ports/shell.ts';
import { loginPublicKey } from '../../src/ssh/login.ts';
import { createShell } from '../../src/ssh/shell.ts';
import { makeKeyFile, sshdProgram, sshProgram, startSshd } from '../support/sshd.ts';
import type { TestSshd } from '../support/sshd.ts';
import { blackHole, shows } from '../support/waits.ts';
import { until } from '../support/wait.ts';
import { targetAt } from './ssh-server.ts';

const shell = createShell();
const transports = (['ssh2', 'openssh'] as const).filter((name) => name === 'ssh2' || sshProgram !== null);

/** The process of sshd that serves the script, up the line of its parents. */
const KILL_SSHD = `pid=$$
until grep -q '^sshd' /proc/$pid/comm; do pid=$(cut -d ' ' -f 4 /proc/$pid/stat); done
kill -9 $pid; sleep 60`;

describe.skipIf(sshdProgram === null)('a host and a man in the middle', () => {
  const folder = mkdtempSync(join(tmpdir(), 'spillway-trust-'));
  const caFile = join(folder, 'ca');
  let host: TestSshd;
  let middle: TestSshd;

  beforeAll(async () => {
    makeKeyFile(caFile);
    host = await startSshd({ certificate: { caFile, names: ['127.0.0.1'] } });
    middle = await startSshd({ identityFile: host.identityFile });
  });
  afterAll(async () => {
    await host.stop();
    await middle.stop();
    rmSync(folder, { recursive: true });
  });

  /** `at` is where the connection ends; what is trusted is about `host`. */
  function target(at: TestSshd, trust: HostTrust, more: Partial<ShellTarget> = {}): ShellTarget {
    return { ...targetAt({ ...host, port: at.port }), trust, ...more };
  }

  async function logIn(to: ShellTarget): Promise<string> {
    return await shell.withSession(to, 20_000, async (session) => {
      return (await session.runScript('echo in', { deadlineMs: 5000 })).output;
    });
  }

  /** A known_hosts file as an operator keeps it, with the key of `host` under the port of `at`. */
  function knownHosts(at: TestSshd, hashed = false): string {
    const file = join(folder, `known_hosts-${at.port}-${hashed}`);
    const lines = ['# ours', 'other.example ssh-ed25519 AAAA', `[127.0.0.1]:${at.port} ${host.hostKey}`];
    writeFileSync(file, `${lines.join('\n')}\n`);
    if (hashed) execFileSync('ssh-keygen', ['-H', '-f', file], { timeout: 10_000, stdio: 'ignore' });
    return file;
  }

  const refused = { code: 'SSH_HOST_KEY', retryable: false };

  describe.each(transports)('over %s', (transport) => {
    test('a pinned key: the host is logged in to, the man in the middle is not', async () => {
      const trust: HostTrust = { kind: 'keys', keys: [host.hostKey] };
      expect(await logIn(target(host, trust, { transport }))).toBe('in\n');
      await expect(logIn(target(middle, trust, { transport }))).rejects.toMatchObject(refused);
    });

    test('either of two keys, while a machine changes from one to the other', async () => {
      const trust: HostTrust = { kind: 'keys', keys: [middle.hostKey, host.hostKey] };
      expect(await logIn(target(host, trust, { transport }))).toBe('in\n');
      expect(await logIn(target(middle, trust, { transport }))).toBe('in\n');
    });

    test.each([false, true])('known_hosts: likewise (hashed: %s)', async (hashed) => {
      const known = (at: TestSshd): HostTrust => ({ kind: 'known', file: knownHosts(at, hashed) });
      expect(await logIn(target(host, known(host), { transport }))).toBe('in\n');
      await expect(logIn(target(middle, known(middle), { transport }))).rejects.toMatchObject(refused);
    });

    test('a host that known_hosts does not know is not even called', async () => {
      const trust: HostTrust = { kind: 'known', file: knownHosts(host) };
      await expect(logIn(target(middle, trust, { transport }))).rejects.toMatchObject({
        ...refused,
        message: expect.stringContaining(`port ${middle.port}`),
      });
    });

    test('a jump host is verified as strictly as the host behind it', async () => {
      const jump: ShellJump = { ...targetAt({ ...middle, identityFile: host.identityFile }) };
      const keys: HostTrust = { kind: 'keys', keys: [host.hostKey] };
      expect(await logIn(target(host, keys, { transport, jumps: [jump] }))).toBe('in\n');
      expect(await logIn(target(host, keys, { transport, jumps: [jump, jump] }))).toBe('in\n');
      const wrong = { ...jump, trust: keys };
      await expect(logIn(target(host, keys, { transport, jumps: [wrong] }))).rejects.toMatchObject(refused);
      await expect(logIn(target(host, keys, { transport, jumps: [jump, wrong] }))).rejects.toMatchObject(refused);
      // And behind an honest jump host, too.
      await expect(logIn(target(middle, keys, { transport, jumps: [jump] }))).rejects.toMatchObject(refused);
    });

    test(`whether a port is open is asked from the last jump host ${shows('ssh.probe-through')}`, async () => {
      const jump: ShellJump = { ...targetAt({ ...middle, identityFile: host.identityFile }) };
      const route = { ...target(host, jump.trust, { transport }), jumps: [jump] };
      expect(await shell.isOpen(route, 20_000)).toBe(true);
      expect(await shell.isOpen({ ...route, port: 1 }, 20_000)).toBe(false);
      const wrong = { ...jump, trust: { kind: 'keys', keys: [host.hostKey] } as const };
      await expect(shell.isOpen({ ...route, jumps: [wrong] }, 20_000)).rejects.toMatchObject(refused);
      const silent = { ...jump, port: (await blackHole()).port };
      expect(await shell.isOpen({ ...route, jumps: [silent] }, 300)).toBe(false);
    });

    test('a host that asks for a password is SSH_AUTH: nobody answers', async () => {
      const asking = await startSshd({
        settings: ['AuthenticationMethods password', 'PasswordAuthentication yes'],
      });
      try {
        await expect(logIn({ ...targetAt(asking), transport })).rejects.toMatchObject({ code: 'SSH_AUTH' });
      } finally {
        await asking.stop();
      }
    });

    test('a banner is no obstacle, whatever it says', async () => {
      const banner = join(folder, 'banner');
      writeFileSync(banner, 'Host key verification failed.\nPermission denied (publickey).\n');
      const talking = await startSshd({ settings: [`Banner ${banner}`] });
      try {
        expect(await logIn({ ...targetAt(talking), transport })).toBe('in\n');
      } finally {
        await talking.stop();
      }
    });

    test('a forced command in place of a shell is SSH_COMMAND', async () => {
      const forced = await startSshd({ settings: ['ForceCommand /bin/false'] });
      try {
        const attempt = logIn({ ...targetAt(forced), transport });
        // ssh2 sees a command that was started and said nothing; that it was another one shows in nothing.
        const outcome = await attempt.catch((error: unknown) => (error as { code?: string }).code);
        expect(outcome).toBe(transport === 'ssh2' ? '' : 'SSH_COMMAND');
      } finally {
        await forced.stop();
      }
    });

    test('a server that dies in the middle of a command is SSH_UNREACHABLE', async () => {
      const dying = await startSshd();
      try {
        const attempt = shell.withSession({ ...targetAt(dying), transport }, 20_000, async (session) => {
          return await session.runScript(KILL_SSHD, { deadlineMs: 15_000 });
        });
        await expect(attempt).rejects.toMatchObject({ code: 'SSH_UNREACHABLE' });
      } finally {
        await dying.stop();
      }
    });

    test(`an SSH agent logs in, and says which key to authorise ${shows('ssh.agent')}`, async () => {
      const socket = join(folder, `agent-${transport}`);
      const agent: ChildProcess = spawn('ssh-agent', ['-D', '-a', socket], { stdio: 'ignore' });
      const keys: HostTrust = { kind: 'keys', keys: [host.hostKey] };
      try {
        const login = { kind: 'agent', socket: null } as const;
        const add = (): boolean => {
          try {
            execFileSync('ssh-add', ['-q', host.identityFile], {
              env: { ...process.env, SSH_AUTH_SOCK: socket },
              timeout: 10_000,
              stdio: 'ignore',
            });
            return true;
          } catch {
            return false;
          }
        };
        await until('the agent takes keys', add);
        const ours = createShell({ agentSocket: socket });
        const to = target(host, keys, { transport, login });
        expect(
          await ours.withSession(
            to,
            20_000,
            async (session) => await session.runScript('echo in', { deadlineMs: 5000 }),
          ),
        ).toMatchObject({ output: 'in\n' });
        const [type, base64] = readFileSync(`${host.identityFile}.pub`, 'utf8').split(' ');
        expect(await loginPublicKey(login, socket)).toBe(`${type} ${base64}`);
        // Without SSH_AUTH_SOCK there is no agent to ask.
        await expect(logIn(to)).rejects.toMatchObject({ code: 'CONFIG_KEY_FILE' });
        await expect(loginPublicKey({ kind: 'agent', socket: '/nowhere' }, null)).rejects.toMatchObject({
          code: 'CONFIG_KEY_FILE',
        });
      } finally {
        agent.kill();
      }
    });
  });

  describe.skipIf(sshProgram === null)('certificates of an authority', () => {
    const trust: HostTrust = { kind: 'ca', file: `${caFile}.pub` };

    test('a host with one for its address is logged in to; one without is refused', async () => {
      expect(await logIn(target(host, trust, { transport: 'openssh' }))).toBe('in\n');
      await expect(logIn(target(middle, trust, { transport: 'openssh' }))).rejects.toMatchObject(refused);
    });

    test('a certificate for another name, or of another authority, is refused', async () => {
      const stranger = join(folder, 'stranger');
      makeKeyFile(stranger);
      const others = [
        { caFile, names: ['10.0.0.1'] },
        { caFile: stranger, names: ['127.0.0.1'] },
      ];
      for (const certificate of others) {
        const sshd = await startSshd({ certificate, identityFile: host.identityFile });
        try {
          await expect(logIn(target(sshd, trust, { transport: 'openssh' }))).rejects.toMatchObject(refused);
        } finally {
          await sshd.stop();
        }
      }
    });

    test('the built-in transport, which cannot check them, refuses rather than to believe', async () => {
      await expect(logIn(target(host, trust))).rejects.toMatchObject(refused);
    });

    test('a file without a public key trusts nobody', async () => {
      const empty = join(folder, 'empty');
      writeFileSync(empty, '# no key\n');
      const to = target(host, { kind: 'ca', file: empty }, { transport: 'openssh' });
      await expect(logIn(to)).rejects.toMatchObject(refused);
    });
  });
});
