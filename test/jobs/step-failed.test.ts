/**
 * Goal: a step that never works ends its row in a state that says so, the machine behind it is cleaned up without a killed
 * task, and no other machine notices.
 * Method: the simulated world, with a bug put into one port or one row; the truth of the world checks that no work is killed.
 */
import { describe, expect } from 'vitest';
import { findExit } from '../../src/jobs/give-up.ts';
import type { StepPorts } from '../../src/jobs/ports.ts';
import { failurePauseMs, readFailure, runStep, STEP_TRIES_MAX } from '../../src/jobs/run-step.ts';
import { AppError } from '../../src/model/errors.ts';
import type { MachineId } from '../../src/model/ids.ts';
import { MACHINE_STATES } from '../../src/model/machine.ts';
import type { MachineFacts } from '../../src/ports/machines.ts';
import { createReports } from '../../src/store/reports.ts';
import { test } from '../support/database.ts';
import { worldPolicy } from '../support/world-policy.ts';
import { drainByHand, onlyMachine, readyInstance } from '../support/world-rows.ts';
import { CALM, World } from '../support/world.ts';
import { shows } from '../support/waits.ts';

const MINUTE = 60_000;
const WITH_BUGS = { ...CALM, bugs: true, policies: [worldPolicy({ limits: { max: 1 } })] } as const;
const bug = (): never => {
  throw new TypeError('cannot read the mind of postgres://spillway:hunter2@db/spillway');
};

function steppingWith(world: World, changes: Partial<StepPorts>): void {
  world.process = { ...world.process, steps: { ...world.process.steps, ...changes } };
}

async function firstMachine(world: World) {
  return await world.db
    .selectFrom('machines')
    .select(['id', 'state', 'end_reason', 'step_failures', 'step_error'])
    .orderBy('created_at')
    .limit(1)
    .executeTakeFirst();
}

async function untilEnded(world: World, withinMs = 20 * MINUTE): Promise<void> {
  await world.runUntil(
    'the first machine ended',
    async () => (await firstMachine(world))?.state === 'terminated',
    withinMs,
  );
}

describe('a machine whose step never works', { timeout: 120_000 }, () => {
  test('while it boots is terminated, and says why without a secret', async ({ pool }) => {
    const world = await World.create(pool, WITH_BUGS);
    steppingWith(world, { shell: { ...world.process.steps.shell, isOpen: bug } });
    await world.submit(1, 10);
    await untilEnded(world);
    expect((await firstMachine(world))?.end_reason).toBe('step-failed');
    const { detail } = await world.db
      .selectFrom('machine_events')
      .select('detail')
      .where('reason', '=', 'step-failed')
      .orderBy('id')
      .limit(1)
      .executeTakeFirstOrThrow();
    expect(detail).toEqual({
      code: 'INTERNAL',
      error: expect.stringMatching(/^cannot read the mind of postgres:\/\/spillway:\[redacted\]@db/) as string,
      failures: STEP_TRIES_MAX,
    });
  });

  test('tells its failures while it is tried, and forgets them with the first success', async ({ pool }) => {
    const world = await World.create(pool, WITH_BUGS);
    const { steps } = world.process;
    steppingWith(world, { shell: { ...steps.shell, isOpen: bug } });
    await world.submit(1, 10);
    await world.runUntil(
      'it failed twice',
      async () => ((await firstMachine(world))?.step_failures ?? 0) >= 2,
      5 * MINUTE,
    );
    const { id } = await onlyMachine(world);
    const shown = await createReports(world.db).showMachine(id);
    expect(shown).toMatchObject({
      stepFailures: 2,
      stepError: expect.stringContaining('INTERNAL: cannot read') as string,
    });
    expect(shown?.waiting).toContain('waits for an address and an open SSH port, until 2026-');
    world.process = { ...world.process, steps };
    await readyInstance(world);
    expect(await firstMachine(world)).toMatchObject({ step_failures: 0, step_error: null });
  });

  test('while it works drains first, and no task is cut short', async ({ pool }) => {
    const world = await World.create(pool, WITH_BUGS);
    await world.submit(1, 1200);
    await world.runUntil('it works', async () => (await world.count('tasks', 'running')) === 1, 10 * MINUTE);
    const { id } = await onlyMachine(world);
    // A row that lacks what its state promises: reading it is a bug each time.
    await world.db.updateTable('machines').set({ agent_id: null }).where('id', '=', id).execute();
    await world.runUntil('it drains', async () => (await firstMachine(world))?.state === 'draining', 15 * MINUTE);
    expect(await world.count('tasks', 'running')).toBe(1);
    await untilEnded(world, 60 * MINUTE);
    expect(await world.count('tasks', 'done')).toBe(1);
    expect((await firstMachine(world))?.end_reason).toBe('step-failed');
    expect(world.truth.living()).toEqual([]);
  });

  test('while it drains stays until its work is gone', async ({ pool }) => {
    const world = await World.create(pool, WITH_BUGS);
    await world.submit(1, 1800);
    await world.runUntil('it works', async () => (await world.count('tasks', 'running')) === 1, 10 * MINUTE);
    await drainByHand(world, 5 * MINUTE);
    steppingWith(world, { readPolicy: bug });
    await world.run(20 * MINUTE);
    expect((await onlyMachine(world)).state).toBe('draining');
    const failures = (await firstMachine(world))?.step_failures ?? 0;
    expect(failures).toBeGreaterThan(STEP_TRIES_MAX);
    await untilEnded(world, 60 * MINUTE);
    expect(await world.count('tasks', 'done')).toBe(1);
  });

  test('does not keep another machine from its life', async ({ pool }) => {
    const world = await World.create(pool, {
      ...CALM,
      bugs: true,
      policies: [worldPolicy({ limits: { max: 2, maxScaleUp: 1 } })],
    });
    await world.submit(1, 30);
    await world.runUntil('one machine exists', async () => (await world.liveMachines()) === 1);
    const { steps } = world.process;
    const broken = (await onlyMachine(world)).id;
    const read = async (id: MachineId) => (id === broken ? bug() : await steps.machines.read(id));
    const machines: StepPorts['machines'] = new Proxy(steps.machines, {
      get: (target, name, receiver) => (name === 'read' ? read : (Reflect.get(target, name, receiver) as unknown)),
    });
    steppingWith(world, { machines });
    await world.submit(3, 30);
    await world.runUntil('all work is done', async () => (await world.count('tasks', 'done')) === 4, 60 * MINUTE);
    await untilEnded(world, 60 * MINUTE);
    expect(await firstMachine(world)).toMatchObject({
      id: broken,
      end_reason: expect.stringMatching(/step-failed/) as string,
    });
  });

  test('because something is away is tried on, and never given up for it', async ({ pool }) => {
    const world = await World.create(pool, WITH_BUGS);
    await world.submit(1, 7200);
    const instanceId = await readyInstance(world);
    const away = async (): Promise<never> => {
      throw new AppError('AWS_UNREACHABLE', 'EC2 is away', { remedy: 'wait' });
    };
    const { steps } = world.process;
    await drainByHand(world, 60 * MINUTE);
    steppingWith(world, { readPolicy: away });
    await world.run(30 * MINUTE);
    expect((await firstMachine(world))?.step_failures).toBeGreaterThan(STEP_TRIES_MAX);
    expect((await onlyMachine(world)).state).toBe('draining');
    expect(world.region.findInstance(instanceId)?.state).toBe('running');
    world.process = { ...world.process, steps };
    await world.run(5 * MINUTE);
    expect((await firstMachine(world))?.step_failures).toBe(0);
  });
});

