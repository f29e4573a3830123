/**
 * What the workers rely on, whichever store the doorbell is kept in: a ring leads to at least one look at the row, soon; rings do
 * not pile up; and no crash and no pause in the middle of a job, no emptied store and no clock that is wrong keeps a row from being
 * rung for again. Two may look at one row at a time.
 */
import { afterAll, describe, expect } from 'vitest';
import type { WakeJob, WakeOutcome, WakeQueue } from '../../src/ports/queue.ts';
import { randomIds } from '../support/clock.ts';
import { until } from '../support/wait.ts';
import { STORES, stopStores } from './stores.ts';
import { shows } from '../support/waits.ts';

const newMachine = (): WakeJob => ({ kind: 'machine', id: randomIds.next('mc') });
const newLaunch = (): WakeJob => ({ kind: 'launch', id: randomIds.next('ln') });
const AN_HOUR_MS = 3_600_000;

/** A handler that keeps what it got; each call waits for its `release`, when `held`. */
function recorder(answer: (times: number) => WakeOutcome = () => ({ kind: 'done' }), options = { held: false }) {
  const got: WakeJob[] = [];
  const waiting: (() => void)[] = [];
  const handler = async (job: WakeJob): Promise<WakeOutcome> => {
    got.push(job);
    const times = got.length;
    if (options.held) await new Promise<void>((resolve) => waiting.push(resolve));
    return answer(times);
  };
  return { got, handler, release: () => waiting.shift()?.() };
}

const consume = async (wake: WakeQueue, handler: (job: WakeJob) => Promise<WakeOutcome>, concurrency = 4) =>
  wake.consume(handler, { concurrency });

afterAll(stopStores);

