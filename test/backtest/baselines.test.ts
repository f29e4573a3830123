/** Peers' rules are only worth comparing with when they do what they are known for. */
import { describe, expect, test } from 'vitest';
import { allBaselines } from '../../bench/baselines/all.ts';
import { karpenter } from '../../bench/baselines/karpenter.ts';
import { clusterAutoscaler } from '../../bench/baselines/cluster-autoscaler.ts';
import { naive } from '../../bench/baselines/naive.ts';
import { targetTracking } from '../../bench/baselines/target-tracking.ts';
import { generatedTrace } from '../../bench/support/trace.ts';
import { lowerBounds, workPrices } from '../../src/backtest/bounds.ts';
import { makeFigures } from '../../src/backtest/figures.ts';
import { replay } from '../../src/backtest/frame.ts';
import type { Scaler } from '../../src/backtest/scaler.ts';
import type { TraceTask } from '../../src/backtest/types.ts';
import { SIZES, amount, nodeType, task } from './fixtures.ts';

function launchedTypes(scaler: Scaler, tasks: readonly TraceTask[]): string[] {
  const launched: string[] = [];
  const spy: Scaler = {
    ...scaler,
    decide(view) {
      const decision = scaler.decide(view);
      for (const { type, count } of decision.launch) launched.push(...Array.from({ length: count }, () => type.name));
      return decision;
    },
  };
  replay({ tasks, locals: [], types: SIZES, scaler: spy });
  return launched.sort();
}

const THREE = [task(0, 600, amount(2)), task(0, 600, amount(2)), task(0, 600, amount(8))];

describe('each rule, on three tasks that come at once', () => {
  test('Karpenter puts all on one node, as large as it takes', () => {
    expect(launchedTypes(karpenter({ types: SIZES, emptyS: 0 }), THREE)).toEqual(['c6a.16']);
  });

  test('Cluster Autoscaler takes one group per round, the one with the least waste', () => {
    expect(launchedTypes(clusterAutoscaler({ groups: SIZES }), THREE)).toEqual(['c6a.2', 'c6a.2', 'c6a.8']);
  });

  test('the naive rule joins tasks only where that is no dearer', () => {
    expect(launchedTypes(naive({ types: SIZES, holdS: 60, tickS: 5, waitS: 0 }), THREE)).toEqual(['c6a.4', 'c6a.8']);
  });
});

test('target tracking starves tasks of which one fills a node by memory and half of it by cores', () => {
  const type = nodeType('m6a.8xlarge', amount(32, 128), 1.3824);
  const tasks = Array.from({ length: 40 }, (_, index) => task(index, 3600, amount(16, 97.7)));
  const outcome = replay({ tasks, locals: [], types: [type], scaler: targetTracking({ type }) });
  // One node, at half its cores, is never above 70 %: each task waits for the one before.
  expect(outcome.nodesMax).toBe(1);
  expect(Math.max(...outcome.waitsS)).toBeGreaterThan(39 * 3600);
});

test('every rule runs all tasks of a log, pays more than the bound, and gives the same figures again', () => {
  const { tasks } = generatedTrace();
  const locals = Array.from({ length: 4 }, () => amount(16));
  const settings = { locals, localsSpec: '4x16c', bucketS: 600, groups: SIZES, single: SIZES[3]! };
  const bounds = lowerBounds({ tasks, locals, types: SIZES });
  const { leastUsd } = workPrices(tasks, SIZES);
  const runs = [1, 2].map(() =>
    allBaselines(SIZES, settings).map((scaler) => {
      const outcome = replay({ tasks, locals, types: SIZES, scaler });
      return { name: scaler.name, ...makeFigures(outcome, bounds, leastUsd) };
    }),
  );
  expect(runs[0]).toEqual(runs[1]);
  for (const { name, tasksDone, ratioToLowerBound, efficiency } of runs[0]!) {
    expect({ name, tasksDone }).toEqual({ name, tasksDone: tasks.length });
    expect(ratioToLowerBound).toBeGreaterThan(1);
    expect(efficiency).toBeLessThanOrEqual(1);
  }
});
