import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { findKnownKeys } from '../../src/ssh/known-hosts.ts';
import { findServerProgram } from '../support/server-program.ts';
import { makeKeyPair } from './ssh-server.ts';

const keygen = findServerProgram({ name: 'ssh-keygen', debianPackage: 'openssh-client' });
const folder = mkdtempSync(join(tmpdir(), 'spillway-known-'));
afterAll(() => rmSync(folder, { recursive: true }));

const key = makeKeyPair().public;
const other = makeKeyPair().public;

function keysOf(names: string, host: string, port = 22): readonly string[] {
  return findKnownKeys(`${names} ${key} comment\n`, host, port).keys;
}

describe('known_hosts', () => {
  test.each([
    ['10.0.0.7', '10.0.0.7', 22],
    ['Jump.Example', 'jump.example', 22],
    ['10.0.*', '10.0.0.7', 22],
    ['10.0.0.?', '10.0.0.7', 22],
    ['a,10.0.0.7,b', '10.0.0.7', 22],
    ['[10.0.0.7]:2222', '10.0.0.7', 2222],
    ['*,!10.0.0.8', '10.0.0.7', 22],
  ])('%s is about %s, port %d', (names, host, port) => {
    expect(keysOf(names, host, port)).toEqual([key]);
  });

  test.each([
    ['10.0.0.7', '10.0.0.70', 22],
    ['10.0.0.7', '10.0.0.7', 2222],
    ['[10.0.0.7]:2222', '10.0.0.7', 22],
    ['10.0.0.7', '10x0.0.7', 22],
    ['*,!10.0.0.7', '10.0.0.7', 22],
    ['#10.0.0.7', '#10.0.0.7', 22],
    ['@cert-authority 10.0.0.7', '10.0.0.7', 22],
    ['', '10.0.0.7', 22],
  ])('%s is not about %s, port %d', (names, host, port) => {
    expect(keysOf(names, host, port)).toEqual([]);
  });

  test('a revoked key is no key, wherever it stands', () => {
    const text = `10.0.0.7 ${key}\n10.0.0.7 ${other}\n@revoked * ${key}\n10.0.0.7 ssh-rsa AAAA\n`;
    expect(findKnownKeys(text, '10.0.0.7', 22)).toEqual({ keys: [other], revoked: [key] });
  });

  test.skipIf(keygen === null)('hosts are found as ssh-keygen finds them, in plain and hashed files', () => {
    const name = fc.stringMatching(/^[a-c][a-c.]{0,3}$/);
    const hosts = fc.sample(fc.tuple(name, name, fc.constantFrom(22, 2222)), { numRuns: 12, seed: 3 });
    for (const [listed, asked, port] of hosts) {
      const [file, written] = [join(folder, 'known_hosts'), port === 22 ? listed : `[${listed}]:${port}`];
      writeFileSync(file, `${written} ${key}\n`);
      const query = port === 22 ? asked : `[${asked}]:${port}`;
      const expected = found(file, query);
      expect(findKnownKeys(readFileSync(file, 'utf8'), asked, port).keys.length > 0, `${written} ${query}`).toBe(
        expected,
      );
      execFileSync(keygen ?? '', ['-H', '-f', file], { stdio: 'ignore', timeout: 10_000 });
      expect(findKnownKeys(readFileSync(file, 'utf8'), asked, port).keys.length > 0, `hashed ${query}`).toBe(expected);
    }
  });

  function found(file: string, host: string): boolean {
    try {
      execFileSync(keygen ?? '', ['-F', host, '-f', file], { stdio: 'ignore', timeout: 10_000 });
      return true;
    } catch {
      return false;
    }
  }
});
