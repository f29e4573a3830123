/** The sentences themselves, from documents as the service gives them. */
import { describe, expect, it } from 'vitest';
import { agentSentences } from '../../src/commands/explain/agent-sentences.ts';
import { machineSentences } from '../../src/commands/explain/machine-sentences.ts';
import { planSentences } from '../../src/commands/explain/plan-sentences.ts';
import { replaySentences, whatIfSentences } from '../../src/commands/plan/replay-sentences.ts';
import { planAll } from '../../src/planner/plan.ts';
import type { AgentExplanation, MachineExplanation, PlanDocument } from '../../src/ports/explanations.ts';
import { TASK, agent as agentView, input, pending, policy } from '../planner/fixtures.ts';

const AT = '2026-11-22T12:00:00.000Z';
const OUTCOME = planAll(
  input({
    workload: {
      policy: policy({ limits: { max: 2 }, instances: { cpu: { min: 2, max: 2 }, families: ['c', 'm'] } }),
      pending: [pending(TASK, 9)],
    },
    agents: [agentView(1)],
  }),
);
const PLAN_ID = 'pl-000000000001';
const TRACE = '0af7651916cd43dd8448eb211c80319c';

const PLAN: PlanDocument = {
  id: PLAN_ID,
  traceId: TRACE,
  epoch: 7,
  decidedAt: AT,
  rebuilt: false,
  outcome: { ...OUTCOME, plannerVersion: 'abc' },
  withoutPolicy: [{ machineId: 'mc-000000000009', workload: 'old' }],
  launches: [
    {
      id: 'ln-000000000001',
      workload: 'ci',
      state: 'refused',
      attempt: 3,
      machines: 2,
      instanceType: 'c6a.large',
      zone: 'eu-central-1a',
      market: 'spot',
      errorCode: 'InsufficientInstanceCapacity',
    },
  ],
};

const MACHINE: MachineExplanation = {
  at: AT,
  machine: {
    id: 'mc-000000000001',
    workload: 'ci',
    state: 'draining',
    instanceType: 'm6a.large',
    resources: TASK,
    zone: 'eu-central-1b',
    market: 'on-demand',
    instanceId: 'i-0abc',
    privateIp: '10.0.0.7',
    agentId: 'ag-000000000001',
    allocated: TASK,
    priceUsdPerHour: '0.086400',
    costUsd: '0.342000000',
    chargedThrough: '2026-11-22T11:00:00.000Z',
    createdAt: '2026-11-22T08:00:00.000Z',
    stateSince: '2026-11-22T11:58:00.000Z',
    deadlineAt: '2026-11-22T12:28:00.000Z',
    reason: 'unneeded',
    endReason: 'scale-down',
    endDetail: null,
    protection: null,
    drain: null,
    waiting: 'waits for its tasks, until 2026-11-22T12:28:00.000Z; then it is waited for once more',
    waitsFor: null,
    stepFailures: 0,
    stepError: null,
    launchId: 'ln-000000000001',
    planId: PLAN_ID,
    traceId: TRACE,
    volumeGib: 20,
    observedState: 'running',
    observedAt: AT,
    launchTime: '2026-11-22T08:00:05.000Z',
    endedAt: null,
    hostKey: null,
    costByKind: [],
    events: [
      {
        at: '2026-11-22T08:00:00.000Z',
        fromState: null,
        toState: 'requested',
        actor: 'planner',
        reason: 'launch',
        planId: PLAN_ID,
        traceId: TRACE,
        detail: {},
      },
    ],
  },
  agent: null,
  tasks: {
    total: 12,
    items: Array.from({ length: 12 }, (_, index) => ({
      id: `tk-${String(index).padStart(12, '0')}` as const,
      workload: 'ci',
      state: 'running' as const,
      attempt: 1,
      startedAt: index === 0 ? null : '2026-11-22T11:00:00.000Z',
      leaseExpiresAt: null,
    })),
  },
  launch: {
    id: 'ln-000000000001',
    state: 'fulfilled',
    attempt: 2,
    deadlineAt: AT,
    calls: [
      { at: AT, attempt: 1, outcome: 'refused', errorCode: 'InsufficientInstanceCapacity' },
      { at: AT, attempt: 2, outcome: 'launched', errorCode: null },
    ],
  },
  launchedBy: { planId: PLAN_ID, traceId: TRACE, decidedAt: AT, plan: OUTCOME.workloads[0] ?? null },
  drainedBy: { planId: 'pl-000000000002', traceId: 'f'.repeat(32), decidedAt: AT, plan: null },
  blockers: ['it holds 12 tasks'],
  accruedUsd: '0.086400000',
};

