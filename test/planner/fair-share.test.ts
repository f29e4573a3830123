/**
 * Goal: workloads that share local agents get what dominant resource fairness promises, and planner and engine agree on it.
 * Method: tables with the classical example, then worlds by chance against the bounds that progressive filling in turns has.
 */
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { matchTasks } from '../../src/engine/match.ts';
import { ANYWHERE } from '../../src/model/constraints.ts';
import type { AgentsPolicy } from '../../src/model/policy.ts';
import type { Resources } from '../../src/model/resources.ts';
import { dominantShare, tasksPerTurn } from '../../src/planner/fair-share.ts';
import { planAll } from '../../src/planner/plan.ts';
import type { AgentView, PlannerInput, WorkloadInput } from '../../src/planner/types.ts';
import { NOW, agent, cores, pending, policy, workload } from './fixtures.ts';

interface Want {
  readonly name: string;
  readonly shape?: Resources;
  readonly count: number;
  readonly rules?: Partial<AgentsPolicy>;
  readonly held?: Resources;
}

function wanting({ name, shape = cores(1), count, rules = {}, held }: Want): WorkloadInput {
  const made = policy({ name, limits: { max: 0 } });
  return workload({
    policy: { ...made, agents: { ...made.agents, ...rules } },
    pending: count === 0 ? [] : [pending(shape, count)],
    ...(held === undefined ? {} : { heldLocally: held }),
  });
}

function world(wants: readonly Want[], agents: readonly AgentView[]): PlannerInput {
  return { nowMs: NOW, workloads: wants.map(wanting), agents, machines: [] };
}

/** Tasks placed on local agents, by workload. */
function placed(input: PlannerInput): Record<string, number> {
  return Object.fromEntries(
    planAll(input).workloads.map(({ workload, report }) => [workload, report.placement.onLocal]),
  );
}

/** The same question, asked the engine. */
function given({ workloads, agents }: PlannerInput, total: Resources): Record<string, number> {
  const groups = workloads.flatMap(({ policy: { name }, pending }) =>
    pending.map(({ shape, count }) => ({
      workload: name,
      shape,
      constraints: ANYWHERE,
      count,
      oldestPendingSinceMs: 0,
    })),
  );
  const free = agents.map(({ id, capacity, allocated, labels }) => ({
    id,
    labels,
    site: 'on-prem' as const,
    arch: null,
    market: null,
    workload: null,
    hasGpus: capacity.gpus > 0,
    free: {
      cpuMilli: capacity.cpuMilli - allocated.cpuMilli,
      memoryMib: capacity.memoryMib - allocated.memoryMib,
      gpus: capacity.gpus - allocated.gpus,
    },
  }));
  const held = new Map(
    workloads.flatMap(({ policy: { name }, heldLocally }) => (heldLocally === undefined ? [] : [[name, heldLocally]])),
  );
  const policies = new Map(workloads.map(({ policy }) => [policy.name, policy]));
  const counts = new Map(workloads.map(({ policy }) => [policy.name, 0]));
  for (const { workload, count } of matchTasks(groups, free, policies, { capacity: total, held })) {
    counts.set(workload, (counts.get(workload) ?? 0) + count);
  }
  return Object.fromEntries([...counts].sort(([a], [b]) => (a < b ? -1 : 1)));
}

describe('workloads that want the same agents', () => {
  const memory = (gib: number): Resources => ({ cpuMilli: 3000, memoryMib: gib * 1024, gpus: 0 });

  it.each<[string, readonly Want[], AgentView, Record<string, number>]>([
    [
      'get equal shares',
      [
        { name: 'a', count: 50 },
        { name: 'b', count: 50 },
      ],
      agent(1, { capacity: cores(16) }),
      { a: 8, b: 8 },
    ],
    [
      'get equal shares of what each needs most: 9 cores with 18 GiB are three tasks of 1 with 4 and two of 3 with 1',
      [
        { name: 'a', shape: cores(1, 4), count: 50 },
        { name: 'b', shape: memory(1), count: 50 },
      ],
      agent(1, { capacity: cores(9, 18) }),
      { a: 3, b: 2 },
    ],
    [
      'get shares by weight',
      [
        { name: 'a', count: 50, rules: { weight: 3 } },
        { name: 'b', count: 50 },
      ],
      agent(1, { capacity: cores(16) }),
      { a: 12, b: 4 },
    ],
    [
      'get what another leaves of its share',
      [
        { name: 'a', count: 3, rules: { weight: 3 } },
        { name: 'b', count: 50 },
      ],
      agent(1, { capacity: cores(16) }),
      { a: 3, b: 13 },
    ],
    [
      'get less while they hold something already',
      [
        { name: 'a', count: 50, held: cores(6) },
        { name: 'b', count: 50, held: cores(2) },
      ],
      agent(1, { capacity: cores(16), allocated: cores(8) }),
      { a: 2, b: 6 },
    ],
    [
      'get nothing before those of a higher priority have all they want',
      [
        { name: 'a', count: 50, rules: { weight: 1000 } },
        { name: 'b', count: 10, rules: { priority: 1 } },
      ],
      agent(1, { capacity: cores(16) }),
      { a: 6, b: 10 },
    ],
    [
      'go on with small tasks where a large one of another finds no room',
      [
        { name: 'a', shape: cores(12), count: 2 },
        { name: 'b', count: 50 },
      ],
      agent(1, { capacity: cores(16) }),
      { a: 1, b: 4 },
    ],
  ])('%s', (_, wants, only, expected) => {
    const input = world(wants, [only]);
    expect(placed(input)).toEqual(expected);
    expect(given(input, only.capacity)).toEqual(expected);
  });

  it('leave agents alone that they alone may use: nobody is held back by a share of what others cannot have', () => {
    const apart = policy({ name: 'b', limits: { max: 0 } });
    const input: PlannerInput = {
      ...world(
        [{ name: 'a', count: 50 }],
        [agent(1, { capacity: cores(8) }), agent(2, { capacity: cores(8), labels: { pool: 'other' } })],
      ),
    };
    const other = workload({
      policy: { ...apart, agents: { selector: { pool: 'other' } } },
      pending: [pending(cores(1), 3)],
    });
    expect(placed({ ...input, workloads: [...input.workloads, other] })).toEqual({ a: 8, b: 3 });
  });

  it('are told who has what when not all of their work fits', () => {
    const wants = [
      { name: 'a', count: 50, rules: { weight: 3 } },
      { name: 'b', count: 50, rules: { priority: -1 } },
    ];
    const [, b] = planAll(world(wants, [agent(1, { capacity: cores(16) })])).workloads;
    expect(b?.report.reasons).toContainEqual({
      code: 'local-share',
      detail: '0 % at priority -1, weight 1; a 100 % at priority 0, weight 3',
    });
  });
});

