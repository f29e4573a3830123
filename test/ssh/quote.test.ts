import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { AppError } from '../../src/model/errors.ts';
import { quoteForSh, renderEnvFile, whyEnvNameRefused } from '../../src/ssh/quote.ts';
import { findServerProgram } from '../support/server-program.ts';

const dash = findServerProgram({ name: 'dash', debianPackage: 'dash' });
const bash = findServerProgram({ name: 'bash', debianPackage: 'bash' });
const shells = [dash, bash].filter((shell) => shell !== null);

const folder = mkdtempSync(join(tmpdir(), 'spillway-quote-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** What `shell` makes of the quoted values, read back NUL-separated; one process for the whole batch. */
function throughShell(shell: string, quoted: readonly string[], encoding: 'utf8' | 'latin1'): string[] {
  const script = join(folder, 'script.sh');
  writeFileSync(script, quoted.map((word) => `printf '%s\\0' ${word}\n`).join(''), encoding);
  const bytes = execFileSync(shell, [script], { timeout: 20_000, maxBuffer: 64 * 1024 * 1024 });
  return bytes.toString(encoding).split('\0').slice(0, -1);
}

describe('quoteForSh', () => {
  test.each(shells)('every byte from 1 to 255, alone and beside a quote, comes back from %s', (shell) => {
    const bytes = Array.from({ length: 255 }, (_, index) => String.fromCharCode(index + 1));
    const values = [...bytes, ...bytes.map((byte) => `'${byte}'`), ...bytes.map((byte) => `a${byte}`), bytes.join('')];
    expect(throughShell(shell, values.map(quoteForSh), 'latin1')).toEqual(values);
  });

  test.skipIf(dash === null)('ten thousand random values come back from dash', () => {
    const nasty = fc.constantFrom("'", '"', '\\', '$', '`', '!', '\n', ' ', '-', '#', ';', '&', '%', '*', '~', '(');
    const anyUnit = fc.string({ unit: fc.oneof(nasty, fc.string({ unit: 'binary', minLength: 1, maxLength: 1 })) });
    const values = fc.sample(anyUnit, { numRuns: 10_000, seed: 7 }).map((value) => value.replaceAll('\0', ''));
    expect(throughShell(dash!, values.map(quoteForSh), 'utf8')).toEqual(values);
  });

  test.each(['a\0b', '\ud800'])('what cannot be carried unchanged is refused (%j)', (value) => {
    expect(() => quoteForSh(value)).toThrow(AppError);
  });
});

describe('renderEnvFile', () => {
  test.skipIf(dash === null)('a sourced file exports exactly the given values, also to child processes', () => {
    const vars = { POOL: 'media', QUOTE: `it's "$HOME" \`id\``, EMPTY: '', LINES: 'a\nb\n', _X1: '\\' };
    const file = join(folder, 'env');
    writeFileSync(file, renderEnvFile(vars));
    const seen = execFileSync(dash!, ['-c', `. ${file}; exec env -0`], { env: { PATH: process.env['PATH'] } });
    const pairs = seen
      .toString()
      .split('\0')
      .filter((pair) => !/^(?:PATH|PWD|)=|^$/.test(pair));
    expect(
      Object.fromEntries(pairs.map((pair) => [pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1)])),
    ).toEqual(vars);
  });

  test.skipIf(dash === null)('whatever a policy gives a recipe arrives unchanged, and nothing of it is run', () => {
    const trap = join(folder, 'trap');
    const nasty = fc.constantFrom(
      "'; touch TRAP; '",
      '$(touch TRAP)',
      '`touch TRAP`',
      '\n touch TRAP\n',
      "\\'",
      '&& touch TRAP #',
    );
    const value = fc.array(fc.oneof(nasty, fc.string({ unit: 'binary', maxLength: 5 })), { maxLength: 4 });
    const name = fc.stringMatching(/^[A-Z_][A-Z0-9_]{0,6}$/).filter((text) => whyEnvNameRefused(text) === null);
    const file = join(folder, 'fuzzed.env');
    for (const vars of fc.sample(fc.dictionary(name, value, { maxKeys: 6 }), { numRuns: 200, seed: 11 })) {
      const texts = Object.entries(vars).map(
        ([key, parts]) => [`V${key}`, parts.join('').replaceAll('TRAP', trap).replaceAll('\0', '')] as const,
      );
      writeFileSync(file, renderEnvFile(Object.fromEntries(texts)));
      const seen = execFileSync(dash!, ['-c', `. ${file}; exec env -0`], { env: { PATH: process.env['PATH'] } });
      const pairs = new Map(
        seen
          .toString()
          .split('\0')
          .map((pair) => [pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1)]),
      );
      for (const [key, text] of texts) expect(pairs.get(key)).toBe(text);
      expect(existsSync(trap)).toBe(false);
    }
  });

  test('equal variables give equal bytes in any order', () => {
    expect(renderEnvFile({ B: '2', A: '1' })).toBe("export A='1'\nexport B='2'\n");
    expect(renderEnvFile({ A: '1', B: '2' })).toBe(renderEnvFile({ B: '2', A: '1' }));
  });

  test.each([
    'LD_PRELOAD',
    'LD_',
    'PATH',
    'BASH_ENV',
    'ENV',
    'IFS',
    'UID',
    'lower',
    '1A',
    '',
    'A B',
    'A=B',
    'A;id',
    'Ä',
  ])('the name %j is refused with a remedy', (name) => {
    expect(whyEnvNameRefused(name)).not.toBeNull();
    expect(() => renderEnvFile({ [name]: 'x' })).toThrow(AppError);
  });

  test.each(['POOL', 'A', '_', 'LDX', 'PATHS', 'MY_PATH', 'ENV2'])('the name %s is allowed', (name) => {
    expect(whyEnvNameRefused(name)).toBeNull();
  });
});
