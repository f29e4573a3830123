/**
 * Goal: no text makes the parser throw, hang or touch JavaScript's own objects. Method: texts that are known to hurt YAML
 * parsers must be refused by the cap meant for them, at a place that shows how little was read; random texts made of
 * YAML's own pieces, and random damage to a good policy, must come back as values.
 */
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { formatIssues } from '../../src/policy/format.ts';
import { parsePolicy } from '../../src/policy/parse.ts';
import { POLICY_BYTES_MAX } from '../../src/policy/yaml-scan.ts';
import { POLICY_TEXT, edited } from './documents.ts';
import { issuesOf } from './mistakes.ts';

const numbered = (count: number, line: (index: number) => string) => Array.from({ length: count }, (_, i) => line(i));

describe('texts that are too much', () => {
  test.each<[string, string, number, RegExp]>([
    [
      '20,000 keys',
      numbered(20_000, (i) => `k${i}: 1`)
        .join('\n')
        .slice(0, POLICY_BYTES_MAX),
      2001,
      /at most 2000 keys/,
    ],
    ['20,000 keys in a flow map', `{ ${numbered(20_000, (i) => `k${i}: 1`).join(', ')} }`, 1, /at most 2000 keys/],
    ['20,000 levels of lists', '['.repeat(20_000), 1, /at most 32 levels deep/],
    ['20,000 levels of maps', '{a: '.repeat(20_000), 1, /at most 32 levels deep/],
    ['20,000 levels of list items', '- '.repeat(20_000), 1, /at most 32 levels deep/],
    ['20,000 levels of explicit keys', '? '.repeat(20_000), 1, /at most 32 levels deep/],
    ['explicit keys on 20,000 lines', '?\n'.repeat(19_000), 2001, /at most 2000 keys/],
    ['100,000 list items', `[${'1,'.repeat(100_000)}]`, 1, /at most 10000 values/],
    ['100,000 closing brackets', ']'.repeat(100_000), 1, /at most 10000 values/],
    ['100,000 quotes', '"'.repeat(100_000), 1, /at most 10000 values/],
    ['200,000 empty lines', '\n'.repeat(200_000), 1, /200001 lines, a policy at most 20000/],
    ['more than 256 KiB', `# ${'x'.repeat(POLICY_BYTES_MAX)}`, 1, /262146 bytes, a policy at most 262144/],
    ['256 KiB in wide characters', `# ${'\u20ac'.repeat(POLICY_BYTES_MAX / 2)}`, 1, /393218 bytes/],
  ])('%s', (_, text, line, message) => {
    const issues = issuesOf(text);
    expect(issues).toHaveLength(1);
    expect(issues[0]).toMatchObject({ code: 'POLICY_TOO_LARGE', line });
    expect(issues[0]?.message).toMatch(message);
  });

  test('levels of indentation past 32 are refused where they begin', () => {
    const text = numbered(200, (i) => `${' '.repeat(i)}a:`).join('\n');
    const issue = issuesOf(text).find(({ code }) => code === 'POLICY_TOO_LARGE');
    expect(issue).toMatchObject({ line: 34, message: 'a policy is at most 32 levels deep' });
  });

  test('thousands of documents stop at the second', () => {
    expect(issuesOf('---\n'.repeat(15_000))).toMatchObject([{ line: 2, message: 'a second document begins here' }]);
    expect(issuesOf('...\n'.repeat(15_000))).toMatchObject([{ line: 2, message: 'a second document begins here' }]);
  });

  test('a bomb of aliases is never expanded', () => {
    const bomb = ['a: &a [x, x, x, x, x, x, x, x]', ...numbered(8, (i) => `k${i}: &b${i} [${'*a, '.repeat(8)}]`)].join(
      '\n',
    );
    const features = issuesOf(bomb).filter(({ code }) => code === 'POLICY_YAML_FEATURE');
    expect(features).toHaveLength(20);
  });
});

describe('texts that mean something to JavaScript', () => {
  test('__proto__, constructor and prototype are keys like any other, and refused', () => {
    const paths = issuesOf(`${POLICY_TEXT}__proto__: { polluted: 1 }\nconstructor: { prototype: { polluted: 1 } }\n`);
    expect(paths.map(({ path, code }) => `${path} ${code}`)).toEqual([
      '__proto__ POLICY_YAML_FEATURE',
      'constructor POLICY_UNKNOWN_KEY',
    ]);
    expect(Object.hasOwn(Object.prototype, 'polluted')).toBe(false);
  });

  test('as names of labels they stay names', () => {
    const result = parsePolicy(edited('pool: media', 'constructor: a, toString: b'), {
      file: 'p.yaml',
      checkFiles: false,
    });
    expect(result.ok && Object.entries(result.policy.agents.selector)).toEqual([
      ['constructor', 'a'],
      ['toString', 'b'],
    ]);
  });
});

describe('any text', () => {
  const indents = [
    '\n',
    '\n  ',
    '\n    ',
    '\t',
    '\r\n',
    '\r',
    '- ',
    ': ',
    '? ',
    ' #',
    '|+1\n',
    '%YAML 1.1\n',
    '---\n',
    '...\n',
  ];
  const odd = ['\uFEFF', '\u2028', '\uD800', '\0', ' '];
  const marks = `: - [ ] { } , " ' # &a *a !t !!str | > <<`.split(' ');
  const words = 'spec burst limits min max demand queue null ~ 4GiB 90s 75% 4..32 .nan 1e999 __proto__'.split(' ');
  const piece = fc.oneof(fc.constantFrom(...indents, ...odd, ...marks, ...words), fc.string({ maxLength: 8 }));
  const random = fc.array(piece, { maxLength: 60 }).map((pieces) => pieces.join(''));
  const damaged = fc
    .tuple(fc.nat(POLICY_TEXT.length), fc.nat(20), random)
    .map(([at, removed, added]) => POLICY_TEXT.slice(0, at) + added + POLICY_TEXT.slice(at + removed));

  test.each([
    ['random', random],
    ['a damaged policy', damaged],
  ])('gives a policy or issues that point into it, never an exception: %s', (_, texts) => {
    fc.assert(
      fc.property(texts, (text) => {
        const result = parsePolicy(text, { file: 'p.yaml', checkFiles: false });
        const issues = result.ok ? [] : result.issues;
        const lines = text.replace(/^\uFEFF/, '').split('\n');
        expect(result.ok).toBe(issues.length === 0);
        expect(formatIssues(issues).split('fix: ').length).toBeGreaterThan(issues.length);
        for (const issue of issues) {
          expect(issue.sourceLine).toBe(lines[issue.line - 1]?.replace(/\r$/, ''));
          expect(issue.column).toBeLessThanOrEqual(issue.sourceLine.length + 2);
          expect(issue.message).not.toBe('');
        }
      }),
      { numRuns: 500 },
    );
  });
});
