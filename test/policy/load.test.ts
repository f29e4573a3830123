import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { policyHash } from '../../src/policy/hash.ts';
import { loadPolicies } from '../../src/policy/load.ts';
import { POLICY_TEXT, edited } from './documents.ts';

describe('loadPolicies', () => {
  let folder = '';
  beforeEach(() => {
    folder = mkdtempSync(path.join(tmpdir(), 'spillway-policies-'));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  const write = (name: string, text: string | Uint8Array) => {
    const file = path.join(folder, name);
    writeFileSync(file, text);
    return file;
  };
  const named = (name: string) => edited('name: transcode', `name: ${name}`);
  const load = (...paths: string[]) => loadPolicies(paths, { checkFiles: false });

  test('reads the YAML files of a folder in the order of their names, and nothing else', async () => {
    write('b.yaml', named('bravo'));
    write('a.yml', named('alpha'));
    write('example.yaml.sample', 'not: loaded');
    write('.hidden.yaml', 'not: loaded');
    write('readme.md', 'not: loaded');
    mkdirSync(path.join(folder, 'deeper'));
    writeFileSync(path.join(folder, 'deeper', 'c.yaml'), 'not: loaded');
    const result = await load(folder);
    const policies = result.ok ? result.policies : [];
    expect(policies.map(({ file, policy }) => [path.basename(file), policy.name])).toEqual([
      ['a.yml', 'alpha'],
      ['b.yaml', 'bravo'],
    ]);
    expect(policies.map(({ policy, hash }) => hash === policyHash(policy))).toEqual([true, true]);
  });

  test('gives a policy another hash when the text of its recipe is another', async () => {
    const script = write('join.sh', 'echo one\n');
    const identity = write('id', 'no key');
    const file = write(
      'a.yaml',
      edited('file: /etc/spillway/id } }', `file: ${identity} } }\n    recipe: { script: join.sh }`),
    );
    const hashes: (string | undefined)[] = [];
    for (const text of ['echo one\n', 'echo two\n', 'echo one\n']) {
      writeFileSync(script, text);
      const result = await loadPolicies([file], { checkFiles: true });
      hashes.push(result.ok ? result.policies[0]?.hash : JSON.stringify(result.issues));
    }
    expect(hashes[0]).toMatch(/^[0-9a-f]{64}$/);
    expect(hashes[1]).not.toBe(hashes[0]);
    expect(hashes[2]).toBe(hashes[0]);
  });

  test('reads single files, each once', async () => {
    const file = write('any-name.txt', POLICY_TEXT);
    expect(await load(file, file)).toMatchObject({ ok: true, policies: [{ file }] });
  });

  test('an empty folder holds no policies', async () => {
    expect(await load(folder)).toEqual({ ok: true, policies: [] });
  });

  test('reports the problems of all files together', async () => {
    write('a.yaml', named('alpha').replace('60s', '60'));
    write('b.yaml', named('bravo').replace('20m', '20'));
    const result = await load(folder);
    expect(result.ok ? [] : result.issues.map(({ file, line }) => `${path.basename(file)}:${line}`)).toEqual([
      'a.yaml:7',
      'b.yaml:16',
    ]);
  });

  test('refuses two policies of one name, naming both files', async () => {
    const first = write('a.yaml', POLICY_TEXT);
    const second = write('b.yaml', POLICY_TEXT);
    expect(await load(folder)).toMatchObject({
      ok: false,
      issues: [
        {
          code: 'POLICY_DUPLICATE_NAME',
          file: second,
          line: 3,
          column: 19,
          length: 9,
          message: `${first} already holds a policy named transcode`,
        },
      ],
    });
  });

  test('lets two policies select the same agents', async () => {
    write('a.yaml', named('alpha'));
    write('b.yaml', named('bravo'));
    expect(await load(folder)).toMatchObject({ ok: true });
  });

  test('reads no more of a file than a policy may have', async () => {
    write('big.yaml', Buffer.alloc(10 * 1024 * 1024, '#'));
    expect(await load(folder)).toMatchObject({ ok: false, issues: [{ code: 'POLICY_TOO_LARGE', line: 1, column: 1 }] });
  });

  test('refuses a file that is not text', async () => {
    write('latin1.yaml', Buffer.from([0x61, 0x3a, 0x20, 0xe9]));
    expect(await load(folder)).toMatchObject({ ok: false, issues: [{ message: 'the file is not UTF-8 text' }] });
  });

  test('a path that is not there is an operating failure with a remedy', async () => {
    const missing = path.join(folder, 'nowhere');
    await expect(load(missing)).rejects.toMatchObject({
      code: 'POLICY_UNREADABLE',
      exitCode: 2,
      message: `Cannot read policies from ${missing}: it does not exist`,
    });
  });

  test('looks for the files of a policy when asked to', async () => {
    write('a.yaml', edited('/etc/spillway/id', './missing-key'));
    expect(await loadPolicies([folder], { checkFiles: true })).toMatchObject({
      ok: false,
      issues: [{ code: 'POLICY_FILE_MISSING', line: 15, column: 43 }],
    });
  });
});