const AGENT: AgentExplanation = {
  at: AT,
  agent: {
    id: 'ag-000000000001',
    name: 'rack-1',
    site: 'on-prem',
    labels: { pool: 'ci', rack: 'a1' },
    arch: 'x86_64',
    capacity: { cpuMilli: 8000, memoryMib: 16_384, gpus: 1 },
    allocated: TASK,
    used: null,
    otherTasks: 0,
    rebalanceNoticedAt: null,
    runningTasks: 0,
    cordoned: false,
    cordonAcknowledged: false,
    freshness: 'fresh',
    lastSeenAt: '2026-11-22T11:59:55.000Z',
    lastSeenAgeS: 5,
    registeredAt: '2026-11-20T00:00:00.000Z',
    machineId: null,
  },
  events: [],
  leftAt: null,
  removedAt: null,
  tasks: { total: 0, items: [] },
  machine: null,
  workloads: [{ workload: 'ci', freshnessS: 30, silentAt: '2026-11-22T12:00:25.000Z', silent: false }],
  goneAt: '2026-11-22T12:59:55.000Z',
  givenUpAt: null,
};

describe('a plan', () => {
  it('is told with what came of it', () => {
    expect(planSentences(PLAN, Date.parse(AT) + 60_000).join('\n')).toBe(
      `Plan pl-000000000001, decided 2026-11-22T12:00:00.000Z (1m ago) in epoch 7, trace ${TRACE}
Made by planner abc

ci: scale up
  + 1 x c6a.large on-demand eu-central-1a  +2 vCPU +4 GiB  +$0.0765/h
  + 1 x c6a.large on-demand eu-central-1b  +2 vCPU +4 GiB  +$0.0765/h
  demand     9 pending tasks: 18 vCPU with 18432 MiB, the oldest for 60 s; 9 may wait no longer
  local      1 agent: 8 vCPU with 8192 MiB, of which free 8 vCPU with 8192 MiB
  cloud      no machines
  missing    room for 5 tasks (10 vCPU with 10240 MiB)
  offerings  120 considered; left out: 48 of another family, 40 with too few or too many vCPUs, 24 of an architecture without an image, 4 on a market that the policy does not use
  limits     in the way: limits.max 2 (0 before, 2 with this plan)
  money      $0.0000/h before, $0.1530/h after
  because    pending work has nowhere to run (5 of 9 pending tasks without room on agents and machines on their way)
  and        limits.max is reached (0 machines before this plan, at most 2)
  and        local agents take pending work first (4 pending tasks for local agents)

Without a policy, hence let go when their work is done:
  mc-000000000009 of old

What came of its launches:
  ln-000000000001 of ci: 2 x c6a.large spot eu-central-1a, refused at attempt 3, EC2 said InsufficientInstanceCapacity

Plan: 2 to launch, 0 to take back, 0 to drain. $0.0000/h now, $0.1530/h after.`,
    );
  });

  it('that nobody decided says so', () => {
    const text = planSentences({ ...PLAN, rebuilt: true }, Date.parse(AT)).join('\n');
    expect(text).toMatch(/\nNobody decided it: the plan was lost with commits of the database/);
    expect(text).not.toContain('ci: ');
  });
});

describe('a machine', () => {
  it('is told from the plan that wanted it to what it waits for and costs', () => {
    expect(machineSentences(MACHINE).join('\n')).toBe(
      `Machine mc-000000000001 of ci: draining since 2026-11-22T11:58:00.000Z

Why it was launched:
  plan pl-000000000001 of 2026-11-22T12:00:00.000Z, trace ${TRACE}
  because pending work has nowhere to run (5 of 9 pending tasks without room on agents and machines on their way)
  demand then: 9 pending tasks: 18 vCPU with 18432 MiB, the oldest for 60 s; 9 may wait no longer
  missing then: room for 5 tasks (10 vCPU with 10240 MiB)
  chosen: m6a.large on-demand in eu-central-1b at $0.0864/h, by launch ln-000000000001
  refused before: attempt 1, EC2 said InsufficientInstanceCapacity
  offerings: 120 considered; left out: 48 of another family, 40 with too few or too many vCPUs, 24 of an architecture without an image, 4 on a market that the policy does not use; to be tried in this order: c6a.large, m6a.large
  instance: i-0abc, tagged spillway:trace=${TRACE}

Why it was let go:
  plan pl-000000000002 of 2026-11-22T12:00:00.000Z, trace ffffffffffffffffffffffffffffffff

What happened:
  2026-11-22T08:00:00.000Z  requested    by planner: launch, for plan pl-000000000001

Now:
  it waits for its tasks, until 2026-11-22T12:28:00.000Z; then it is waited for once more
  28m are left
  it cannot leave yet: it holds 12 tasks
  it runs 12 tasks: tk-000000000000 (not started), tk-000000000001 (1h), tk-000000000002 (1h), tk-000000000003 (1h), tk-000000000004 (1h), tk-000000000005 (1h), tk-000000000006 (1h), tk-000000000007 (1h), tk-000000000008 (1h), tk-000000000009 (1h) and 2 more

Money:
  $0.3420 so far (charged through 2026-11-22T11:00:00.000Z), and about $0.0864 that is not charged yet; $0.0864/h at launch`,
    );
  });

  it('that has ended waits for nothing', () => {
    const machine = { ...MACHINE.machine, state: 'terminated' as const, waiting: null, endDetail: 'no capacity' };
    const text = machineSentences({ ...MACHINE, machine, blockers: [], accruedUsd: '0.000000000' }).join('\n');
    expect(text).toContain('  it has ended (scale-down: no capacity); it waits for nothing');
    expect(text).not.toContain('not charged yet');
  });

  it('on its way says what its step waited for last', () => {
    const waitsFor = { says: 'the host key on the console', since: '2026-11-22T11:58:30.000Z' };
    const machine = { ...MACHINE.machine, state: 'joining' as const, waitsFor };
    expect(machineSentences({ ...MACHINE, machine, blockers: [] }).join('\n')).toContain(
      '  at the last visit it waited for the host key on the console, since 2026-11-22T11:58:30.000Z',
    );
  });

  it('whose plan was lost, whose step fails and whose time is over says all of that', () => {
    const machine = {
      ...MACHINE.machine,
      stepFailures: 3,
      stepError: 'SSH is refused',
      deadlineAt: '2026-11-22T11:59:00.000Z',
    };
    const text = machineSentences({ ...MACHINE, machine, launchedBy: { ...MACHINE.launchedBy, plan: null } }).join(
      '\n',
    );
    expect(text).toContain('what that plan said is lost');
    expect(text).toContain('its step failed 3 times in a row: SSH is refused');
    expect(text).toContain('its time has been over for 1m');
  });
});

