import { sql } from 'kysely';
import { describe, expect } from 'vitest';
import { inTransaction } from '../../src/store/database.ts';
import { ensureInstallationValue } from '../../src/store/installation.ts';
import { anId, aTask } from '../support/builders.ts';
import { test } from '../support/database.ts';
import { untilBlocked, withOpenTransaction } from './blocked.ts';

describe('inTransaction', () => {
  const raise = (state: string) =>
    sql`do ${sql.lit(`begin raise exception 'planted' using errcode = '${state}'; end`)}`;

  test('runs again whole when Postgres asks for it', async ({ db }) => {
    for (const state of ['40001', '40P01', '55P03']) {
      let tries = 0;
      const result = await inTransaction(db, async (tx) => {
        tries += 1;
        await tx
          .insertInto('installation')
          .values({ key: `k${state.toLowerCase()}`, value: String(tries) })
          .execute();
        if (tries < 3) await raise(state).execute(tx);
        return tries;
      });

      expect(result).toBe(3);
    }
    expect(await db.selectFrom('installation').select('value').execute()).toEqual(
      [1, 2, 3].map(() => ({ value: '3' })),
    );
  });

  test('gives up after five tries, and at once for any other error', async ({ db }) => {
    let tries = 0;
    const failing = async (state: string): Promise<void> => {
      tries = 0;
      await inTransaction(db, async (tx) => {
        tries += 1;
        await raise(state).execute(tx);
      });
    };

    await expect(failing('40001')).rejects.toMatchObject({ code: '40001' });
    expect(tries).toBe(5);
    await expect(failing('23505')).rejects.toMatchObject({ code: '23505' });
    expect(tries).toBe(1);
  });

  test('sees one moment of the database where that is asked for', async ({ db }) => {
    await aTask(db);
    const count = sql<{ n: number }>`select count(*)::int as n from spillway.tasks`;

    const seen = await inTransaction(
      db,
      async (tx) => {
        const before = await count.execute(tx);
        await aTask(db);
        return [before.rows[0]?.n, (await count.execute(tx)).rows[0]?.n];
      },
      'repeatable read',
    );

    expect(seen).toEqual([1, 1]);
  });

  test('reruns the loser of a real deadlock', async ({ db }) => {
    const [a, b] = [await aTask(db), await aTask(db)];
    await withOpenTransaction(db, async (other) => {
      // So that Postgres never chooses this one as the victim.
      await sql`set local deadlock_timeout = '1min'`.execute(other);
      await other.updateTable('tasks').set({ exit_code: 1 }).where('id', '=', a).execute();
      const work = inTransaction(db, async (tx) => {
        await tx.updateTable('tasks').set({ exit_code: 2 }).where('id', '=', b).execute();
        await tx.updateTable('tasks').set({ exit_code: 2 }).where('id', '=', a).execute();
      });
      await untilBlocked(db);
      await other.updateTable('tasks').set({ exit_code: 1 }).where('id', '=', b).execute();
      await other.commit().execute();
      await work;
    });

    expect(await db.selectFrom('tasks').select('exit_code').distinct().execute()).toEqual([{ exit_code: 2 }]);
  });
});

describe('ensureInstallationValue', () => {
  test('keeps what the first writer wrote, for everyone', async ({ db }) => {
    const proposed = ['a', 'b', 'c', 'd'].map(() => anId('pl'));

    const got = await Promise.all(proposed.map((value) => ensureInstallationValue(db, 'owner', value)));

    expect(new Set(got).size).toBe(1);
    expect(proposed).toContain(got[0]);
    expect(await ensureInstallationValue(db, 'owner', 'later')).toBe(got[0]);
  });
});
