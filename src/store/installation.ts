import { dbNow, type Db } from './database.ts';

/**
 * A fact of this installation that is made once and never changes (e.g. the owner tag's value). The first writer wins;
 * everyone gets what is stored.
 */
export async function ensureInstallationValue(db: Db, key: string, proposed: string): Promise<string> {
  await db
    .insertInto('installation')
    .values({ key, value: proposed, created_at: dbNow() })
    .onConflict((conflict) => conflict.column('key').doNothing())
    .execute();
  const row = await db.selectFrom('installation').select('value').where('key', '=', key).executeTakeFirstOrThrow();
  return row.value;
}
