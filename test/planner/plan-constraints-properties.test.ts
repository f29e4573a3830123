/** What GPUs and constraints forbid in every plan, in random worlds. */
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Constraints } from '../../src/model/constraints.ts';
import type { Offering } from '../../src/model/offering.ts';
import type { PlannerInput, WorkloadPlan } from '../../src/planner/types.ts';
import { RUNS, pairs, world } from './random-worlds.ts';

/** All that a plan may launch, its ladders included. */
const mayLaunch = (plan: WorkloadPlan): Offering[] =>
  plan.actions.flatMap((action) =>
    action.kind === 'launch' ? [action.offering, ...action.ladder.map(({ offering }) => offering)] : [],
  );

/** One workload whose pending tasks all have the constraints, and nothing else that could ask for machines. */
const onlyWith = (own: Partial<Constraints>): fc.Arbitrary<PlannerInput> =>
  world.map((given) => ({
    ...given,
    workloads: given.workloads.map((workload) => ({
      ...workload,
      pending: workload.pending.map((one) => ({ ...one, ...own })),
      policy: {
        ...workload.policy,
        demand: { ...workload.policy.demand, utilization: null, headroom: null },
        burst: { ...workload.policy.burst, limits: { ...workload.policy.burst.limits, min: 0 } },
      },
    })),
  }));

describe('every plan', () => {
  it('buys machines with GPUs for work that asks for them, and for no other', () => {
    fc.assert(
      fc.property(world, (given) => {
        for (const { workload, plan } of pairs(given)) {
          if (workload.pending.some(({ shape }) => shape.gpus > 0)) continue;
          expect(mayLaunch(plan).filter(({ instanceType }) => instanceType.resources.gpus > 0)).toEqual([]);
        }
      }),
      RUNS,
    );
  });

  it.each<[string, Partial<Constraints>, (offering: Offering) => boolean]>([
    ['no machines at all for work that stays local', { localOnly: true }, () => true],
    ['no spot machines for work that must not be interrupted', { spotOk: false }, ({ market }) => market === 'spot'],
    [
      'only machines of its architecture for work that asks for one',
      { arch: 'arm64' },
      ({ instanceType }) => instanceType.architecture !== 'arm64',
    ],
  ])('buys %s', (_, own, isWrong) => {
    fc.assert(
      fc.property(onlyWith(own), (given) => {
        for (const { plan } of pairs(given)) expect(mayLaunch(plan).filter(isWrong)).toEqual([]);
      }),
      RUNS,
    );
  });
});
