import { expect, test } from 'vitest';
import type { SeedResult } from '../../src/chaos/seed.ts';
import { shrinkFaults } from '../../src/chaos/shrink.ts';

const FAULTS = Array.from({ length: 40 }, (_unused, index) => `P0:call#${index}:drop`);

/** A seed that fails by `rule` when all of these faults happen. */
function failsWith(needed: readonly string[], rule = 'leak') {
  let runs = 0;
  const attempt = async (only: ReadonlySet<string>): Promise<SeedResult> => {
    runs += 1;
    const fails = needed.every((fault) => only.has(fault));
    return { ...resultOf([...only]), violation: fails ? { rule, message: '' } : null };
  };
  return { attempt, countRuns: () => runs };
}

function resultOf(faults: readonly string[]): SeedResult {
  return {
    seed: 1,
    digest: '',
    simulatedMs: 0,
    faults,
    faultsByKind: {},
    transitions: [],
    statements: 0,
    restMs: 0,
    violation: { rule: 'leak', message: '' },
  };
}

test.each([[[3]], [[0, 39]], [[7, 8, 21]], [[]]])('finds the few faults that are needed (%j)', async (places) => {
  const needed = places.flatMap((place) => FAULTS.slice(place, place + 1));
  const { attempt, countRuns } = failsWith(needed);
  expect(await shrinkFaults(resultOf(FAULTS), attempt)).toEqual(needed);
  expect(countRuns()).toBeLessThanOrEqual(61);
});

test('does not take another failure for the one it looks for', async () => {
  const { attempt } = failsWith([FAULTS[3] ?? ''], 'another rule');
  expect(await shrinkFaults(resultOf(FAULTS), attempt)).toEqual(FAULTS);
});
