import { AppError } from '../model/errors.ts';
import { nearestWord, quoteValue } from '../model/units.ts';

/** More lines than any published job log has, and what a replay holds in memory easily. */
export const LINES_MAX = 5_000_000;
const PROBLEMS_SHOWN = 5;
const LINE_LENGTH_MAX = 4096;

/** Collects what is wrong with a file, line by line, and ends the reading when it is hopeless. */
export class FileProblems {
  readonly #file: string;
  readonly #found: string[] = [];

  constructor(file: string) {
    this.#file = file;
  }

  /** `line` counts from 1. Throws when so many are found that more would help nobody. */
  add(line: number, what: string): void {
    this.#found.push(`line ${line}: ${what}`);
    if (this.#found.length > PROBLEMS_SHOWN) this.throwIfAny();
  }

  /** @throws AppError INPUT_INVALID that names the first problems */
  throwIfAny(): void {
    if (this.#found.length === 0) return;
    const shown = this.#found.slice(0, PROBLEMS_SHOWN);
    const more = this.#found.length > shown.length ? '; and more' : '';
    throw new AppError('INPUT_INVALID', `${this.#file}, ${shown.join('; ')}${more}`, {
      remedy: 'Correct these lines; `spillway backtest --help` says what the files look like.',
      details: { problems: shown },
    });
  }
}

/** A line of a file that is not empty, with its number from 1. */
export interface Line {
  readonly number: number;
  readonly text: string;
}

/** The lines of a text without those that are empty. @throws AppError INPUT_INVALID past the bounds */
export function* readLines(text: string, problems: FileProblems): Generator<Line> {
  let number = 0;
  for (let from = 0; from < text.length;) {
    const found = text.indexOf('\n', from);
    const end = found === -1 ? text.length : found;
    number += 1;
    if (number > LINES_MAX) fail(problems, number, `more than ${LINES_MAX} lines`);
    if (end - from > LINE_LENGTH_MAX) fail(problems, number, `longer than ${LINE_LENGTH_MAX} characters`);
    const line = text.slice(from, end).trim();
    from = end + 1;
    if (line !== '') yield { number, text: line };
  }
}

function fail(problems: FileProblems, line: number, what: string): never {
  problems.add(line, what);
  problems.throwIfAny();
  throw new Error('bug: a problem was added and none was thrown');
}

/** One line of a CSV file by column names; plain values without quotes, as all these files have. */
export interface CsvRow {
  readonly number: number;
  /** The value, or an empty text where the file has no such column. */
  readonly get: (column: string) => string;
}

export interface CsvColumns {
  readonly required: readonly string[];
  /** Allowed beside the required ones. */
  readonly optional: readonly string[];
}

/** Rows of a CSV text with a header. @throws AppError INPUT_INVALID for an unknown, missing or doubled column */
export function* readCsv(text: string, columns: CsvColumns, problems: FileProblems): Generator<CsvRow> {
  let index: ReadonlyMap<string, number> | null = null;
  for (const { number, text: line } of readLines(text, problems)) {
    const cells = line.split(',').map((cell) => cell.trim());
    if (index === null) {
      index = readHeader({ number, cells }, columns, problems);
      continue;
    }
    const { size } = index;
    if (cells.length !== size) {
      problems.add(number, `${cells.length} values where the header has ${size} columns`);
      continue;
    }
    const known = index;
    yield { number, get: (column) => cells[known.get(column) ?? -1] ?? '' };
  }
  if (index === null) problems.add(1, `the file is empty; its first line must be ${columns.required.join(',')}`);
}

function readHeader(
  { number, cells }: { readonly number: number; readonly cells: readonly string[] },
  { required, optional }: CsvColumns,
  problems: FileProblems,
): ReadonlyMap<string, number> {
  const known = [...required, ...optional];
  const index = new Map<string, number>();
  for (const [at, cell] of cells.entries()) {
    // A byte order mark is what spreadsheets put before the first name.
    const name = cell.replace(/^\uFEFF/, '').toLowerCase();
    if (index.has(name)) problems.add(number, `the column ${quoteValue(name)} is there twice`);
    else if (!known.includes(name)) problems.add(number, unknownColumn(name, known));
    index.set(name, at);
  }
  const missing = required.filter((name) => !index.has(name));
  if (missing.length > 0) problems.add(number, `the header lacks ${missing.join(', ')}`);
  problems.throwIfAny();
  return index;
}

function unknownColumn(name: string, known: readonly string[]): string {
  const meant = nearestWord(name, known);
  const hint = meant === null ? `known are ${known.join(', ')}` : `did you mean ${meant}?`;
  return `there is no column ${quoteValue(name)}; ${hint}`;
}

/** A plain decimal from `min` to `max`; null when it is none. No exponents, no hexadecimal, no spaces. */
export function parseDecimal(text: string, min: number, max: number): number | null {
  if (!/^-?\d{1,15}(?:\.\d{1,9})?$/.test(text)) return null;
  const value = Number(text);
  return value >= min && value <= max ? value : null;
}
