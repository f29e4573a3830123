/** The contract of both transports, against OpenSSH's own sshd: real login shells, real SFTP, real file modes. */
import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { homedir } from 'node:os';
import { basename, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ShellSession } from '../../src/ports/shell.ts';
import { createShell } from '../../src/ssh/shell.ts';
import { isUploadPath } from '../../src/ssh/sftp-upload.ts';
import { sshdProgram, sshProgram, startSshd } from '../support/sshd.ts';
import type { TestSshd } from '../support/sshd.ts';
import { until } from '../support/wait.ts';
import { makeKeyPair, targetAt } from './ssh-server.ts';

const shell = createShell();

const transports = (['ssh2', 'openssh'] as const).filter((name) => name === 'ssh2' || sshProgram !== null);

describe.skipIf(sshdProgram === null).each(transports)('a session with OpenSSH over %s', (transport) => {
  let sshd: TestSshd;
  let folder = '';

  beforeAll(async () => {
    sshd = await startSshd();
    // Uploads go below the home directory; the folder is ours alone and removed again.
    folder = mkdtempSync(join(homedir(), '.spillway-test-'));
  });
  afterAll(async () => {
    rmSync(folder, { recursive: true, force: true });
    await sshd.stop();
  });

  function use<T>(work: (session: ShellSession) => Promise<T>): Promise<T> {
    return shell.withSession({ ...targetAt(sshd), transport }, 10_000, work);
  }

  test('a script runs with its output, errors and exit code', async () => {
    const result = await use((session) => session.runScript('echo out; echo err >&2; exit 7', { deadlineMs: 5000 }));
    expect(result).toMatchObject({ exitCode: 7, signal: null, truncated: false });
    expect(result.output.split('\n').sort()).toEqual(['', 'err', 'out']);
  });

  test('quotes, expansions and here-documents reach the shell as they are', async () => {
    const script = `x="it's"\ncat <<'END'\n$HOME \`id\` "quoted" \\\nEND\nprintf '%s\\n' "$x"`;
    const result = await use((session) => session.runScript(script, { deadlineMs: 5000 }));
    expect(result.output).toBe('$HOME `id` "quoted" \\\nit\'s\n');
  });

  test('a command that reads standard input does not eat the rest of the script', async () => {
    const result = await use((session) => session.runScript('cat\necho after', { deadlineMs: 5000 }));
    expect(result).toMatchObject({ exitCode: 0, output: 'after\n' });
  });

  test('a script that breaks off in the middle of a statement runs no part of it', async () => {
    const result = await use((session) => session.runScript('echo first\nif true; then', { deadlineMs: 5000 }));
    expect(result.exitCode).toBe(2);
    expect(result.output).not.toContain('first');
  });

  test('an empty script succeeds', async () => {
    expect(await use((session) => session.runScript('', { deadlineMs: 5000 }))).toMatchObject({ exitCode: 0 });
  });

  test('a script larger than every buffer on the way arrives whole', async () => {
    const script = `${'# filler\n'.repeat(60_000)}echo whole`;
    expect(await use((session) => session.runScript(script, { deadlineMs: 8000 }))).toMatchObject({
      output: 'whole\n',
    });
  });

  test('a script that ends by a signal says which', async () => {
    const result = await use((session) => session.runScript('kill -TERM $$', { deadlineMs: 5000 }));
    expect(result).toMatchObject({ exitCode: null, signal: 'SIGTERM' });
  });

  test('a script that hangs ends at its deadline with its last words, and the session goes on', async () => {
    const pidFile = join(folder, 'pid');
    await use(async (session) => {
      const hanging = session.runScript(`echo $$ > ${pidFile}; echo started; exec sleep 600`, { deadlineMs: 2000 });
      await expect(hanging).rejects.toMatchObject({ code: 'TIMEOUT', details: { outputTail: 'started\n' } });
      const pid = readFileSync(pidFile, 'utf8').trim();
      // sshd passes our KILL on, but not to root's own sessions: then the test cleans up over the same session.
      expect(await session.runScript(`kill -9 ${pid} 2>&-; echo alive`, { deadlineMs: 5000 })).toMatchObject({
        output: 'alive\n',
      });
      await until('the script is gone', () => !existsSync(`/proc/${pid}`));
    });
  });

  test('uploads make folders, set modes against any umask, and can be repeated', async () => {
    const path = `${basename(folder)}/a/b/run.sh`;
    const files = (content: string, mode: number) => [
      { path, content, mode },
      { path: `${basename(folder)}/secret`, content: 'Käse\n', mode: 0o600 },
    ];
    await use((session) => session.upload(files('#!/bin/sh\necho one\n', 0o777)));
    expect(statSync(join(homedir(), path)).mode & 0o7777).toBe(0o777);
    await use((session) => session.upload(files('#!/bin/sh\necho two\n', 0o700)));
    const local = join(homedir(), path);
    expect(statSync(local).mode & 0o7777).toBe(0o700);
    expect(statSync(join(folder, 'a')).mode & 0o7777).toBe(0o700);
    expect(readFileSync(join(folder, 'secret'), 'utf8')).toBe('Käse\n');
    expect(await use((session) => session.runScript(`"$HOME/${path}"`, { deadlineMs: 5000 }))).toMatchObject({
      output: 'two\n',
    });
  });

  test('an upload replaces a link instead of writing through it', async () => {
    const victim = join(folder, 'victim');
    writeFileSync(victim, 'untouched');
    symlinkSync(victim, join(folder, 'link'));
    await use((session) => session.upload([{ path: `${basename(folder)}/link`, content: 'new', mode: 0o600 }]));
    expect([readFileSync(victim, 'utf8'), readFileSync(join(folder, 'link'), 'utf8')]).toEqual(['untouched', 'new']);
  });

  test('an upload over a folder is SSH_COMMAND with a remedy', async () => {
    const attempt = use((session) => session.upload([{ path: basename(folder), content: '', mode: 0o600 }]));
    await expect(attempt).rejects.toMatchObject({ code: 'SSH_COMMAND', remedy: expect.stringContaining('disk') });
  });

  test('a path outside the home directory is a bug, not a request to the machine', async () => {
    const attempt = use((session) => session.upload([{ path: '../x', content: '', mode: 0o600 }]));
    await expect(attempt).rejects.toThrow('not a path below the home directory');
  });

  test('a wrong pin is refused by a real handshake, too', async () => {
    const foreign = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA';
    const attempt = shell.withSession({ ...targetAt({ ...sshd, hostKey: foreign }), transport }, 5000, () =>
      Promise.resolve(),
    );
    await expect(attempt).rejects.toMatchObject({ code: 'SSH_HOST_KEY' });
  });

  test('a key the server does not know is SSH_AUTH', async () => {
    const other = join(folder, 'other_key');
    writeFileSync(other, makeKeyPair().private);
    chmodSync(other, 0o600);
    const attempt = shell.withSession({ ...targetAt({ ...sshd, identityFile: other }), transport }, 5000, () =>
      Promise.resolve(),
    );
    await expect(attempt).rejects.toMatchObject({ code: 'SSH_AUTH' });
  });
});

test.each(['a', 'a/b', '.spillway/agent.sh', 'x_1-2+3@4'])('%j is a path for uploads', (path) => {
  expect(isUploadPath(path)).toBe(true);
});

test.each([
  '',
  '/etc/passwd',
  '..',
  'a/../b',
  './a',
  'a//b',
  'a/',
  '~/a',
  'a b',
  '$HOME/a',
  'a\nb',
  `${'a/'.repeat(10)}a`,
])('%j is no path for uploads', (path) => {
  expect(isUploadPath(path)).toBe(false);
});
