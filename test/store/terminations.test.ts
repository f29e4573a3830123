import { sql } from 'kysely';
import { describe, expect } from 'vitest';
import type { MachineId } from '../../src/model/ids.ts';
import { createDatabase, type Db } from '../../src/store/database.ts';
import { createMachineStore } from '../../src/store/machines.ts';
import { createPool } from '../../src/store/pool.ts';
import { showMachine } from '../../src/store/reports-machines.ts';
import { aLaunch, aMachine, NOW_MS, passTime, REGION, stopClock } from '../support/builders.ts';
import { test } from '../support/database.ts';
import { quietLog } from '../support/log.ts';
import { withOpenTransaction } from './blocked.ts';

const CLAIM = { region: REGION, againAfterMs: 60_000, limit: 500 };

interface Due {
  readonly id: MachineId;
  readonly instanceId: string;
}

/** Machines on their way out; the first one has been for longest. */
async function terminating(db: Db, count: number, region = REGION): Promise<readonly Due[]> {
  const due: Due[] = [];
  for (let index = 0; index < count; index += 1) {
    const launchId = await aLaunch(db, { state: 'fulfilled', body: { region } });
    const { id, instanceId } = await aMachine(db, 'terminating', { launchId, ageMs: (count - index) * 1000 });
    due.push({ id, instanceId: instanceId ?? '' });
  }
  return due;
}

const idsOf = (due: readonly Due[]): string[] => due.map(({ instanceId }) => instanceId);

describe('a claim', () => {
  test('leaves to EC2 what it takes back within the first hour, until it is late', async ({ db }) => {
    await stopClock(db);
    const machines = createMachineStore(db);
    const [taken, other] = await terminating(db, 2);
    const minute = 60_000;
    const announce = async (launchMs: number) =>
      await db
        .updateTable('machines')
        .set({ market: 'spot', interrupted_at: new Date(NOW_MS + minute), run_launch_time: new Date(launchMs) })
        .where('id', '=', taken!.id)
        .execute();

    await announce(NOW_MS - 30 * minute);
    const waitsFor = async () => (await showMachine(db, taken!.id))?.waitsFor?.says;
    expect(await machines.claimTerminations(taken!.id, CLAIM)).toEqual([]);
    expect(await waitsFor()).toBe('EC2 to take it, which is free in its first hour');
    expect(await machines.claimTerminations(other!.id, CLAIM)).toEqual(idsOf([other!]));
    // Beyond its first hour every second is paid, whoever ends it.
    await announce(NOW_MS - 60 * minute);
    expect(await waitsFor()).toBeUndefined();
    expect(await machines.claimTerminations(taken!.id, CLAIM)).toEqual(idsOf([taken!]));

    const [late] = await terminating(db, 1);
    await db
      .updateTable('machines')
      .set({ market: 'spot', interrupted_at: new Date(NOW_MS), run_launch_time: new Date(NOW_MS - minute) })
      .where('id', '=', late!.id)
      .execute();
    expect(await machines.claimTerminations(late!.id, CLAIM)).toEqual([]);
    await passTime(db, 30_000);
    expect(await machines.claimTerminations(late!.id, CLAIM)).toEqual(idsOf([late!]));
  });

  test('takes all machines of the region that are on their way out, and nothing else', async ({ db }) => {
    await stopClock(db);
    const due = await terminating(db, 3);
    await terminating(db, 1, 'us-west-2');
    for (const state of ['ready', 'leaving', 'terminated'] as const) {
      await aMachine(db, state, { launchId: await aLaunch(db, { state: 'fulfilled' }) });
    }
    expect(await createMachineStore(db).claimTerminations(due[1]!.id, CLAIM)).toEqual(idsOf(due));
  });

  test('is good for a while: nobody else takes its machines, and then they are due again', async ({ db }) => {
    await stopClock(db);
    const machines = createMachineStore(db);
    const [first, second] = await terminating(db, 2);
    await machines.claimTerminations(first!.id, CLAIM);
    expect(await machines.claimTerminations(second!.id, CLAIM)).toEqual([]);
    expect((await machines.read(second!.id))?.terminateAgainAtMs).toBe(NOW_MS + 60_000);
    await passTime(db, 60_000);
    expect(await machines.claimTerminations(second!.id, CLAIM)).toEqual(idsOf([first!, second!]));
  });

  test('of a machine that is not due takes no others, so that a late step makes no call of its own', async ({ db }) => {
    await stopClock(db);
    const machines = createMachineStore(db);
    const [first] = await terminating(db, 1);
    await machines.claimTerminations(first!.id, CLAIM);
    const [second] = await terminating(db, 1);
    expect(await machines.claimTerminations(first!.id, CLAIM)).toEqual([]);
    expect(await machines.claimTerminations(second!.id, CLAIM)).toEqual([second!.instanceId]);
  });

  test('has a limit: its own machine comes first, then those that wait longest', async ({ db }) => {
    await stopClock(db);
    const due = await terminating(db, 4);
    const claimed = await createMachineStore(db).claimTerminations(due[3]!.id, { ...CLAIM, limit: 3 });
    expect(claimed).toEqual(idsOf([due[0]!, due[1]!, due[3]!]));
  });

  test('and others at the same moment share the machines out, none twice', async ({ db, databaseUrl }) => {
    await stopClock(db);
    const due = await terminating(db, 12);
    const pools = Array.from({ length: 3 }, () =>
      createPool(databaseUrl, { applicationName: 'spillway-test', max: 4, log: quietLog }),
    );
    try {
      const stores = pools.map((pool) => createMachineStore(createDatabase(pool)));
      const claims = await Promise.all(
        due.map(async ({ id }, index) => await stores[index % 3]!.claimTerminations(id, CLAIM)),
      );
      expect(claims.flat().toSorted()).toEqual(idsOf(due).toSorted());
    } finally {
      await Promise.all(pools.map(async (pool) => await pool.end()));
    }
  });

  test('does not wait for a row that somebody else writes', async ({ db }) => {
    await stopClock(db);
    const [first, second] = await terminating(db, 2);
    await withOpenTransaction(db, async (tx) => {
      await sql`update spillway.machines set observed_state = 'running' where id = ${first!.id}`.execute(tx);
      expect(await createMachineStore(db).claimTerminations(second!.id, CLAIM)).toEqual([second!.instanceId]);
    });
  });
});

test('machines that are put off are due after that time, and their rows ring then', async ({ db }) => {
  await stopClock(db);
  const machines = createMachineStore(db);
  const [first, second] = await terminating(db, 2);
  await machines.claimTerminations(first!.id, CLAIM);
  await machines.wakeAfter(first!.id, 60_000);
  await machines.wakeAfter(second!.id, 60_000);
  await machines.putOffTerminations([first!.instanceId], 5000);
  await passTime(db, 5000);
  expect(await machines.listDue(10)).toEqual([{ kind: 'machine', id: first!.id }]);
  expect(await machines.claimTerminations(first!.id, CLAIM)).toEqual([first!.instanceId]);
});
