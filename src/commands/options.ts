import { AppError } from '../model/errors.ts';
import { nearestWord, parseCount, quoteValue, type UnitResult } from '../model/units.ts';
import type { OptionSpec } from './types.ts';

/** What commander found: switches are true, repeatable flags are lists. */
export type OptionValues = Readonly<Record<string, string | boolean | readonly string[] | undefined>>;

/** Flags every command has. */
export const GLOBAL_OPTIONS: readonly OptionSpec[] = [
  {
    name: 'output',
    short: 'o',
    value: 'FORM',
    summary: 'table, wide, json, jsonl, yaml, csv or name; html for backtest',
    default: 'table',
    choices: ['table', 'wide', 'json', 'jsonl', 'yaml', 'csv', 'name', 'html'],
  },
  { name: 'columns', value: 'A,B', summary: 'only these columns, in this order (table, wide, csv)' },
  { name: 'no-headers', summary: 'leave the header line out (table, wide, csv)' },
  {
    name: 'color',
    value: 'WHEN',
    summary: 'auto, always or never',
    default: 'auto',
    choices: ['auto', 'always', 'never'],
  },
  { name: 'quiet', short: 'q', summary: 'only the data: no hints, no receipts beyond ids' },
  { name: 'debug', summary: 'stack traces with errors' },
];

/** Typed access to a command's flags; every refusal is an AppError USAGE that names the flag. */
export class Options {
  readonly #values: OptionValues;

  constructor(values: OptionValues) {
    this.#values = values;
  }

  isSet(name: string): boolean {
    return this.#values[name] === true;
  }

  text(name: string): string | null {
    const value = this.#values[name];
    return typeof value === 'string' ? value : null;
  }

  requiredText(name: string): string {
    const value = this.text(name);
    if (value === null) throw usage(`--${name} is required`, `add --${name}`);
    return value;
  }

  list(name: string): readonly string[] {
    const value = this.#values[name];
    return Array.isArray(value) ? value : [];
  }

  integer(name: string, bounds: { readonly min: number; readonly max: number }): number | null {
    const value = this.text(name);
    if (value === null) return null;
    return parseUnit(name, value, (text) => parseCount(text, bounds.min, bounds.max));
  }
}

/** An error of the user's typing: exit code 2. */
export function usage(message: string, remedy: string): AppError {
  return new AppError('USAGE', message, { remedy });
}

/** Reads a flag's value with one of the readers of `model/units.ts`; a refusal names the flag. */
export function parseUnit(flag: string, text: string, parse: (value: unknown) => UnitResult<number>): number {
  const result = parse(text);
  if (!result.ok) throw usage(`--${flag}: ${result.problem}`, result.fix);
  return result.value;
}

/** A day or a moment as RFC 3339 in UTC; other ways to write dates mean different days to different people. */
export function parseMoment(flag: string, text: string): string {
  const isDay = /^\d{4}-\d{2}-\d{2}$/.test(text);
  const isMoment = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(?::\d{2}(?:\.\d{1,3})?)?(?:Z|[+-]\d{2}:\d{2})$/.test(text);
  const at = isDay || isMoment ? new Date(text) : null;
  // 2026-02-30 parses to the second of March: what comes back must be what was written.
  if (at === null || Number.isNaN(at.getTime()) || (isDay && !at.toISOString().startsWith(text))) {
    throw usage(
      `--${flag}: ${JSON.stringify(text)} is not a date`,
      `write --${flag} 2026-11-01 or --${flag} 2026-11-01T08:00:00Z`,
    );
  }
  return at.toISOString();
}

/** `key=value` pairs to a record; the same key twice is refused. */
export function parseLabels(flag: string, pairs: readonly string[]): Record<string, string> {
  const labels = new Map<string, string>();
  for (const pair of pairs) {
    const match = /^([A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)=([A-Za-z0-9_./:@-]{0,255})$/.exec(pair);
    const key = match?.[1];
    if (key === undefined) throw usage(`--${flag}: ${quoteValue(pair)} is not key=value`, `write --${flag} pool=media`);
    if (labels.has(key)) throw usage(`--${flag}: the key ${key} is given twice`, 'give each key once');
    labels.set(key, match?.[2] ?? '');
  }
  return Object.fromEntries(labels);
}

/** The word that was meant among the known ones, as the tail of a remedy. */
export function didYouMean(word: string, known: readonly string[]): string {
  const meant = nearestWord(word, known);
  return meant === null ? `known are: ${known.join(', ')}` : `did you mean ${meant}? Known are: ${known.join(', ')}`;
}
