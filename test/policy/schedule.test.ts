import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { ScheduleWindow } from '../../src/model/policy.ts';
import { HOUR_MS, MINUTE_MS } from '../../src/model/time.ts';
import { parsePolicy } from '../../src/policy/parse.ts';
import { openWindows } from '../../src/policy/schedule.ts';
import { edited } from './documents.ts';
import { issueLines } from './mistakes.ts';

function aWindow(options: Partial<ScheduleWindow> = {}): ScheduleWindow {
  return {
    cron: '0 8 * * 1-5',
    timezone: 'Europe/Berlin',
    durationMs: 10 * HOUR_MS,
    leadTimeMs: 0,
    min: 2,
    max: null,
    ...options,
  };
}

/** Begin and end of what is open, `2026-11-23T07:00Z..2026-11-23T17:00Z` each. */
function openAt(moment: string, options: Partial<ScheduleWindow> = {}): string[] {
  const minute = (ms: number): string => `${new Date(ms).toISOString().slice(0, 16)}Z`;
  return openWindows([aWindow(options)], Date.parse(moment)).map(
    ({ fromMs, untilMs }) => `${minute(fromMs)}..${minute(untilMs)}`,
  );
}

describe('a window of a schedule', () => {
  test.each<[string, string, Partial<ScheduleWindow>, string[]]>([
    ['is closed a millisecond before its cron', '2026-11-23T06:59:59.999Z', {}, []],
    ['is open from the very moment of its cron', '2026-11-23T07:00:00Z', {}, ['2026-11-23T07:00Z..2026-11-23T17:00Z']],
    [
      'is open up to the last millisecond of its duration',
      '2026-11-23T16:59:59.999Z',
      {},
      ['2026-11-23T07:00Z..2026-11-23T17:00Z'],
    ],
    ['is closed when its duration is over', '2026-11-23T17:00:00Z', {}, []],
    ['is closed on days that its cron leaves out', '2026-11-22T12:00:00Z', {}, []],
    ['opens an hour earlier by UTC in summer', '2026-07-01T06:00:00Z', {}, ['2026-07-01T06:00Z..2026-07-01T16:00Z']],
    [
      'lasts its duration over the night in which clocks go back',
      '2026-10-25T03:59:00Z',
      { cron: '0 22 * * 6', durationMs: 8 * HOUR_MS },
      ['2026-10-24T20:00Z..2026-10-25T04:00Z'],
    ],
    ['opens once at a time that comes twice', '2026-10-25T01:30:00Z', { cron: '30 2 * * *', durationMs: HOUR_MS }, []],
    [
      'opens after the gap at a time that clocks skip',
      '2027-03-28T01:00:00Z',
      { cron: '30 2 * * *', durationMs: HOUR_MS },
      ['2027-03-28T01:00Z..2027-03-28T02:00Z'],
    ],
    [
      'is prepared for once its lead time has begun',
      '2026-11-23T06:55:00Z',
      { leadTimeMs: 5 * MINUTE_MS },
      ['2026-11-23T07:00Z..2026-11-23T17:00Z'],
    ],
    ['is not prepared for any sooner', '2026-11-23T06:54:59.999Z', { leadTimeMs: 5 * MINUTE_MS }, []],
    [
      'lasts from the newest moment when its cron comes again while it is open',
      '2026-11-23T07:31:00Z',
      { cron: '*/30 * * * *', durationMs: HOUR_MS },
      ['2026-11-23T07:30Z..2026-11-23T08:30Z'],
    ],
    [
      'comes on a day of leap years only',
      '2028-02-29T12:00:00Z',
      { cron: '0 0 29 2 *', timezone: 'UTC', durationMs: 24 * HOUR_MS },
      ['2028-02-29T00:00Z..2028-03-01T00:00Z'],
    ],
  ])('%s', (_, moment, options, expected) => {
    expect(openAt(moment, options)).toEqual(expected);
  });

  test('forbids nothing before it opens', () => {
    const window = aWindow({ max: 3, leadTimeMs: HOUR_MS });
    expect(openWindows([window], Date.parse('2026-11-23T06:30:00Z'))).toMatchObject([{ min: 2, max: null }]);
    expect(openWindows([window], Date.parse('2026-11-23T07:30:00Z'))).toMatchObject([{ min: 2, max: 3 }]);
  });

  test('is open at a moment exactly when one of its begins lies within the duration before it', () => {
    // The begins are counted up from far before, the way the window is never asked for.
    const zones = ['UTC', 'Europe/Berlin', 'America/New_York', 'Australia/Lord_Howe', 'Asia/Kathmandu'];
    const crons = ['0 8 * * 1-5', '30 2 * * *', '*/20 1-3 * * *', '0 0 1 * *', '15 2,14 * 3,10,11 0'];
    fc.assert(
      fc.property(
        fc.constantFrom(...zones),
        fc.constantFrom(...crons),
        fc.integer({ min: 1, max: 10 * 60 }),
        fc.integer({ min: Date.UTC(2026, 0, 1) / MINUTE_MS, max: Date.UTC(2028, 0, 1) / MINUTE_MS }),
        (timezone, cron, minutes, atMinute) => {
          const nowMs = atMinute * MINUTE_MS;
          const durationMs = minutes * MINUTE_MS;
          const open = openWindows([aWindow({ cron, timezone, durationMs })], nowMs);
          const begins = openWindows([aWindow({ cron, timezone, durationMs: 1 })], nowMs);
          // Any begin of the last `minutes` shows as a window of one millisecond at its own moment.
          let newest: number | null = begins[0]?.fromMs ?? null;
          for (let back = 1; newest === null && back < minutes; back += 1) {
            newest =
              openWindows([aWindow({ cron, timezone, durationMs: 1 })], nowMs - back * MINUTE_MS)[0]?.fromMs ?? null;
          }
          expect(open.map(({ fromMs }) => fromMs)).toEqual(newest === null ? [] : [newest]);
        },
      ),
      { numRuns: 25 },
    );
  }, 60_000);

  test('takes wall time from its zone all the year: eight in the morning is eight in the morning', () => {
    const wall = new Intl.DateTimeFormat('en-GB', { timeZone: 'America/New_York', timeStyle: 'short' });
    const window = aWindow({ cron: '0 8 * * *', timezone: 'America/New_York', durationMs: 24 * HOUR_MS });
    const begins = Array.from({ length: 365 }, (_, day) =>
      openWindows([window], Date.UTC(2026, 0, 2 + day, 18)).map(({ fromMs }) => wall.format(fromMs)),
    );
    expect(new Set(begins.flat())).toEqual(new Set(['08:00']));
    expect(begins.flat()).toHaveLength(365);
  });
});