describe('an agent', () => {
  const rows: readonly (readonly [string, Partial<AgentExplanation>, string])[] = [
    ['that reports', {}, 'Reports: fresh, last seen 5s ago (2026-11-22T11:59:55.000Z)'],
    ['that was removed', { removedAt: AT }, `Reports: it was removed at ${AT}`],
    ['that said goodbye', { leftAt: AT }, `Reports: it said goodbye at ${AT}; it counts again as soon as it reports`],
    [
      'that has never reported',
      { agent: { ...AGENT.agent, freshness: 'never', lastSeenAt: null } },
      'Reports: it has never reported since it was registered at 2026-11-20T00:00:00.000Z',
    ],
    ['that takes tasks', {}, 'Cordon: it takes tasks'],
    [
      'that has not heard of its cordon',
      { agent: { ...AGENT.agent, cordoned: true } },
      'Cordon: it is told to take no new tasks, and has not said so yet',
    ],
    [
      'that obeys its cordon',
      { agent: { ...AGENT.agent, cordoned: true, cordonAcknowledged: true } },
      'Cordon: it takes no new tasks, and has said so',
    ],
    ['that nobody selects', { workloads: [] }, 'No workload in force selects it: its labels are pool=ci, rack=a1'],
    [
      'whose first report is waited for',
      { workloads: [{ workload: 'ci', freshnessS: 30, silentAt: null, silent: true }] },
      'Workload ci selects it, and lets nothing go until its first report',
    ],
    [
      'that is silent',
      { workloads: [{ workload: 'ci', freshnessS: 30, silentAt: AT, silent: true }] },
      `Workload ci selects it; it counts as silent since ${AT} (demand.freshness of 30 s): its room is not offered and nothing is let go`,
    ],
    ['that is gone', { goneAt: null }, 'Gone: no plan looks at it'],
    [
      'whose machine will be given up',
      { givenUpAt: '2026-11-22T12:14:55.000Z', tasks: { ...MACHINE.tasks, total: 1 } },
      'Given up: its machine is terminated (agent-lost) from 2026-11-22T12:14:55.000Z on, unless it reports before, but not while it holds a task',
    ],
    [
      'whose machine is overdue',
      { givenUpAt: '2026-11-22T11:00:00.000Z' },
      'Given up: its machine is due to be terminated (agent-lost)',
    ],
  ];
  it.each(rows)('%s', (_says, changes, line) => {
    expect(agentSentences({ ...AGENT, ...changes })).toContain(line);
  });
});

describe('a replay', () => {
  const about = { planId: PLAN_ID, decidedAt: AT };

  it.each([
    [{ result: 'same', madeBy: 'abc', differences: [] }, ['pl-000000000001: same']],
    [
      { result: 'differs', madeBy: 'abc', differences: [{ path: 'a', stored: 1, replayed: 'x'.repeat(300) }] },
      [
        'pl-000000000001: differs, made by this planner (abc) from this very input: this is a bug of Spillway, please report it',
        `  a: stored 1, replayed "${'x'.repeat(199)}...`,
      ],
    ],
    [
      { result: 'other-version', madeBy: null, differences: [] },
      [
        'pl-000000000001: decided otherwise, by planner that did not say its version; this one is abc, and versions may differ',
      ],
    ],
    [
      { result: 'unreadable', madeBy: 'old', problem: 'no workloads', differences: [] },
      ['pl-000000000001: planner old saw what planner abc cannot read: no workloads'],
    ],
  ] as const)('%j', (replay, lines) => {
    expect(replaySentences({ ...about, ...replay }, 'abc')).toEqual(lines);
  });

  it('under a policy that changes nothing says that, and what it could not know', () => {
    expect(whatIfSentences({ ...about, workload: 'ci', changed: [], notes: ['offerings are those of then'] })).toEqual([
      `pl-000000000001 of ${AT}: the policy changes nothing`,
      '  note: offerings are those of then',
    ]);
  });
});
