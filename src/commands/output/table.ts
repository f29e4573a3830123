import { cellWidth, terminalSafe } from './terminal-text.ts';
import { didYouMean, usage } from '../options.ts';

/** One column of a list: how it looks to a person, and what it is to a program. */
export interface Column<T> {
  /** Upper-case header; `--columns` takes it in any case. */
  readonly header: string;
  readonly align?: 'left' | 'right';
  /** Only with `-o wide`, or when `--columns` names it. */
  readonly wide?: boolean;
  /** For a terminal: short and round. Default: `raw`. */
  readonly human?: (row: T) => string;
  /** For pipes and CSV: whole ids, RFC 3339, plain numbers; null = empty. */
  readonly raw: (row: T) => string | number | boolean | null;
}

/** What stands in a cell that has nothing to say. */
const EMPTY = '-';

/** The columns to print. @throws AppError USAGE for a name no column has. */
export function selectColumns<T>(
  columns: readonly Column<T>[],
  names: string | null,
  wide: boolean,
): readonly Column<T>[] {
  if (names === null) return columns.filter((column) => wide || column.wide !== true);
  return names.split(',').map((name) => {
    const wanted = name.trim().toUpperCase();
    const column = columns.find((candidate) => candidate.header === wanted);
    if (column === undefined) {
      throw usage(
        `--columns: there is no column ${JSON.stringify(name.trim())}`,
        didYouMean(
          wanted,
          columns.map((candidate) => candidate.header),
        ),
      );
    }
    return column;
  });
}

function rawCell<T>(column: Column<T>, row: T): string {
  const value = column.raw(row);
  return value === null || value === '' ? EMPTY : terminalSafe(String(value));
}

function humanCell<T>(column: Column<T>, row: T): string {
  if (column.human === undefined) return rawCell(column, row);
  const text = terminalSafe(column.human(row));
  return text === '' ? EMPTY : text;
}

/** For a terminal: columns as wide as their content, two spaces between them, no lines drawn. */
export function alignedTable<T>(
  columns: readonly Column<T>[],
  rows: readonly T[],
  options: { readonly headers: boolean; readonly paint: (header: string, text: string) => string },
): string[] {
  const cells = rows.map((row) => columns.map((column) => humanCell(column, row)));
  const headers = columns.map((column) => column.header);
  const all = options.headers ? [headers, ...cells] : cells;
  const widths = columns.map((_, index) => Math.max(0, ...all.map((line) => cellWidth(line[index] ?? ''))));
  return all.map((line, lineIndex) =>
    line
      .map((text, index) => {
        const padding = ' '.repeat(Math.max(0, (widths[index] ?? 0) - cellWidth(text)));
        const isHeader = options.headers && lineIndex === 0;
        const painted = isHeader ? text : options.paint(headers[index] ?? '', text);
        return columns[index]?.align === 'right' ? padding + painted : painted + padding;
      })
      .join('  ')
      .trimEnd(),
  );
}

/** For a pipe: tabs between, nothing cut or rounded. */
export function tabbedTable<T>(columns: readonly Column<T>[], rows: readonly T[], headers: boolean): string[] {
  const lines = rows.map((row) => columns.map((column) => rawCell(column, row)).join('\t'));
  return headers ? [columns.map((column) => column.header).join('\t'), ...lines] : lines;
}