describe('a budget with a schedule', () => {
  const read = (drain: string) => {
    const result = parsePolicy(edited('{ deadline: 20m }', drain), { file: 'p.yaml', checkFiles: false });
    return result.ok ? result.policy.drain : result.issues;
  };

  test('is read with its window, UTC where nothing is said, and none where it always counts', () => {
    const machines = { kind: 'count', count: 0 };
    const reasons = ['empty', 'underutilized'];
    const cron = '0 8 * * 1-5';
    const durationMs = 10 * HOUR_MS;
    const window = `schedule: "${cron}", duration: 10h`;
    expect(read(`{ budgets: [{ machines: 0, ${window} }, { machines: 0 }] }`)).toMatchObject({
      budgets: [
        { machines, reasons, window: { cron, timezone: 'UTC', durationMs } },
        { machines, reasons },
      ],
    });
    expect(read(`{ budgets: [{ machines: 0, ${window}, timezone: Europe/Berlin }] }`)).toMatchObject({
      budgets: [{ machines, reasons, window: { cron, timezone: 'Europe/Berlin', durationMs } }],
    });
  });

  test('leaves the policies that have none of it as they were', () => {
    const drain = read('{ budgets: [{ machines: 0 }], hooks: { beforeDrain: save } }');
    expect(drain).toMatchObject({ hooks: { beforeDrain: 'save', beforeTerminate: null } });
    const text = JSON.stringify(drain);
    for (const key of ['window', 'extensions', 'oneAtATime', 'checkpoint', 'health']) expect(text).not.toContain(key);
  });
});

