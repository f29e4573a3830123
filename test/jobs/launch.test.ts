import { describe, expect } from 'vitest';
import { stepLaunch } from '../../src/jobs/launch.ts';
import { AppError } from '../../src/model/errors.ts';
import type { LaunchId } from '../../src/model/ids.ts';
import type { RunOutcome } from '../../src/ports/cloud.ts';
import { createCredentials } from '../../src/wiring/credentials.ts';
import { test } from '../support/database.ts';
import { callOutcomes, endReasons } from '../support/world-rows.ts';
import { CALM, World } from '../support/world.ts';
import { shows } from '../support/waits.ts';

const ONE_TYPE = { types: ['c5.large'] };

async function untilDone(world: World, tasks: number): Promise<void> {
  await world.runUntil('the tasks are done', async () => (await world.count('tasks', 'done')) === tasks, 2_400_000);
}

async function untilGone(world: World): Promise<void> {
  await world.runUntil('all machines are gone', async () => (await world.liveMachines()) === 0, 2_400_000);
  expect(world.truth.living()).toEqual([]);
}

describe('a launch', () => {
  test('whose answers are lost repeats its token and gets the one instance it made', async ({ pool }) => {
    const world = await World.create(pool, ONE_TYPE);
    world.region.faults.loseReply('RunInstances', 2);
    await world.submit(1, 10);
    await untilDone(world, 1);
    expect(await callOutcomes(world.db)).toEqual(['unknown', 'unknown', 'launched']);
    expect(world.truth.instances()).toHaveLength(1);
  });

  test('that is throttled waits and repeats', async ({ pool }) => {
    const world = await World.create(pool, ONE_TYPE);
    world.region.faults.failNext('RunInstances', { code: 'RequestLimitExceeded', times: 2 });
    await world.submit(1, 10);
    await untilDone(world, 1);
    expect(await callOutcomes(world.db)).toEqual(['throttled', 'throttled', 'launched']);
  });

  test('whose call came too late to be signed repeats its token, for the database may have forgotten another call', async ({
    pool,
  }) => {
    const world = await World.create(pool, { types: ['c5.large', 'c5.xlarge'] });
    const { steps } = world.process;
    const signBefore = { wallMs: -Infinity, monotonicMs: -Infinity };
    let calls = 0;
    const runInstances: typeof steps.cloud.runInstances = async (request) => {
      calls += 1;
      // EC2 makes an instance, of which the ledger hears nothing: as if that call had been forgotten.
      if (calls === 1) await steps.cloud.runInstances(request);
      return await steps.cloud.runInstances(calls <= 2 ? { ...request, signBefore } : request);
    };
    world.process = { ...world.process, steps: { ...steps, cloud: { ...steps.cloud, runInstances } } };
    await world.submit(1, 10);
    await untilDone(world, 1);
    expect(await callOutcomes(world.db)).toEqual(['throttled', 'throttled', 'launched']);
    expect(world.truth.instances()).toHaveLength(1);
  });

  test('that is refused after a call of unknown outcome stays open until that call can have no effect any more', async ({
    pool,
  }) => {
    const world = await World.create(pool, { ...ONE_TYPE, ...CALM });
    world.region.faults.failNext('RunInstances', { code: 'InternalError' });
    world.region.faults.setCapacity([{ instanceType: '*', zone: '*', market: '*', instancesMax: 0 }]);
    await world.submit(1, 10);
    await world.run(500_000);
    expect(new Set(await callOutcomes(world.db))).toEqual(new Set(['refused', 'unknown']));
    // The money stays reserved: the first call might still have had an effect.
    expect(await world.count('machines', 'launching')).toBe(1);
    await world.run(400_000);
    expect(await world.count('machines', 'launching')).toBe(1);
    await world.run(100_000);
    expect(await world.count('launches', 'refused')).toBeGreaterThanOrEqual(1);
    expect((await endReasons(world.db))[0]).toBe('launch-refused');
  });

  test('that was answered to a process that died is fulfilled, however late its next step comes', async ({ pool }) => {
    const world = await World.create(pool, { ...ONE_TYPE, ...CALM });
    const { steps } = world.process;
    const remedy = 'none: the process is gone';
    const dead = {
      ...steps.launches,
      fulfil: async () => await Promise.reject(new AppError('TIMEOUT', 'gone', { remedy })),
    };
    world.process = { ...world.process, steps: { ...steps, launches: dead } };
    await world.submit(1, 10);
    await world.run(900_000);
    expect(await world.count('launches', 'open')).toBe(1);
    world.crash();
    await untilDone(world, 1);
    expect(world.truth.instances()).toHaveLength(1);
  });

  test('that is given in part keeps what came and ends the rest', async ({ pool }) => {
    const world = await World.create(pool, ONE_TYPE);
    world.region.faults.fulfilPartially(1);
    await world.submit(6, 30);
    await world.run(5000);
    const [first] = await world.db
      .selectFrom('launches')
      .select(['id', 'state'])
      .orderBy('instance_count', 'desc')
      .execute();
    expect(first?.state).toBe('fulfilled');
    const given = await world.db
      .selectFrom('machines')
      .select(['state', 'end_reason'])
      .where('launch_id', '=', first?.id ?? '')
      .orderBy('state')
      .execute();
    expect(given).toEqual([
      { state: 'booting', end_reason: null },
      { state: 'terminated', end_reason: 'launch-refused' },
    ]);
    await untilDone(world, 6);
    expect(world.truth.instances()).toHaveLength(3);
  });

  test('is not sent with another deployment key than the one it was made with', async ({ pool }) => {
    const world = await World.create(pool, ONE_TYPE);
    world.wake.deaf = true;
    await world.submit(1, 10);
    await world.run(1000);
    const { id } = await world.db
      .selectFrom('launches')
      .select('id')
      .where('state', '=', 'open')
      .executeTakeFirstOrThrow();
    const credentials = createCredentials(Buffer.alloc(32, 9));
    await stepLaunch({ ...world.process.steps, credentials }, id as LaunchId);
    const closed = await world.db.selectFrom('launches').select(['state', 'error_code']).executeTakeFirstOrThrow();
    expect(closed).toEqual({ state: 'refused', error_code: 'CONFIG_KEY_FILE' });
    expect(await callOutcomes(world.db)).toEqual([]);
  });

  test('whose key changed after a call of unknown outcome stays open, and is not looked at without end', async ({
    pool,
  }) => {
    const world = await World.create(pool, ONE_TYPE);
    world.wake.deaf = true;
    world.region.faults.failNext('RunInstances', { code: 'InternalError' });
    await world.submit(1, 10);
    await world.run(1000);
    const { id } = await world.db.selectFrom('launches').select('id').executeTakeFirstOrThrow();
    const { steps } = world.process;
    await stepLaunch(steps, id as LaunchId);
    const credentials = createCredentials(Buffer.alloc(32, 9));
    const outcome = await stepLaunch({ ...steps, credentials }, id as LaunchId);
    expect(outcome.kind === 'again' && outcome.afterMs >= 3000).toBe(true);
    expect(await world.count('launches', 'open')).toBe(1);
  });

  test(`is not sent by a process that was stopped for too long after writing the row of the call ${shows('aws.sign-launch')}`, async ({
    pool,
  }) => {
    const world = await World.create(pool, ONE_TYPE);
    world.wake.deaf = true;
    await world.submit(1, 10);
    await world.run(1000);
    const { id } = await world.db.selectFrom('launches').select('id').executeTakeFirstOrThrow();
    const { steps } = world.process;
    const cloud = {
      ...steps.cloud,
      async runInstances(request: Parameters<typeof steps.cloud.runInstances>[0]): Promise<RunOutcome> {
        await world.time.run(21_000);
        return await steps.cloud.runInstances(request);
      },
    };
    await stepLaunch({ ...steps, cloud }, id as LaunchId);
    expect(world.truth.instances()).toEqual([]);
    expect(await callOutcomes(world.db)).toEqual(['throttled']);
    expect(await world.count('launches', 'open')).toBe(1);
  });

  test('that expired while EC2 acted is swept up, once it shows', async ({ pool }) => {
    const world = await World.create(pool, { ...ONE_TYPE, ...CALM });
    const { steps } = world.process;
    const deafCloud = {
      ...steps.cloud,
      async runInstances(request: Parameters<typeof steps.cloud.runInstances>[0]): Promise<RunOutcome> {
        await steps.cloud.runInstances(request);
        return { kind: 'unknown', code: 'TimeoutError', message: 'never heard' };
      },
    };
    world.process = { ...world.process, steps: { ...steps, cloud: deafCloud } };
    await world.submit(1, 10);
    await world.runUntil('the launch expired', async () => (await world.count('launches', 'expired')) === 1);
    const [late] = world.truth.instances();
    world.crash();
    await untilDone(world, 1);
    await untilGone(world);
    expect(late?.state).toBe('running');
    expect(world.region.findInstance(late?.instanceId ?? '')?.state).toBe('terminated');
    expect(world.truth.instances()).toHaveLength(2);
  });
});
