import { sql, type RawBuilder } from 'kysely';

import { NAMES_MAX, type NameKind } from '../ports/names.ts';
import type { Db } from './database.ts';

const SOURCES: Readonly<Record<NameKind, RawBuilder<unknown>>> = {
  agents: sql`select a.name from spillway.agents a where a.removed_at is null`,
  'local-agents': sql`select a.name from spillway.agents a where a.removed_at is null and a.site = 'on-prem'`,
  machines: sql`select m.id as name from spillway.machines m where m.state <> 'terminated'`,
  workloads: sql`select p.workload as name from spillway.policies p where p.active`,
};

/** Several agents of one name are one name. */
export async function listNames(db: Db, kind: NameKind, prefix: string): Promise<readonly string[]> {
  const { rows } = await sql<{ name: string }>`
    select distinct n.name from (${SOURCES[kind]}) n where starts_with(n.name, ${prefix})
    order by n.name limit ${NAMES_MAX}`.execute(db);
  return rows.map(({ name }) => name);
}
