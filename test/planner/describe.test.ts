import { expect, it } from 'vitest';
import { describePlan, describeReason } from '../../src/planner/describe.ts';
import { planAll } from '../../src/planner/plan.ts';
import { NOW, TASK, agent, drainingMachine, input, pending, policy, readyMachine } from './fixtures.ts';

it('shows what is launched, why, what stood in the way and what it costs', () => {
  const text = describePlan(
    planAll(
      input({
        workload: {
          policy: policy({ limits: { max: 2 }, instances: { cpu: { min: 2, max: 2 } } }),
          pending: [pending(TASK, 9)],
        },
        agents: [agent(1)],
        pairs: [drainingMachine(1, { agent: { capacity: { cpuMilli: 2000, memoryMib: 7000, gpus: 0 } } })],
      }),
    ),
  );
  expect(text).toBe(
    `ci: scale up, 9 pending tasks (4 on local agents, 1 on cloud agents, 1 on machines of this plan, 3 without a place)
  ~ mc-000000000001 m6a.xlarge on-demand eu-central-1a  drain called off  $0.0000/h
  + 1 x c6a.large on-demand eu-central-1b               +2 vCPU +4 GiB    +$0.0765/h
  because pending work has nowhere to run (4 of 9 pending tasks without room on agents and machines on their way)
      and a drain is called off instead of a launch (1 machine taken back before anything is bought)
      and limits.max is reached (1 machine before this plan, at most 2)
      and local agents take pending work first (4 pending tasks for local agents)
      and demand is met (1 pending task for cloud agents)

Plan: 1 to launch, 1 to take back, 0 to drain. $0.1728/h now, $0.2493/h after.`,
  );
});

it('shows what is let go', () => {
  const text = describePlan(planAll(input({ pairs: [readyMachine(1, { idleMs: 840_000 })] })));
  expect(text).toBe(
    `ci: scale down, 0 pending tasks
  - mc-000000000001 m6a.xlarge on-demand eu-central-1a idle 840 s  -4 vCPU -16 GiB  -$0.1728/h
  because nothing needs these machines (1 machine without work for at least 300 s)

Plan: 0 to launch, 0 to take back, 1 to drain. $0.1728/h now, $0.0000/h after.`,
  );
});

it('says so when there is nothing to plan', () => {
  expect(describePlan({ decidedAtMs: NOW, workloads: [] })).toBe('No workload has a policy. Nothing to plan.');
  expect(describeReason({ code: 'no-demand', detail: '0 pending tasks, no machines' })).toBe(
    'nothing to do (0 pending tasks, no machines)',
  );
});
