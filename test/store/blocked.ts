import { sql } from 'kysely';
import type { Db } from '../../src/store/database.ts';
import { until } from '../support/wait.ts';

/** Waits until so many sessions of this test's database wait for a lock. Needs a connection of its own. */
export async function untilBlocked(db: Db, sessions = 1): Promise<void> {
  await until(`${sessions} sessions wait for a lock`, async () => {
    const { rows } = await sql<{ waiting: number }>`select count(*)::int as waiting from pg_stat_activity
      where datname = current_database() and wait_event_type = 'Lock'`.execute(db);
    return (rows[0]?.waiting ?? 0) >= sessions;
  });
}
