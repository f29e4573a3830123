/**
 * Goal: no launch and no termination reaches EC2 without its tokens, and each throttle of EC2 slows all replicas down.
 * Method: the decorator on real buckets in Postgres, whose clock is stopped; EC2 is a stub that counts.
 */
import { describe, expect } from 'vitest';
import { openCallGate } from '../../src/cloud/call-gate.ts';
import { limitCloud } from '../../src/cloud/limited.ts';
import { AppError } from '../../src/model/errors.ts';
import type { ApiBudget } from '../../src/ports/api-budget.ts';
import { SIGN_DEADLINE_PASSED } from '../../src/ports/cloud.ts';
import type { Cloud, PowerOutcome, RunOutcome, TerminateOutcome } from '../../src/ports/cloud.ts';
import { createApiBuckets } from '../../src/store/api-buckets.ts';
import type { Db } from '../../src/store/database.ts';
import { passTime, stopClock } from '../support/builders.ts';
import { realClock } from '../support/clock.ts';
import { test } from '../support/database.ts';
import { REGION, runRequest } from './builders.ts';

const LAUNCHED: RunOutcome = { kind: 'launched', instances: [] };
const THROTTLED: RunOutcome = { kind: 'throttled', code: 'RequestLimitExceeded', message: 'slow down' };
const throttleError = new AppError('AWS_THROTTLED', 'EC2 did not terminate', { remedy: 'wait' });
const IDS = ['i-1', 'i-2', 'i-3'];

const away: ApiBudget = {
  take: async () => {
    throw new AppError('DATABASE_UNREACHABLE', 'Postgres does not answer', { remedy: 'wait' });
  },
  reportThrottle: async () => {
    throw new AppError('DATABASE_UNREACHABLE', 'Postgres does not answer', { remedy: 'wait' });
  },
};

/** A replica: its own gate and EC2 client, the shared budget. */
class Replica {
  readonly calls: string[] = [];
  readonly cloud: Cloud;
  run: () => RunOutcome = () => LAUNCHED;
  terminate: () => TerminateOutcome = () => ({ kind: 'accepted' });
  power: () => PowerOutcome = () => ({ kind: 'accepted' });

  constructor(budget: ApiBudget) {
    const never = async (): Promise<never> => {
      throw new Error('not called here');
    };
    const ec2: Cloud = {
      runInstances: async () => {
        this.calls.push('run');
        return this.run();
      },
      terminateInstances: async () => {
        this.calls.push('terminate');
        return this.terminate();
      },
      stopInstance: async () => {
        this.calls.push('stop');
        return this.power();
      },
      startInstance: async () => {
        this.calls.push('start');
        return this.power();
      },
      listInstances: never,
      listInstanceTypes: never,
      describeImages: async () => [],
      describeSubnets: never,
      listSpotPrices: never,
      consoleOutput: never,
      pushLoginKey: never,
      listSpotEnds: never,
      listInterruptions: never,
    };
    this.cloud = limitCloud(ec2, openCallGate({ clock: realClock, budget }));
  }
}

async function twoReplicas(db: Db): Promise<readonly [Replica, Replica]> {
  await stopClock(db);
  return [new Replica(createApiBuckets(db)), new Replica(createApiBuckets(db))];
}

describe('a stop or a start', () => {
  const signBefore = { wallMs: Infinity, monotonicMs: Infinity };

  test('without a token is put off, each by a bucket of its own, and EC2 does not hear of it', async ({ db }) => {
    const [one, other] = await twoReplicas(db);
    await one.cloud.startInstance(REGION, 'i-1', signBefore);
    await one.cloud.startInstance(REGION, 'i-2', signBefore);
    const held = { kind: 'throttled', code: 'LocalBudget', retryAfterMs: 500 };
    expect(await other.cloud.startInstance(REGION, 'i-3', signBefore)).toMatchObject(held);
    expect(await other.cloud.stopInstance(REGION, 'i-3')).toEqual({ kind: 'accepted' });
    expect([one.calls, other.calls]).toEqual([['start', 'start'], ['stop']]);
  });

  test('that EC2 throttles puts off those of all replicas', async ({ db }) => {
    const [one, other] = await twoReplicas(db);
    one.power = () => ({ kind: 'throttled', code: 'RequestLimitExceeded', message: 'slow down' });
    expect(await one.cloud.stopInstance(REGION, 'i-1')).toMatchObject({ kind: 'throttled', retryAfterMs: 1000 });
    expect(await other.cloud.stopInstance(REGION, 'i-2')).toMatchObject({ code: 'LocalBudget' });
    expect(other.calls).toEqual([]);
  });
});

