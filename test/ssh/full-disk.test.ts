/**
 * Goal: a machine whose disk is full is told as such, and keeps what it had.
 * Method: sshd with a file system of 32 KiB in the home directory, in a mount namespace that nobody else sees.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { homedir } from 'node:os';
import { basename, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ShellSession } from '../../src/ports/shell.ts';
import { createShell } from '../../src/ssh/shell.ts';
import { sshdProgram, sshProgram, startSshd } from '../support/sshd.ts';
import type { TestSshd } from '../support/sshd.ts';
import { targetAt } from './ssh-server.ts';

const shell = createShell();
const transports = (['ssh2', 'openssh'] as const).filter((name) => name === 'ssh2' || sshProgram !== null);
const folder = mkdtempSync(join(homedir(), '.spillway-full-'));
/** The processes of sshd see the small disk there, and nobody else does. */
const within = [
  'unshare',
  '--mount',
  'sh',
  '-c',
  `mount -t tmpfs -o size=32k,mode=700 tmpfs '${folder}' && exec "$@"`,
  'sh',
];

function isMissing(): boolean {
  if (sshdProgram === null) return true;
  try {
    const [program, ...args] = [...within, 'true'];
    execFileSync(program, args, { timeout: 10_000, stdio: 'pipe' });
    return false;
  } catch (error) {
    process.stderr.write(`SKIPPED: every test of a full disk: ${String(error)}\n`);
    return true;
  }
}

describe.skipIf(isMissing())('on a machine whose disk is full', () => {
  let sshd: TestSshd;
  beforeAll(async () => {
    sshd = await startSshd({ network: { within, address: '127.0.0.1' } });
  });
  afterAll(async () => {
    await sshd.stop();
    rmSync(folder, { recursive: true });
  });

  const path = `${basename(folder)}/run.sh`;
  const upload = async (session: ShellSession, content: string) =>
    await session.upload([{ path, content, mode: 0o600 }]);

  test.each(transports)('an upload over %s says so, and leaves no half of a file', async (transport) => {
    await shell.withSession({ ...targetAt(sshd), transport }, 20_000, async (session) => {
      await upload(session, 'one\n');
      await expect(upload(session, 'x'.repeat(200_000))).rejects.toMatchObject({
        code: 'SSH_COMMAND',
        remedy: expect.stringContaining('disk'),
      });
      const { output } = await session.runScript(`ls "$HOME/${basename(folder)}"`, { deadlineMs: 5000 });
      expect(output).toBe('');
      await upload(session, 'two\n');
      expect((await session.runScript(`cat "$HOME/${path}"`, { deadlineMs: 5000 })).output).toBe('two\n');
    });
  });
});