describe('a launch whose step never works', { timeout: 120_000 }, () => {
  test('is closed when none of its calls may have had an effect', async ({ pool }) => {
    const world = await World.create(pool, WITH_BUGS);
    const { credentials } = world.process.steps;
    steppingWith(world, { credentials: { ...credentials, renderUserData: bug } });
    await world.submit(1, 10);
    await world.runUntil('it is closed', async () => (await world.count('launches', 'refused')) > 0, 10 * MINUTE);
    expect(await firstMachine(world)).toMatchObject({ state: 'terminated', end_reason: 'step-failed' });
    expect(await world.db.selectFrom('launch_calls').select('id').execute()).toEqual([]);
  });

  test('stays open while a call is not settled, and its instance is not lost', async ({ pool }) => {
    const world = await World.create(pool, WITH_BUGS);
    const { steps } = world.process;
    // EC2 acts, and the process never gets to writing down what came of it.
    steppingWith(world, {
      launches: new Proxy(steps.launches, {
        get: (target, name, receiver) =>
          name === 'finishCall' ? bug : (Reflect.get(target, name, receiver) as unknown),
      }),
    });
    await world.submit(1, 10);
    await world.runUntil(
      'it failed often enough',
      async () => world.log.lines.some(({ message }) => message.includes('a call of it is not settled yet')),
      9 * MINUTE,
    );
    expect(await world.count('launches', 'open')).toBe(1);
    world.process = { ...world.process, steps };
    await world.runUntil('the task is done', async () => (await world.count('tasks', 'done')) === 1, 10 * MINUTE);
    expect(world.truth.instances()).toHaveLength(1);
  });
});

