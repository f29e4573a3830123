/** Goal: the rules about how machines are let go notice each breach of them, and nothing that they allow. */
import { describe, expect, test } from 'vitest';
import { HOOKS, LettingGo } from '../../src/chaos/letting-go.ts';
import { Sim } from '../../src/chaos/sim.ts';
import type { SqlWorld } from '../../src/chaos/sql.ts';
import { Violation } from '../../src/chaos/truth.ts';
import type { MachineId } from '../../src/model/ids.ts';
import type { InstanceView } from '../../src/simulator/region.ts';
import { worldPolicy } from '../support/world-policy.ts';

const START_MS = Date.UTC(2026, 6, 20);
const MINUTE_MS = 60_000;
const CAREFUL = worldPolicy({
  drain: { oneAtATime: true, hooks: { beforeDrain: null, beforeTerminate: null, health: HOOKS.health } },
});
const ONE: MachineId = 'mc-000000000001';

interface Event {
  readonly machine_id?: MachineId;
  readonly to_state: string;
  readonly actor: string;
  readonly reason?: string;
  readonly at?: Date;
}

/** Two machines of one workload, by default at work and drained by the planner. */
function aWorld(events: readonly Event[] = [{ to_state: 'draining', actor: 'planner' }]) {
  const sim = new Sim({ seed: 1, only: null, startMs: START_MS, without: new Set(), quietAfterMs: Infinity });
  const states = new Map<string, InstanceView['state']>([
    ['i-a', 'running'],
    ['i-b', 'running'],
  ]);
  const taken = new Set<string>();
  const silent = new Set<string>();
  const lettingGo = new LettingGo({
    sim,
    policies: [CAREFUL],
    find: (instanceId) =>
      ({ state: states.get(instanceId), startedAtMs: 1, tags: { 'spillway:workload': CAREFUL.name } }) as never,
    isTaken: (instanceId) => taken.has(instanceId),
    lastHeardMs: (instanceId) => (silent.has(instanceId) ? null : sim.nowMs),
  });
  // Only what is asked first matters: why it was let go, or all that concerns protection.
  const sql: Pick<SqlWorld, 'query'> = {
    query: async <Row extends object>(text: string) =>
      (text.includes("'unprotected'") ? events.filter((one) => one.machine_id !== undefined) : events) as Row[],
  };
  const healthy = (): void => ['i-a', 'i-b'].forEach((id) => lettingGo.noteHook(id, HOOKS.health));
  /** The rule that was broken; null = none. */
  const breach = async (): Promise<string | null> =>
    await lettingGo.check(sql).then(
      () => null,
      (error: unknown) => (error instanceof Violation ? error.rule : String(error)),
    );
  return { lettingGo, states, taken, silent, healthy, breach };
}

describe('a machine that is touched', () => {
  test('before it was healthy breaks a promise, and after that none', async () => {
    const ill = aWorld();
    ill.lettingGo.noteTouch('i-a', 'its end');
    expect(await ill.breach()).toBe('health');
    const well = aWorld();
    well.healthy();
    well.lettingGo.noteTouch('i-a', 'its end');
    expect(await well.breach()).toBeNull();
  });

  test('while another one goes breaks a promise, until that one runs no more', async () => {
    const both = aWorld();
    both.healthy();
    both.lettingGo.noteHook('i-a', HOOKS.beforeDrain);
    both.lettingGo.noteTouch('i-b', 'its end');
    expect(await both.breach()).toBe('one-at-a-time');
    const inTurn = aWorld();
    inTurn.healthy();
    inTurn.lettingGo.noteTouch('i-a', 'its end');
    inTurn.states.set('i-a', 'shutting-down');
    inTurn.lettingGo.noteTouch('i-b', 'its end');
    expect(await inTurn.breach()).toBeNull();
  });

  test.each([
    ['EC2 takes', (world: ReturnType<typeof aWorld>) => world.taken.add('i-b')],
    ['has no agent any more', (world: ReturnType<typeof aWorld>) => world.silent.add('i-b')],
    ['an operator wants gone', (world: ReturnType<typeof aWorld>) => world.lettingGo.noteForced('i-b')],
    ['met a failover', (world: ReturnType<typeof aWorld>) => world.lettingGo.forget()],
  ])('and that %s breaks none', async (_what, excuse) => {
    const world = aWorld();
    world.lettingGo.noteHook('i-a', HOOKS.health);
    world.lettingGo.noteTouch('i-a', 'its end');
    excuse(world);
    world.lettingGo.noteTouch('i-b', 'its end');
    expect(await world.breach()).toBeNull();
  });

  test('and never joined, by the rows, breaks none', async () => {
    const world = aWorld([{ to_state: 'booting', actor: 'launch-step' }]);
    world.lettingGo.noteTouch('i-a', 'its end');
    expect(await world.breach()).toBeNull();
  });
});

describe('a machine that is protected', () => {
  const drainedAt = (ms: number, actor = 'planner'): Event => ({
    machine_id: ONE,
    to_state: 'draining',
    actor,
    reason: 'unneeded',
    at: new Date(START_MS + ms),
  });

  test.each(['planner', 'operator'])('by an operator is not drained by the %s', async (actor) => {
    const world = aWorld([drainedAt(MINUTE_MS, actor)]);
    world.lettingGo.notePromise(ONE, Infinity);
    expect(await world.breach()).toBe('protected');
  });

  test('may be drained when its time is over, or an operator takes that back', async () => {
    const over = aWorld([drainedAt(MINUTE_MS)]);
    over.lettingGo.notePromise(ONE, START_MS + MINUTE_MS);
    expect(await over.breach()).toBeNull();
    const back = aWorld([drainedAt(MINUTE_MS)]);
    back.lettingGo.notePromise(ONE, Infinity);
    back.lettingGo.endPromise(ONE);
    expect(await back.breach()).toBeNull();
  });

  test('by its tag is not drained while the service has seen it there', async () => {
    const tag = (reason: 'protected' | 'unprotected'): Event => ({
      machine_id: ONE,
      to_state: 'ready',
      actor: 'sweeper',
      reason,
      at: new Date(START_MS),
    });
    expect(await aWorld([tag('protected'), drainedAt(0)]).breach()).toBe('protected');
    expect(await aWorld([tag('protected'), tag('unprotected'), drainedAt(0)]).breach()).toBeNull();
  });
});
