/** Who stays local when local agents cannot take everybody. */
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ANYWHERE } from '../../src/model/constraints.ts';
import type { Resources } from '../../src/model/resources.ts';
import { planAll } from '../../src/planner/plan.ts';
import type { WorkloadPlan } from '../../src/planner/types.ts';
import { agent, cores, input, pending, plan } from './fixtures.ts';
import { check } from './table.ts';

/** Eight cores each; what is dear in the cloud is memory, of which the second asks eight times as much. */
const LEAN = cores(8, 8);
const HEAVY = cores(8, 60);
/** Memory is no bottleneck here: both take eight of its cores. */
const ROOMY = { capacity: cores(8, 512) };

/** Memory of the machines that are bought: heavy work makes it much. */
function boughtGib({ actions }: WorkloadPlan): number {
  return actions.reduce(
    (sum, action) =>
      sum + (action.kind === 'launch' ? (action.count * action.offering.instanceType.resources.memoryMib) / 1024 : 0),
    0,
  );
}

function rankOf(result: WorkloadPlan, shape: Resources): number | undefined {
  return result.report.kept?.kinds.find((kind) => kind.shape.memoryMib === shape.memoryMib)?.rank;
}

describe('when local agents cannot take everything', () => {
  it('what is dearer in the cloud for the same room stays, and the rest bursts', () => {
    const result = plan({ workload: { pending: [pending(LEAN, 1), pending(HEAVY, 1)] }, agents: [agent(1, ROOMY)] });

    expect(rankOf(result, HEAVY)).toBeGreaterThan(rankOf(result, LEAN) ?? Infinity);
    expect(result.report.kept).toMatchObject({ keptTasks: 1, burstTasks: 1 });
    expect(result.report.kept?.keptUsdPerHour).toBeGreaterThan(result.report.kept?.burstUsdPerHour ?? Infinity);
    expect(boughtGib(result)).toBeLessThan(60);
    expect(result.report.reasons.find(({ code }) => code === 'dearest-stay-local')?.detail).toMatch(
      /^1 task that would cost \$\d\.\d{4} an hour in the cloud before 1 task that cost \$\d\.\d{4} an hour$/,
    );
  });

  it('heavy tasks burst where local memory is what is scarce: many lean ones are worth more', () => {
    // Two cores each. All local memory holds one heavy task, or so many lean ones that its cores are full.
    const [lean, heavy] = [cores(2, 2), cores(2, 15)];
    const result = plan({
      workload: { pending: [pending(lean, 4), pending(heavy, 1)] },
      agents: [agent(1, { capacity: cores(8, 16) })],
    });

    expect(result.report.kept).toMatchObject({ keptTasks: 4, burstTasks: 1 });
  });

  it('what can run nowhere else comes first', () => {
    const bound = { ...pending(cores(8, 4), 1), localOnly: true };
    const result = plan({ workload: { pending: [pending(HEAVY, 1), bound] }, agents: [agent(1, ROOMY)] });

    expect(result.report.placement).toMatchObject({ onLocal: 1, planned: 1, unserved: 0 });
  });

  check([
    {
      says: 'nothing is said when there is room for all',
      world: {
        workload: { pending: [pending(LEAN, 1), pending(HEAVY, 1)] },
        agents: [agent(1, ROOMY), agent(2, ROOMY)],
      },
      actions: [],
      because: 'local-first',
    },
  ]);
});

it('the dearer kind waits for the room that is expected soon, and the cheaper one bursts', () => {
  const freeing = [{ inS: 30, resources: cores(8, 512) }];
  const result = plan({
    workload: {
      pending: [pending(LEAN, 1), pending(HEAVY, 1)],
      times: { runP50S: 300, runP95S: 400, joinP50S: 60 },
    },
    agents: [agent(1, { ...ROOMY, allocated: cores(8, 512), runningTasks: 1, freeing })],
  });

  expect(result.report.wait).toMatchObject({ tasks: 1 });
  expect(result.report.kept).toMatchObject({ keptTasks: 1, burstTasks: 1 });
  expect(boughtGib(result)).toBeLessThan(60);
});

it('the order of the input changes nothing, and only what cannot burst has the highest rank', () => {
  fc.assert(
    fc.property(
      fc.array(fc.record({ cpu: fc.constantFrom(1, 2, 4), gib: fc.integer({ min: 1, max: 32 }) }), {
        minLength: 2,
        maxLength: 6,
      }),
      (shapes) => {
        const world = {
          workload: { pending: shapes.map(({ cpu, gib }) => pending(cores(cpu, gib), 3)) },
          agents: [agent(1, { capacity: cores(16, 64) })],
        };
        const [one] = planAll(input(world)).workloads;
        const [turned] = planAll(
          input({ ...world, workload: { pending: world.workload.pending.toReversed() } }),
        ).workloads;
        expect(turned).toEqual(one);
        for (const { rank, burstUsdPerHour, constraints } of one?.report.kept?.kinds ?? []) {
          expect(constraints).toEqual(ANYWHERE);
          expect(rank === 1000).toBe(burstUsdPerHour === null);
        }
      },
    ),
    { numRuns: 200 },
  );
});
