import { describe, expect, test } from 'vitest';
import { Options } from '../../src/commands/options.ts';
import { csvField } from '../../src/commands/output/csv.ts';
import { humanSeconds, humanUsd } from '../../src/commands/output/format.ts';
import { Output } from '../../src/commands/output/output.ts';
import type { Column } from '../../src/commands/output/table.ts';
import { cellWidth, terminalSafe, terminalSafeLines } from '../../src/commands/output/terminal-text.ts';

interface Row {
  readonly name: string;
  readonly state: string;
  readonly cost: number;
}

const COLUMNS: readonly Column<Row>[] = [
  { header: 'NAME', raw: (row) => row.name },
  { header: 'STATE', raw: (row) => row.state },
  { header: 'COST', align: 'right', human: (row) => row.cost.toFixed(2), raw: (row) => row.cost },
  { header: 'EXTRA', wide: true, raw: () => null },
];

const ROWS: readonly Row[] = [
  { name: 'a', state: 'ready', cost: 1.005 },
  { name: 'lang-\u001b[31mred', state: 'draining', cost: 12 },
];

async function printed(
  values: Record<string, string | boolean>,
  {
    isTTY = false,
    env = {},
    rows = ROWS,
  }: { isTTY?: boolean; env?: Record<string, string>; rows?: readonly Row[] } = {},
): Promise<{ stdout: string; stderr: string }> {
  const written = { stdout: '', stderr: '' };
  const stream = (name: 'stdout' | 'stderr') => ({
    isTTY,
    write: (text: string | Uint8Array) => (written[name] += String(text)),
  });
  const output = new Output(
    { stdout: stream('stdout'), stderr: stream('stderr'), env },
    new Options({ output: 'table', ...values }),
    'list',
  );
  await output.list({ kind: 'RowList', items: rows, columns: COLUMNS, name: (row) => row.name, empty: 'nothing here' });
  return written;
}

describe('a list', () => {
  test('on a terminal is aligned with two spaces, numbers to the right, escapes shown instead of obeyed', async () => {
    const { stdout } = await printed({ color: 'never' }, { isTTY: true });
    expect(stdout).toBe(
      'NAME              STATE      COST\na                 ready      1.00\nlang-\\x1b[31mred  draining  12.00\n',
    );
  });

  test('on a terminal has colour on state words only, and none under NO_COLOR or TERM=dumb', async () => {
    const colored = await printed({}, { isTTY: true });
    expect(colored.stdout).toContain('\u001b[32mready\u001b[39m');
    for (const env of [{ NO_COLOR: '1' }, { TERM: 'dumb' }])
      expect((await printed({}, { isTTY: true, env })).stdout).not.toContain('\u001b');
    expect((await printed({}, { env: { FORCE_COLOR: '1' } })).stdout).not.toContain('\u001b');
    expect((await printed({ color: 'always' }, { isTTY: true, env: { NO_COLOR: '1' } })).stdout).toContain(
      '\u001b[33mdraining',
    );
  });

  test('in a pipe has tabs and exact numbers, and no escapes either', async () => {
    expect((await printed({})).stdout).toBe('NAME\tSTATE\tCOST\na\tready\t1.005\nlang-\\x1b[31mred\tdraining\t12\n');
    expect((await printed({ 'no-headers': true, columns: 'cost,name' })).stdout).toBe(
      '1.005\ta\n12\tlang-\\x1b[31mred\n',
    );
  });

  test('can be wide, and refuses columns that it does not have', async () => {
    expect((await printed({ output: 'wide' })).stdout.split('\n')[0]).toBe('NAME\tSTATE\tCOST\tEXTRA');
    await expect(printed({ columns: 'nme' })).rejects.toMatchObject({
      code: 'USAGE',
      remedy: expect.stringContaining('did you mean NAME?'),
    });
  });

  test('as JSON is one envelope, as JSON lines one item a line, as YAML the same document', async () => {
    expect(JSON.parse((await printed({ output: 'json' })).stdout)).toEqual({
      apiVersion: 'spillway/v1',
      kind: 'RowList',
      items: ROWS,
    });
    expect(
      (await printed({ output: 'jsonl' })).stdout
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as Row),
    ).toEqual(ROWS);
    const { parse } = await import('yaml');
    expect(parse((await printed({ output: 'yaml' })).stdout)).toEqual({
      apiVersion: 'spillway/v1',
      kind: 'RowList',
      items: ROWS,
    });
  });

  test('that is empty is a sentence on standard error, kept back by -q; CSV keeps its header', async () => {
    expect(await printed({}, { rows: [] })).toEqual({ stdout: '', stderr: 'nothing here\n' });
    expect(await printed({ quiet: true }, { rows: [] })).toEqual({ stdout: '', stderr: '' });
    expect((await printed({ output: 'csv' }, { rows: [] })).stdout).toBe('name,state,cost\r\n');
  });
});

describe('CSV', () => {
  test.each([
    ['plain', 'plain'],
    ['a,b', '"a,b"'],
    ['say "hi"', '"say ""hi"""'],
    ['two\nlines', '"two\nlines"'],
    ['=1+1', `"'=1+1"`],
    ['+cmd', `"'+cmd"`],
    ['-cmd', `"'-cmd"`],
    ['@sum', `"'@sum"`],
    ['\t=1', `"'\t=1"`],
    ['-12.50', '-12.50'],
  ])('%j becomes %j', (value, field) => {
    expect(csvField(value)).toBe(field);
  });

  test('keeps numbers as they are and leaves nothing where nothing is', () => {
    expect([csvField(-1.5), csvField(null), csvField(true)]).toEqual(['-1.5', '', 'true']);
  });
});

describe('text from outside', () => {
  test('cannot move the cursor, retitle the window or turn the reading direction', () => {
    expect(terminalSafe('a\u001b]0;title\u0007b\r\nc\u202etxt.exe\u200bd\u009b31m')).toBe(
      'a\\x1b]0;title\\x07b\\r\\nc\\u{202e}txt.exe\\u{200b}d\\x9b31m',
    );
    expect(terminalSafeLines('one\ttwo\nthree\u001b[2J')).toBe('one\ttwo\nthree\\x1b[2J');
    expect(terminalSafe('Grüße 日本 🚀')).toBe('Grüße 日本 🚀');
  });

  test('is padded by the cells it takes', () => {
    expect([cellWidth('abc'), cellWidth('日本'), cellWidth('e\u0301'), cellWidth('🚀')]).toEqual([3, 4, 1, 2]);
  });
});

describe('figures for people', () => {
  test.each([
    ['0.680000000', 3, '0.680'],
    ['7180', 2, '7,180.00'],
    ['1234567.895', 2, '1,234,567.90'],
    ['0.0049', 2, '0.00'],
    ['-0.004', 2, '0.00'],
    ['-12.345', 2, '-12.35'],
    ['99999999999999999999.999', 0, '100,000,000,000,000,000,000'],
  ])('%s with %i places is %s', (amount, places, text) => {
    expect(humanUsd(amount, places)).toBe(text);
  });

  test.each([
    [0, '0s'],
    [41, '41s'],
    [252, '4m12s'],
    [7260, '2h1m'],
    [100_000, '1d3h'],
    [-5, '0s'],
  ])('%i seconds are %s', (seconds, text) => {
    expect(humanSeconds(seconds)).toBe(text);
  });
});
