import { describe, expect, test } from 'vitest';
import * as fc from 'fast-check';
import { taskQueueName } from '../../src/engine/queue-name.ts';
import { lineUp, matchTasks, type Match } from '../../src/engine/match.ts';
import { ANYWHERE, mayRunAt, type Constraints } from '../../src/model/constraints.ts';
import type { AgentId } from '../../src/model/ids.ts';
import type { WorkloadPolicy } from '../../src/model/policy.ts';
import { fits, type Resources } from '../../src/model/resources.ts';
import type { FreeAgent, LocalShares, PendingGroup, TaskKind } from '../../src/ports/tasks.ts';
import { aPolicy } from '../support/builders.ts';

const cores = (count: number, gib = count): Resources => ({ cpuMilli: count * 1000, memoryMib: gib * 1024, gpus: 0 });

const LOCAL = { site: 'on-prem', arch: 'x86_64', market: null } as const;
const CLOUD = { site: 'aws', arch: 'x86_64', market: 'spot' } as const;

const gpu = (count: number, gpus = 1): Resources => ({ ...cores(count), gpus });

function pending(count: number, shape: Resources, workload = 'media'): PendingGroup {
  return { workload, shape, constraints: ANYWHERE, count, oldestPendingSinceMs: 0 };
}

function local(name: string, free: Resources, labels: Readonly<Record<string, string>> = { pool: 'media' }): FreeAgent {
  return { id: `ag-${name}`, ...LOCAL, labels, workload: null, free, hasGpus: free.gpus > 0 };
}

function cloud(name: string, free: Resources, workload = 'media'): FreeAgent {
  return { id: `ag-${name}`, ...CLOUD, labels: {}, workload, free, hasGpus: free.gpus > 0 };
}

const POLICIES: ReadonlyMap<string, WorkloadPolicy> = new Map([
  ['media', aPolicy({ name: 'media', selector: { pool: 'media' } })],
  ['any', aPolicy({ name: 'any', selector: {} })],
  ['strict', aPolicy({ name: 'strict', selector: { pool: 'media', rack: 'a1' } })],
]);

/** What the workloads of a property hold already, of more than they can be given. */
const SHARES: LocalShares = { capacity: { ...cores(64), gpus: 16 }, held: new Map([['any', cores(3)]]) };

/** `3 x 1000c1024m to a` for each match. */
function told(matches: readonly Match[]): string[] {
  return matches.map(({ agentId, count, shape }) => `${count} x ${shape.cpuMilli / 1000} to ${agentId.slice(3)}`);
}

