import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  describeProofs,
  makeProofModel,
  proveExcess,
  readProofQuestions,
  type ProofVerdict,
} from '../../src/planner/proof.ts';
import type { PlannerInput } from '../../src/planner/types.ts';
import { PlanProver } from '../../src/wiring/plan-prover.ts';
import { boundBelow, loadSolver } from '../../src/wiring/proof-solver.ts';
import { agent, allOfferings, cores, gpuOfferings, input, pending, policy, requested } from '../planner/fixtures.ts';
import { world } from '../planner/random-worlds.ts';
import { realClock } from '../support/clock.ts';
import { shows } from '../support/waits.ts';

const FAMILY_C = { families: ['c6a'] };

function wanting(...tasks: readonly (readonly [cpus: number, count: number])[]): PlannerInput {
  const kinds = tasks.map(([cpus, count]) => pending(cores(cpus), count));
  return input({ workload: { pending: kinds, policy: policy({ instances: FAMILY_C }) } });
}

async function prove(asked: PlannerInput): Promise<ProofVerdict | undefined> {
  return (await new PlanProver(realClock).prove(asked, null))[0];
}

describe('the proof of a plan', () => {
  test('says that nothing cheaper is possible where that is so', async () => {
    // 32 cores at the price of 32 cores, whatever the machines.
    expect(await prove(wanting([8, 4]))).toMatchObject({ excess: 0 });
  });

  test('knows that tasks do not share a machine that holds only one of them', async () => {
    // Three of 40 cores need a machine of 64 each, though two such machines have 120 cores.
    expect(await prove(wanting([40, 3]))).toMatchObject({
      boundUsdPerHour: expect.closeTo(3 * 64 * 0.03825, 9),
      excess: 0,
    });
  });

  test('counts only what has no room on agents and on machines that are on their way', async () => {
    const asked = input({
      workload: { pending: [pending(cores(2), 7)], policy: policy({ instances: FAMILY_C }) },
      agents: [agent(1)],
      machines: [requested(1, { instanceType: 'c6a.large', resources: cores(2, 4) })],
    });
    // Four on the agent, one on the machine: two are bought for.
    expect(await prove(asked)).toMatchObject({ boundUsdPerHour: expect.closeTo(2 * 2 * 0.03825, 9) });
  });

  test('knows that tasks for one architecture have no use for cheaper machines of the other', async () => {
    const kind = pending(cores(8), 4, 4, { arch: 'x86_64' });
    const images = { x86_64: 'ami-x86', arm64: 'ami-arm' };
    const asked = policy({ instances: { families: ['c6a', 'c6g'] }, image: images });
    // 32 cores of c6a, though c6g holds as much for less.
    expect(await prove(input({ workload: { pending: [kind], policy: asked } }))).toMatchObject({
      boundUsdPerHour: expect.closeTo(32 * 0.03825, 9),
      excess: 0,
    });
  });

  test('reckons with room for other work on a machine that is bought for its GPUs', async () => {
    const kinds = [pending({ ...cores(2, 4), gpus: 1 }, 1), pending(cores(2, 4), 1)];
    const offerings = [...allOfferings(), ...gpuOfferings()];
    const asked = input({ workload: { pending: kinds, offerings, policy: policy({ limits: { max: 1 } }) } });
    expect(await prove(asked)).toMatchObject({ boundUsdPerHour: expect.closeTo(1, 9), excess: 0 });
  });

  test('is not attempted for machines that no task asks for', async () => {
    const asked = input({ workload: { policy: policy({ limits: { min: 2 } }) } });
    expect(await prove(asked)).toEqual({
      workload: 'ci',
      unproven: 'machines are also launched for min, not for tasks alone',
    });
  });

  test('is of no concern to a plan that launches nothing', async () => {
    expect(await prove(input({}))).toBeUndefined();
  });

  test('never lies above what a plan pays, whatever else is on its way and may wait', async () => {
    const solver = await loadSolver();
    fc.assert(
      fc.property(world, (asked) => {
        const problems = readProofQuestions(asked).filter((question) => 'kinds' in question);
        const bounds = problems.map((problem) => boundBelow(solver, makeProofModel(problem), 1000));
        const paid = problems.map(({ paidUsdPerHour }) => paidUsdPerHour * (1 + 1e-6));
        expect(bounds.filter((bound, index) => bound > (paid[index] ?? 0))).toEqual([]);
      }),
      { numRuns: 1000 },
    );
  }, 120_000);

  test(`is given up in time ${shows('planner.proof')}`, async () => {
    expect(await new PlanProver(realClock, 1).prove(wanting([8, 4]), null)).toEqual([
      { workload: 'ci', unproven: 'the solver proved nothing in its time' },
    ]);
  });

  test('is made for one plan at a time', async () => {
    const prover = new PlanProver(realClock);
    const [first, second] = await Promise.all([
      prover.prove(wanting([8, 4]), null),
      prover.prove(wanting([8, 4]), null),
    ]);
    expect(first).toMatchObject([{ excess: 0 }]);
    expect(second).toEqual([{ workload: 'ci', unproven: 'the solver is busy with another plan' }]);
  });
});

describe('in words', () => {
  test.for([
    [1, 1, 'ci: no cheaper machines are possible for it (new machines $1.0000/h, at least $1.0000/h)'],
    [1.0121, 1, 'ci: within 1.3 % of the cheapest possible (new machines $1.0121/h, at least $1.0000/h)'],
    [1.00001, 1, 'ci: within 0.1 % of the cheapest possible (new machines $1.0000/h, at least $1.0000/h)'],
    [1, 1.01, 'ci: how cheap this is was not proved: the solver put the cheapest possible above what the plan pays'],
  ] as const)('%f $/h where %f $/h is the bound: %s', ([paidUsdPerHour, bound, words]) => {
    expect(describeProofs([proveExcess({ workload: 'ci', paidUsdPerHour }, bound)])).toEqual([words]);
  });
});
