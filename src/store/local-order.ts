import { sql } from 'kysely';
import { kindKey } from '../planner/keep-local.ts';
import type { LocalOrder } from '../ports/planning.ts';
import type { PendingGroup } from '../ports/tasks.ts';
import type { Db } from './database.ts';

/** Keeps the order of a workload's kinds; nothing is written when it is what it was. */
export async function recordLocalOrder(db: Db, { workload, kinds }: LocalOrder): Promise<void> {
  const ranks = JSON.stringify(kinds.map(({ rank, ...kind }) => ({ kind: kindKey(kind), rank })));
  await sql`
    insert into spillway.local_order as o (workload, kinds, decided_at)
    values (${workload}, ${ranks}::jsonb, spillway.now())
    on conflict (workload) do update set kinds = excluded.kinds, decided_at = excluded.decided_at
    where o.kinds is distinct from excluded.kinds`.execute(db);
}

/** The groups with their ranks. Only workloads with several kinds have something to choose, and are looked up. */
export async function withRanks(db: Db, groups: readonly PendingGroup[]): Promise<readonly PendingGroup[]> {
  const kinds = Map.groupBy(groups, ({ workload }) => workload);
  const several = [...kinds].filter(([, own]) => own.length > 1).map(([workload]) => workload);
  if (several.length === 0) return groups;
  const rows = await db
    .selectFrom('local_order')
    .select(['workload', 'kinds'])
    .where('workload', 'in', several)
    .execute();
  const ranks = new Map(
    rows.flatMap(({ workload, kinds: stored }) =>
      (stored as readonly { kind: string; rank: number }[]).map(({ kind, rank }) => [`${workload} ${kind}`, rank]),
    ),
  );
  return groups.map((group) => {
    const rank = ranks.get(`${group.workload} ${kindKey(group)}`);
    return rank === undefined ? group : { ...group, rank };
  });
}
