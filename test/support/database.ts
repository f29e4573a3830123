import { randomBytes } from 'node:crypto';
import type pg from 'pg';
import { inject, test as base } from 'vitest';
import { createDatabase, type Db } from '../../src/store/database.ts';
import { createPool } from '../../src/store/pool.ts';
import { quietLog } from './log.ts';
import { createTestDatabase, dropTestDatabase } from './postgres.ts';

export interface DatabaseFixtures {
  /** A migrated, empty database that no other test can see. A failed test leaves it behind (see SPILLWAY_TEST_KEEP). */
  readonly databaseUrl: string;
  /** The product's own pool on it, four connections. */
  readonly pool: pg.Pool;
  /** Kysely on that pool, schema `spillway`. */
  readonly db: Db;
}

/** vitest's `test` with a real, fresh database for whoever names one of the fixtures; others pay nothing. */
export const test = base.extend<DatabaseFixtures>({
  databaseUrl: async ({ task }, use) => {
    const adminUrl = inject('postgresAdminUrl');
    const name = `test_${randomBytes(6).toString('hex')}`;
    await use(await createTestDatabase(adminUrl, name));
    if (task.result?.state !== 'fail') await dropTestDatabase(adminUrl, name);
  },
  pool: async ({ databaseUrl }, use) => {
    const pool = createPool(databaseUrl, { applicationName: 'spillway-test', max: 4, log: quietLog });
    preparing(pool);
    await use(pool);
    await pool.end();
  },
  db: async ({ pool }, use) => {
    await use(createDatabase(pool));
  },
});

/** Statements prepared on a connection at most; further ones are parsed each time. */
const PREPARED_MAX = 400;

/**
 * Lives in a simulated world send the same few hundred statements again and again, and planning them would be a third of a test's time:
 * each connection prepares what it is asked with parameters.
 */
function preparing(pool: pg.Pool): void {
  const names = new Map<string, string>();
  pool.on('connect', (client) => {
    const query = client.query.bind(client) as (...words: readonly unknown[]) => unknown;
    client.query = ((text: unknown, values: unknown, ...more: readonly unknown[]) => {
      if (typeof text !== 'string' || !Array.isArray(values)) return query(text, values, ...more);
      let name = names.get(text);
      if (name === undefined && names.size < PREPARED_MAX) names.set(text, (name = `s${names.size}`));
      return query(name === undefined ? { text, values } : { name, text, values }, ...more);
    }) as typeof client.query;
  });
}
