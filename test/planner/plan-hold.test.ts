/** Tables: one row is one sentence about how long a machine without work is kept. Then the rule of `auto` against its alternatives. */
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { idleUntilMs } from '../../src/planner/idle-hold.ts';
import type { MachineView } from '../../src/planner/types.ts';
import { aDrainPolicy } from '../support/drain-policy.ts';
import { NOW, codes, plan, policy, readyMachine } from './fixtures.ts';
import { check } from './table.ts';

const AUTO = { policy: policy({ drain: { scaleDownUnneededMs: null } }) };
const atOnce = (minimumLifeMs: number) => ({ policy: policy({ drain: { scaleDownUnneededMs: 0, minimumLifeMs } }) });

describe('a machine without work', () => {
  const idle = (idleMs: number, machine: Partial<MachineView>) => readyMachine(1, { idleMs, machine });
  check([
    {
      says: 'goes with `auto` when it was idle for as long as its start took',
      world: { workload: AUTO, pairs: [idle(90_000, { startMs: 90_000 })] },
      actions: ['drain 1'],
      because: 'unneeded',
    },
    {
      says: 'stays with `auto` until then',
      world: { workload: AUTO, pairs: [idle(89_999, { startMs: 90_000 })] },
      actions: [],
      because: 'idle-not-long-enough',
    },
    {
      says: 'stays with `auto` through the minute that is paid anyway, though its start was shorter',
      world: { workload: AUTO, pairs: [idle(20_000, { startMs: 10_000, startedAtMs: NOW - 59_999 })] },
      actions: [],
      because: 'idle-not-long-enough',
    },
    {
      says: 'goes with `auto` when that minute is over',
      world: { workload: AUTO, pairs: [idle(20_000, { startMs: 10_000, startedAtMs: NOW - 60_000 })] },
      actions: ['drain 1'],
      because: 'unneeded',
    },
    {
      says: 'whose start nobody has measured is kept for the minute that EC2 bills at least',
      world: { workload: AUTO, pairs: [idle(59_999, {})] },
      actions: [],
      because: 'idle-not-long-enough',
    },
    {
      says: 'that took an hour to start is kept with `auto` for five minutes',
      world: { workload: AUTO, pairs: [idle(300_000, { startMs: 3_600_000 })] },
      actions: ['drain 1'],
      because: 'unneeded',
    },
    {
      says: 'goes at once when the policy says 0s, paid or not',
      world: { workload: atOnce(0), pairs: [idle(0, { startMs: 90_000, startedAtMs: NOW - 10_000 })] },
      actions: ['drain 1'],
      because: 'unneeded',
    },
    {
      says: 'stays for drain.minimumLife',
      world: { workload: atOnce(600_000), pairs: [idle(0, { startedAtMs: NOW - 599_999 })] },
      actions: [],
      because: 'minimum-life',
    },
    {
      says: 'goes at the end of drain.minimumLife',
      world: { workload: atOnce(600_000), pairs: [idle(0, { startedAtMs: NOW - 600_000 })] },
      actions: ['drain 1'],
      because: 'unneeded',
    },
    {
      says: 'of which nobody knows when EC2 had it lives from when it was wanted',
      world: { workload: atOnce(600_000), pairs: [idle(0, { createdAtMs: NOW - 599_000 })] },
      actions: [],
      because: 'minimum-life',
    },
  ]);

  it('is spoken of in the words of the policy', () => {
    const detailOf = (workload: typeof AUTO) => plan({ workload, pairs: [readyMachine(1)] }).report.reasons[0]?.detail;
    expect(detailOf(AUTO)).toBe('1 machine without work for at least the time that a new start is billed for');
    expect(detailOf({ policy: policy() })).toBe('1 machine without work for at least 300 s');
    expect(codes(plan({ workload: AUTO, pairs: [] }))).toEqual(['no-demand']);
  });
});

/** Seconds billed without work: each gap costs its length, or the hold and a new start. */
function wasteS(gapsS: readonly number[], holdS: number, startS: number): number {
  return gapsS.reduce((sum, gapS) => sum + (gapS <= holdS ? gapS : holdS + startS), 0);
}

/** What somebody pays who knows when work comes. */
function leastWasteS(gapsS: readonly number[], startS: number): number {
  return gapsS.reduce((sum, gapS) => sum + Math.min(gapS, startS), 0);
}

describe('auto', () => {
  it('wastes at most twice what somebody would who knows when work comes', () => {
    const gaps = fc.array(fc.integer({ min: 1, max: 3600 }), { minLength: 1, maxLength: 20 });
    fc.assert(
      fc.property(gaps, fc.integer({ min: 60, max: 300 }), (gapsS, startS) => {
        const machine = { createdAtMs: 0, startedAtMs: 0, startMs: startS * 1000, idleSinceMs: 100_000 };
        const drain = aDrainPolicy({ scaleDownUnneededMs: null });
        const holdS = (idleUntilMs(drain, machine) - machine.idleSinceMs) / 1000;
        expect(wasteS(gapsS, holdS, startS)).toBeLessThanOrEqual(2 * leastWasteS(gapsS, startS));
      }),
    );
  });

  it.each([
    ['half as long', 50, 51],
    ['twice as long', 200, 201],
  ])('promises what a hold does not that is %s', (_, holdS, gapS) => {
    expect(wasteS([gapS], holdS, 100)).toBeGreaterThan(2 * leastWasteS([gapS], 100));
  });
});
