/**
 * Goal: machines that go together cost one call, and no id, no failure and no crash keeps the others from going.
 * Method: rows on their way out, the real step on real Postgres with a stopped clock, and an EC2 that knows what the test wants.
 */
import { describe, expect } from 'vitest';
import { stepMachine } from '../../src/jobs/machine.ts';
import type { StepPorts } from '../../src/jobs/ports.ts';
import { AppError } from '../../src/model/errors.ts';
import type { MachineId } from '../../src/model/ids.ts';
import type { TerminateOutcome } from '../../src/ports/cloud.ts';
import type { Db } from '../../src/store/database.ts';
import { aLaunch, aMachine, REGION } from '../support/builders.ts';
import { test } from '../support/database.ts';
import { InjectedCrash } from '../support/world-faults.ts';
import { World } from '../support/world.ts';

const BY_HAND = { plan: Infinity, ring: Infinity, sweep: Infinity, account: Infinity, prices: Infinity } as const;
const SECOND = 1000;

/** EC2 with some instances; a call names what it ended. */
class StubEc2 {
  readonly calls: (readonly string[])[] = [];
  readonly ended: string[] = [];
  unknown: readonly string[] = [];
  /** Refused as a whole when one of them is named: EC2 says so of protected instances. */
  refused: readonly string[] = [];
  next: (() => TerminateOutcome) | null = null;

  terminateInstances = async (_region: string, ids: readonly string[]): Promise<TerminateOutcome> => {
    this.calls.push(ids);
    const { next } = this;
    this.next = null;
    if (next !== null) return next();
    if (ids.some((id) => this.refused.includes(id))) {
      throw new AppError('AWS_CONFIG', 'OperationNotPermitted', { remedy: 'none' });
    }
    const missing = ids.filter((id) => this.unknown.includes(id));
    if (missing.length > 0) return { kind: 'not-found', instanceIds: missing };
    this.ended.push(...ids);
    return { kind: 'accepted' };
  };
}

interface Scene {
  readonly world: World;
  readonly ec2: StubEc2;
  readonly instanceIds: readonly string[];
  /** One visit to a machine; ms until it wants the next. */
  step(index: number): Promise<number>;
}

async function terminating(db: Db, count: number): Promise<readonly { id: MachineId; instanceId: string }[]> {
  const made = [];
  for (let index = 0; index < count; index += 1) {
    const launchId = await aLaunch(db, { state: 'fulfilled', body: { region: REGION } });
    const { id, instanceId } = await aMachine(db, 'terminating', { launchId, ageMs: 10 * SECOND });
    made.push({ id, instanceId: instanceId ?? '' });
  }
  return made;
}

async function set(pool: Parameters<typeof World.create>[0], count: number): Promise<Scene> {
  const world = await World.create(pool, { everyS: BY_HAND });
  const ec2 = new StubEc2();
  const machines = await terminating(world.db, count);
  const steps: StepPorts = {
    ...world.process.steps,
    cloud: { ...world.process.steps.cloud, terminateInstances: ec2.terminateInstances },
  };
  return {
    world,
    ec2,
    instanceIds: machines.map(({ instanceId }) => instanceId),
    step: async (index) => {
      const outcome = await stepMachine(steps, machines[index]!.id);
      return outcome.kind === 'again' ? outcome.afterMs : Number.NaN;
    },
  };
}

describe('machines that go together', () => {
  test('are ended by one call of the first step; the others find it done', async ({ pool }) => {
    const { ec2, instanceIds, step } = await set(pool, 5);
    expect(await step(2)).toBe(60 * SECOND);
    for (const index of [0, 1, 3, 4]) expect(await step(index)).toBe(60 * SECOND);
    expect(ec2.calls).toEqual([instanceIds]);
  });

  test('are asked for again after a minute, together, while EC2 does not show their end', async ({ pool }) => {
    const { world, ec2, instanceIds, step } = await set(pool, 3);
    await step(0);
    await world.run(59 * SECOND);
    expect(await step(1)).toBe(SECOND);
    await world.run(SECOND);
    await step(1);
    await step(0);
    expect(ec2.calls).toEqual([instanceIds, instanceIds]);
  });

  test('wait a second for one another', async ({ pool }) => {
    const { world, ec2, instanceIds, step } = await set(pool, 1);
    await world.db
      .updateTable('machines')
      .set({ state_since: new Date(world.time.nowMs()) })
      .execute();
    expect(await step(0)).toBe(SECOND);
    expect(ec2.calls).toEqual([]);
    const [late] = await terminating(world.db, 1);
    await world.run(SECOND);
    await step(0);
    expect(ec2.calls).toEqual([expect.arrayContaining([...instanceIds, late!.instanceId])]);
  });
});

describe('a batch', () => {
  test('with an id that EC2 does not know ends the others at once, and that one alone is asked for again', async ({
    pool,
  }) => {
    const { world, ec2, instanceIds, step } = await set(pool, 4);
    ec2.unknown = [instanceIds[1]!];
    await step(0);
    expect(ec2.ended).toEqual([instanceIds[0], instanceIds[2], instanceIds[3]]);
    expect(ec2.calls).toHaveLength(2);
    await world.run(10 * SECOND);
    await step(1);
    expect(ec2.calls.slice(2)).toEqual([[instanceIds[1]]]);
  });

  test('with an id that EC2 refuses is divided until that one is alone', async ({ pool }) => {
    const { ec2, instanceIds, step } = await set(pool, 16);
    ec2.refused = [instanceIds[11]!];
    await step(0);
    expect(ec2.ended.toSorted()).toEqual(instanceIds.filter((id) => id !== instanceIds[11]).toSorted());
    // Two for each of four halvings, and the first.
    expect(ec2.calls).toHaveLength(9);
  });

  test('in which all is refused makes a bounded number of calls', async ({ pool }) => {
    const { ec2, instanceIds, step } = await set(pool, 30);
    ec2.refused = instanceIds;
    await step(0);
    expect(ec2.calls).toHaveLength(20);
  });

  test('that finds no token waits as long as it was told, all of it', async ({ pool }) => {
    const { world, ec2, instanceIds, step } = await set(pool, 3);
    ec2.next = () => ({ kind: 'throttled', retryAfterMs: 30 * SECOND });
    expect(await step(0)).toBe(30 * SECOND);
    expect(await step(2)).toBe(30 * SECOND);
    await world.run(30 * SECOND);
    await step(2);
    expect(ec2.calls).toEqual([instanceIds, instanceIds]);
    expect(ec2.ended).toEqual(instanceIds);
  });

  test('that EC2 did not hear of is due again at the next look', async ({ pool }) => {
    const { world, ec2, instanceIds, step } = await set(pool, 2);
    ec2.next = () => {
      throw new AppError('AWS_UNREACHABLE', 'no answer', { remedy: 'wait' });
    };
    expect(await step(0)).toBe(10 * SECOND);
    await world.run(10 * SECOND);
    await step(1);
    expect(ec2.ended).toEqual(instanceIds);
  });

  test('that is lost with its process is asked for again a minute later, by whoever comes', async ({ pool }) => {
    const { world, ec2, instanceIds, step } = await set(pool, 3);
    ec2.next = () => {
      throw new InjectedCrash('between the rows and the call');
    };
    await expect(step(0)).rejects.toThrow(InjectedCrash);
    expect(await step(1)).toBe(60 * SECOND);
    await world.run(60 * SECOND);
    await step(1);
    expect(ec2.ended).toEqual(instanceIds);
  });
});