describe.each(STORES)('wake queue on $kind', ({ test, missing }) => {
  describe.skipIf(missing)('contract', () => {
    test('brings each row that was rung for to the handler, and doubles no ring that waits', async ({
      queues: { wake },
    }) => {
      const jobs = [newMachine(), newLaunch(), newMachine()];
      await wake.ring([...jobs, ...jobs]);
      await wake.ring(jobs);
      const { got, handler } = recorder();
      const consumer = await consume(wake, handler, 1);

      await until('all came', () => got.length >= jobs.length);
      const last = newLaunch();
      await wake.ring([last]);
      await until('the last came', () => got.some((job) => job.id === last.id));

      // Each once; their order is not promised.
      expect(got.map((job) => job.id).sort()).toEqual([...jobs, last].map((job) => job.id).sort());
      await consumer.stop(1_000);
    });

    test('rings again after a done job, with the same id', async ({ queues: { wake } }) => {
      const job = newMachine();
      const { got, handler } = recorder();
      const consumer = await consume(wake, handler);
      for (const times of [1, 2, 3]) {
        await until('it came', async () => {
          await wake.ring([job]);
          return got.length >= times;
        });
      }
      await consumer.stop(1_000);
    });

    test('comes again by itself after the time the handler asked for', async ({ queues: { wake } }) => {
      const { got, handler } = recorder((times) => (times < 3 ? { kind: 'again', afterMs: 20 } : { kind: 'done' }));
      const consumer = await consume(wake, handler);
      await wake.ring([newMachine()]);

      await until('it came three times', () => got.length === 3);
      await consumer.stop(1_000);
    });

    test('brings a ring that waits for later forward', async ({ queues: { wake } }) => {
      const job = newMachine();
      const { got, handler } = recorder(() => ({ kind: 'again', afterMs: AN_HOUR_MS }));
      const consumer = await consume(wake, handler);
      await wake.ring([job]);
      await until('it came once', () => got.length === 1);

      await until('it came again', async () => {
        await wake.ring([job]);
        return got.length >= 2;
      });
      await consumer.stop(1_000);
    });

    test('takes a row that is rung for as first ahead of all that wait, whether it waits, comes later or is new', async ({
      queues: { wake },
    }) => {
      const [later, held, waiting] = [newMachine(), newMachine(), newMachine()];
      const others = Array.from({ length: 5 }, newMachine);
      const { got, handler, release } = recorder(() => ({ kind: 'again', afterMs: AN_HOUR_MS }), { held: true });
      const consumer = await consume(wake, handler, 1);
      for (const [times, job] of [later, held].entries()) {
        await wake.ring([job]);
        await until('it is in hand', () => got.length === times + 1);
        if (job === later) release();
      }
      await wake.ring([...others, waiting]);
      const added = newLaunch();
      const firsts = [waiting, later, added];
      for (const job of firsts) await wake.ring([job], 'first');

      for (let times = 3; times <= 5; times += 1) {
        release();
        await until('the next is in hand', () => got.length === times);
      }
      expect(got.slice(2)).toEqual(firsts);
      const stopped = consumer.stop(1_000);
      release();
      await stopped;
    });

    test('takes a row that was first once among the others when it looks again', async ({ queues: { wake } }) => {
      const [held, other, first] = [newMachine(), newMachine(), newMachine()];
      const { got, handler, release } = recorder(
        (times) => ({ kind: 'again', afterMs: times === 1 ? AN_HOUR_MS : 0 }),
        {
          held: true,
        },
      );
      const consumer = await consume(wake, handler, 1);
      await wake.ring([held]);
      await until('it is in hand', () => got.length === 1);
      await wake.ring([other]);
      await wake.ring([first], 'first');
      for (const times of [2, 3]) {
        release();
        await until('the next is in hand', () => got.length === times);
      }
      expect(got).toEqual([held, first, other]);
      const stopped = consumer.stop(1_000);
      release();
      await stopped;
    });

    test.for([{ kind: 'done' }, { kind: 'again', afterMs: AN_HOUR_MS }] as const)(
      'keeps one ring that comes while the handler has the row and then says $kind',
      async (outcome, { queues: { wake } }) => {
        const job = newMachine();
        const { got, handler, release } = recorder(() => outcome, { held: true });
        const consumer = await consume(wake, handler);
        await wake.ring([job]);
        await until('the handler has it', () => got.length === 1);

        await wake.ring([job]);
        await wake.ring([job]);
        release();
        await until('it came again', () => got.length === 2);
        release();

        await consumer.stop(1_000);
        expect(got).toHaveLength(2);
      },
    );

    test('goes on after a handler that throws, says so, and can be rung again', async ({ queues: { wake }, log }) => {
      const job = newMachine();
      const { got, handler } = recorder((times) => {
        if (times === 1) throw new Error('the step broke');
        return { kind: 'done' };
      });
      const consumer = await consume(wake, handler);
      await wake.ring([job]);
      await until('it is logged', () =>
        log.lines.some(
          (line) =>
            line.level === 'error' && line.details['id'] === job.id && line.details['error'] === 'the step broke',
        ),
      );

      await until('it came again', async () => {
        await wake.ring([job]);
        return got.length >= 2;
      });
      await consumer.stop(1_000);
    });

    test('handles as many at once as it was told', async ({ queues: { wake } }) => {
      const { got, handler, release } = recorder(undefined, { held: true });
      const consumer = await consume(wake, handler, 3);
      await wake.ring([newMachine(), newMachine(), newMachine(), newMachine()]);

      await until('three are in hand', () => got.length === 3);
      release();
      await until('the fourth came', () => got.length === 4);
      for (let left = 0; left < 3; left += 1) release();
      await consumer.stop(1_000);
    });

    test(`waits for a running handler when it stops, but not for ever ${shows('service.stop-steps')}`, async ({
      open,
    }) => {
      const patient = await open();
      const first = recorder(undefined, { held: true });
      const consumer = await consume(patient.wake, first.handler);
      await patient.wake.ring([newMachine()]);
      await until('it is in hand', () => first.got.length === 1);
      const stopped = consumer.stop(10_000);
      first.release();
      await stopped;

      const hurried = await open();
      const second = recorder(undefined, { held: true });
      const other = await consume(hurried.wake, second.handler);
      await hurried.wake.ring([newMachine()]);
      await until('it is in hand', () => second.got.length === 1);
      const startedAt = performance.now();
      await other.stop(50);
      expect(performance.now() - startedAt).toBeLessThan(5_000);
      second.release();
    });

    test(`brings a job to another process when its consumer is killed in the middle of it ${shows('queue.wake-lock')}`, async ({
      startConsumer,
      queues: { wake },
    }) => {
      const job = newMachine();
      await wake.ring([job]);
      const victim = await startConsumer();
      await victim.consume();
      await until('it is in hand', () => victim.got.length === 1);
      await victim.kill();
      expect(victim.got).toEqual([job]);

      const { got, handler } = recorder();
      const consumer = await consume(wake, handler);
      await until('it came back', () => got.length === 1);
      expect(got).toEqual([job]);
      await consumer.stop(1_000);
    });

    test.for([
      [{ kind: 'done' }, 'the queue reports an error'],
      [{ kind: 'again', afterMs: 0 }, 'the job was lost while it was handled'],
    ] as const)(
      'brings a job to another when its consumer stands still past its lock, and what that one says later ($0.kind) ends nothing',
      async ([late, told], { startConsumer, queues: { wake } }) => {
        const job = newMachine();
        await wake.ring([job]);
        const sleeper = await startConsumer();
        await sleeper.consume();
        await until('it is in hand', () => sleeper.got.length === 1);
        sleeper.stop();

        const { got, handler, release } = recorder(undefined, { held: true });
        const consumer = await consume(wake, handler);
        await until('another has it too', () => got.length === 1);
        sleeper.goOn();
        sleeper.answer(late);
        await until('the sleeper is told that it lost', () => sleeper.logged.includes(told));
        expect(sleeper.lives).toBe(true);
        await sleeper.kill();

        release();
        const last = newMachine();
        await wake.ring([last]);
        await until('the next one came', () => got.some(({ id }) => id === last.id));
        release();
        await consumer.stop(1_000);
        // Neither ended under its second holder nor brought a third time.
        expect([sleeper.got, got]).toEqual([[job], [job, last]]);
      },
    );

    test.for([60_000, -60_000])(
      'reaches every row, and again when rung, with a consumer whose clock is %i ms ahead',
      async (shiftMs, { startConsumer, queues: { wake } }) => {
        const wrong = await startConsumer(shiftMs);
        await wrong.consume();
        const { got, handler } = recorder(() => ({ kind: 'again', afterMs: 20 }));
        const consumer = await consume(wake, handler);
        const jobs = Array.from({ length: 12 }, newMachine);
        // Looks at each row, by whichever of the two; the one with the wrong clock answers as long as it is asked.
        const looksAt = (id: string): number => [...wrong.got, ...got].filter((job) => job.id === id).length;

        await until('each row was looked at three times', async () => {
          await wake.ring(jobs);
          wrong.answer({ kind: 'again', afterMs: 20 });
          return jobs.every(({ id }) => looksAt(id) >= 3);
        });
        expect(wrong.lives).toBe(true);
        await wrong.kill();
        await consumer.stop(1_000);
      },
    );

    test('can be rung again after the store was emptied, also in the middle of a job', async ({
      queues: { wake },
      store,
    }) => {
      const job = newMachine();
      const { got, handler, release } = recorder(
        (times) => (times === 1 ? { kind: 'again', afterMs: AN_HOUR_MS } : { kind: 'done' }),
        {
          held: true,
        },
      );
      const consumer = await consume(wake, handler);
      await wake.ring([job]);
      await until('it is in hand', () => got.length === 1);

      await store.empty();
      release();
      await until('it came again', async () => {
        await wake.ring([job]);
        return got.length >= 2;
      });
      release();
      await consumer.stop(1_000);
    });

    test('says aloud that a lock is gone while its handler works', async ({ queues: { wake }, store, log }) => {
      const job = newMachine();
      const { got, handler, release } = recorder(undefined, { held: true });
      const consumer = await consume(wake, handler);
      await wake.ring([job]);
      await until('it is in hand', () => got.length === 1);
      await store.empty();
      await until('it is told', () =>
        log.lines.some(({ level, details }) => level === 'warn' && String(details['error']).includes(job.id)),
      );
      release();
      await consumer.stop(1_000);
    });

    test('goes on in a process whose store was emptied under its job', async ({
      startConsumer,
      queues: { wake },
      store,
    }) => {
      const job = newMachine();
      const other = await startConsumer();
      await other.consume();
      await wake.ring([job]);
      await until('it is in hand', () => other.got.length === 1);

      await store.empty();
      other.answer({ kind: 'done' });
      await until('it is told that the job is gone', () => other.logged.includes('the queue reports an error'));
      await until('it came again', async () => {
        await wake.ring([job]);
        return other.got.length >= 2;
      });
      expect(other.lives).toBe(true);
    });
  });
});
