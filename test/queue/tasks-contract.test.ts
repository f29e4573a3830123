/**
 * What the engine relies on, whichever store the queues are kept in: tasks come in order, a task is in one hand at a time, a
 * lost lease is told, and no crash, no stall and no emptied store loses a task that is added again.
 */
import { afterAll, describe, expect } from 'vitest';
import type { TaskLease, TaskQueues } from '../../src/ports/queue.ts';
import type { TaskId } from '../../src/model/ids.ts';
import { randomIds } from '../support/clock.ts';
import { until } from '../support/wait.ts';
import { STORES, stopStores } from './stores.ts';

const QUEUE = 'task-transcode-2000c4096m';
const LEASE_MS = 30_000;
/** Long enough to take a task and short enough to wait for its end. */
const SHORT_LEASE_MS = 60;

const newTasks = (count: number): TaskId[] => Array.from({ length: count }, () => randomIds.next('tk'));
const idsOf = (leases: readonly TaskLease[]): TaskId[] => leases.map((lease) => lease.taskId);

/** Takes the task that somebody else took and fell silent with, once the queue has noticed. */
const takeBack = async (tasks: TaskQueues): Promise<TaskLease> =>
  until('the task comes back', async () => {
    await tasks.recoverStalled();
    return (await tasks.take(QUEUE, 1, LEASE_MS))[0];
  });

afterAll(stopStores);

