/**
 * Goal: a read costs one token per try and waits for it, within its deadline; there is one retry policy, and it is the gate's.
 * Method: a budget that says what the test wants, on a virtual clock.
 */
import { describe, expect, test } from 'vitest';
import { openCallGate, type CallGateOptions } from '../../src/cloud/call-gate.ts';
import type { ApiBucket } from '../../src/model/api-rates.ts';
import { AppError } from '../../src/model/errors.ts';
import type { ApiBudget, TakeOutcome } from '../../src/ports/api-budget.ts';
import { recordingLog } from '../support/log.ts';
import { WorldTime } from '../support/world-time.ts';
import { REGION } from './builders.ts';

const READ = { region: REGION, action: 'DescribeInstances', deadlineMs: 60_000 };
const TAKEN: TakeOutcome = { kind: 'taken' };

/** Answers in order, then takes for ever. */
class ScriptedBudget implements ApiBudget {
  readonly taken: (readonly [ApiBucket, number])[] = [];
  readonly throttles: ApiBucket[] = [];
  private readonly answers: (TakeOutcome | AppError)[];

  constructor(...answers: (TakeOutcome | AppError)[]) {
    this.answers = answers;
  }

  async take(_region: string, bucket: ApiBucket, instances: number): Promise<TakeOutcome> {
    const answer = this.answers.shift() ?? TAKEN;
    if (answer instanceof AppError) throw answer;
    if (answer.kind === 'taken') this.taken.push([bucket, instances]);
    return answer;
  }

  async reportThrottle(_region: string, bucket: ApiBucket): Promise<number> {
    this.throttles.push(bucket);
    return 1000;
  }
}

function sdkError(name: string, httpStatusCode: number): Error {
  return Object.assign(new Error('text'), { name, $metadata: { httpStatusCode } });
}

const away = new AppError('DATABASE_UNREACHABLE', 'Postgres does not answer', { remedy: 'wait' });

function open(budget: ApiBudget, options: Partial<CallGateOptions> = {}) {
  const time = WorldTime.alone();
  const metered: string[] = [];
  const meter = {
    ec2Called: (action: string) => void metered.push(`called ${action}`),
    ec2Throttled: (action: string) => void metered.push(`throttled ${action}`),
    ec2PutOff: (action: string) => void metered.push(`put off ${action}`),
  };
  const gate = openCallGate({ clock: time, budget, random: () => 0.5, meter, ...options });
  const startMs = time.monotonicMs();
  return { gate, time, metered, elapsedMs: () => time.monotonicMs() - startMs };
}

/** Lets time pass until a call is through. */
async function through<T>(time: WorldTime, call: Promise<T>): Promise<T> {
  let over = false;
  const note = (): void => {
    over = true;
  };
  call.then(note, note);
  await time.run(3_600_000, () => over);
  return await call;
}

/** A call that fails in the given ways before it answers. */
function failing(...errors: Error[]): { calls: number; send: () => Promise<string> } {
  const sent = {
    calls: 0,
    send: async () => {
      sent.calls += 1;
      const error = errors.shift();
      if (error !== undefined) throw error;
      return 'answer';
    },
  };
  return sent;
}