describe('a schedule in a policy', () => {
  const withSchedule = (window: string): string => edited('  demand:', `  demand:\n    schedule: [{ ${window} }]`);

  test('is read with its defaults', () => {
    const read = parsePolicy(withSchedule('cron: "0 8 * * 1-5", duration: 10h, min: 2'), {
      file: 'p.yaml',
      checkFiles: false,
    });
    expect(read.ok && read.policy.demand.schedule).toEqual([
      { cron: '0 8 * * 1-5', timezone: 'UTC', durationMs: 10 * HOUR_MS, leadTimeMs: 0, min: 2, max: null },
    ]);
  });

  test('is a signal by itself when it keeps machines', () => {
    const alone = (window: string): string =>
      edited('queue: { task: { cpu: 2, memory: 4GiB }, maxWait: 60s }', `schedule: [{ ${window} }]`);
    expect(issueLines(alone('cron: 0 8 * * *, duration: 1h, min: 2'))).toEqual([]);
    expect(issueLines(alone('cron: 0 8 * * *, duration: 1h, max: 2'))[0]).toContain('nothing says how much is needed');
  });

  test.each<[string, string]>([
    [
      'cron: "0 8 * *", duration: 1h, min: 2',
      '7:24 POLICY_VALUE spec.demand.schedule[0].cron | "0 8 * *" is not a cron expression of five fields | write minute, hour, day of month, month and day of week, in quotes, such as "0 8 * * 1-5"',
    ],
    [
      'cron: "0 25 * * *", duration: 1h, min: 2',
      '7:24 POLICY_VALUE spec.demand.schedule[0].cron | "0 25 * * *" is not a cron expression: Invalid value for hour: 25 | write minute, hour, day of month, month and day of week, in quotes, such as "0 8 * * 1-5"',
    ],
    [
      'cron: "? 8 * * *", duration: 1h, min: 2',
      '7:24 POLICY_VALUE spec.demand.schedule[0].cron | "? 8 * * *" is not a cron expression of five fields | write minute, hour, day of month, month and day of week, in quotes, such as "0 8 * * 1-5"',
    ],
    [
      'cron: 0 0 31 2 *, duration: 1h, min: 2',
      '7:24 POLICY_VALUE spec.demand.schedule[0].cron | "0 0 31 2 *" never comes | write a day that exists',
    ],
    [
      'cron: 0 8 * * *, duration: 1h, min: 2, timezone: Europe/Berln',
      '7:67 POLICY_VALUE spec.demand.schedule[0].timezone | "Europe/Berln" is not a time zone | write an IANA name, such as Europe/Berlin or UTC; did you mean Europe/Berlin?',
    ],
    [
      'duration: 1h, min: 2',
      '7:16 POLICY_MISSING spec.demand.schedule[0].cron | spec.demand.schedule[0].cron is required | add `cron: 0 8 * * 1-5` (When the window opens: minute, hour, day of month, month, day of week)',
    ],
    [
      'cron: 0 8 * * *, duration: 1h',
      '7:16 POLICY_CONFLICT spec.demand.schedule[0] | the window has neither min nor max | add min, such as `min: 2`, or max',
    ],
    [
      'cron: 0 8 * * *, duration: 1h, min: 3, max: 2',
      '7:54 POLICY_CONFLICT spec.demand.schedule[0].min | min 3 is more than max 2 | write at most 2',
    ],
    [
      'cron: 0 8 * * *, duration: 1h, min: 5',
      '7:54 POLICY_CONFLICT spec.demand.schedule[0].min | min 5 is more than spec.burst.limits.max 4 | write at most 4, or raise spec.burst.limits.max',
    ],
    [
      'cron: 0 8 * * *, duration: 1h, max: 2, leadTime: 5m',
      '7:67 POLICY_CONFLICT spec.demand.schedule[0].leadTime | leadTime starts machines for min, and there is no min | add min, or delete it',
    ],
  ])('is refused at its place: %s', (window, expected) => {
    expect(issueLines(withSchedule(window))).toEqual([expected]);
  });
});
