/** Why not: the order in which things bind, for each direction, with a remedy each; and a stored plan told as sentences. */
import { describe, expect, it } from 'vitest';
import type { HoldView, WorkloadPlan } from '../../src/planner/types.ts';
import { explainWorkloadPlan } from '../../src/planner/explain.ts';
import { BINDINGS, explainWhyNot, type Direction } from '../../src/planner/why-not.ts';
import {
  NOW,
  TASK,
  agent,
  cores,
  drainingMachine,
  machine,
  pending,
  plan,
  policy,
  readyMachine,
  type World,
} from './fixtures.ts';

const HOLD: HoldView = {
  key: 'workload:ci',
  isWide: true,
  errorClass: 'auth',
  errorCode: 'UnauthorizedOperation',
  state: 'open',
  untilMs: NOW + 60_000,
};

function statesOf({ machines = [], pairs = [] }: World): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { state } of [...machines, ...pairs.map((pair) => pair.machine)]) counts[state] = (counts[state] ?? 0) + 1;
  return counts;
}

function ask(world: World, trouble: string | null = null) {
  return explainWhyNot({ plan: plan(world), machines: statesOf(world), trouble });
}

const said = ({ findings }: Direction): string[] => findings.map(({ binding, code }) => `${binding}: ${code}`);

interface Row {
  readonly says: string;
  readonly world: World;
  readonly up: readonly string[];
  readonly down: readonly string[];
}

const busy = readyMachine(1, { agent: { allocated: cores(4, 15), runningTasks: 1 }, machine: { idleSinceMs: null } });

const ROWS: readonly Row[] = [
  {
    says: 'nothing to do: no work, no machines',
    world: {},
    up: ['room: no-demand'],
    down: ['room: no-machines'],
  },
  {
    says: 'a hold comes before the limit that is reached as well',
    world: {
      workload: { policy: policy({ limits: { max: 1 } }), pending: [pending(TASK, 9)], holds: [HOLD] },
      machines: [machine(1, { state: 'booting' })],
    },
    up: ['hold: held-auth', 'room: in-flight-covers'],
    down: ['room: on-the-way'],
  },
  {
    says: 'limits come before the budget, and both before local room',
    world: {
      workload: { policy: policy({ limits: { max: 1 } }), pending: [pending(TASK, 9)] },
      agents: [agent(1)],
      pairs: [busy],
    },
    up: ['limit: at-max', 'room: local-first'],
    down: ['room: at-work'],
  },
  {
    says: 'the budget stands in the way',
    world: { workload: { policy: policy({ hourlyUsd: 0.01 }), pending: [pending(TASK, 1)] } },
    up: ['budget: at-hourly-budget'],
    down: ['room: no-machines'],
  },
  {
    says: 'what EC2 refused is left alone',
    world: { workload: { pending: [pending(TASK, 1)], offerings: [], unavailableOfferings: 4 } },
    up: ['capacity: offerings-held'],
    down: ['room: no-machines'],
  },
  {
    says: 'launches cool down',
    world: {
      workload: {
        policy: policy({ cooldown: { scaleUpMs: 60_000 } }),
        lastLaunchAtMs: NOW - 1000,
        pending: [pending(TASK, 1)],
      },
    },
    up: ['cooldown: cooldown-scale-up'],
    down: ['room: no-machines'],
  },
  {
    says: 'work may still wait',
    world: { workload: { policy: policy({ maxWaitMs: 90_000 }), pending: [pending(TASK, 1, 0)] } },
    up: ['wait: waiting-within-max-wait'],
    down: ['room: no-machines'],
  },
  {
    says: 'a silent agent holds what would go, and that comes before limits.min',
    world: {
      workload: { policy: policy({ limits: { min: 1 } }) },
      agents: [agent(1, { lastSeenAtMs: NOW - 600_000 })],
      pairs: [readyMachine(1)],
    },
    up: [],
    down: ['hold: stale-samples'],
  },
  {
    says: 'limits.min keeps a machine',
    world: { workload: { policy: policy({ limits: { min: 1 } }) }, pairs: [readyMachine(1)] },
    up: [],
    down: ['limit: at-min'],
  },
  {
    says: 'one cools down, another is on its way out',
    world: {
      workload: { policy: policy({ cooldown: { scaleDownMs: 60_000 } }), lastDrainAtMs: NOW - 1000 },
      pairs: [readyMachine(1), drainingMachine(2)],
    },
    up: [],
    down: ['cooldown: cooldown-scale-down', 'wait: leaving'],
  },
  {
    says: 'a machine has not been idle for long enough',
    world: { pairs: [readyMachine(1, { idleMs: 1000 })] },
    up: [],
    down: ['wait: idle-not-long-enough'],
  },
  {
    says: 'a plan that grows lets nothing go',
    world: { workload: { pending: [pending(cores(16), 1)] }, pairs: [readyMachine(1)] },
    up: [],
    down: ['room: growing'],
  },
];

