/** What the answers to "why" add to the rows: what blocks a drain, money not charged yet, moments to come, a planner in trouble. */
import { describe, expect } from 'vitest';
import { planAll } from '../../../src/planner/plan.ts';
import type { MachineFacts } from '../../../src/ports/explanations.ts';
import type { AgentDocument, StatusDocument } from '../../../src/ports/reports.ts';
import {
  agentExplanation,
  machineExplanation,
  planDocument,
  whyNotDocument,
} from '../../../src/server/operator-api/explain-documents.ts';
import { createReports } from '../../../src/store/reports.ts';
import { input, machine, policy } from '../../planner/fixtures.ts';
import { ids, seedFleet } from '../../store/reports-fleet.ts';
import { test } from '../../support/database.ts';
import { HEALTHY } from './service.ts';

describe('a drain', () => {
  const rows: readonly (readonly [string, Partial<AgentDocument> | null, number, readonly string[]])[] = [
    ['without an agent', null, 0, ['it has no agent that could say that its work is gone']],
    ['that nothing blocks', {}, 0, []],
    [
      'whose agent has not heard of it',
      { cordonAcknowledged: false },
      0,
      ['its agent has not said that it takes no new tasks'],
    ],
    ['with work', {}, 2, ['it holds 2 tasks']],
    ['with work that is nobody’s task', { runningTasks: 3 }, 0, ['its agent still reports 3 running']],
    [
      'of a silent agent with work',
      { freshness: 'stale', lastSeenAt: '2026-11-22T09:00:00.000Z' },
      1,
      ['its agent is silent since 2026-11-22T09:00:00.000Z: nothing is known of its work', 'it holds 1 task'],
    ],
  ];
  for (const [says, changes, total, blockers] of rows) {
    test(`${says} says what it waits for`, async ({ db }) => {
      await seedFleet(db);
      const facts = await createReports(db).readMachineFacts(ids.ready);
      const agent = { ...facts!.agent!, cordoned: true, cordonAcknowledged: true, runningTasks: 0, ...changes };
      const draining: MachineFacts = {
        ...facts!,
        machine: { ...facts!.machine, state: 'draining' },
        agent: changes === null ? null : agent,
        tasks: { total, items: [] },
      };
      expect(machineExplanation(draining).blockers).toEqual(blockers);
      expect(machineExplanation(facts!).blockers).toEqual([]);
    });
  }
});

test('money since the last charge is reckoned at the price at launch, and nothing where no instance was seen', async ({
  db,
}) => {
  await seedFleet(db);
  const reports = createReports(db);
  const explain = async (id: typeof ids.ready | typeof ids.booting | typeof ids.ended) =>
    machineExplanation((await reports.readMachineFacts(id))!);
  // One hour at 0.34 and 20 GiB of volume for an hour.
  expect(Number((await explain(ids.ready)).accruedUsd)).toBeCloseTo(0.342, 3);
  expect(Number((await explain(ids.booting)).accruedUsd)).toBe(0);
  expect(Number((await explain(ids.ended)).accruedUsd)).toBe(0);
  expect(await explain(ids.ready)).toMatchObject({ launchedBy: { planId: ids.plan, plan: null }, drainedBy: null });
});

test('an agent is served by its selector on-prem and by its machine in the cloud, and is given up only there', async ({
  db,
}) => {
  await seedFleet(db);
  const reports = createReports(db);
  const policies = [policy({ name: 'transcode', selector: { pool: 'media' } }), policy({ name: 'ci' })];
  const explain = async (name: string) => agentExplanation({ ...(await reports.readAgentFacts(name))!, policies });
  expect(await explain('rack-1')).toMatchObject({
    workloads: [{ workload: 'transcode', silentAt: '2026-11-22T10:00:27.000Z', silent: false }],
    goneAt: '2026-11-22T10:59:57.000Z',
    givenUpAt: null,
    tasks: { total: 1, items: [{ id: ids.running }] },
  });
  expect(await explain('ip-10-0-0-7')).toMatchObject({
    workloads: [{ workload: 'transcode' }],
    machine: { id: ids.ready, state: 'ready' },
    givenUpAt: '2026-11-22T10:14:55.000Z',
  });
  expect(await explain(ids.silent)).toMatchObject({ workloads: [], goneAt: '2026-11-22T10:50:00.000Z' });
  await db.updateTable('agents').set({ removed_at: new Date() }).where('id', '=', ids.silent).execute();
  expect(await explain('rack-2')).toMatchObject({ goneAt: null });
});

test('a plan names the machines that it lets go beside its workloads, and its input only when asked', async ({
  db,
}) => {
  const given = input({
    machines: [machine(1), machine(2, { workload: 'old' }), machine(3, { workload: 'old', state: 'booting' })],
  });
  await db
    .insertInto('plans')
    .values({
      id: ids.plan,
      trace_id: 'a'.repeat(32),
      epoch: 1,
      decided_at: new Date(),
      input: JSON.stringify(given),
      outcome: JSON.stringify(planAll(given)),
      digest: 'd',
    })
    .execute();
  const stored = await createReports(db).readPlan(null);
  const document = planDocument(stored!, false);
  expect(document).toMatchObject({ id: ids.plan, rebuilt: false, withoutPolicy: [{ workload: 'old' }] });
  expect(document.withoutPolicy).toHaveLength(1);
  expect(document).not.toHaveProperty('input');
  expect(planDocument(stored!, true).input).toEqual(given);
});

describe('why not', () => {
  const outcome = planAll(input({}));
  // What the answer reads of a status, and nothing else of its many figures.
  const status = { at: '2026-11-22T10:00:00.000Z', machines: [], lastPlan: null } as unknown as StatusDocument;

  test('tells of a planner that fails, and of no other loop', () => {
    const failing = (name: string) => ({
      ...HEALTHY,
      checks: [{ name, state: 'failing' as const, detail: 'EC2 is away', sinceMs: 0 }],
    });
    const ask = (name: string) => whyNotDocument({ workload: 'ci', outcome, status, health: failing(name) });
    expect(ask('plan')?.scaleUp.findings[0]).toMatchObject({ code: 'planner-failing', detail: 'EC2 is away' });
    expect(ask('prices')?.scaleUp.findings[0]).toMatchObject({ code: 'no-demand' });
  });

  test('counts machines of its own workload only, whatever their market', () => {
    const rows = [
      { workload: 'ci', state: 'ready', market: 'spot', count: 2 },
      { workload: 'ci', state: 'ready', market: 'on-demand', count: 1 },
      { workload: 'other', state: 'booting', market: 'spot', count: 5 },
    ] as const;
    const answer = whyNotDocument({ workload: 'ci', outcome, status: { ...status, machines: rows }, health: HEALTHY });
    expect(answer?.machines).toEqual({ ready: 3 });
    expect(whyNotDocument({ workload: 'zed', outcome, status, health: HEALTHY })).toBeNull();
  });
});
