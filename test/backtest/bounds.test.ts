import { describe, expect, test } from 'vitest';
import { lowerBounds, workPrices } from '../../src/backtest/bounds.ts';
import { maxLocalValue } from '../../src/backtest/local-share.ts';
import { priceVertices, valueOf } from '../../src/backtest/prices.ts';
import { keepUnbeaten } from '../../src/backtest/type-list.ts';
import { amountFits } from '../../src/backtest/types.ts';
import { SIZES, amount, makeRandom, nodeType, randomTasks, task } from './fixtures.ts';

const TYPES = [
  nodeType('c.2', amount(2, 4), 0.08),
  nodeType('c.8', amount(8, 16), 0.32),
  nodeType('r.2', amount(2, 16), 0.12),
  nodeType('r.8', amount(8, 64), 0.48),
  nodeType('bad.8', amount(8, 16), 0.9),
  nodeType('g.4', amount(4, 16, 1), 0.6),
];

describe('prices of resources', () => {
  test('are under no type, and each vertex is the highest somewhere', () => {
    const vertices = priceVertices(TYPES);
    expect(vertices.length).toBeGreaterThan(1);
    for (const vertex of vertices) {
      for (const { capacity, priceUsdPerHour } of TYPES) {
        expect(valueOf(capacity, vertex) * 3600).toBeLessThanOrEqual(priceUsdPerHour * (1 + 1e-9));
      }
    }
  });

  test('reach the price of every type that none beats', () => {
    const vertices = priceVertices(TYPES);
    const unbeaten = keepUnbeaten(TYPES);
    expect(unbeaten.map(({ name }) => name)).toEqual(['c.2', 'r.2', 'c.8', 'r.8', 'g.4']);
    for (const { capacity, priceUsdPerHour } of unbeaten) {
      const most = Math.max(...vertices.map((vertex) => valueOf(capacity, vertex) * 3600));
      expect(most).toBeCloseTo(priceUsdPerHour, 9);
    }
  });

  test('are zero for what no type has, and none where there is no type', () => {
    expect(priceVertices(SIZES).map(([, , gpu]) => gpu)).toEqual(priceVertices(SIZES).map(() => 0));
    expect(priceVertices([])).toEqual([]);
  });

  test('of tasks that are all equal count in whole tasks per node', () => {
    // Three of these tasks fit no node: two per 8-core node, although 2.67 would fit by cores.
    const { leastUsd } = workPrices([task(0, 3600, amount(3, 6)), task(5, 3600, amount(3, 6))], TYPES.slice(0, 2));
    expect(leastUsd({ cpuMilli: 3000 * 3600, memoryMib: 6 * 1024 * 3600, gpuMilli: 0 })).toBeCloseTo(0.16, 9);
  });
});

describe('the best use of local agents', () => {
  test('is everything when everything fits', () => {
    const bounds = lowerBounds({ tasks: [task(0, 3600, amount(4))], locals: [amount(4)], types: SIZES });
    expect(bounds).toMatchObject({ lowerBoundUsd: 0 });
    expect(bounds.allCloudUsd).toBeCloseTo(0.16, 9);
  });

  test('leaves to the cloud what is too much at a time, and what fits no agent', () => {
    const tasks = [task(0, 3600, amount(4)), task(0, 3600, amount(4)), task(7200, 3600, amount(16))];
    const { lowerBoundUsd } = lowerBounds({ tasks, locals: [amount(4), amount(4), amount(4)], types: SIZES });
    expect(lowerBoundUsd).toBeCloseTo(16 * 0.04, 6);
    const fewer = lowerBounds({ tasks, locals: [amount(4)], types: SIZES });
    expect(fewer.lowerBoundUsd).toBeCloseTo((4 + 16) * 0.04, 3);
  });

  test('counts a task that fits no type as no money, and the cloud as all of it without agents', () => {
    const tasks = [task(0, 3600, amount(64)), task(0, 3600, amount(2))];
    const bounds = lowerBounds({ tasks, locals: [], types: SIZES });
    expect([bounds.allCloudUsd, bounds.lowerBoundUsd].map((usd) => usd.toFixed(6))).toEqual(['0.080000', '0.080000']);
  });

  test.each([1, 2, 3, 4, 5, 6])('is bounded from above for every choice of tasks (%i)', (seed) => {
    const random = makeRandom(seed);
    const tasks = 10;
    const list = (make: () => number): Float64Array => Float64Array.from({ length: tasks }, make);
    const startS = list(() => Math.floor(random() * 20) * 60);
    const runS = list(() => 60 * (1 + Math.floor(random() * 10)));
    const cpu = list(() => 1 + Math.floor(random() * 4));
    const memory = list(() => 1 + Math.floor(random() * 8));
    const value = list(() => random() * 100);
    const resources = [
      { amount: cpu, capacity: 5, worth: 1 },
      { amount: memory, capacity: 9, worth: 0.5 },
    ];
    const problem = { startS, runS, value, resources, bucketS: 60 };
    let best = 0;
    for (let choice = 0; choice < 1 << tasks; choice += 1) {
      best = Math.max(best, valueIfFeasible(problem, choice));
    }
    const share = maxLocalValue(problem, 1e-4);
    // Shares may do better than whole tasks, never worse.
    expect(share.upper).toBeGreaterThanOrEqual(best * (1 - 1e-9));
    expect(share.lower).toBeLessThanOrEqual(share.upper * (1 + 1e-9));
    expect(share.upper - share.lower).toBeLessThan(0.1 * share.upper);
  });

  test.each([7, 8])('of a random log is below what a greedy owner of the agents pays (%i)', (seed) => {
    const tasks = randomTasks(seed, 300);
    const locals = [amount(16, 64), amount(16, 64)];
    const { lowerBoundUsd, lowerBoundAtMostUsd, allCloudUsd } = lowerBounds({
      tasks,
      locals,
      types: TYPES,
      bucketS: 60,
    });
    expect(lowerBoundUsd).toBeGreaterThan(0);
    expect(lowerBoundUsd).toBeLessThanOrEqual(lowerBoundAtMostUsd);
    expect(lowerBoundAtMostUsd).toBeLessThan(allCloudUsd);
    expect(lowerBoundAtMostUsd - lowerBoundUsd).toBeLessThan(0.02 * lowerBoundUsd);
    const left = tasks.filter(({ need }) => !locals.some((agent) => amountFits(need, agent)));
    expect(left).toEqual([]);
  });
});

interface Problem {
  readonly startS: Float64Array;
  readonly runS: Float64Array;
  readonly value: Float64Array;
  readonly resources: readonly { readonly amount: Float64Array; readonly capacity: number }[];
}

/** Value of the tasks whose bits are set; 0 when at some minute they use more than there is. */
function valueIfFeasible({ startS, runS, value, resources }: Problem, choice: number): number {
  const chosen = [...value.keys()].filter((index) => (choice >> index) % 2 === 1);
  for (const { amount: need, capacity } of resources) {
    for (const index of chosen) {
      const at = startS[index]!;
      const used = chosen
        .filter((other) => startS[other]! <= at && at < startS[other]! + runS[other]!)
        .reduce((sum, other) => sum + need[other]!, 0);
      if (used > capacity) return 0;
    }
  }
  return chosen.reduce((sum, index) => sum + value[index]!, 0);
}
