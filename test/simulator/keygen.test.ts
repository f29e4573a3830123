import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { readPublicKey } from '../../src/ssh/public-key.ts';

const PROGRAM = new URL('../../src/simulator/hosts/keygen.ts', import.meta.url).pathname;

test('a host on a machine without ssh-keygen makes keys that differ, and tells their public halves', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'spillway-keygen-'));
  try {
    const run = (...args: string[]): string =>
      execFileSync(process.execPath, [PROGRAM, ...args], { encoding: 'utf8', timeout: 20_000 });
    const [one, two] = [join(folder, 'one'), join(folder, 'two')];
    for (const file of [one, two]) run('-q', '-t', 'ed25519', '-N', '', '-C', 'spillway', '-f', file);
    const told = run('-y', '-f', one).trim();
    expect(told).toBe(await readPublicKey(one));
    expect(readFileSync(`${one}.pub`, 'utf8').trim()).toBe(told);
    expect(run('-y', '-f', two).trim()).not.toBe(told);
    expect(statSync(one).mode & 0o777).toBe(0o600);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