const shape = fc.record({
  cpuMilli: fc.integer({ min: 1, max: 8 }).map((count) => count * 500),
  memoryMib: fc.integer({ min: 1, max: 8 }).map((count) => count * 512),
  gpus: fc.constant(0),
});
const rules = fc.record({ weight: fc.integer({ min: 1, max: 5 }), priority: fc.constantFrom(0, 0, 0, 1) });
const wants = (shapes: fc.Arbitrary<Resources>) =>
  fc
    .array(fc.record({ shape: shapes, count: fc.integer({ min: 1, max: 400 }), rules }), { minLength: 2, maxLength: 5 })
    .map((list) => list.map((want, index) => ({ ...want, name: `w${index}` })));

describe('in every world', () => {
  it('nobody who wants more has less than the weighted fair share of one large agent, to within a turn of each', () => {
    fc.assert(
      fc.property(wants(shape), (list) => {
        const total = cores(64);
        const input = world(list, [agent(1, { capacity: total })]);
        const counts = placed(input);
        const top = Math.max(...list.map(({ rules }) => rules.priority));
        const peers = list.filter(({ rules }) => rules.priority === top);
        const weights = peers.reduce((sum, { rules }) => sum + rules.weight, 0);
        const turns = peers.reduce(
          (sum, { shape }) => sum + dominantShare(shape, total) * Math.min(1000, tasksPerTurn(shape, total)),
          0,
        );
        const lacking = peers.filter(({ name, count }) => counts[name] !== count);
        for (const { name, shape, rules } of lacking) {
          const share = (counts[name] ?? 0) * dominantShare(shape, total);
          expect(share / rules.weight).toBeGreaterThanOrEqual((1 - dominantShare(shape, total) - turns) / weights);
        }
      }),
      { numRuns: 300 },
    );
  });

  it('with equal tasks nobody has more than its weight while one of its priority lacks, and a lower priority nothing at all', () => {
    const agents = fc
      .array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 6 })
      .map((sizes) => sizes.map((size, index) => agent(index, { capacity: cores(size) })));
    fc.assert(
      fc.property(wants(fc.constant(cores(1))), agents, (list, agents) => {
        const counts = placed(world(list, agents));
        for (const poor of list.filter(({ name, count }) => counts[name] !== count)) {
          const got = list.filter(({ name }) => counts[name] !== 0);
          expect(got.filter(({ rules }) => rules.priority < poor.rules.priority)).toEqual([]);
          for (const rich of got.filter(({ rules }) => rules.priority === poor.rules.priority)) {
            const without = ((counts[rich.name] ?? 0) - 1) / rich.rules.weight;
            expect(without).toBeLessThanOrEqual((counts[poor.name] ?? 0) / poor.rules.weight);
          }
        }
      }),
      { numRuns: 300 },
    );
  });

  it('the engine gives out what the planner foresaw, whatever the order of the lists', () => {
    fc.assert(
      fc.property(wants(shape), fc.integer({ min: 1, max: 64 }), (list, size) => {
        const only = agent(1, { capacity: cores(size) });
        const input = world(list, [only]);
        const expected = placed(input);
        expect(given(input, only.capacity)).toEqual(expected);
        const turned = { ...input, workloads: [...input.workloads].reverse() };
        expect(JSON.stringify(planAll(turned))).toBe(JSON.stringify(planAll(input)));
        expect(given(turned, only.capacity)).toEqual(expected);
      }),
      { numRuns: 200 },
    );
  });
});