describe.each(STORES)('task queues on $kind', ({ test, missing }) => {
  describe.skipIf(missing)('contract', () => {
    test('hands out tasks in order of arrival, at most as many as asked for', async ({ queues: { tasks } }) => {
      const [a, b, c] = newTasks(3) as [TaskId, TaskId, TaskId];
      await tasks.add(QUEUE, [a, b]);
      await tasks.add(QUEUE, [c]);

      expect(idsOf(await tasks.take(QUEUE, 2, LEASE_MS))).toEqual([a, b]);
      expect(idsOf(await tasks.take(QUEUE, 2, LEASE_MS))).toEqual([c]);
      expect(await tasks.take(QUEUE, 2, LEASE_MS)).toEqual([]);
    });

    test('keeps the queues of different shapes apart', async ({ queues: { tasks } }) => {
      const [small, large] = newTasks(2) as [TaskId, TaskId];
      await tasks.add('task-a-1000c512m', [small]);
      await tasks.add('task-a-8000c512m', [large]);

      expect(idsOf(await tasks.take('task-a-8000c512m', 5, LEASE_MS))).toEqual([large]);
      expect(idsOf(await tasks.take('task-a-1000c512m', 5, LEASE_MS))).toEqual([small]);
    });

    test('adds a task once, whether it waits or is in hand, and again when it has ended', async ({
      queues: { tasks },
    }) => {
      const [task] = newTasks(1) as [TaskId];
      await tasks.add(QUEUE, [task, task]);
      await tasks.add(QUEUE, [task]);
      const [lease] = (await tasks.take(QUEUE, 5, LEASE_MS)) as [TaskLease];
      await tasks.add(QUEUE, [task]);
      expect(await tasks.take(QUEUE, 5, LEASE_MS)).toEqual([]);

      expect(await tasks.complete(lease)).toBe(true);
      await tasks.add(QUEUE, [task]);
      expect(idsOf(await tasks.take(QUEUE, 5, LEASE_MS))).toEqual([task]);
    });

    test('adds thousands at once and gives each to one taker only', async ({ open }) => {
      const [one, other] = await Promise.all([open(), open()]);
      const all = newTasks(1_200);
      await one.tasks.add(QUEUE, all);

      const taken = await Promise.all([one, other].map(({ tasks }) => tasks.take(QUEUE, 200, LEASE_MS)));
      const ids = taken.flatMap(idsOf);
      expect(ids).toHaveLength(400);
      expect(new Set(ids)).toEqual(new Set(all.slice(0, 400)));
    });

    test('ends a job for the holder of its lease, once', async ({ queues: { tasks } }) => {
      await tasks.add(QUEUE, newTasks(1));
      const [lease] = (await tasks.take(QUEUE, 1, LEASE_MS)) as [TaskLease];

      expect(await tasks.complete({ ...lease, token: 'of-somebody-else' })).toBe(false);
      expect(await tasks.complete(lease)).toBe(true);
      expect(await tasks.complete(lease)).toBe(false);
      expect(await tasks.release(lease)).toBe(false);
      expect(await tasks.renew([lease], LEASE_MS)).toEqual([lease.taskId]);
    });

    test('puts a released task at the front of its queue', async ({ queues: { tasks } }) => {
      const [a, b, c] = newTasks(3) as [TaskId, TaskId, TaskId];
      await tasks.add(QUEUE, [a, b, c]);
      const [first] = (await tasks.take(QUEUE, 2, LEASE_MS)) as [TaskLease, TaskLease];

      expect(await tasks.release({ ...first, token: 'of-somebody-else' })).toBe(false);
      expect(await tasks.release(first)).toBe(true);
      // Nothing refused may come right before a take: Postgres tells of an error before it lets go of the row that the refused call
      // had locked, and for that moment a taker skips the row.
      expect(idsOf(await tasks.take(QUEUE, 5, LEASE_MS))).toEqual([a, c]);
      expect(await tasks.release(first)).toBe(false);
    });

    test('keeps a lease that is renewed and tells which are lost', async ({ queues: { tasks } }) => {
      await tasks.add(QUEUE, newTasks(1));
      await tasks.add('task-other-1c1m', newTasks(1));
      const [kept] = (await tasks.take(QUEUE, 1, 1_000)) as [TaskLease];
      const [other] = (await tasks.take('task-other-1c1m', 1, LEASE_MS)) as [TaskLease];
      const stolen = { ...other, token: 'of-somebody-else' };

      expect(await tasks.renew([kept, other], LEASE_MS)).toEqual([]);
      expect(await tasks.renew([kept, stolen], LEASE_MS)).toEqual([other.taskId]);
      expect(await tasks.renew([], LEASE_MS)).toEqual([]);
    });

    test('gives a task whose lease ran out to the next taker, and tells its old holder', async ({
      queues: { tasks },
    }) => {
      await tasks.add(QUEUE, newTasks(1));
      const [old] = (await tasks.take(QUEUE, 1, SHORT_LEASE_MS)) as [TaskLease];

      const fresh = await until('the task comes back', async () => {
        await tasks.recoverStalled();
        return (await tasks.take(QUEUE, 1, LEASE_MS))[0];
      });

      expect(fresh.taskId).toBe(old.taskId);
      expect(await tasks.renew([old], LEASE_MS)).toEqual([old.taskId]);
      expect(await tasks.complete(old)).toBe(false);
      expect(await tasks.release(old)).toBe(false);
      expect(await tasks.complete(fresh)).toBe(true);
    });

    test('leaves a task alone that is renewed, however often it looks for stalled ones', async ({
      queues: { tasks },
    }) => {
      await tasks.add(QUEUE, newTasks(2));
      const [renewed, silent] = (await tasks.take(QUEUE, 2, SHORT_LEASE_MS)) as [TaskLease, TaskLease];

      const back = await until('the silent one comes back', async () => {
        expect(await tasks.renew([renewed], SHORT_LEASE_MS)).toEqual([]);
        await tasks.recoverStalled();
        return (await tasks.take(QUEUE, 2, LEASE_MS))[0];
      });

      expect(back.taskId).toBe(silent.taskId);
      expect(await tasks.complete(renewed)).toBe(true);
    });

    // By default BullMQ marks a job as failed at its second stall; a task has to come up however often that happens.
    test('never gives a task up, however often its holder falls silent', async ({ queues: { tasks } }) => {
      const [task] = newTasks(1) as [TaskId];
      await tasks.add(QUEUE, [task]);
      for (let round = 0; round < 5; round += 1) {
        const lease = await until('it comes back', async () => {
          await tasks.recoverStalled();
          return (await tasks.take(QUEUE, 1, 1))[0];
        });
        expect(lease.taskId).toBe(task);
      }
    });

    test('recovers tasks that another process had taken before it died', async ({ open }) => {
      const [dead, alive] = await Promise.all([open(), open()]);
      const [task] = newTasks(1) as [TaskId];
      await dead.tasks.add(QUEUE, [task]);
      await dead.tasks.take(QUEUE, 1, SHORT_LEASE_MS);

      // What the engine does on its start: adding says which queues are in use and changes nothing else.
      await alive.tasks.add(QUEUE, [task]);
      const lease = await until('it comes back', async () => {
        await alive.tasks.recoverStalled();
        return (await alive.tasks.take(QUEUE, 1, LEASE_MS))[0];
      });
      expect(lease.taskId).toBe(task);
    });

    test('recovers the task of a process that was killed while it held it', async ({
      startConsumer,
      queues: { tasks },
    }) => {
      const [task] = newTasks(1) as [TaskId];
      const victim = await startConsumer();
      await victim.add(QUEUE, [task]);
      const [held] = (await victim.take(QUEUE, 1, SHORT_LEASE_MS)) as [TaskLease];
      await victim.kill();

      await tasks.add(QUEUE, [task]);
      const lease = await takeBack(tasks);
      expect(lease.taskId).toBe(task);
      expect(await tasks.complete(held)).toBe(false);
      expect(await tasks.complete(lease)).toBe(true);
    });

    test('tells a process that stood still past its lease that it lost the task, which ends once', async ({
      startConsumer,
      queues: { tasks },
    }) => {
      const [task] = newTasks(1) as [TaskId];
      const sleeper = await startConsumer();
      await sleeper.add(QUEUE, [task]);
      const [held] = (await sleeper.take(QUEUE, 1, SHORT_LEASE_MS)) as [TaskLease];
      sleeper.stop();
      await tasks.add(QUEUE, [task]);
      const lease = await takeBack(tasks);
      expect(lease.taskId).toBe(task);
      sleeper.goOn();

      expect(await sleeper.renew([held], LEASE_MS)).toEqual([task]);
      expect(await sleeper.complete(held)).toBe(false);
      expect(await sleeper.release(held)).toBe(false);
      expect(await tasks.complete(lease)).toBe(true);
      await sleeper.recoverStalled();
      expect(await sleeper.take(QUEUE, 1, LEASE_MS)).toEqual([]);
    });

    // On Postgres locks are compared with the clock of whoever looks: then each may take what the other holds.
    test.for([60_000, -60_000])(
      'ends each task once, whoever takes it from whom, when a process has its clock %i ms ahead',
      async (shiftMs, { startConsumer, queues: { tasks } }) => {
        const all = newTasks(6);
        const wrong = await startConsumer(shiftMs);
        await tasks.add(QUEUE, all);
        await wrong.add(QUEUE, all);
        const held: { readonly by: Pick<TaskQueues, 'complete'>; readonly lease: TaskLease }[] = [];
        for (const taker of [tasks, wrong, tasks, wrong]) {
          // Twice, because the first look only marks what it finds in hand.
          for (let look = 0; look < 2; look += 1) await taker.recoverStalled();
          held.push(...(await taker.take(QUEUE, 3, LEASE_MS)).map((lease) => ({ by: taker, lease })));
        }
        expect(new Set(held.map(({ lease }) => lease.taskId))).toEqual(new Set(all));

        const ended: TaskId[] = [];
        for (const { by, lease } of held) if (await by.complete(lease)) ended.push(lease.taskId);
        expect(ended.toSorted()).toEqual(all.toSorted());
        expect(wrong.lives).toBe(true);
      },
    );

    test('is filled again by adding after the store was emptied', async ({ queues: { tasks }, store }) => {
      const [held, waiting] = newTasks(2) as [TaskId, TaskId];
      await tasks.add(QUEUE, [held, waiting]);
      const [lease] = (await tasks.take(QUEUE, 1, LEASE_MS)) as [TaskLease];
      await store.empty();

      expect(await tasks.renew([lease], LEASE_MS)).toEqual([held]);
      expect(await tasks.complete(lease)).toBe(false);
      expect(await tasks.release(lease)).toBe(false);
      await tasks.recoverStalled();

      await tasks.add(QUEUE, [held, waiting]);
      expect(idsOf(await tasks.take(QUEUE, 5, LEASE_MS))).toEqual([held, waiting]);
    });

    test('keeps working with more queues than it holds open', async ({ queues: { tasks } }) => {
      const names = Array.from({ length: 270 }, (_, index) => `task-many-${index}c1m`);
      const [first, last] = newTasks(2) as [TaskId, TaskId];
      await tasks.add(names[0]!, [first]);
      for (const name of names.slice(1, -1)) expect(await tasks.take(name, 1, LEASE_MS)).toEqual([]);
      await tasks.add(names.at(-1)!, [last]);

      expect(idsOf(await tasks.take(names[0]!, 1, LEASE_MS))).toEqual([first]);
      expect(idsOf(await tasks.take(names.at(-1)!, 1, LEASE_MS))).toEqual([last]);
    });
  });
});
