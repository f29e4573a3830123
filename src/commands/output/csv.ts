import type { Column } from './table.ts';

/**
 * One field of RFC 4180. A text that a spreadsheet would run as a formula gets an apostrophe in front and is quoted;
 * plain numbers, negative ones too, stay numbers.
 */
export function csvField(value: string | number | boolean | null): string {
  if (value === null) return '';
  if (typeof value !== 'string') return String(value);
  const isNumber = /^-?\d+(\.\d+)?$/.test(value);
  const risky = !isNumber && /^[=+\-@\t\r]/.test(value);
  const text = risky ? `'${value}` : value;
  return risky || /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** Lines end with CR LF, as RFC 4180 asks. */
export function csvDocument<T>(columns: readonly Column<T>[], rows: readonly T[], headers: boolean): string {
  const lines = rows.map((row) => columns.map((column) => csvField(column.raw(row))).join(','));
  const all = headers ? [columns.map((column) => csvField(column.header.toLowerCase())).join(','), ...lines] : lines;
  return all.map((line) => `${line}\r\n`).join('');
}
