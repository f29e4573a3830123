/**
 * The units that people write in policies and in the environment, and the way back.
 * Strict on purpose: a bare `90` or `4GB` is refused with what to write, because a guessed unit is wrong one time in a thousand.
 */
import { DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS } from './time.ts';

/** `problem` says what is wrong with the text, `fix` what to write; both are sentences without a full stop. */
export type UnitResult<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly problem: string; readonly fix: string };

const MIB_PER_GIB = 1024;
const MIB_PER_TIB = 1024 * MIB_PER_GIB;

/** Ten years: longer than anything here may wait or be kept, and far below the integers that a double holds exactly. */
const DURATION_MAX_MS = 3650 * DAY_MS;
/** 1 EiB: above every machine and volume there is, and still a safe integer in MiB. */
const SIZE_MAX_MIB = 1024 * 1024 * MIB_PER_TIB;
/** 16,384 vCPUs: eight times the largest instance EC2 has. */
const CPU_MAX_MILLI = 16_384_000;

/** The texts that `parseDuration` takes, as a JSON Schema pattern. */
export const DURATION_PATTERN = '^(?=\\d)(\\d+d)?(\\d+h)?(\\d+m)?(\\d+s)?(\\d+ms)?$';
/** The texts that `parseSize` takes, as a JSON Schema pattern. */
export const SIZE_PATTERN = '^\\d+(\\.\\d+)?(MiB|GiB|TiB)$';
/** The texts that `parsePercent` takes, as a JSON Schema pattern. */
export const PERCENT_PATTERN = '^\\d{1,3}(\\.\\d{1,4})?%$';

const DURATION_FIX = 'write whole numbers with the units d, h, m, s or ms, such as 90s, 5m or 1h30m';
const SIZE_FIX = 'write a number with the unit MiB, GiB or TiB, such as 512MiB or 4GiB';
const PERCENT_FIX = 'write a percentage from 0% to 100%, such as 75%';
const CPU_FIX = 'write a number of cores such as 2 or 0.5, or milli-cores such as 500m';

const DURATION_UNITS = { d: DAY_MS, h: HOUR_MS, m: MINUTE_MS, s: SECOND_MS, ms: 1 } as const;
const SIZE_UNITS = { MiB: 1, GiB: MIB_PER_GIB, TiB: MIB_PER_TIB } as const;

function accept<T>(value: T): UnitResult<T> {
  return { ok: true, value };
}

function refuse(problem: string, fix: string): UnitResult<never> {
  return { ok: false, problem, fix };
}

/** A value as messages show it: quoted, on one line, at most 40 characters. */
export function quoteValue(value: unknown): string {
  if (value === null || value === undefined) return 'nothing';
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'object') return 'a map';
  const text = typeof value === 'string' ? value : `${value as number | boolean}`;
  return JSON.stringify(text.length > 40 ? `${text.slice(0, 37)}...` : text);
}

/** `90s`, `1h30m`, `250ms`, `0s` -> milliseconds. */
export function parseDuration(value: unknown): UnitResult<number> {
  if (typeof value === 'number') return refuse(`${value} has no unit`, DURATION_FIX);
  if (typeof value !== 'string') return refuse(`${quoteValue(value)} is not a duration`, DURATION_FIX);
  if (/^\d+$/.test(value)) return refuse(`${quoteValue(value)} has no unit`, DURATION_FIX);
  if (!new RegExp(DURATION_PATTERN).test(value)) return refuse(`${quoteValue(value)} is not a duration`, DURATION_FIX);
  let totalMs = 0;
  for (const [, digits, unit] of value.matchAll(/(\d+)(ms|[dhms])/g)) {
    totalMs += Number(digits) * DURATION_UNITS[unit as keyof typeof DURATION_UNITS];
  }
  if (totalMs > DURATION_MAX_MS) return refuse(`${quoteValue(value)} is longer than ten years`, 'write at most 3650d');
  return accept(totalMs);
}