const TABLE: readonly [string, readonly PendingGroup[], readonly FreeAgent[], readonly string[]][] = [
  ['nothing when nothing waits', [], [local('a', cores(4))], []],
  ['nothing when nobody has room', [pending(2, cores(1))], [local('a', cores(0))], []],
  [
    'local agents first',
    [pending(3, cores(1))],
    [cloud('a', cores(1)), local('b', cores(2))],
    ['2 x 1 to b', '1 x 1 to a'],
  ],
  [
    'the tightest fit first, so that room for large tasks stays whole',
    [pending(1, cores(2))],
    [local('a', cores(8)), local('b', cores(2)), local('c', cores(4))],
    ['1 x 2 to b'],
  ],
  [
    'the same agent each time when two are equal',
    [pending(1, cores(1))],
    [local('b', cores(2)), local('a', cores(2))],
    ['1 x 1 to a'],
  ],
  [
    'what fits, when the head of the line does not',
    [pending(1, cores(8)), pending(2, cores(1))],
    [local('a', cores(4))],
    ['2 x 1 to a'],
  ],
  [
    'only the room that earlier groups left',
    [pending(1, cores(3)), pending(5, cores(1))],
    [local('a', cores(4))],
    ['1 x 3 to a', '1 x 1 to a'],
  ],
  ['by memory as well as by CPU', [pending(9, cores(1, 3))], [local('a', cores(8, 8))], ['2 x 1 to a']],
  [
    'to local agents that the selector names, all of it',
    [pending(4, cores(1), 'strict')],
    [
      local('a', cores(1)),
      local('b', cores(1), { pool: 'media', rack: 'a1', more: 'x' }),
      local('c', cores(1), { rack: 'a1' }),
    ],
    ['1 x 1 to b'],
  ],
  [
    'to every local agent when the selector names none',
    [pending(4, cores(1), 'any')],
    [local('a', cores(1), {}), local('b', cores(1), { pool: 'ci' })],
    ['1 x 1 to a', '1 x 1 to b'],
  ],
  [
    'to cloud agents of the same workload only',
    [pending(4, cores(1), 'any')],
    [cloud('a', cores(1), 'media'), cloud('b', cores(1), 'any')],
    ['1 x 1 to b'],
  ],
  [
    'to its own cloud agents when its policy is gone, but to nobody else’s machines',
    [pending(4, cores(1), 'gone')],
    [local('a', cores(1), {}), cloud('b', cores(1), 'gone')],
    ['1 x 1 to b'],
  ],
  [
    'work without GPU need to agents with GPUs only when no other of the site has room',
    [pending(3, cores(1))],
    [local('a', gpu(1)), local('b', cores(1)), cloud('c', cores(1))],
    ['1 x 1 to b', '1 x 1 to a', '1 x 1 to c'],
  ],
  [
    'as many tasks as there are GPUs',
    [pending(3, gpu(1))],
    [local('a', cores(9)), cloud('b', gpu(8, 2))],
    ['2 x 1 to b'],
  ],
  [
    'local-only work to no cloud agent',
    [{ ...pending(3, cores(1)), constraints: { ...ANYWHERE, localOnly: true } }],
    [local('a', cores(1)), cloud('b', cores(9))],
    ['1 x 1 to a'],
  ],
  [
    'work that must not be interrupted to no spot machine',
    [{ ...pending(3, cores(1)), constraints: { ...ANYWHERE, spotOk: false } }],
    [cloud('a', cores(9)), { ...cloud('b', cores(1)), market: 'on-demand' }],
    ['1 x 1 to b'],
  ],
  [
    'work for one architecture to agents that are known to have it',
    [{ ...pending(3, cores(1)), constraints: { ...ANYWHERE, arch: 'arm64' } }],
    [local('a', cores(9)), { ...local('b', cores(9)), arch: null }, { ...local('c', cores(1)), arch: 'arm64' }],
    ['1 x 1 to c'],
  ],
];

describe('matchTasks gives', () => {
  test.each(TABLE)('%s', (_, groups, agents, expected) => {
    expect(told(matchTasks(groups, agents, POLICIES, SHARES))).toEqual(expected);
  });
});

