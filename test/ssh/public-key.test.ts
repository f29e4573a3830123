import { execFileSync } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import ssh2 from 'ssh2';
import { afterAll, expect, test } from 'vitest';
import { AppError } from '../../src/model/errors.ts';
import { readIdentity, readPublicKey } from '../../src/ssh/public-key.ts';
import { makeKeyPair } from './ssh-server.ts';
import { findServerProgram } from '../support/server-program.ts';

const sshKeygen = findServerProgram({ name: 'ssh-keygen', debianPackage: 'openssh-client' });

const folder = mkdtempSync(join(tmpdir(), 'spillway-identity-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function keyFile(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text, { mode: 0o600 });
  return path;
}

async function refusal(path: string): Promise<AppError> {
  const error: unknown = await readPublicKey(path).catch((reason: unknown) => reason);
  if (!(error instanceof AppError)) throw new Error('it was read');
  expect(error.code).toBe('CONFIG_KEY_FILE');
  expect(error.remedy).toMatch(/\S/);
  return error;
}

test.skipIf(sshKeygen === null).each(['ed25519', 'ecdsa', 'rsa'] as const)(
  'the public line of an OpenSSH %s key is the one in its .pub',
  async (type) => {
    const path = join(folder, `openssh-${type}`);
    execFileSync(sshKeygen!, ['-q', '-t', type, '-N', '', '-C', '', '-f', path], { timeout: 10_000 });
    expect(await readPublicKey(path)).toBe(readFileSync(`${path}.pub`, 'utf8').trim());
    expect((await readIdentity(path)).privateKey).toBe(readFileSync(path, 'utf8'));
  },
);

test('a classic PEM key, as EC2 key pairs were, is read', async () => {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const path = keyFile('pem', privateKey.export({ type: 'pkcs1', format: 'pem' }).toString());
  expect(await readPublicKey(path)).toMatch(/^ssh-rsa AAAA/);
});

test('a missing file says which one', async () => {
  expect((await refusal(join(folder, 'missing'))).message).toContain(join(folder, 'missing'));
});

test.each(['/dev/zero', tmpdir()])('%s is not read as a key', async (path) => {
  expect((await refusal(path)).message).toContain('cannot be read');
});

test('keys locked with a passphrase are named as such, in each of the three formats', async () => {
  const openssh = ssh2.utils.generateKeyPairSync('ed25519', { passphrase: 'x', cipher: 'aes256-cbc', rounds: 4 });
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const lock = { format: 'pem', cipher: 'aes-256-cbc', passphrase: 'x' } as const;
  const texts = [
    openssh.private,
    privateKey.export({ ...lock, type: 'pkcs1' }).toString(),
    privateKey.export({ ...lock, type: 'pkcs8' }).toString(),
  ];
  for (const text of texts) expect((await refusal(keyFile('locked', text))).message).toContain('passphrase');
});

test.each(['', 'hello', '-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n'])(
  'garbage is refused: %j',
  async (text) => {
    expect((await refusal(keyFile('garbage', text))).message).toContain('not an SSH private key');
  },
);

test('the public half is refused, and the remedy says to name the other one', async () => {
  const path = keyFile('public', makeKeyPair().public);
  expect((await refusal(path)).remedy).toContain('not .pub');
});
