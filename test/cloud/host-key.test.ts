import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import ssh2 from 'ssh2';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { deriveHostKey } from '../../src/cloud/host-key.ts';
import { findServerProgram } from '../support/server-program.ts';
import { renderUserData, USER_DATA_BYTES_MAX } from '../../src/cloud/user-data.ts';

const deploymentKey = Buffer.alloc(32, 7);
const nonce = '0123456789abcdef0123456789abcdef';
const sshKeygen = findServerProgram({ name: 'ssh-keygen', debianPackage: 'openssh-client' });

describe('deriveHostKey', () => {
  test('the same deployment key and nonce give the same pair, others give others', () => {
    const first = deriveHostKey(deploymentKey, nonce);
    expect(deriveHostKey(deploymentKey, nonce)).toEqual(first);
    expect(deriveHostKey(deploymentKey, nonce.replace('0', '1')).publicOpenSsh).not.toBe(first.publicOpenSsh);
    expect(deriveHostKey(Buffer.alloc(32, 8), nonce).publicOpenSsh).not.toBe(first.publicOpenSsh);
  });

  test('the derivation never changes, because open launches depend on it', () => {
    expect(deriveHostKey(deploymentKey, nonce).publicOpenSsh).toBe(
      'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGuY6d7jSQhO7RW0uXD0IfXc2c5wm0E5up5XQr/Rir+p',
    );
  });

  test('ssh2 reads the private half, finds the public one in it, and the two sign and verify', () => {
    const pair = deriveHostKey(deploymentKey, nonce);
    const parsed = ssh2.utils.parseKey(pair.privateOpenSsh);
    if (parsed instanceof Error) throw parsed;
    expect(parsed.type).toBe('ssh-ed25519');
    expect(`ssh-ed25519 ${parsed.getPublicSSH().toString('base64')}`).toBe(pair.publicOpenSsh);
    const publicKey = ssh2.utils.parseKey(pair.publicOpenSsh);
    if (publicKey instanceof Error) throw publicKey;
    const signature = parsed.sign('message');
    expect(publicKey.verify('message', signature)).toBe(true);
  });

  test.skipIf(sshKeygen === null)('ssh-keygen itself accepts a hundred of them', () => {
    const folder = mkdtempSync(join(tmpdir(), 'spillway-hostkey-'));
    try {
      for (let index = 0; index < 100; index += 1) {
        const pair = deriveHostKey(deploymentKey, `${nonce}${index}`);
        const file = join(folder, `key${index}`);
        writeFileSync(file, pair.privateOpenSsh, { mode: 0o600 });
        const printed = execFileSync(sshKeygen!, ['-y', '-P', '', '-f', file], { encoding: 'utf8', timeout: 5000 });
        expect(printed.trim()).toBe(`${pair.publicOpenSsh} spillway`);
      }
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  test('keys that begin with a zero byte keep it', () => {
    const pairs = Array.from({ length: 600 }, (_, index) => deriveHostKey(deploymentKey, `${nonce}${index}`));
    const blobs = pairs.map((pair) => Buffer.from(pair.publicOpenSsh.split(' ')[1] ?? '', 'base64'));
    expect(blobs.every((blob) => blob.length === 51)).toBe(true);
    expect(blobs.some((blob) => blob[19] === 0)).toBe(true);
    expect(pairs.every((pair) => !(ssh2.utils.parseKey(pair.privateOpenSsh) instanceof Error))).toBe(true);
  });

  test('a deployment key of fewer than 256 bits is a bug', () => {
    expect(() => deriveHostKey(Buffer.alloc(16), nonce)).toThrow('256 bits');
  });
});

describe('renderUserData', () => {
  const pair = deriveHostKey(deploymentKey, nonce);
  const authorizedKey = `${deriveHostKey(deploymentKey, 'login').publicOpenSsh} ops "team": #1`;
  const input = {
    hostKey: pair,
    authorizedKey,
    sshUser: 'ubuntu',
  };

  test('it is a cloud-config that sets exactly the host key and the user, and fits into EC2', () => {
    const text = renderUserData(input);
    expect(text.startsWith('#cloud-config\n')).toBe(true);
    expect(Buffer.byteLength(text)).toBeLessThan(USER_DATA_BYTES_MAX / 8);
    expect(parse(text)).toEqual({
      ssh_deletekeys: true,
      ssh_keys: { ed25519_private: pair.privateOpenSsh, ed25519_public: pair.publicOpenSsh },
      ssh_pwauth: false,
      users: [
        'default',
        {
          name: 'ubuntu',
          lock_passwd: true,
          shell: '/bin/bash',
          sudo: 'ALL=(ALL) NOPASSWD:ALL',
          ssh_authorized_keys: [authorizedKey],
        },
      ],
    });
  });

  test('without a host key of ours the machine makes its own, or keeps those of its image', () => {
    for (const hostKey of ['own', 'image'] as const) {
      const config = parse(renderUserData({ ...input, hostKey })) as Record<string, unknown>;
      expect(Object.keys(config)).toEqual(['ssh_deletekeys', 'ssh_pwauth', 'users']);
      expect(config['ssh_deletekeys']).toBe(hostKey === 'own');
    }
  });

  test('equal input gives equal bytes', () => {
    expect(renderUserData({ ...input })).toBe(renderUserData(input));
  });

  test.each(['', 'root;id', 'Ubuntu', 'a b', '-x', 'a\nb', 'x'.repeat(33)])(
    'a login name of %j is a bug',
    (sshUser) => {
      expect(() => renderUserData({ ...input, sshUser })).toThrow('login name');
    },
  );

  test.each(['', 'ssh-ed25519', `${authorizedKey}\nssh-ed25519 AAAA`, 'command="x" ssh-ed25519 AAAA'])(
    'an authorized key that is not one plain line is a bug: %j',
    (bad) => {
      expect(() => renderUserData({ ...input, authorizedKey: bad })).toThrow('one OpenSSH public key line');
    },
  );
});
