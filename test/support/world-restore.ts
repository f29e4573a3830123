import { sql } from 'kysely';
import type { Db } from '../../src/store/database.ts';

export interface Snapshot {
  /** Where its tables are: what a story wants otherwise is changed there. */
  readonly schema: string;
  /** Puts the database back to the moment of the snapshot: everything committed since is gone, numbers of sequences included. */
  restore(): Promise<void>;
}

/** A backup of all tables, made inside the same database; the world's own clock is not part of it. */
export async function takeSnapshot(db: Db): Promise<Snapshot> {
  const tables = await listTables(db);
  const schema = `backup_${Math.floor(performance.now() * 1000)}`;
  await sql`create schema ${sql.id(schema)}`.execute(db);
  for (const table of tables) {
    await sql`create table ${sql.id(schema, table)} as table ${sql.id('spillway', table)}`.execute(db);
  }
  return {
    schema,
    restore: async () =>
      await db.transaction().execute(async (tx) => {
        // Without triggers and foreign keys, as a restore does it.
        await sql`set local session_replication_role = replica`.execute(tx);
        for (const table of tables) {
          await sql`delete from ${sql.id('spillway', table)}`.execute(tx);
          await sql`insert into ${sql.id('spillway', table)} overriding system value table ${sql.id(schema, table)}`.execute(
            tx,
          );
        }
        const sequences = await sql<{ name: string; table: string; column: string }>`
          select pg_get_serial_sequence(format('spillway.%I', table_name), column_name) as name, table_name as table, column_name as column
          from information_schema.columns where table_schema = 'spillway' and is_identity = 'YES'`.execute(tx);
        for (const { name, table, column } of sequences.rows) {
          await sql`select setval(${name}, coalesce((select max(${sql.id(column)}) from ${sql.id('spillway', table)}), 0) + 1, false)`.execute(
            tx,
          );
        }
      }),
  };
}

async function listTables(db: Db): Promise<readonly string[]> {
  const { rows } = await sql<{ name: string }>`
    select table_name as name from information_schema.tables
    where table_schema = 'spillway' and table_type = 'BASE TABLE' order by 1`.execute(db);
  return rows.map(({ name }) => name);
}
