import { type ControlledTransaction, sql } from 'kysely';
import type { Database } from '../../src/store/database.generated.ts';
import { openedBy, type Db } from '../../src/store/database.ts';
import { until } from '../support/wait.ts';

/** Waits until so many sessions of this test's database wait for a lock. Needs a connection of its own. */
export async function untilBlocked(db: Db, sessions = 1): Promise<void> {
  await until(`${sessions} sessions wait for a lock`, async () => {
    const { rows } = await sql<{ waiting: number }>`select count(*)::int as waiting from pg_stat_activity
      where datname = current_database() and wait_event_type = 'Lock'`.execute(db);
    return (rows[0]?.waiting ?? 0) >= sessions;
  });
}

/** Runs `use` beside a transaction that stays open until `use` ends it; a test that fails leaves no lock behind. */
export async function withOpenTransaction(
  db: Db,
  use: (tx: ControlledTransaction<Database>) => Promise<void>,
): Promise<void> {
  const tx = openedBy(db, await db.startTransaction().execute());
  try {
    await use(tx);
  } finally {
    if (!tx.isCommitted && !tx.isRolledBack) await tx.rollback().execute();
  }
}
