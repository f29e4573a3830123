import { describe, expect } from 'vitest';
import { ANYWHERE } from '../../src/model/constraints.ts';
import { createPlanningStore } from '../../src/store/planning.ts';
import { createTaskStore } from '../../src/store/tasks.ts';
import { aTask, NOW_MS, passTime, stopClock, WORKLOAD } from '../support/builders.ts';
import { test } from '../support/database.ts';

const SMALL = { cpuMilli: 1000, memoryMib: 1024, gpus: 0 };
const LARGE = { cpuMilli: 8000, memoryMib: 65_536, gpus: 0 };

describe('pending groups', () => {
  test('have the rank that the newest plan gave their kind', async ({ db }) => {
    await stopClock(db);
    await aTask(db, { ageMs: 30, shape: SMALL });
    await aTask(db, { ageMs: 10, shape: LARGE });
    await aTask(db, { ageMs: 5, workload: 'other', shape: SMALL });
    const planning = createPlanningStore(db);
    const record = async (small: number, large: number) =>
      await planning.recordLocalOrder({
        workload: WORKLOAD,
        kinds: [
          { shape: SMALL, constraints: ANYWHERE, rank: small },
          { shape: LARGE, constraints: ANYWHERE, rank: large },
        ],
      });
    await record(9, 1);
    await record(4, 7);

    const groups = await createTaskStore(db).listPending();

    expect(groups.map(({ workload, shape, rank }) => [workload, shape.cpuMilli, rank])).toEqual([
      [WORKLOAD, 1000, 4],
      [WORKLOAD, 8000, 7],
      ['other', 1000, undefined],
    ]);
  });

  test('have none when a workload has tasks of one kind', async ({ db }) => {
    await aTask(db, { shape: SMALL });
    const kinds = [{ shape: SMALL, constraints: ANYWHERE, rank: 4 }];
    await createPlanningStore(db).recordLocalOrder({ workload: WORKLOAD, kinds });

    expect((await createTaskStore(db).listPending())[0]).not.toHaveProperty('rank');
  });
});

test('an order that is what it was is not written again', async ({ db }) => {
  await stopClock(db);
  const planning = createPlanningStore(db);
  const order = { workload: WORKLOAD, kinds: [{ shape: SMALL, constraints: ANYWHERE, rank: 4 }] };
  await planning.recordLocalOrder(order);
  await passTime(db, 5000);
  await planning.recordLocalOrder(order);

  const { decided_at } = await db.selectFrom('local_order').select('decided_at').executeTakeFirstOrThrow();
  expect(decided_at).toEqual(new Date(NOW_MS));
});
