/** Builders for the leaves of the policy schema: one parser per leaf, and the JSON Schema that editors get for it. */
import { z } from 'zod';
import {
  DURATION_PATTERN,
  PERCENT_PATTERN,
  SIZE_PATTERN,
  formatDuration,
  formatMib,
  formatPercent,
  nearestWord,
  parseCount,
  parseCpu,
  parseDuration,
  parsePercent,
  parseRange,
  parseSize,
  quoteValue,
} from '../model/units.ts';
import type { UnitResult } from '../model/units.ts';

/** A list has no more entries than EC2 takes. */
export const LIST_MAX = 64;
/** More machines than one policy can ask for by any sane meaning; the real bound is `limits.max`. */
export const MACHINES_MAX = 10_000;

/** What a JSON Schema says about one key. `examples[0]` is also what "is required" tells the user to add. */
export interface FieldDoc {
  readonly description: string;
  readonly examples?: readonly (string | number)[];
}

type JsonType = Readonly<Record<string, unknown>>;

/** A leaf read by `parse`; its problem and fix travel through zod as a custom issue. */
export function field<T>(parse: (value: unknown) => UnitResult<T>, json: JsonType, doc: FieldDoc) {
  return z
    .unknown()
    .transform((value, context): T => {
      const result = parse(value);
      if (result.ok) return result.value;
      context.issues.push({ code: 'custom', message: result.problem, params: { fix: result.fix }, input: value });
      return z.NEVER;
    })
    .meta({
      ...json,
      description: doc.description,
      ...(doc.examples === undefined ? {} : { examples: [...doc.examples] }),
    });
}

function within(result: UnitResult<number>, ends: Ends, format: (value: number) => string): UnitResult<number> {
  if (!result.ok) return result;
  const { min, max } = ends;
  const fix = `write ${format(min)} to ${format(max)}`;
  if (result.value < min) return { ok: false, problem: `${format(result.value)} is less than ${format(min)}`, fix };
  if (result.value > max) return { ok: false, problem: `${format(result.value)} is more than ${format(max)}`, fix };
  return result;
}

interface Ends {
  readonly min: number;
  readonly max: number;
}

/** A duration in milliseconds; `ends` belong to it. */
export function duration(ends: Ends, doc: FieldDoc) {
  const parse = (value: unknown) => within(parseDuration(value), ends, formatDuration);
  return field(parse, { type: 'string', pattern: DURATION_PATTERN }, doc);
}

/** A duration in milliseconds, or a word that stands for none. */
export function durationOr(word: string, ends: Ends, doc: FieldDoc) {
  const parse = (value: unknown): UnitResult<number | null> => {
    if (value === word) return { ok: true, value: null };
    const result = within(parseDuration(value), ends, formatDuration);
    return result.ok ? result : { ...result, fix: `${result.fix}, or ${word}` };
  };
  return field(parse, { type: 'string', pattern: `^${word}$|${DURATION_PATTERN}` }, doc);
}

/** A size in MiB; `ends` belong to it. */
export function size(ends: Ends, doc: FieldDoc) {
  const parse = (value: unknown) => within(parseSize(value), ends, formatMib);
  return field(parse, { type: 'string', pattern: SIZE_PATTERN }, doc);
}

/** A share as 0..1. */
export function percent(ends: Ends, doc: FieldDoc) {
  const parse = (value: unknown) => within(parsePercent(value), ends, formatPercent);
  return field(parse, { type: 'string', pattern: PERCENT_PATTERN }, doc);
}

/** An amount of cpu in milli-CPU. */
export function cpu(doc: FieldDoc) {
  return field(parseCpu, { type: ['number', 'string'], pattern: '^\\d+(\\.\\d{1,3})?m?$', exclusiveMinimum: 0 }, doc);
}

/** A whole number; numbers in quotes are refused, because the same text may mean something else elsewhere. */
export function count(ends: Ends, doc: FieldDoc) {
  const parse = (value: unknown): UnitResult<number> =>
    typeof value === 'string' && /^\d+$/.test(value)
      ? { ok: false, problem: `${quoteValue(value)} is text`, fix: `write ${value} without quotes` }
      : parseCount(value, ends.min, ends.max);
  return field(parse, { type: 'integer', minimum: ends.min, maximum: ends.max }, doc);
}

/** A number of something, or a share of all there is. */
export type CountOrShare =
  | { readonly kind: 'count'; readonly count: number }
  | { readonly kind: 'share'; readonly share: number };

/** A whole number such as 3, or a percentage such as 10%. */
export function countOrShare(ends: Ends, doc: FieldDoc) {
  const fix = `write a whole number from ${ends.min} to ${ends.max}, or a percentage such as 10%`;
  const parse = (value: unknown): UnitResult<CountOrShare> => {
    if (typeof value === 'string' && value.includes('%')) {
      const share = parsePercent(value);
      return share.ok ? { ok: true, value: { kind: 'share', share: share.value } } : share;
    }
    if (typeof value !== 'number')
      return { ok: false, problem: `${quoteValue(value)} is neither a number nor a percentage`, fix };
    const number = parseCount(value, ends.min, ends.max);
    return number.ok ? { ok: true, value: { kind: 'count', count: number.value } } : { ...number, fix };
  };
  const json = { type: ['integer', 'string'], minimum: ends.min, maximum: ends.max, pattern: PERCENT_PATTERN };
  return field(parse, json, doc);
}