describe('why not', () => {
  it.each(ROWS)('$says', ({ world, up, down }) => {
    const answer = ask(world);
    expect([said(answer.scaleUp), said(answer.scaleDown)]).toEqual([up, down]);
    for (const { remedy, says, detail } of [...answer.scaleUp.findings, ...answer.scaleDown.findings]) {
      expect([remedy, says, detail].filter((text) => text.length < 8)).toEqual([]);
    }
  });

  it('names a planner that does not get to decide before everything else', () => {
    const answer = ask(
      { workload: { policy: policy({ limits: { max: 0 } }), pending: [pending(TASK, 1)] } },
      'EC2 is away',
    );
    expect(said(answer.scaleUp)).toEqual(['hold: planner-failing', 'limit: at-max']);
    expect(answer.scaleDown.findings[0]).toMatchObject({ code: 'planner-failing', detail: 'EC2 is away' });
  });

  it('says what asks for machines, and how many the next plan brings', () => {
    const { scaleUp } = ask({ workload: { policy: policy({ limits: { max: 1 } }), pending: [pending(cores(60), 3)] } });
    expect(scaleUp.machines).toBe(1);
    expect(scaleUp.wanted).toEqual([
      'pending work has nowhere to run (3 of 3 pending tasks without room on agents and machines on their way)',
    ]);
    expect(said(scaleUp)).toEqual(['limit: at-max']);
  });

  it('keeps the order of BINDINGS whatever the order of the reasons', () => {
    const made = plan({ workload: { pending: [pending(TASK, 1)] } });
    const codes = [
      'waiting-within-max-wait',
      'at-hourly-budget',
      'probing',
      'at-max',
      'satisfied',
      'held-quota',
    ] as const;
    const reasons = codes.map((code) => ({ code, detail: 'some detail' }));
    const forged: WorkloadPlan = { ...made, actions: [], report: { ...made.report, reasons } };
    const { scaleUp } = explainWhyNot({ plan: forged, machines: {}, trouble: null });
    expect(scaleUp.findings.map(({ binding }) => binding)).toEqual(BINDINGS.filter((each) => each !== 'cooldown'));
  });
});

it('tells a plan as a fact a line', () => {
  const world: World = {
    workload: {
      policy: policy({ limits: { max: 2 }, instances: { cpu: { min: 2, max: 2 } } }),
      pending: [pending(TASK, 9)],
    },
    agents: [agent(1)],
    pairs: [busy],
  };
  expect(explainWorkloadPlan(plan(world), NOW).join('\n')).toBe(
    `ci: scale up
  + 1 x c6a.large on-demand eu-central-1b  +2 vCPU +4 GiB  +$0.0765/h
  demand     9 pending tasks: 18 vCPU with 18432 MiB, the oldest for 60 s; 9 may wait no longer
  local      1 agent: 8 vCPU with 8192 MiB, of which free 8 vCPU with 8192 MiB
  cloud      1 machine: 4 vCPU with 15360 MiB, of which free 0 vCPU with 0 MiB
  missing    room for 5 tasks (10 vCPU with 10240 MiB)
  offerings  120 considered; left out: 60 with too few or too many vCPUs, 24 of an architecture without an image, 24 burstable, 6 on a market that the policy does not use
  limits     in the way: limits.max 2 (1 before, 2 with this plan)
  money      $0.1728/h before, $0.2493/h after
  because    pending work has nowhere to run (5 of 9 pending tasks without room on agents and machines on their way)
  and        limits.max is reached (1 machine before this plan, at most 2)
  and        local agents take pending work first (4 pending tasks for local agents)`,
  );
});

it('tells a plan of a planner that said less', () => {
  const { report, ...rest } = plan({});
  const { demand: _demand, gap: _gap, limits: _limits, ...old } = report;
  const lines = explainWorkloadPlan({ ...rest, report: old }, NOW);
  expect(lines).toEqual([
    'ci: hold',
    '  demand     0 pending tasks',
    '  local      no agents',
    '  cloud      no machines',
    expect.stringMatching(/^ {2}offerings {2}/),
    '  money      $0.0000/h before, $0.0000/h after',
    '  because    nothing to do (0 pending tasks, no machines)',
  ]);
});
