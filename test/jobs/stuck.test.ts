/**
 * Goal: no row is stuck. Each live state of a machine and of a launch has a deadline and a step that it forces.
 * Method: one story per state in the simulated world, in which what the state waits for never comes. The stories are keyed
 * by state: a new state without one does not compile.
 */
import { describe, expect } from 'vitest';
import type { StepPorts } from '../../src/jobs/ports.ts';
import { AppError } from '../../src/model/errors.ts';
import { MACHINE_STATES, type LiveMachineState } from '../../src/model/machine.ts';
import { describeMachineWait, LAUNCH_WAITS, MACHINE_WAITS } from '../../src/model/state-waits.ts';
import { test } from '../support/database.ts';
import { worldPolicy, type PolicyChanges } from '../support/world-policy.ts';
import { drainByHand, endReasons, onlyMachine, readyInstance } from '../support/world-rows.ts';
import { CALM, World } from '../support/world.ts';

const MINUTE = 60_000;
type Pool = Parameters<typeof World.create>[0];

async function aWorld(pool: Pool, changes: PolicyChanges = {}): Promise<World> {
  const world = await World.create(pool, { policies: [worldPolicy({ limits: { max: 1 }, ...changes })], ...CALM });
  await world.submit(1, 60);
  return world;
}

/** The first machine has been in `state`, and stays there until its deadline takes it to `next`. */
async function expectForced(
  world: World,
  state: LiveMachineState,
  { next, withinMs }: { next: string; withinMs: number },
) {
  const first = async () =>
    await world.db.selectFrom('machines').select(['id', 'state']).orderBy('created_at').limit(1).executeTakeFirst();
  await world.runUntil(`it is ${state}`, async () => (await first())?.state === state, 10 * MINUTE);
  const id = (await first())?.id ?? '';
  await world.run(withinMs * 0.9);
  expect((await first())?.state).toBe(state);
  await world.run(withinMs * 0.1 + MINUTE);
  const events = await world.db
    .selectFrom('machine_events')
    .select(['from_state', 'to_state'])
    .where('machine_id', '=', id)
    .where('from_state', '=', state)
    .execute();
  expect(events.map((event) => event.to_state)).toContain(next);
}

function steppingWith(world: World, changes: Partial<StepPorts>): void {
  world.process = { ...world.process, steps: { ...world.process.steps, ...changes } };
}

async function expectClean(world: World): Promise<void> {
  world.policies = [];
  await world.runUntil('nothing lives', async () => (await world.liveMachines()) === 0, 90 * MINUTE);
  expect(world.truth.living()).toEqual([]);
}

const away = async (): Promise<never> => {
  throw new AppError('DATABASE_UNREACHABLE', 'the store is away', { remedy: 'wait' });
};