/** The shortest text that `parseDuration` reads back as the same whole milliseconds: `90000` -> `1m30s`. */
export function formatDuration(durationMs: number): string {
  let rest = Math.round(durationMs);
  let text = '';
  for (const [unit, unitMs] of Object.entries(DURATION_UNITS)) {
    const count = Math.floor(rest / unitMs);
    if (count > 0) text += `${count}${unit}`;
    rest -= count * unitMs;
  }
  return text === '' ? '0s' : text;
}

/** `512MiB`, `4GiB`, `1.5TiB` -> whole MiB. */
export function parseSize(value: unknown): UnitResult<number> {
  if (typeof value === 'number') return refuse(`${value} has no unit`, SIZE_FIX);
  const match = typeof value === 'string' ? /^(\d+(?:\.\d+)?)( ?[A-Za-z]*)$/.exec(value) : null;
  if (match === null) return refuse(`${quoteValue(value)} is not a size`, SIZE_FIX);
  const [, amount = '', unit = ''] = match;
  if (!isSizeUnit(unit)) return refuseSizeUnit(amount, unit);
  const mib = Number(amount) * SIZE_UNITS[unit];
  if (!Number.isInteger(mib)) return refuse(`${quoteValue(value)} is not a whole number of MiB`, SIZE_FIX);
  if (mib > SIZE_MAX_MIB) return refuse(`${quoteValue(value)} is larger than any machine`, SIZE_FIX);
  return accept(mib);
}

function refuseSizeUnit(amount: string, unit: string): UnitResult<never> {
  if (unit === '') return refuse(`${quoteValue(amount)} has no unit`, SIZE_FIX);
  const meant = nearestWord(unit, Object.keys(SIZE_UNITS));
  return refuse(`${quoteValue(amount + unit)} is not a size`, meant === null ? SIZE_FIX : `write ${amount}${meant}`);
}

function isSizeUnit(unit: string): unit is keyof typeof SIZE_UNITS {
  return Object.hasOwn(SIZE_UNITS, unit);
}

/** The text with the largest unit that keeps the number whole: `4096` -> `4GiB`, `1536` -> `1536MiB`. */
export function formatMib(mib: number): string {
  if (mib > 0 && mib % MIB_PER_TIB === 0) return `${mib / MIB_PER_TIB}TiB`;
  if (mib > 0 && mib % MIB_PER_GIB === 0) return `${mib / MIB_PER_GIB}GiB`;
  return `${mib}MiB`;
}

/** `75%` -> `0.75`; from 0% to 100%, at most four decimals. */
export function parsePercent(value: unknown): UnitResult<number> {
  if (typeof value === 'number') {
    const meant = value > 0 && value <= 1 ? value * 100 : value;
    const fix = meant >= 0 && meant <= 100 ? `write ${Number(meant.toFixed(4))}%` : PERCENT_FIX;
    return refuse(`${value} has no percent sign`, fix);
  }
  if (typeof value !== 'string' || !new RegExp(PERCENT_PATTERN).test(value)) {
    return refuse(`${quoteValue(value)} is not a percentage`, PERCENT_FIX);
  }
  // Ten-thousandths of a percent are whole numbers, so that 57% is 0.57 and not 0.5699999999999999.
  const ratio = Math.round(Number(value.slice(0, -1)) * 10_000) / 1_000_000;
  return ratio > 1 ? refuse(`${quoteValue(value)} is more than 100%`, PERCENT_FIX) : accept(ratio);
}

/** `0.75` -> `75%`. */
export function formatPercent(ratio: number): string {
  return `${Number((ratio * 100).toFixed(4))}%`;
}

/** `2`, `0.5`, `"500m"` -> milli-CPU, above 0. */
export function parseCpu(value: unknown): UnitResult<number> {
  if (typeof value !== 'number' && typeof value !== 'string') {
    return refuse(`${quoteValue(value)} is not an amount of cpu`, CPU_FIX);
  }
  const match = /^(\d+(?:\.\d{1,3})?)(m?)$/.exec(String(value));
  if (match === null) return refuse(`${quoteValue(value)} is not an amount of cpu`, CPU_FIX);
  const [, amount = '', milli = ''] = match;
  const cpuMilli = milli === 'm' ? Number(amount) : Math.round(Number(amount) * 1000);
  if (!Number.isInteger(cpuMilli)) return refuse(`${quoteValue(value)} is finer than one milli-core`, CPU_FIX);
  if (cpuMilli < 1) return refuse('an amount of cpu must be above 0', CPU_FIX);
  if (cpuMilli > CPU_MAX_MILLI) return refuse(`${quoteValue(value)} is more cpu than any machine has`, CPU_FIX);
  return accept(cpuMilli);
}

