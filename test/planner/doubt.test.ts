/** What is too odd to be believed at first sight holds scale-in, and scale-out but for a small step. */
import { describe, expect, it } from 'vitest';
import { CloudView } from '../../src/loops/ports.ts';
import { findSilence } from '../../src/planner/doubt.ts';
import type { SilenceView } from '../../src/planner/types.ts';
import {
  NOW,
  UTILIZED,
  agent,
  codes,
  cores,
  pending,
  plan,
  policy,
  readyMachine,
  requested,
  samples,
} from './fixtures.ts';
import { check } from './table.ts';

const BIG = cores(30);
const silent = (number: number) => agent(number, { lastSeenAtMs: NOW - 31_000 });

function silence(forMs: number): SilenceView {
  return { silentAgents: 3, localAgents: 4, forMs };
}

describe('agents that fell silent together', () => {
  it.each([
    ['one of one', [silent(1)], null],
    ['one of two', [silent(1), agent(2)], null],
    ['two of four', [silent(1), silent(2), agent(3), agent(4)], { silentAgents: 2, localAgents: 4 }],
    ['two of five', [silent(1), silent(2), agent(3), agent(4), agent(5)], null],
    [
      'two that never reported',
      [agent(1, { lastSeenAtMs: null }), agent(2, { lastSeenAtMs: null })],
      { silentAgents: 2, localAgents: 2 },
    ],
    [
      'two of another pool',
      [agent(3), agent(4), ...[1, 2].map((number) => agent(number, { labels: { pool: 'x' }, lastSeenAtMs: null }))],
      null,
    ],
  ])('are noticed when they are several and half of all: %s', (_, agents, expected) => {
    expect(findSilence(agents, policy(), NOW)).toEqual(expected);
  });

  it('are counted from when they were first seen so, and anew after a gap in what was seen', () => {
    const view = new CloudView();
    const look = (nowMs: number, isSilent = true): number =>
      view.noteSilence('ci', isSilent, { nowMs, gapMaxMs: 30_000 });
    expect([look(1000), look(6000), look(36_000)]).toEqual([0, 5000, 35_000]);
    expect(look(66_001)).toBe(0);
    expect([look(70_000), look(71_000, false), look(72_000)]).toEqual([3999, 0, 0]);
    expect(view.noteSilence('other', true, { nowMs: 72_000, gapMaxMs: 30_000 })).toBe(0);
  });

  check([
    {
      says: 'let two machines be launched, whatever waits',
      world: { workload: { silence: silence(0), pending: [pending(BIG, 5)] } },
      actions: ['launch 1 c6a.8xlarge on-demand', 'launch 1 c6a.8xlarge on-demand'],
      because: 'unserved-work',
    },
    {
      says: 'let nothing more be launched while two are on their way',
      world: {
        workload: { silence: silence(29_999), pending: [pending(BIG, 5)] },
        machines: [requested(1), requested(2)],
      },
      actions: [],
      because: 'silence-unconfirmed',
    },
    {
      says: 'are believed to be gone once they have been silent for another freshness',
      world: {
        workload: { silence: silence(30_000), pending: [pending(BIG, 5)] },
        machines: [requested(1), requested(2)],
      },
      actions: ['launch 3 c6a.8xlarge on-demand', 'launch 2 c6a.8xlarge on-demand'],
      because: 'unserved-work',
    },
  ]);

  it('are named in the plan that they hold back', () => {
    const result = plan({ workload: { silence: silence(12_000), pending: [pending(BIG, 5)] } });
    expect(result.report.reasons).toContainEqual({
      code: 'silence-unconfirmed',
      detail: '3 of 4 local agents silent, seen so for 12 s; at most 2 machines on their way before 30 s',
    });
  });
});

describe('samples that cannot be true', () => {
  const utilized = policy({ demand: { queue: null, utilization: UTILIZED } });

  check(
    [samples(1.51), samples(50), samples(-0.1), samples(Number.NaN), samples(0.2, { memory: 7 })].map(
      (utilization) => ({
        says: `buy nothing and let nothing go: cpu ${utilization.cpu}, memory ${utilization.memory}`,
        world: { workload: { policy: utilized, utilization }, agents: [agent(1)], pairs: [readyMachine(2)] },
        actions: [],
        because: 'implausible-samples',
      }),
    ),
  );

  it('are told from those that are only high', () => {
    const busy = { policy: utilized, utilization: samples(1.5) };
    const result = plan({ workload: busy, agents: [agent(1, { capacity: cores(64), allocated: cores(64) })] });
    expect(codes(result)[0]).toBe('utilization-above-target');
  });

  it('do not keep pending work waiting', () => {
    const odd = { policy: utilized, utilization: samples(50), pending: [pending(cores(1), 1)] };
    expect(plan({ workload: odd }).report.placement).toMatchObject({ planned: 1, unserved: 0 });
  });
});