describe('a launch', () => {
  test('without a token is told as throttled, with the wait, and EC2 does not hear of it', async ({ db }) => {
    const [one, other] = await twoReplicas(db);
    await one.cloud.runInstances(runRequest());
    await one.cloud.runInstances(runRequest());
    expect(await other.cloud.runInstances(runRequest())).toMatchObject({
      kind: 'throttled',
      code: 'LocalBudget',
      retryAfterMs: 500,
    });
    expect([one.calls.length, other.calls.length]).toEqual([2, 0]);
    await passTime(db, 500);
    expect(await other.cloud.runInstances(runRequest())).toEqual(LAUNCHED);
  });

  test('takes a token for each machine that it asks for', async ({ db }) => {
    const [one] = await twoReplicas(db);
    await one.cloud.runInstances(runRequest({ body: { count: 70 } }));
    const row = await db.selectFrom('api_buckets').selectAll().executeTakeFirstOrThrow();
    expect(row).toMatchObject({ region: REGION, bucket: 'run', call_tokens: 1.5, instance_tokens: 430 });
  });

  test('that EC2 throttles puts off the launches of all replicas', async ({ db }) => {
    const [one, other] = await twoReplicas(db);
    one.run = () => THROTTLED;
    expect(await one.cloud.runInstances(runRequest())).toEqual({ ...THROTTLED, retryAfterMs: 1000 });
    expect(await other.cloud.runInstances(runRequest())).toMatchObject({ code: 'LocalBudget', retryAfterMs: 3000 });
    expect(other.calls).toEqual([]);
  });

  test('that came too late to be signed says nothing of how busy EC2 is', async ({ db }) => {
    const [one, other] = await twoReplicas(db);
    one.run = () => ({ ...THROTTLED, code: SIGN_DEADLINE_PASSED });
    expect(await one.cloud.runInstances(runRequest())).toEqual({ ...THROTTLED, code: SIGN_DEADLINE_PASSED });
    expect(await other.cloud.runInstances(runRequest())).toEqual(LAUNCHED);
  });

  test('is held when the buckets cannot be read', async () => {
    const replica = new Replica(away);
    const outcome = await replica.cloud.runInstances(runRequest());
    expect(outcome).toEqual({ kind: 'throttled', code: 'LocalBudget', message: expect.stringContaining('Postgres') });
    expect(replica.calls).toEqual([]);
  });

  test('keeps its outcome when the throttle cannot be told', async ({ db }) => {
    await stopClock(db);
    const replica = new Replica({ ...away, take: async () => ({ kind: 'taken' }) });
    replica.run = () => THROTTLED;
    expect(await replica.cloud.runInstances(runRequest())).toEqual(THROTTLED);
  });
});

describe('a termination', () => {
  test('without tokens for all its instances is put off with the wait, and EC2 does not hear of it', async ({ db }) => {
    const [one, other] = await twoReplicas(db);
    const many = Array.from({ length: 499 }, (_, index) => `i-${index}`);
    expect(await one.cloud.terminateInstances(REGION, many)).toEqual({ kind: 'accepted' });
    expect(await other.cloud.terminateInstances(REGION, IDS)).toEqual({ kind: 'throttled', retryAfterMs: 200 });
    expect(other.calls).toEqual([]);
  });

  test('that EC2 throttles puts off those of all replicas, and says for how long', async ({ db }) => {
    const [one, other] = await twoReplicas(db);
    one.terminate = () => {
      throw throttleError;
    };
    expect(await one.cloud.terminateInstances(REGION, IDS)).toEqual({ kind: 'throttled', retryAfterMs: 1000 });
    // The second of the block, and a token at half of 2.5 a second.
    expect(await other.cloud.terminateInstances(REGION, IDS)).toEqual({ kind: 'throttled', retryAfterMs: 1800 });
  });

  test('is held when the buckets cannot be read', async () => {
    const replica = new Replica(away);
    await expect(replica.cloud.terminateInstances(REGION, IDS)).rejects.toMatchObject({ code: 'DATABASE_UNREACHABLE' });
    expect(replica.calls).toEqual([]);
  });

  test('that fails otherwise is no throttle', async ({ db }) => {
    const [one] = await twoReplicas(db);
    one.terminate = () => {
      throw new AppError('AWS_AUTH', 'no', { remedy: 'none' });
    };
    await expect(one.cloud.terminateInstances(REGION, IDS)).rejects.toMatchObject({ code: 'AWS_AUTH' });
    expect(await one.cloud.terminateInstances(REGION, [])).toEqual({ kind: 'accepted' });
    const row = await db.selectFrom('api_buckets').selectAll().executeTakeFirstOrThrow();
    expect(row).toMatchObject({ backoffs: 0, calls: 1 });
  });
});

test('everything else of the cloud is as it was', async () => {
  expect(await new Replica(away).cloud.describeImages(REGION, [])).toEqual([]);
});