describe('one visit', { timeout: 120_000 }, () => {
  test(`that never ends is cut off and counted ${shows('step.run')}`, async ({ pool }) => {
    const world = await World.create(pool, WITH_BUGS);
    await world.submit(1, 10);
    await world.runUntil('a machine boots', async () => (await world.count('machines', 'booting')) === 1);
    const { steps } = world.process;
    const hung = {
      ...steps,
      shell: { ...steps.shell, isOpen: async () => await new Promise<boolean>(() => undefined) },
    };
    const { id } = await onlyMachine(world);
    let outcome: unknown = null;
    const visit = async (): Promise<void> => {
      outcome = await runStep({ ...hung, timings: { ...steps.timings, stepMs: 30_000 } }, { kind: 'machine', id });
    };
    void visit();
    world.hosts.manners.closed = true;
    await world.runUntil('the visit is over', () => outcome !== null, 2 * MINUTE);
    expect(outcome).toMatchObject({ kind: 'again' });
  });

  test('to a row that is gone is done', async ({ pool }) => {
    const world = await World.create(pool, { ...WITH_BUGS });
    const { steps } = world.process;
    const broken = {
      ...steps,
      machines: new Proxy(steps.machines, {
        get: (t, n, r) => (n === 'read' ? bug : (Reflect.get(t, n, r) as unknown)),
      }),
    };
    const job = { kind: 'machine', id: 'mc-000000000000' as MachineId } as const;
    expect(await runStep(broken, job)).toEqual({ kind: 'done' });
    expect(await runStep(steps, { kind: 'launch', id: 'ln-000000000000' })).toEqual({ kind: 'done' });
  });

  test('waits longer after each failure, up to two minutes and some', () => {
    expect([1, 2, 3, 4, 50].map((failures) => failurePauseMs(failures, 0.5))).toEqual([
      2000, 4000, 8000, 16_000, 120_000,
    ]);
    expect([failurePauseMs(50, 0), failurePauseMs(50, 1)]).toEqual([90_000, 150_000]);
  });

  test('tells what never works from what is away', () => {
    const app = (code: 'QUEUE_UNREACHABLE' | 'AWS_CONFIG') => new AppError(code, 'said\nso', { remedy: 'none' });
    expect(readFailure(app('QUEUE_UNREACHABLE'))).toEqual({
      code: 'QUEUE_UNREACHABLE',
      message: 'said so',
      isLasting: false,
    });
    expect(readFailure(app('AWS_CONFIG'))).toMatchObject({ code: 'AWS_CONFIG', isLasting: true });
    expect(readFailure(new RangeError('x'.repeat(999)))).toMatchObject({ code: 'INTERNAL', isLasting: true });
    expect(readFailure(new RangeError('x'.repeat(999))).message).toHaveLength(300);
  });
});

describe('the way out', () => {
  const agent = {
    agentId: 'ag-1' as const,
    lastSeenAtMs: 1000,
    cordoned: true,
    cordonAckedAtMs: 900,
    runningTasks: 0,
    heldTasks: 0,
  };
  const facts = (state: MachineFacts['machine']['state'], changes: Partial<MachineFacts> = {}): MachineFacts => ({
    machine: { id: 'mc-1', state, revision: 1, stateSinceMs: 0 },
    nowMs: 2000,
    launchState: 'fulfilled',
    instanceId: 'i-1',
    region: 'us-east-1',
    observed: { state: 'running', atMs: 1000, endCode: null, missingListings: 0 },
    amnesia: false,
    agent,
    ...changes,
  });

  test('of each state', () => {
    expect(Object.fromEntries(MACHINE_STATES.map((state) => [state, findExit(facts(state)).to]))).toEqual({
      requested: 'terminated',
      launching: 'terminated',
      booting: 'terminating',
      joining: 'terminating',
      ready: 'draining',
      draining: 'leaving',
      leaving: 'terminating',
      stopping: 'terminating',
      stopped: 'terminating',
      // EC2 is asked all the same, by the bare columns.
      terminating: null,
      terminated: null,
    });
  });

  test.for<[string, MachineFacts, string | null]>([
    ['an open launch holds its machines', facts('launching', { launchState: 'open' }), null],
    ['work holds a drain', facts('draining', { agent: { ...agent, heldTasks: 1 } }), null],
    ['a report with work holds a drain', facts('draining', { agent: { ...agent, runningTasks: 1 } }), null],
    ['an agent that cannot be asked holds its machine', facts('ready', { agent: null }), null],
    ['an agent silent for 15 minutes holds nothing', facts('ready', { agent: null, nowMs: 900_000 }), 'terminating'],
    ['a silent agent with a task holds', facts('draining', { agent: { ...agent, heldTasks: 1 }, nowMs: 9e9 }), null],
    [
      'an instance that is gone ends whatever its row says',
      facts('terminating', { observed: { state: 'terminated', atMs: 1, endCode: null, missingListings: 0 } }),
      'terminated',
    ],
    ['lost commits hold what has an instance', facts('booting', { amnesia: true }), null],
    ['lost commits hold no machine without one', facts('launching', { amnesia: true, instanceId: null }), 'terminated'],
    [
      'an instance that is gone ends in spite of lost commits',
      facts('ready', { amnesia: true, observed: { state: 'terminated', atMs: 1, endCode: null, missingListings: 0 } }),
      'terminated',
    ],
  ])('%s', ([, known, to]) => {
    expect(findExit(known).to).toBe(to);
  });
});
