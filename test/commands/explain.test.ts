/**
 * Goal: what a running service decided can be asked for on the command line, from the plan to the machine it made and back,
 * and every stored plan of a whole life can be made again to the byte. Method: a world lives on its virtual clock; the real
 * command line asks the real operator API about its rows.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe } from 'vitest';
import type { OperatorActions } from '../../src/ports/operator.ts';
import { operatorActionsOf } from '../support/operator-actions.ts';
import { worldPolicy } from '../support/world-policy.ts';
import { World } from '../support/world.ts';
import { test as base, type Finished } from './spillway.ts';

const CAPPED = worldPolicy({ limits: { max: 1 } });

const test = base.extend<{ world: World; actions: Partial<OperatorActions>; policyFile: string }>({
  world: async ({ pool }, use) => use(await World.create(pool, { policies: [CAPPED] })),
  actions: async ({ world }, use) => {
    const { previewPlan } = operatorActionsOf(world);
    await use({ previewPlan });
  },
  // eslint-disable-next-line no-empty-pattern -- vitest reads the names of the fixtures from this pattern
  policyFile: async ({}, use) => {
    const folder = await mkdtemp(join(tmpdir(), 'spillway-policy-'));
    await use(join(folder, 'render.yaml'));
    await rm(folder, { recursive: true });
  },
});

const POLICY = `apiVersion: spillway.dev/v1
kind: WorkloadPolicy
metadata: { name: render }
spec:
  agents: { selector: { pool: local } }
  demand: { queue: { task: { cpu: 1, memory: 1GiB }, maxWait: 0s } }
  burst:
    region: us-east-1
    subnets: [subnet-05b111a000000000a, subnet-05b111a000000000b]
    image: { x86_64: ami-05b111a0000000001 }
    instances: { families: [c5] }
    limits: { max: 0 }
    budget: { hourly: null }
  join: { ssh: { user: ubuntu, identity: { file: /nowhere/id_ed25519 } } }
`;

function parsed(run: Finished): Record<string, unknown> & { items?: Record<string, unknown>[] } {
  return JSON.parse(run.stdout) as Record<string, unknown>;
}

async function planIds(world: World): Promise<string[]> {
  const rows = await world.db.selectFrom('plans').select('id').orderBy('decided_at').execute();
  return rows.map(({ id }) => id);
}

async function oneMachine(world: World) {
  return await world.db.selectFrom('machines').selectAll().executeTakeFirstOrThrow();
}

describe('plan replay', () => {
  test('makes every plan of a life again, to the byte, and says so', async ({ world, service, expect }) => {
    await world.addLocalAgent(2);
    await world.submit(8, 30);
    await world.runUntil('the machine is over', async () => (await world.count('machines', 'terminated')) > 0);
    world.policies = [];
    await world.run(60_000);
    const ids = await planIds(world);
    expect(ids.length).toBeGreaterThan(5);
    const run = await service.run('plan', 'replay', ...ids, 'latest');
    expect(run).toEqual({
      exitCode: 0,
      stdout: [...ids, ids.at(-1)].map((id) => `${id}: same\n`).join(''),
      stderr: '',
    });
  });

  test('shows where a plan differs and ends with 1, unless another planner made it', async ({
    world,
    service,
    expect,
  }) => {
    await world.submit(4, 30);
    await world.run(10_000);
    const [id = ''] = await planIds(world);
    const { outcome } = await world.db
      .selectFrom('plans')
      .select('outcome')
      .where('id', '=', id)
      .executeTakeFirstOrThrow();
    const store = async (changes: object): Promise<unknown> =>
      await world.db
        .updateTable('plans')
        .set({ outcome: JSON.stringify({ ...(outcome as object), ...changes }) })
        .where('id', '=', id)
        .execute();
    await store({ decidedAtMs: 1 });
    const differs = await service.run('plan', 'replay', id);
    expect(differs.exitCode).toBe(1);
    expect(differs.stdout).toMatch(/: differs, made by this planner .*\n {2}decidedAtMs: stored 1, replayed \d+\n$/);

    await store({ decidedAtMs: 1, plannerVersion: 'old' });
    const other = await service.run('plan', 'replay', id);
    expect(other.exitCode).toBe(0);
    expect(other.stdout).toContain(`${id}: decided otherwise, by planner old; this one is `);
    expect((await service.run('plan', 'replay', id, '--detailed-exitcode')).exitCode).toBe(10);
    const foreign = await service.run('plan', 'replay', id, '--workload', 'render');
    expect([foreign.exitCode, foreign.stderr]).toEqual([
      2,
      'error: --workload is not a flag of plan replay (USAGE)\nfix: see `spillway plan replay --help`\n',
    ]);
  });

  test('under another policy shows what that would have decided', async ({ world, service, policyFile, expect }) => {
    await writeFile(policyFile, POLICY);
    await world.submit(4, 30);
    await world.run(2000);
    const [id = ''] = await planIds(world);
    const run = await service.run('plan', 'replay', id, '--policy', policyFile, '--detailed-exitcode');
    expect([run.exitCode, run.stderr]).toEqual([10, '']);
    expect(run.stdout).toContain('  then:\n    render: scale up, 4 pending tasks');
    expect(run.stdout).toContain('  with the policy:\n    render: hold, 4 pending tasks (4 without a place)');
    expect(run.stdout).toContain('limits.max is reached (0 machines before this plan, at most 0)');
    const json = parsed(await service.run('plan', 'replay', id, '--policy', policyFile, '-o', 'json'));
    expect(json).toMatchObject({ kind: 'PlanWhatIf', items: [{ planId: id, workload: 'render', notes: [] }] });

    await writeFile(policyFile, POLICY.replace('name: render', 'name: other'));
    const unknown = await service.run('plan', 'replay', id, '--policy', policyFile);
    expect(unknown).toMatchObject({ exitCode: 3, stdout: '' });
    expect(unknown.stderr).toContain('fix: give the policy the name of one of its workloads: render');
    await writeFile(policyFile, 'kind: nonsense\n');
    expect((await service.run('plan', 'replay', id, '--policy', policyFile)).exitCode).toBe(2);
  });
});

describe('explain', () => {
  test('plan tells what it saw and what came of it, with the trace that its launches carry', async ({
    world,
    service,
    expect,
  }) => {
    await world.submit(40, 30);
    await world.run(120_000);
    const { plan_id: planId, trace_id: trace, launch_id: launchId } = await oneMachine(world);
    const { stdout, exitCode } = await service.run('explain', 'plan', planId);
    expect(exitCode).toBe(0);
    expect(stdout).toContain(`, trace ${trace}\nMade by planner `);
    expect(stdout).toMatch(/demand {5}40 pending tasks: 40 vCPU with 40960 MiB/);
    expect(stdout).toMatch(/missing {4}room for 40 tasks/);
    expect(stdout).toMatch(/limits {5}in the way: limits.max 1 \(0 before, 1 with this plan\)/);
    expect(stdout).toContain(`${launchId} of render: 1 x `);
    expect(world.truth.instances().map(({ tags }) => tags['spillway:trace'])).toEqual([trace]);
    const json = parsed(await service.run('explain', 'plan', planId, '-o', 'json'));
    expect(json).toMatchObject({ kind: 'StoredPlan', id: planId, traceId: trace, launches: [{ id: launchId }] });
    expect(json).not.toHaveProperty('input');
  });

  test('plan names machines let go because their policy is gone', async ({ world, service, expect }) => {
    await world.submit(1, 3000);
    await world.runUntil('it works', async () => (await world.count('machines', 'ready')) === 1);
    world.policies = [];
    await world.run(10_000);
    const { id } = await oneMachine(world);
    const { stdout } = await service.run('explain', 'plan', 'latest');
    expect(stdout).toContain(`Without a policy, hence let go when their work is done:\n  ${id} of render\n`);
  });

  test('machine tells why it is there, what happened, what it waits for and what keeps it', async ({
    world,
    service,
    expect,
  }) => {
    const [task] = await world.submit(1, 3000);
    await world.runUntil('it works', async () => (await world.count('tasks', 'running')) === 1);
    const { id, trace_id: trace, plan_id: planId } = await oneMachine(world);
    const ready = (await service.run('explain', 'machine', id)).stdout;
    expect(ready).toContain(`Machine ${id} of render: ready since `);
    expect(ready).toMatch(
      new RegExp(`plan ${planId} of .*, trace ${trace}\n  because pending work has nowhere to run`),
    );
    expect(ready).toContain('  demand then: 1 pending task: 1 vCPU with 1024 MiB');
    expect(ready).toMatch(/ {2}chosen: c5\.\w+ on-demand in us-east-1\w at \$/);
    for (const state of ['requested', 'launching', 'booting', 'joining', 'ready'])
      expect(ready).toMatch(new RegExp(`Z {2}${state} +by `));
    expect(ready).toContain('it waits for work, or the planner to call it back, for as long as it takes; then');
    expect(ready).toContain(`it runs 1 task: ${task} (`);

    world.policies = [];
    await world.run(8000);
    const draining = parsed(await service.run('explain', 'machine', id, '-o', 'json'));
    expect(draining).toMatchObject({
      kind: 'MachineExplanation',
      blockers: ['it holds 1 task'],
      machine: { state: 'draining' },
    });
    const text = (await service.run('explain', 'machine', id)).stdout;
    expect(text).toMatch(/Why it was let go:\n {2}plan pl-\w{12} of .*\n {2}because policy-removed\n/);
    expect(text).toMatch(
      /it waits for its agent to obey the cordon and its tasks to end, until .*; then drain.onDeadline/,
    );
    expect(text).toMatch(/\n {2}29m\d\ds are left\n {2}it cannot leave yet: it holds 1 task\n/);
  });

  test('agent tells whether it counts, for whom, and until when, by id or name', async ({ world, service, expect }) => {
    const agent = await world.addLocalAgent(2);
    await world.submit(1, 3000);
    await world.run(20_000);
    const fresh = await service.run('explain', 'agent', 'local-0');
    expect(fresh.exitCode).toBe(0);
    expect(fresh.stdout).toMatch(
      /^Agent local-0 \(ag-\w{12}\), on-prem, 2 cores, 8 GiB\nReports: fresh, last seen \d+s ago/,
    );
    expect(fresh.stdout).toMatch(/Work: it holds 1 task: tk-\w{12} \(\d+s\)/);
    expect(fresh.stdout).toMatch(
      /Workload render selects it; without a report it counts as silent from \S+ on \(demand.freshness of 30 s\)/,
    );

    agent.stop();
    await world.run(120_000);
    const { id } = await world.db.selectFrom('agents').select('id').executeTakeFirstOrThrow();
    const silent = (await service.run('explain', 'agent', id)).stdout;
    expect(silent).toMatch(/Reports: stale, last seen 2m\d*s? ago/);
    expect(silent).toContain('Workload render selects it; it counts as silent since ');
    expect(silent).toMatch(/Gone: from \S+ on no plan looks at it/);
    await world.db
      .updateTable('agents')
      .set({ last_seen_at: new Date(0) })
      .where('id', '=', id)
      .execute();
    expect((await service.run('explain', 'agent', id)).stdout).toContain('Gone: no plan looks at it\n');
  });

  test.for([
    [['explain', 'plan', 'pl-zzzzzzzzzzzz'], 3, 'there is no plan pl-zzzzzzzzzzzz', 'explain plan latest'],
    [['explain', 'plan', 'latest'], 3, 'there is no plan yet', 'explain plan latest'],
    [['explain', 'plan', 'pl-1'], 2, 'must be latest or the whole id of a plan', 'correct'],
    [['plan', 'replay', 'mc-zzzzzzzzzzzz'], 2, 'must be latest or the whole id of a plan', 'correct'],
    [
      ['explain', 'machine', 'mc-zzzzzzzzzzzz'],
      3,
      'there is no machine mc-zzzzzzzzzzzz',
      'spillway machine list --all',
    ],
    [['explain', 'machine', 'web-1'], 2, 'must be the whole id of a machine', 'correct'],
    [['explain', 'agent', 'rack-9'], 3, 'there is no agent rack-9', 'spillway agent list'],
    [['why-not', 'rendr'], 3, 'no policy is in force for workload "rendr"', 'use one of: render'],
    [['why-not', 'render', '--scale-up', '--scale-down'], 2, 'leave nothing out', 'both'],
  ] as const)('%j ends with %i and helps', async ([args, exitCode, what, remedy], { service, expect }) => {
    const run = await service.run(...args);
    expect([run.exitCode, run.stdout]).toEqual([exitCode, '']);
    expect(run.stderr).toContain(what);
    expect(run.stderr.split('fix: ')[1]).toContain(remedy);
  });
});

describe('why-not', () => {
  test('names what binds now, with its remedy, and the newest plan', async ({ world, service, expect }) => {
    await world.submit(20, 3000);
    await world.runUntil('one works', async () => (await world.count('machines', 'ready')) === 1);
    await world.run(10_000);
    const run = await service.run('why-not', 'render', '--detailed-exitcode');
    expect([run.exitCode, run.stderr]).toEqual([10, '']);
    expect(run.stdout).toMatch(
      /^render, launching: machines are wanted, and none is launched\n {2}wanted: pending work has nowhere to run/,
    );
    expect(run.stdout).toContain(
      '  1. limit: limits.max is reached (1 machine before this plan, at most 1)\n     remedy: raise limits.max in the policy, or wait for a machine to end\n',
    );
    expect(run.stdout).toContain(
      'render, letting go: nothing is let go\n  1. room: machines with work are never let go (1 ready machine)',
    );
    const [id = ''] = (await planIds(world)).slice(-1);
    expect(run.stdout).toContain(`see \`spillway explain plan ${id}\``);
    const up = (await service.run('why-not', 'render', '--scale-up')).stdout;
    expect(up).not.toContain('letting go');
    const json = parsed(await service.run('why-not', 'render', '-o', 'json'));
    expect(json).toMatchObject({
      kind: 'WhyNot',
      machines: { ready: 1 },
      scaleUp: { machines: 0, findings: [{ code: 'at-max', binding: 'limit' }] },
    });
  });

  test('ends with 0 when nothing asks for machines', async ({ world, service, expect }) => {
    await world.run(1000);
    const run = await service.run('why-not', 'render', '--detailed-exitcode');
    expect(run.exitCode).toBe(0);
    expect(run.stdout).toMatch(/^render, launching: nothing asks for a machine\n {2}1\. room: nothing to do/);
  });
});
