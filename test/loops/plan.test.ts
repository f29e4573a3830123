import { describe, expect } from 'vitest';
import { createLead } from '../../src/loops/lead.ts';
import { planTick } from '../../src/loops/plan.ts';
import type { LoopPorts } from '../../src/loops/ports.ts';
import { AppError } from '../../src/model/errors.ts';
import type { PlanningStore } from '../../src/ports/planning.ts';
import { aMachine } from '../support/builders.ts';
import { test } from '../support/database.ts';
import { worldPolicy } from '../support/world-policy.ts';
import { World } from '../support/world.ts';

const NO_LOOPS = { plan: Infinity, ring: Infinity, sweep: Infinity, account: Infinity, prices: Infinity } as const;

/** The planning store, with something that happens between the snapshot and the commit. */
function meanwhile(planning: PlanningStore, happen: () => Promise<unknown>): PlanningStore {
  return {
    ...planning,
    commit: async (commit) => await planning.commit(commit),
    recordPolicies: async (policies) => await planning.recordPolicies(policies),
    readPolicy: async (workload) => await planning.readPolicy(workload),
    async readFacts(policies) {
      const facts = await planning.readFacts(policies);
      await happen();
      return facts;
    },
  };
}

async function countPlans(world: World): Promise<number> {
  return (await world.db.selectFrom('plans').select('id').execute()).length;
}

async function expectNothingWritten(world: World): Promise<void> {
  expect(await countPlans(world)).toBe(0);
  expect(await world.count('launches', 'open')).toBe(0);
  expect(await world.liveMachines()).toBe(0);
}

/** A lead whose own clocks stand still: only the database can say that its lease is over. */
function unsuspecting(world: World) {
  const { leadership } = world.stores;
  const clock = { nowMs: () => 1000, monotonicMs: () => 1000 };
  return createLead({ leadership, clock, log: world.log, holder: 'process-1' });
}

