/** Cron expressions in time zones: read from a policy, and asked which windows are open at a moment that is handed in. */
import { Cron } from 'croner';
import type { BudgetWindow, ScheduleWindow } from '../model/policy.ts';
import type { EpochMs } from '../model/time.ts';
import { nearestWord, quoteValue } from '../model/units.ts';
import type { UnitResult } from '../model/units.ts';
import type { OpenWindow } from '../planner/types.ts';
import { parseText } from './fields.ts';

/** Five fields of numbers, names, `*`, ranges, lists and steps. No `?`: it means the moment at which the file is read. */
export const CRON_PATTERN = /^[0-9A-Za-z*,/#-]+( +[0-9A-Za-z*,/#-]+){4}$/;
const CRON_FIX = 'write minute, hour, day of month, month and day of week, in quotes, such as "0 8 * * 1-5"';
/** The rarest day there is comes within eight years of any moment; this one is as good as any. */
const ANY_MOMENT_MS = Date.UTC(2000, 0, 1);

/** A cron expression of five fields that comes at all. */
export function parseCron(value: unknown): UnitResult<string> {
  const text = parseText(value, {
    pattern: CRON_PATTERN,
    what: 'a cron expression of five fields',
    fix: CRON_FIX,
    lengthMax: 200,
  });
  if (!text.ok) return text;
  try {
    const isEver = readCron(text.value, 'UTC').nextRun(new Date(ANY_MOMENT_MS)) !== null;
    return isEver ? text : { ok: false, problem: `${quoteValue(value)} never comes`, fix: 'write a day that exists' };
  } catch (error) {
    // What croner says begins with the name of its class.
    const said = error instanceof Error ? error.message.replace(/^CronPattern: /, '') : String(error);
    return { ok: false, problem: `${quoteValue(value)} is not a cron expression: ${said}`, fix: CRON_FIX };
  }
}

/** The IANA name of a time zone that this machine knows. */
export function parseTimezone(value: unknown): UnitResult<string> {
  const rule = { pattern: /^[A-Za-z][A-Za-z0-9_+/-]*$/, what: 'a time zone', fix: TIMEZONE_FIX, lengthMax: 64 };
  const text = parseText(value, rule);
  if (!text.ok) return text;
  try {
    new Intl.DateTimeFormat('en', { timeZone: text.value }).format(ANY_MOMENT_MS);
    return text;
  } catch {
    const meant = nearestWord(text.value, Intl.supportedValuesOf('timeZone'));
    const fix = meant === null ? TIMEZONE_FIX : `${TIMEZONE_FIX}; did you mean ${meant}?`;
    return { ok: false, problem: `${quoteValue(value)} is not a time zone`, fix };
  }
}

const TIMEZONE_FIX = 'write an IANA name, such as Europe/Berlin or UTC';

/**
 * The windows that are open at `nowMs`, and those whose `leadTime` has begun, in the policy's order. A window is open from the
 * moment of its cron (that moment included) until `duration` has passed (that moment excluded). A time of day that the
 * clocks skip is the first moment after the gap; one that comes twice counts once.
 */
export function openWindows(schedule: readonly ScheduleWindow[], nowMs: EpochMs): OpenWindow[] {
  return schedule.flatMap((window) => {
    const cron = readCron(window.cron, window.timezone);
    const of = (fromMs: number): OpenWindow => ({
      schedule: `${window.cron} ${window.timezone}`,
      min: window.min,
      // What has not begun may prepare, and forbids nothing yet.
      max: fromMs <= nowMs ? window.max : null,
      fromMs,
      untilMs: fromMs + window.durationMs,
    });
    const open = openSince(window, nowMs);
    const next = window.leadTimeMs === 0 ? null : cron.nextRun(new Date(nowMs));
    return [
      ...(open === null ? [] : [of(open.fromMs)]),
      ...(next !== null && next.getTime() - window.leadTimeMs <= nowMs ? [of(next.getTime())] : []),
    ];
  });
}

/** When the window that is open now began and ends; null = none is open. As for {@link openWindows}. */
export function openSince(
  { cron, timezone, durationMs }: BudgetWindow,
  nowMs: EpochMs,
): { readonly fromMs: EpochMs; readonly untilMs: EpochMs } | null {
  // A moment counts as its own predecessor only a millisecond later; of windows that overlap the newest lasts longest.
  const [last] = readCron(cron, timezone).previousRuns(1, new Date(nowMs + 1));
  if (last === undefined || last.getTime() + durationMs <= nowMs) return null;
  return { fromMs: last.getTime(), untilMs: last.getTime() + durationMs };
}

function readCron(cron: string, timezone: string): Cron {
  // Paused and without a function it starts no timer. Lists of hours are fixed times, too, as they are in Vixie cron.
  return new Cron(cron, { timezone, mode: '5-part', fixedTimeRule: 'no-wildcard', paused: true });
}
