/**
 * Goal: whatever call of a machine's life fails, before or after its effect, one intent gives one instance, nothing leaks,
 * no work is lost or killed, and every row comes to its end.
 * Method: a short life (two tasks, one machine, idle, gone) is lived again and again on one database; in each, the first call
 * through a port of steps and loops that never failed before fails, until a whole life passes without meeting a new one.
 */
import { describe, expect } from 'vitest';
import { test } from '../support/database.ts';
import type { FaultKind, FaultMoment } from '../support/world-faults.ts';
import { worldPolicy } from '../support/world-policy.ts';
import { runUntilRest } from '../support/world-rows.ts';
import { World } from '../support/world.ts';

const SLOW_LOOPS = { plan: 20, sweep: 15, ring: 15, assign: 20, recover: 30, account: 30, prices: Infinity } as const;
/** A life has about fifty different calls; far beyond that, a fault would breed endless others. */
const LIVES_MAX = 120;
/** The longest way out: a launch whose outcome stays unknown ends with its deadline of ten minutes. */
const LIFE_MAX_MS = 2_400_000;

/** Calls whose failure hurts most: no run of this test may have passed without them. */
const DECISIVE = [
  'planning.commit(launches)',
  'planning.commit(drains)',
  'launches.beginCall',
  'budget.take',
  'cloud.runInstances',
  'launches.finishCall',
  'launches.fulfil',
  'machines.transition(joining)',
  'machines.issueEnrolment',
  'shell.withSession#3',
  'session.upload',
  'session.runScript#1',
  'session.runScript#2',
  'session.runScript#3',
  'machines.markInstalled',
  'machines.transition(ready)',
  'machines.markDrainIrrevocable',
  'machines.transition(leaving)',
  'machines.transition(terminating)',
  'machines.claimTerminations',
  'cloud.terminateInstances#1',
  'machines.transition(terminated)',
  'sweeping.observe',
  'ledger.append',
  'wake.ring(launch)',
  'wake.ring(machine)',
];

const policy = worldPolicy({
  limits: { max: 4 },
  drain: { hooks: { beforeDrain: 'save-state', beforeTerminate: 'say-goodbye' } },
});

async function liveOnce(world: World): Promise<void> {
  await world.submit(2, 30);
  await runUntilRest(world, world.injector.struck ?? 'no fault', LIFE_MAX_MS);
}

describe.each([
  ['crash', 'before'],
  ['crash', 'after'],
  ['error', 'before'],
  ['error', 'after'],
] as const satisfies readonly (readonly [FaultKind, FaultMoment])[])('a %s %s each call', (kind, moment) => {
  test('costs time, and nothing else', { timeout: 180_000 }, async ({ pool }) => {
    const world = await World.create(pool, { policies: [policy], everyS: SLOW_LOOPS });
    // Each launch asks for one machine.
    world.truth.instancesPerTokenMax = 1;
    world.truth.livingMax = 3;
    for (let life = 1; life <= LIVES_MAX; life += 1) {
      world.injector.arm(kind, moment);
      await liveOnce(world);
      if (world.injector.struck === null) break;
    }
    const struck = [...world.injector.covered];
    for (const site of DECISIVE) expect(struck, `${kind} ${moment}`).toContain(site);
    expect(world.injector.struck).toBeNull();
    // Some sweeps and more than a minute: what had to be condemned is gone, too.
    await world.run(300_000);
    await runUntilRest(world, 'the last life', 0);
  });
});