describe('a read', () => {
  test('takes one token and is made once', async () => {
    const budget = new ScriptedBudget();
    const { gate, metered } = open(budget);
    const sent = failing();
    expect(await gate.read(READ, sent.send)).toBe('answer');
    expect([sent.calls, budget.taken]).toEqual([1, [['non-mutating', 0]]]);
    expect(metered).toEqual(['called DescribeInstances']);
  });

  test('waits for its token as long as it was told', async () => {
    const budget = new ScriptedBudget({ kind: 'wait', waitMs: 700 }, { kind: 'wait', waitMs: 100 });
    const { gate, time, metered, elapsedMs } = open(budget);
    let sentAfterMs = 0;
    await through(
      time,
      gate.read(READ, async () => {
        sentAfterMs = elapsedMs();
      }),
    );
    expect(sentAfterMs).toBe(800);
    expect(metered).toEqual(['put off DescribeInstances', 'put off DescribeInstances', 'called DescribeInstances']);
  });

  test('gives the call only what is left of its deadline', async () => {
    const { gate, time } = open(new ScriptedBudget({ kind: 'wait', waitMs: 700 }));
    expect(
      await through(
        time,
        gate.read(READ, async (leftMs) => leftMs),
      ),
    ).toBe(59_300);
  });

  test('whose token would come after its deadline is not made and does not wait for it', async () => {
    const { gate, time, elapsedMs } = open(
      new ScriptedBudget({ kind: 'wait', waitMs: 40_000 }, { kind: 'wait', waitMs: 30_000 }),
    );
    const sent = failing();
    await expect(through(time, gate.read(READ, sent.send))).rejects.toMatchObject({
      code: 'AWS_THROTTLED',
      details: { waitMs: 30_000 },
    });
    expect([sent.calls, elapsedMs()]).toEqual([0, 40_000]);
  });

  test('without a database is not made', async () => {
    const { gate, time } = open(new ScriptedBudget(away));
    const sent = failing();
    await expect(through(time, gate.read(READ, sent.send))).rejects.toBe(away);
    expect(sent.calls).toBe(0);
  });

  test.each([
    ['throttled', sdkError('RequestLimitExceeded', 503), ['non-mutating', 'non-mutating']],
    ['not answered', sdkError('InternalError', 500), []],
  ])('that is %s is tried three times, each with a token', async (_what, error, throttles) => {
    const budget = new ScriptedBudget();
    const { gate, time, elapsedMs } = open(budget);
    const sent = failing(error, error);
    expect(await through(time, gate.read(READ, sent.send))).toBe('answer');
    expect([sent.calls, budget.taken.length, budget.throttles]).toEqual([3, 3, throttles]);
    // Half of 200 ms, half of 400 ms.
    expect(elapsedMs()).toBe(300);

    const hopeless = failing(error, error, error);
    await expect(through(time, gate.read(READ, hopeless.send))).rejects.toBe(error);
    expect(hopeless.calls).toBe(3);
  });

  test('that EC2 refuses is made once', async () => {
    const { gate, time } = open(new ScriptedBudget());
    const refusal = sdkError('UnauthorizedOperation', 403);
    const sent = failing(refusal, refusal);
    await expect(through(time, gate.read(READ, sent.send))).rejects.toBe(refusal);
    expect(sent.calls).toBe(1);
  });

  test('that used up its deadline is not tried again', async () => {
    const { gate, time } = open(new ScriptedBudget());
    const failure = sdkError('InternalError', 500);
    let calls = 0;
    const slow = async (): Promise<void> => {
      calls += 1;
      await time.sleep(59_950);
      throw failure;
    };
    await expect(through(time, gate.read(READ, slow))).rejects.toBe(failure);
    expect(calls).toBe(1);
  });
});

test('a throttle that cannot be told is logged, and does not hide what became of the call', async () => {
  const log = recordingLog();
  const budget = new ScriptedBudget();
  budget.reportThrottle = async () => {
    throw away;
  };
  const { gate, metered } = open(budget, { log });
  expect(await gate.noteThrottle({ region: REGION, action: 'RunInstances' })).toBeNull();
  expect(log.lines).toMatchObject([
    { level: 'warn', details: { code: 'DATABASE_UNREACHABLE', action: 'RunInstances' } },
  ]);
  expect(metered).toEqual(['throttled RunInstances']);
});

test('without a budget nothing is counted and reads are still tried again', async () => {
  const time = WorldTime.alone();
  const gate = openCallGate({ clock: time });
  expect(await gate.admit({ region: REGION, action: 'RunInstances', instances: 100 })).toEqual(TAKEN);
  const sent = failing(sdkError('Unavailable', 503));
  expect(await through(time, gate.read(READ, sent.send))).toBe('answer');
});
