import { describe, expect, test } from 'vitest';
import { cleanOutput, collectOutput } from '../../src/ssh/clean-output.ts';

describe('cleanOutput', () => {
  test('only tab and newline remain of the control characters', () => {
    const all = Array.from({ length: 0xa0 }, (_, code) => String.fromCharCode(code)).join('');
    const printable = Array.from({ length: 0x7f - 0x20 }, (_, index) => String.fromCharCode(index + 0x20)).join('');
    expect(cleanOutput(all.replace('\u001b', '').replace('\u009b', ''))).toBe(`\t\n${printable}`);
  });

  test('marks that reorder or hide text are removed', () => {
    expect(cleanOutput('a\u202eb\u2066c\u200fd\u061ce')).toBe('abcde');
  });

  test.each([
    ['\u001b[31mred\u001b[0m', 'red'],
    ['\u001b]0;title\u0007x', 'x'],
    ['\u001b]8;;http://e\u001b\\link\u001b]8;;\u001b\\', 'link'],
    ['\u009b2Jx', 'x'],
    ['50%\u001b[Kdone', '50%done'],
    ['héllo wörld ✓ 日本', 'héllo wörld ✓ 日本'],
  ])('escape sequences go as a whole: %j', (text, clean) => {
    expect(cleanOutput(text)).toBe(clean);
  });

  test('a megabyte of sequences that never end takes no longer than a glance', () => {
    const startMs = performance.now();
    for (const piece of ['\u001b]', '\u001b[', '\u001b[0;', '\u009b1']) cleanOutput(piece.repeat(500_000));
    expect(performance.now() - startMs).toBeLessThan(2000);
  });
});

describe('collectOutput', () => {
  test('the first bytes of both streams are kept in the order they came', () => {
    const output = collectOutput(8);
    output.add('stdout', Buffer.from('abc'));
    output.add('stderr', Buffer.from('DEF'));
    expect(output.isTruncated()).toBe(false);
    output.add('stdout', Buffer.from('ghi'));
    output.add('stdout', Buffer.from('jkl'));
    expect([output.text(), output.isTruncated()]).toEqual(['abcDEFgh', true]);
  });

  test('a character cut in two by the other stream stays whole', () => {
    const output = collectOutput(100);
    const [first, second] = [Buffer.from('ü').subarray(0, 1), Buffer.from('ü').subarray(1)];
    output.add('stdout', first);
    output.add('stderr', Buffer.from('!'));
    output.add('stdout', second);
    expect(output.text()).toBe('!ü');
  });

  test('exactly as many bytes as the cap are not truncated', () => {
    const output = collectOutput(3);
    output.add('stdout', Buffer.from('abc'));
    expect([output.text(), output.isTruncated()]).toEqual(['abc', false]);
  });
});
