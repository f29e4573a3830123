import type { ErrorCode } from './errors.ts';
import { LAUNCH_WAITS, MACHINE_WAITS, type StateWait } from './state-waits.ts';
import { formatDuration } from './units.ts';
import { WAITS } from './waits.ts';
import type { Wait } from './wait.ts';

/** `docs/waits.md`: every wait of the process and of its rows, made from the lists that the code takes its numbers from. */
export function renderWaitsDocs(): string {
  return [
    '# Waits',
    '',
    '<!-- Generated from src/model/waits*.ts and state-waits.ts; `npm run generate` writes it. -->',
    '',
    'Nothing in Spillway waits for ever. This page has every wait with its number and what happens when the number is over.',
    'A test for each entry shows that it ends, with another side that never answers.',
    '',
    '## Waits of the process',
    '',
    '| wait | number | waits for | when it is over | error | another number |',
    '|---|---|---|---|---|---|',
    ...Object.entries<Wait>(WAITS).map(waitRow),
    '',
    '## Waits of rows',
    '',
    'Each live machine and each open launch has a deadline in its row, and each deadline a next step. `spillway machine show`',
    'says the same of one machine. A step that fails is tried again after 2 s, 4 s, 8 s and so on, two minutes at most; one that',
    'never works (eight failures in a row that are no outage) ends its row as `step-failed`: a machine that may have work drains',
    'first, and a launch is closed only when none of its calls may still have an effect.',
    '',
    '| state | number | another number | waits for | then |',
    '|---|---|---|---|---|',
    ...Object.entries(MACHINE_WAITS).map((entry) => stateRow('machine', entry)),
    ...Object.entries(LAUNCH_WAITS).map((entry) => stateRow('launch', entry)),
    '',
  ].join('\n');
}

function waitRow([name, { ms, waitsFor, end, code, setBy = '' }]: [string, Wait]): string {
  return row(`\`${name}\``, formatDuration(ms), waitsFor, end, codeCell(code), setBy);
}

function codeCell(code: ErrorCode | undefined): string {
  return code === undefined ? '' : `\`${code}\``;
}

function stateRow(kind: string, [state, wait]: [string, StateWait]): string {
  const number = wait.deadlineMs === null ? 'none' : formatDuration(wait.deadlineMs);
  const setBy = wait.setBy === null ? '' : `\`${wait.setBy}\``;
  return row(`${kind} \`${state}\``, number, setBy, wait.waitsFor, wait.next);
}

function row(...cells: readonly string[]): string {
  return `| ${cells.map((cell) => cell.replaceAll('|', String.raw`\|`)).join(' | ')} |`;
}