const STORIES: Readonly<Record<LiveMachineState, (pool: Pool) => Promise<void>>> = {
  async requested(pool) {
    const world = await aWorld(pool);
    // The launch's own step never gets anywhere: only the machine's deadline is left, which is twice the launch's.
    steppingWith(world, {
      launches: {
        ...world.process.steps.launches,
        read: away,
        beginCall: away,
        close: async (id, state, end) => await world.stores.launches.close(id, state, end),
      },
    });
    await expectForced(world, 'requested', { next: 'terminated', withinMs: 20 * MINUTE });
    expect((await endReasons(world.db))[0]).toBe('launch-expired');
  },
  async launching(pool) {
    const world = await aWorld(pool);
    world.region.faults.failNext('RunInstances', { code: 'InternalError', times: 1000 });
    await expectForced(world, 'launching', { next: 'terminated', withinMs: 40 * MINUTE });
    expect((await endReasons(world.db))[0]).toBe('launch-expired');
  },
  async booting(pool) {
    const world = await aWorld(pool);
    world.hosts.manners.closed = true;
    await expectForced(world, 'booting', { next: 'terminating', withinMs: 10 * MINUTE });
    await expectClean(world);
  },
  async joining(pool) {
    const world = await aWorld(pool);
    world.hosts.manners.agentMute = true;
    await expectForced(world, 'joining', { next: 'terminating', withinMs: 5 * MINUTE });
    await expectClean(world);
  },
  async ready(pool) {
    const world = await aWorld(pool);
    const agent = world.hosts.agentOn(await readyInstance(world));
    if (agent === null) throw new Error('no agent');
    agent.silent = true;
    await expectForced(world, 'ready', { next: 'terminating', withinMs: 16 * MINUTE });
    expect((await endReasons(world.db))[0] ?? (await onlyMachine(world)).state).toMatch(/agent-lost|terminating/);
  },
  async draining(pool) {
    const world = await aWorld(pool, { drain: { onDeadline: 'terminate' } });
    world.truth.killsAllowed = true;
    await world.submit(1, 7200);
    await world.runUntil('it works', async () => (await world.count('tasks', 'running')) === 2, 10 * MINUTE);
    await drainByHand(world, 10 * MINUTE);
    await expectForced(world, 'draining', { next: 'terminating', withinMs: 10 * MINUTE });
  },
  async leaving(pool) {
    const world = await aWorld(pool, { drain: { hooks: { beforeDrain: null, beforeTerminate: 'say-goodbye' } } });
    world.hosts.manners.exits.set('say-goodbye', 1);
    await expectForced(world, 'leaving', { next: 'terminating', withinMs: 10 * MINUTE });
    await expectClean(world);
  },
  async stopping(pool) {
    const world = await aWorld(pool, { burst: { warmPool: { max: 1, maxAgeMs: 30 * MINUTE } } });
    world.region.faults.failNext('StopInstances', { code: 'InternalError', times: 1000 });
    await expectForced(world, 'stopping', { next: 'terminating', withinMs: 10 * MINUTE });
    await expectClean(world);
  },
  async stopped(pool) {
    const world = await aWorld(pool, { burst: { warmPool: { max: 1, maxAgeMs: 30 * MINUTE } } });
    await expectForced(world, 'stopped', { next: 'terminating', withinMs: 30 * MINUTE });
    await expectClean(world);
  },
  async terminating(pool) {
    const world = await aWorld(pool);
    const { steps } = world.process;
    steppingWith(world, { cloud: { ...steps.cloud, terminateInstances: away } });
    await world.runUntil('it is terminating', async () => (await world.count('machines', 'terminating')) === 1);
    await world.run(130 * MINUTE);
    const alerts = await world.db
      .selectFrom('machine_events')
      .select('id')
      .where('reason', '=', 'terminate-deadline-extended')
      .execute();
    expect(alerts).toHaveLength(2);
    // Never given up: as soon as EC2 listens, the instance goes.
    world.process = { ...world.process, steps };
    await expectClean(world);
  },
};

describe('a machine that waits in vain', () => {
  test.for(Object.entries(STORIES))('is not stuck in %s', { timeout: 120_000 }, async ([, story], { pool }) => {
    await story(pool);
  });
});

describe('the table of waits', { timeout: 120_000 }, () => {
  test('has every live state of a machine and of a launch', () => {
    expect(Object.keys(MACHINE_WAITS)).toEqual(MACHINE_STATES.filter((state) => state !== 'terminated'));
    expect(Object.keys(STORIES)).toEqual(Object.keys(MACHINE_WAITS));
    expect(Object.keys(LAUNCH_WAITS)).toEqual(['open']);
  });

  test('reads as a sentence, with the moment and the next step', () => {
    expect(describeMachineWait('booting', '2026-11-22T10:10:00.000Z')).toBe(
      'waits for an address and an open SSH port, until 2026-11-22T10:10:00.000Z; then it is terminated (boot-deadline)',
    );
    expect(describeMachineWait('ready', null)).toContain('for as long as it takes; then');
  });

  test('looks at no row later than its deadline', async ({ pool }) => {
    const world = await aWorld(pool);
    await readyInstance(world);
    await drainByHand(world, 5 * MINUTE);
    const { id, deadlineAtMs } = await onlyMachine(world);
    await world.stores.machines.wakeAfter(id, 60 * MINUTE);
    const { wake_at } = await world.db
      .selectFrom('machines')
      .select('wake_at')
      .where('id', '=', id)
      .executeTakeFirstOrThrow();
    expect(wake_at.getTime()).toBe(deadlineAtMs);
  });

  test('rings for a live row that has no job', async ({ pool }) => {
    const world = await aWorld(pool);
    await readyInstance(world);
    world.wake.deaf = true;
    await world.run(5 * MINUTE);
    world.wake.deaf = false;
    await expectClean(world);
  });
});
