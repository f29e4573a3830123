import { describe, expect } from 'vitest';
import type { Db } from '../../src/store/database.ts';
import { createPlanningStore } from '../../src/store/planning.ts';
import { aPolicy, passTime, stopClock, WORKLOAD } from '../support/builders.ts';
import { test } from '../support/database.ts';

describe('planning.recordPolicies', () => {
  const hash = (digit: string): string => digit.repeat(64);
  const versions = async (db: Db) =>
    await db
      .selectFrom('policies')
      .select(['workload', 'hash', 'active'])
      .orderBy('workload')
      .orderBy('hash')
      .execute();

  test('a changed policy replaces the one in force, and the old one stays on record', async ({ db }) => {
    const store = createPlanningStore(db);
    await store.recordPolicies([
      { policy: aPolicy(), hash: hash('a') },
      { policy: aPolicy({ name: 'ci' }), hash: hash('c') },
    ]);

    await store.recordPolicies([
      { policy: aPolicy({ limits: { max: 7 } }), hash: hash('b') },
      { policy: aPolicy({ name: 'ci' }), hash: hash('c') },
    ]);

    expect(await versions(db)).toEqual([
      { workload: 'ci', hash: hash('c'), active: true },
      { workload: WORKLOAD, hash: hash('a'), active: false },
      { workload: WORKLOAD, hash: hash('b'), active: true },
    ]);
    const read = await store.readPolicy(WORKLOAD);
    expect(read).toEqual({ policy: aPolicy({ limits: { max: 7 } }), active: true });
  });

  test('a policy that comes back is in force again without a second row', async ({ db }) => {
    await stopClock(db);
    const store = createPlanningStore(db);
    for (const digit of ['a', 'b', 'a']) {
      await store.recordPolicies([{ policy: aPolicy({ limits: { max: digit === 'a' ? 1 : 2 } }), hash: hash(digit) }]);
      await passTime(db, 1);
    }

    expect(await versions(db)).toEqual([
      { workload: WORKLOAD, hash: hash('a'), active: true },
      { workload: WORKLOAD, hash: hash('b'), active: false },
    ]);
    expect((await store.readPolicy(WORKLOAD))?.policy.burst.limits.max).toBe(1);
  });

  test('a policy whose file is gone is still known for the machines it left behind', async ({ db }) => {
    const store = createPlanningStore(db);
    await store.recordPolicies([{ policy: aPolicy(), hash: hash('a') }]);

    await store.recordPolicies([]);

    expect(await store.readPolicy(WORKLOAD)).toEqual({ policy: aPolicy(), active: false });
    expect(await store.readPolicy('never-heard-of')).toBeNull();
  });
});