/** `2000` -> `2`, `500` -> `0.5`. */
export function formatCpu(cpuMilli: number): string {
  return String(cpuMilli / 1000);
}

/** A whole number from `min` to `max`. */
export function parseCount(value: unknown, min: number, max: number): UnitResult<number> {
  const fix = `write a whole number from ${min} to ${max}`;
  const number = typeof value === 'string' && /^\d{1,15}$/.test(value) ? Number(value) : value;
  if (typeof number !== 'number' || !Number.isInteger(number)) {
    return refuse(`${quoteValue(value)} is not a whole number`, fix);
  }
  if (number < min) return refuse(`${number} is less than ${min}`, fix);
  if (number > max) return refuse(`${number} is more than ${max}`, fix);
  return accept(number);
}

/** `4..32` or a single `4` (= `4..4`); each end is read by `parseEnd`, both belong to the range. */
export function parseRange(
  value: unknown,
  parseEnd: (end: unknown) => UnitResult<number>,
): UnitResult<{ readonly min: number; readonly max: number }> {
  if (typeof value !== 'string' || !value.includes('..')) {
    const single = parseEnd(value);
    return single.ok ? accept({ min: single.value, max: single.value }) : single;
  }
  const match = /^([^.]+(?:\.[^.]+)?)\.\.([^.]+(?:\.[^.]+)?)$/.exec(value);
  if (match === null) {
    return refuse(`${quoteValue(value)} is not a range`, 'write both ends with two dots between them, such as 4..32');
  }
  const [, low, high] = match;
  const min = parseEnd(low);
  if (!min.ok) return min;
  const max = parseEnd(high);
  if (!max.ok) return max;
  if (min.value > max.value) return refuse(`${quoteValue(value)} begins above its end`, `write ${high}..${low}`);
  return accept({ min: min.value, max: max.value });
}

/** Letters only, lower case: `scale_up` and `scaleUp` are the same word to a reader who mistyped. */
function bareWord(word: string): string {
  return word.toLowerCase().replaceAll(/[^a-z0-9]/g, '');
}

/** Edits (insert, delete, replace, swap neighbours) between two words; both are short, see `nearestWord`. */
function editDistance(a: string, b: string): number {
  const width = b.length + 1;
  const cell = (i: number, j: number) => table[i * width + j] ?? Infinity;
  const table: number[] = Array.from({ length: (a.length + 1) * width }, (_, at) => (at < width ? at : 0));
  for (let i = 1; i <= a.length; i += 1) {
    table[i * width] = i;
    for (let j = 1; j <= b.length; j += 1) {
      const replaced = cell(i - 1, j - 1) + (a[i - 1] === b[j - 1] ? 0 : 1);
      const isSwap = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      const swapped = isSwap ? cell(i - 2, j - 2) + 1 : Infinity;
      table[i * width + j] = Math.min(cell(i - 1, j) + 1, cell(i, j - 1) + 1, replaced, swapped);
    }
  }
  return cell(a.length, b.length);
}

/**
 * The candidate that a mistyped word most likely means, or null when none is near: at most one edit per three letters.
 * Words above 64 letters are never near anything, which bounds the work.
 */
export function nearestWord(word: string, candidates: readonly string[]): string | null {
  const bare = bareWord(word);
  if (bare === '' || word.length > 64) return null;
  let best: string | null = null;
  let bestDistance = Infinity;
  for (const candidate of candidates) {
    const other = bareWord(candidate);
    const distance = editDistance(bare, other);
    if (distance < bestDistance && distance <= Math.max(1, Math.floor(Math.max(bare.length, other.length) / 3))) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}
