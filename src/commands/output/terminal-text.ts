/**
 * Text from outside (agent names, commands, error messages) made safe to print on a terminal.
 * Control characters could move the cursor or retitle the window, bidirectional marks could show a different
 * order than is stored; both are shown as escapes instead of obeyed.
 */
// Cc: C0 and C1 controls and DEL. Cf: bidirectional marks and isolates, zero-width characters, byte-order mark.
const UNSAFE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;

function escapeCharacter(character: string): string {
  if (character === '\n') return '\\n';
  if (character === '\t') return '\\t';
  if (character === '\r') return '\\r';
  const code = character.codePointAt(0) ?? 0;
  return code <= 0xff ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u{${code.toString(16)}}`;
}

/** One line without control or bidirectional characters. */
export function terminalSafe(text: string): string {
  return text.replaceAll(UNSAFE, escapeCharacter);
}

/** The same for text of several lines: newline and tab stay. */
export function terminalSafeLines(text: string): string {
  return text.replaceAll(UNSAFE, (character) =>
    character === '\n' || character === '\t' ? character : escapeCharacter(character),
  );
}

/**
 * How many terminal cells a text takes: wide East Asian characters and emoji take two, combining marks none.
 * Only for padding, so a rough table of ranges is enough.
 */
export function cellWidth(text: string): number {
  let width = 0;
  for (const character of text) {
    const code = character.codePointAt(0) ?? 0;
    if (/\p{Mark}/u.test(character)) continue;
    width += isWide(code) ? 2 : 1;
  }
  return width;
}

/** First and last code point of the blocks whose characters take two cells. */
const WIDE_RANGES: readonly (readonly [number, number])[] = [
  [0x1100, 0x115f],
  [0x2e80, 0xa4cf],
  [0xac00, 0xd7a3],
  [0xf900, 0xfaff],
  [0xfe30, 0xfe6f],
  [0xff00, 0xff60],
  [0xffe0, 0xffe6],
  [0x1f300, 0x1faff],
  [0x20000, 0x3fffd],
];

function isWide(code: number): boolean {
  return WIDE_RANGES.some(([first, last]) => code >= first && code <= last);
}