describe('a decision pass', () => {
  test('of a process that does not lead decides nothing', async ({ pool }) => {
    const world = await World.create(pool, { everyS: NO_LOOPS });
    await world.submit(4, 10);
    await world.stores.leadership.acquire('another process', 60_000);
    expect(await planTick(world.process.loops)).toEqual({ kind: 'not-leader' });
    expect(world.process.loops.view.leading).toBe(false);
    await expectNothingWritten(world);
  });

  test('of a leader that was replaced between snapshot and commit commits nothing', async ({ pool }) => {
    const world = await World.create(pool, { everyS: NO_LOOPS });
    await world.submit(4, 10);
    const { loops } = world.process;
    const planning = meanwhile(loops.planning, async () => {
      await world.time.run(16_000);
      expect(await world.stores.leadership.acquire('another process', 60_000)).not.toBeNull();
    });
    expect(await planTick({ ...loops, planning, lead: unsuspecting(world) })).toEqual({ kind: 'fenced' });
    await expectNothingWritten(world);
  });

  test('of a leader whose lease ran out unnoticed commits nothing, even if nobody else leads', async ({ pool }) => {
    const world = await World.create(pool, { everyS: NO_LOOPS });
    await world.submit(4, 10);
    const { loops } = world.process;
    const planning = meanwhile(loops.planning, async () => await world.time.run(16_000));
    expect(await planTick({ ...loops, planning, lead: unsuspecting(world) })).toEqual({ kind: 'fenced' });
    await expectNothingWritten(world);
  });

  test('of a leader that was stopped after its snapshot does not even ask for the commit', async ({ pool }) => {
    const world = await World.create(pool, { everyS: NO_LOOPS });
    await world.submit(4, 10);
    const { loops } = world.process;
    const commit = async (): Promise<never> => {
      throw new Error('a lapsed plan was committed');
    };
    // Two thirds of the lease, and the lease itself still holds.
    const planning = { ...meanwhile(loops.planning, async () => await world.time.run(10_000)), commit };
    expect(await planTick({ ...loops, planning })).toEqual({ kind: 'lapsed' });
    expect(await planTick(loops)).toMatchObject({ kind: 'planned', acted: true });
  });

  test('whose limit was used up meanwhile commits nothing and plans again', async ({ pool }) => {
    const world = await World.create(pool, { policies: [worldPolicy({ limits: { max: 1 } })], everyS: NO_LOOPS });
    await world.submit(4, 10);
    const { loops } = world.process;
    const planning = meanwhile(loops.planning, async () => await planTick(loops));
    expect(await planTick({ ...loops, planning })).toEqual({ kind: 'outdated' });
    expect(await world.liveMachines()).toBe(1);
    expect(await countPlans(world)).toBe(1);
  });

  test('is stored when it differs from the one before, and not when it says the same', async ({ pool }) => {
    const world = await World.create(pool, { everyS: NO_LOOPS });
    for (let turn = 0; turn < 3; turn += 1) expect((await planTick(world.process.loops)).kind).toBe('planned');
    expect(await countPlans(world)).toBe(1);
    await world.submit(1, 10);
    expect(await planTick(world.process.loops)).toMatchObject({ kind: 'planned', acted: true });
    expect(await countPlans(world)).toBe(2);
  });

  test('is committed while the queue is away, and the rows ring by themselves', async ({ pool }) => {
    const world = await World.create(pool, { everyS: NO_LOOPS });
    await world.submit(1, 10);
    const { loops } = world.process;
    const ring = async (): Promise<void> => {
      throw new AppError('QUEUE_UNREACHABLE', 'Redis is away', { remedy: 'wait' });
    };
    const wake: LoopPorts['wake'] = { ...loops.wake, ring };
    expect(await planTick({ ...loops, wake })).toMatchObject({ kind: 'planned', acted: true });
    await world.turn('ring');
    await world.run(1000);
    expect(world.truth.instances()).toHaveLength(1);
  });

  test('before it may decide keeps the lease and decides nothing', async ({ pool }) => {
    const world = await World.create(pool, { everyS: NO_LOOPS });
    await world.submit(1, 10);
    const decideFromMs = world.time.monotonicMs() + 1000;
    expect(await planTick({ ...world.process.loops, decideFromMs })).toEqual({ kind: 'settling' });
    await expectNothingWritten(world);
    await world.time.run(1000);
    expect(await planTick({ ...world.process.loops, decideFromMs })).toMatchObject({ kind: 'planned', acted: true });
  });

  test('launches nothing while what EC2 offers is not known, and says so', async ({ pool }) => {
    const world = await World.create(pool, { everyS: NO_LOOPS });
    world.region.faults.failNext('DescribeImages', { code: 'ServiceUnavailable' });
    await world.submit(1, 10);
    const tick = await planTick(world.process.loops);
    expect(tick).toMatchObject({ kind: 'planned', acted: false });
    const reasons = tick.kind === 'planned' ? tick.outcome.workloads.flatMap(({ report }) => report.reasons) : [];
    expect(reasons.map(({ code }) => code)).toContain('offerings-unknown');
    expect(await planTick(world.process.loops)).toMatchObject({ acted: true });
  });

  test('drains nothing while the last look at EC2 is old', async ({ pool }) => {
    const world = await World.create(pool, { everyS: { sweep: Infinity } });
    await world.submit(1, 10);
    // Without a sweep nobody tells the machine's address, unless the launch did; here it did.
    await world.run(300_000);
    expect(await world.count('tasks', 'done')).toBe(1);
    expect(await world.count('machines', 'ready')).toBe(1);
    await world.turn('sweep');
    await world.run(10_000);
    expect(await world.count('machines', 'ready')).toBe(0);
  });

  test('drains the machines of a policy that is gone, and no others', async ({ pool }) => {
    const world = await World.create(pool, { policies: [worldPolicy({ limits: { min: 1 } })], everyS: NO_LOOPS });
    const orphan = await aMachine(world.db, 'ready', { workload: 'gone' });
    const kept = await aMachine(world.db, 'ready', { workload: worldPolicy().name });

    await planTick(world.process.loops);

    const rows = await world.db.selectFrom('machines').select(['id', 'state', 'end_reason']).orderBy('id').execute();
    expect(new Map(rows.map(({ id, ...row }) => [id, row]))).toEqual(
      new Map([
        [orphan.id, { state: 'draining', end_reason: 'policy-removed' }],
        [kept.id, { state: 'ready', end_reason: null }],
      ]),
    );
  });

  test('gives one trace to everything that comes of it, and another plan gives another', async ({ pool }) => {
    const world = await World.create(pool, { policies: [worldPolicy({ limits: { max: 1 } })] });
    await world.submit(1, 10);
    await world.runUntil('the machine is over', async () => (await world.count('machines', 'terminated')) === 1);
    const plans = await world.db.selectFrom('plans').select(['id', 'trace_id']).execute();
    const traceOf = new Map(plans.map(({ id, trace_id }) => [id, trace_id]));
    expect(new Set(traceOf.values()).size).toBe(plans.length);
    const launch = await world.db.selectFrom('launches').selectAll().executeTakeFirstOrThrow();
    const machine = await world.db.selectFrom('machines').selectAll().executeTakeFirstOrThrow();
    const trace = traceOf.get(launch.plan_id);
    expect(trace).toMatch(/^[0-9a-f]{32}$/);
    expect([launch.trace_id, machine.trace_id]).toEqual([trace, trace]);
    expect(world.truth.instances().map(({ tags }) => tags['spillway:trace'])).toEqual([trace]);

    const events = await world.db.selectFrom('machine_events').selectAll().orderBy('id').execute();
    expect(events.map((event) => event.trace_id)).toEqual(events.map(({ plan_id }) => traceOf.get(plan_id)));
    // The life up to `ready` belongs to the plan that launched, what follows to the plan that drained.
    const drain = events.findIndex(({ to_state }) => to_state === 'draining');
    expect(new Set(events.slice(0, drain).map(({ plan_id }) => plan_id))).toEqual(new Set([launch.plan_id]));
    const ofDrain = new Set(events.slice(drain).map(({ plan_id }) => plan_id));
    expect(ofDrain.size).toBe(1);
    expect(ofDrain).not.toContain(launch.plan_id);
  });
});