/** A size in whole GiB, as volumes have. */
export function wholeGib(ends: Ends, doc: FieldDoc) {
  const parse = (value: unknown): UnitResult<number> => {
    const result = within(parseSize(value), { min: ends.min * 1024, max: ends.max * 1024 }, formatMib);
    if (!result.ok) return result;
    return result.value % 1024 === 0
      ? { ok: true, value: result.value / 1024 }
      : {
          ok: false,
          problem: `${quoteValue(value)} is not a whole number of GiB`,
          fix: `write ${Math.ceil(result.value / 1024)}GiB`,
        };
  };
  return field(parse, { type: 'string', pattern: SIZE_PATTERN }, doc);
}

/** A number of dollars above 0, to the cent or finer. */
export function usd(doc: FieldDoc, { orNothing = false } = {}) {
  const fix = `write a number of US dollars ${orNothing ? 'from 0 on' : 'above 0'}, such as 40 or 12.50`;
  const parse = (value: unknown): UnitResult<number> =>
    typeof value === 'number' && (value > 0 || (orNothing && value === 0)) && value <= USD_MAX
      ? { ok: true, value }
      : { ok: false, problem: `${quoteValue(value)} is not an amount of dollars`, fix };
  const least = orNothing ? { minimum: 0 } : { exclusiveMinimum: 0 };
  return field(parse, { type: 'number', ...least, maximum: USD_MAX }, doc);
}

/** A million dollars an hour: a larger budget is a slip of the keyboard. */
const USD_MAX = 1_000_000;

/** A range of whole numbers. */
export function countRange(ends: Ends, doc: FieldDoc) {
  const parse = (value: unknown) => parseRange(value, (end) => parseCount(end, ends.min, ends.max));
  return field(parse, { type: ['integer', 'string'], pattern: '^\\d+(\\.\\.\\d+)?$', minimum: ends.min }, doc);
}

/** A range of sizes in MiB. */
export function sizeRange(doc: FieldDoc) {
  const one = SIZE_PATTERN.slice(1, -1);
  return field((value) => parseRange(value, parseSize), { type: 'string', pattern: `^${one}(\\.\\.${one})?$` }, doc);
}

/** Yes or no; the words `yes` and `"true"` are text in YAML 1.2. */
export function flag(doc: FieldDoc) {
  const parse = (value: unknown): UnitResult<boolean> =>
    typeof value === 'boolean'
      ? { ok: true, value }
      : { ok: false, problem: `${quoteValue(value)} is neither true nor false`, fix: 'write true or false' };
  return field(parse, { type: 'boolean' }, doc);
}

/** One word of a few. */
export function choice<const T extends string>(words: readonly T[], doc: FieldDoc) {
  const parse = (value: unknown): UnitResult<T> => {
    const found = words.find((word) => word === value);
    if (found !== undefined) return { ok: true, value: found };
    const meant = typeof value === 'string' ? nearestWord(value, words) : null;
    if (words.length === 1)
      return { ok: false, problem: `${quoteValue(value)} is not known here`, fix: `write ${words[0]}` };
    const fix = `write one of ${words.join(', ')}`;
    const problem = `${quoteValue(value)} is not known here`;
    return { ok: false, problem, fix: meant === null ? fix : `${fix}; did you mean ${meant}?` };
  };
  return field(parse, { type: 'string', enum: [...words] }, doc);
}

export interface TextRule {
  readonly pattern: RegExp;
  /** What it is called in a message: `an AMI id`. */
  readonly what: string;
  readonly fix: string;
  readonly lengthMax: number;
}

/** Text of a certain form. */
export function parseText(value: unknown, rule: TextRule): UnitResult<string> {
  if (typeof value === 'number' || typeof value === 'boolean') {
    const kind = typeof value === 'number' ? 'number' : 'yes/no value';
    return { ok: false, problem: `${value} is read as a ${kind}, not as text`, fix: `write it in quotes: "${value}"` };
  }
  if (typeof value !== 'string')
    return { ok: false, problem: `${quoteValue(value)} is not ${rule.what}`, fix: rule.fix };
  if (value.length > rule.lengthMax) {
    return {
      ok: false,
      problem: `${rule.what} of ${value.length} characters is too long`,
      fix: `write at most ${rule.lengthMax} characters`,
    };
  }
  if (!rule.pattern.test(value))
    return { ok: false, problem: `${quoteValue(value)} is not ${rule.what}`, fix: rule.fix };
  return { ok: true, value };
}

export function text(rule: TextRule, doc: FieldDoc) {
  const json = { type: 'string', pattern: rule.pattern.source, maxLength: rule.lengthMax };
  return field((value) => parseText(value, rule), json, doc);
}

/** A map whose keys and values are text of certain forms; at most 64 entries. */
export function textMap(keyRule: TextRule, valueRule: TextRule, doc: FieldDoc) {
  return z
    .record(z.string(), text(valueRule, { description: valueRule.what }))
    .superRefine(
      (map, context) => {
        const keys = Object.keys(map);
        for (const key of keys) {
          const result = parseText(key, keyRule);
          if (result.ok) continue;
          context.addIssue({
            code: 'custom',
            message: result.problem,
            params: { fix: result.fix, key: true },
            path: [key],
          });
        }
        if (keys.length > MAP_ENTRIES_MAX) {
          const params = { fix: `write at most ${MAP_ENTRIES_MAX} entries` };
          context.addIssue({ code: 'custom', message: `${keys.length} entries are too many`, params });
        }
      },
      // Keys are checked although a value is wrong.
      { when: ({ value }) => typeof value === 'object' && value !== null && !Array.isArray(value) },
    )
    .meta({ description: doc.description });
}

const MAP_ENTRIES_MAX = 64;

/**
 * Default of a section that holds required keys: left out, it is read as empty, so that each missing key inside is named.
 * `never`, because the type rightly says that an empty one is not valid.
 */
export const EMPTY_SECTION = {} as never;