describe('whatever waits and whoever has room', () => {
  const shape = fc.record({
    cpuMilli: fc.integer({ min: 1, max: 5000 }),
    memoryMib: fc.integer({ min: 0, max: 5000 }),
    gpus: fc.constantFrom(0, 0, 1, 4),
  });
  const group = fc.record({
    workload: fc.constantFrom('media', 'any', 'strict', 'gone'),
    shape,
    constraints: fc.record<Constraints>({
      arch: fc.constantFrom(null, null, 'arm64', 'x86_64'),
      localOnly: fc.boolean(),
      spotOk: fc.boolean(),
    }),
    count: fc.integer({ min: 1, max: 20 }),
    oldestPendingSinceMs: fc.constant(0),
  });
  const agent = fc.record({
    site: fc.constantFrom<FreeAgent['site']>('on-prem', 'aws'),
    labels: fc.constantFrom({}, { pool: 'media' }, { pool: 'media', rack: 'a1' }),
    workload: fc.constantFrom('media', 'any'),
    free: shape,
    arch: fc.constantFrom<FreeAgent['arch']>(null, 'arm64', 'x86_64'),
    market: fc.constantFrom<FreeAgent['market']>('spot', 'on-demand'),
  });
  const agents = fc.array(agent, { maxLength: 8 }).map((made) =>
    made.map((one, index): FreeAgent => {
      const id: AgentId = `ag-${index}`;
      const ofCloud = one.site === 'aws' ? {} : { workload: null, market: null };
      return { ...one, ...ofCloud, id, hasGpus: one.free.gpus > 0 };
    }),
  );

  test('no agent gets more than it has room for, no task is given twice, and none is left that would fit', () => {
    fc.assert(
      fc.property(fc.array(group, { maxLength: 6 }), agents, (groups, free) => {
        const matches = matchTasks(groups, free, POLICIES, SHARES);
        const left = new Map(free.map(({ id, free: room }) => [id, { ...room }]));
        for (const { agentId, shape: size, constraints, count } of matches) {
          const room = left.get(agentId)!;
          expect(
            mayRunAt(
              constraints,
              free.find(({ id }) => id === agentId)!,
            ),
          ).toBe(true);
          room.cpuMilli -= size.cpuMilli * count;
          room.memoryMib -= size.memoryMib * count;
          room.gpus -= size.gpus * count;
          expect(room.cpuMilli).toBeGreaterThanOrEqual(0);
          expect(room.memoryMib).toBeGreaterThanOrEqual(0);
          expect(room.gpus).toBeGreaterThanOrEqual(0);
        }
        for (const key of new Set(groups.map(taskQueueName))) {
          const mine = (kind: TaskKind): boolean => taskQueueName(kind) === key;
          const count = (sum: number, one: { count: number }): number => sum + one.count;
          const asked = groups.filter(mine).reduce(count, 0);
          const given = matches.filter(mine).reduce(count, 0);
          expect(given).toBeLessThanOrEqual(asked);
          const one = groups.find(mine)!;
          const couldTake = free.some(
            ({ id, site, arch, market, workload, labels }) =>
              fits(one.shape, left.get(id)!) &&
              mayRunAt(one.constraints, { site, arch, market }) &&
              (site === 'aws'
                ? workload === one.workload
                : Object.entries(POLICIES.get(one.workload)?.agents.selector ?? { never: 'x' }).every(
                    ([name, value]) => (labels as Record<string, string>)[name] === value,
                  )),
          );
          expect(couldTake && given < asked).toBe(false);
        }
      }),
    );
  });
});

describe('tasks of one workload line up for room', () => {
  const AGO = 15 * 60_000;
  const order = (groups: readonly PendingGroup[], nowMs = AGO): string[] =>
    lineUp(groups, POLICIES, nowMs).map(
      ({ shape, oldestPendingSinceMs }) => `${shape.cpuMilli} of ${oldestPendingSinceMs}`,
    );
  const group = (cpus: number, sinceMs: number, rank?: number): PendingGroup => ({
    ...pending(1, cores(cpus)),
    oldestPendingSinceMs: sinceMs,
    ...(rank === undefined ? {} : { rank }),
  });

  test('by age when nobody has said what they are worth', () => {
    expect(order([group(2, 30), group(1, 20)], 40)).toEqual(['1000 of 20', '2000 of 30']);
  });

  test('the dearest in the cloud first, however long the others wait', () => {
    expect(order([group(1, 20, 3), group(2, 30, 7), group(3, 10, 3)], 40)).toEqual([
      '2000 of 30',
      '3000 of 10',
      '1000 of 20',
    ]);
  });

  test('by age again when they were passed over for ten minutes beyond what they may wait', () => {
    const mayWaitMs = POLICIES.get('media')?.demand.queue?.maxWaitMs ?? Number.NaN;
    const since = AGO - mayWaitMs - 10 * 60_000;
    const [dear, cheap] = [group(2, since + 30, 7), group(1, since, 3)];
    expect(order([cheap, dear])).toEqual([`2000 of ${since + 30}`, `1000 of ${since}`]);
    expect(order([cheap, dear], AGO + 1)).toEqual([`1000 of ${since}`, `2000 of ${since + 30}`]);
  });
});
