import { describe, expect, test } from 'vitest';

import { scheduleBlows } from '../outside/blows.ts';
import type { Evidence } from '../outside/evidence.ts';
import { findViolations } from '../outside/verdict.ts';

const ORDERS = { seed: 1, kills: 30, stops: 1, redisRestarts: 2, postgresRestarts: 2, tasks: 200, pauseMsMax: 2_500 };

describe('the schedule of blows', () => {
  test('depends on the seed and on nothing else', () => {
    expect(scheduleBlows(ORDERS)).toEqual(scheduleBlows(ORDERS));
    expect(scheduleBlows(ORDERS)).not.toEqual(scheduleBlows({ ...ORDERS, seed: 2 }));
  });

  test.each([1, 2, 3, 4, 5])('has at least what was ordered, with seed %i', (seed) => {
    const steps = scheduleBlows({ ...ORDERS, seed });
    const count = (kind: string): number => steps.filter(({ blow }) => blow.kind === kind).length;
    const kills = steps.reduce((sum, { blow }) => sum + (blow.kind !== 'kill' ? 0 : blow.victim === 'both' ? 2 : 1), 0);
    expect([count('stop-leader'), count('empty-redis'), count('restart-postgres')]).toEqual([1, 2, 2]);
    expect(kills).toBeGreaterThanOrEqual(30);
    expect(steps.reduce((sum, { submit }) => sum + submit, 0)).toBeGreaterThanOrEqual(200);
  });
});

const TOKEN = 'sw1.aaaa.1.cccc';

/** One launch of one machine, which did one task, and left. */
const GOOD: Evidence = {
  instances: [{ instanceId: 'i-1', clientToken: TOKEN, state: 'terminated' }],
  events: [
    { seq: 0, atMs: 0, instanceId: 'i-1', kind: 'pending', cause: null },
    { seq: 1, atMs: 100_000, instanceId: 'i-1', kind: 'shutting-down', cause: 'user' },
    { seq: 2, atMs: 101_000, instanceId: 'i-1', kind: 'terminated', cause: 'user' },
  ],
  billUsd: '0.123456789',
  reportUsd: '0.123456789',
  runs: [{ taskId: 'tk-1', attempt: 1, instanceId: 'i-1', fromMs: 50_000, toMs: 60_000, ended: true }],
  rows: {
    launches: [{ nonce: 'aaaa', count: 1 }],
    planEpochs: [1, 1, 2],
    machineEvents: [
      { machineId: 'mc-1', from: null, to: 'requested', reason: 'plan' },
      { machineId: 'mc-1', from: 'requested', to: 'launching', reason: 'call' },
    ],
    legalSteps: new Set(['requested>launching']),
    tasks: [{ id: 'tk-1', state: 'done' }],
    doubtUsd: 0.0001,
  },
};
const [RUN] = GOOD.runs as [Evidence['runs'][number]];
const [INSTANCE] = GOOD.instances as [Evidence['instances'][number]];

const judge = (evidence: Partial<Evidence>, rows: Partial<Evidence['rows']> = {}): readonly string[] =>
  findViolations({ ...GOOD, ...evidence, rows: { ...GOOD.rows, ...rows } }, { machinesMax: 1, acknowledged: ['tk-1'] });

describe('the verdict', () => {
  test('finds nothing where nothing is', () => {
    expect(judge({})).toEqual([]);
  });

  test('lets a machine begin in the middle of its life whose row was lost and rebuilt', () => {
    expect(judge({}, { machineEvents: [{ machineId: 'mc-1', from: null, to: 'booting', reason: 'rebuilt' }] })).toEqual(
      [],
    );
  });

  test.each<[string, Partial<Evidence>, Partial<Evidence['rows']>, RegExp]>([
    [
      'a token that made too many',
      { instances: [INSTANCE, { ...INSTANCE, instanceId: 'i-2' }] },
      {},
      /was for 1 and made 2/,
    ],
    ['an instance of no launch', {}, { launches: [] }, /was for 0 and made 1/],
    [
      'more alive than allowed',
      { events: [...GOOD.events, { seq: 3, atMs: 100, instanceId: 'i-2', kind: 'pending', cause: null }] },
      {},
      /2 instances lived at the same time/,
    ],
    ['an instance left behind', { instances: [{ ...INSTANCE, state: 'running' }] }, {}, /left behind, running/],
    [
      'an instance ended under its task',
      {
        runs: [
          { ...RUN, toMs: 99_900, ended: false },
          { ...RUN, attempt: 2, instanceId: null, fromMs: 120_000, toMs: 121_000 },
        ],
      },
      {},
      /ended under task tk-1/,
    ],
    ['a task that ran twice at once', { runs: [RUN, { ...RUN, attempt: 2, fromMs: 59_000 }] }, {}, /at the same time/],
    ['a task that was lost', {}, { tasks: [] }, /acknowledged and is not known/],
    ['a task that is not done', {}, { tasks: [{ id: 'tk-1', state: 'failed' }] }, /is failed/],
    ['a task that is done on paper only', { runs: [] }, {}, /no run of it came to its end/],
    ['money that is not the bill', { reportUsd: '0.123156789' }, {}, /bills 0\.123456789 USD/],
    ['a cent too many, whatever is in doubt', { reportUsd: '0.129' }, { doubtUsd: 1 }, /bills 0\.123456789 USD/],
    ['a step that no machine may take', {}, { legalSteps: new Set() }, /from requested to launching/],
    [
      'a machine that begins in the middle of its life',
      {},
      { machineEvents: [{ machineId: 'mc-1', from: null, to: 'booting', reason: 'plan' }] },
      /from null to booting/,
    ],
    ['an epoch that goes back', {}, { planEpochs: [1, 2, 1] }, /epoch 1 came after one of epoch 2/],
  ])('sees %s', (_, evidence, rows, sentence) => {
    expect(judge(evidence, rows).join('\n')).toMatch(sentence);
  });
});
