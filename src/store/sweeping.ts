import { sql } from 'kysely';

import type { LaunchId, MachineId } from '../model/ids.ts';
import { MINUTE_MS } from '../model/time.ts';
import type { CloudInstance, InstanceListing } from '../ports/cloud.ts';
import type { SweepStore, UnboundInstance } from '../ports/sweeping.ts';
import { dbNow, inTransaction, toMs, type Db } from './database.ts';

/**
 * A row younger than this may rightly be missing from a listing: EC2 shows new instances late (eventual consistency),
 * by seconds as a rule and by minutes on a bad day.
 */
const MISSING_AGE_MS = 5 * MINUTE_MS;

/** Rows compared with what EC2 shows. The listing must have been made before these statements run. */
export function createSweepStore(db: Db): SweepStore {
  return {
    observe: async (region, listing) => await observe(db, region, listing),
    findUnbound: async (instances) => await findUnbound(db, instances),

    async markSuspect(instanceId, reason) {
      const row = await db
        .insertInto('sweep_marks')
        .values({ instance_id: instanceId, reason, first_seen_at: dbNow() })
        .onConflict((conflict) =>
          conflict
            .column('instance_id')
            .doUpdateSet({ complete_listings: sql<number>`sweep_marks.complete_listings + 1` }),
        )
        .returning(['complete_listings', 'first_seen_at'])
        .returning(dbNow().as('now'))
        .executeTakeFirstOrThrow();
      return { listings: row.complete_listings, ageMs: toMs(row.now) - toMs(row.first_seen_at) };
    },

    async clearSuspects(except) {
      await db
        .deleteFrom('sweep_marks')
        .$if(except.length > 0, (query) => query.where('instance_id', 'not in', [...except]))
        .execute();
    },

    async listLiveRegions() {
      const rows = await sql<{ region: string }>`
        select distinct l.body->>'region' as region
        from spillway.machines m join spillway.launches l on l.id = m.launch_id
        where m.state <> 'terminated' and l.body ? 'region'
        order by 1`.execute(db);
      return rows.rows.map((row) => row.region);
    },
  };
}

/** One statement for a whole listing: the number of round trips must not grow with the fleet. */
async function observe(
  db: Db,
  region: string,
  listing: InstanceListing,
): Promise<{ readonly changed: readonly MachineId[] }> {
  const shown = listing.instances;
  return await inTransaction(db, async (tx) => {
    const seen = await sql<{ id: string; changed: boolean }>`
      with seen as (
        select * from unnest(
          ${shown.map((i) => i.instanceId)}::text[], ${shown.map((i) => i.state)}::text[], ${shown.map((i) => i.privateIp)}::inet[],
          ${shown.map((i) => dateOrNull(i.launchTimeMs))}::timestamptz[], ${shown.map((i) => dateOrNull(i.endedAtMs))}::timestamptz[],
          ${shown.map((i) => i.endCode)}::text[]
        ) as t(instance_id, state, private_ip, launch_time, ended_at, end_code)
      ), before as (
        -- In one order for every writer; the values before are needed to tell what changed.
        select m.id, m.observed_state, m.private_ip from spillway.machines m join seen on seen.instance_id = m.instance_id
        order by m.id for update of m
      )
      update spillway.machines m set
        observed_state = seen.state,
        -- What is alive is charged up to here: not beyond the moment at which the listing was asked for.
        observed_at = greatest(m.observed_at, least(spillway.now(), ${new Date(listing.startedAtMs)}::timestamptz)),
        missing_listings = 0,
        private_ip = coalesce(seen.private_ip, m.private_ip),
        launch_time = coalesce(m.launch_time, seen.launch_time),
        pending_seen_at = case when seen.state = 'pending' and m.running_seen_at is null then greatest(m.pending_seen_at, ${new Date(listing.startedAtMs)}::timestamptz) else m.pending_seen_at end,
        running_seen_at = case when seen.state = 'running' then coalesce(m.running_seen_at, spillway.now()) else m.running_seen_at end,
        ended_at = case when seen.state in ('shutting-down', 'terminated') then coalesce(m.ended_at, seen.ended_at, spillway.now()) else m.ended_at end,
        end_code = coalesce(m.end_code, seen.end_code),
        wake_at = case
          when before.observed_state is distinct from seen.state or coalesce(seen.private_ip, m.private_ip) is distinct from before.private_ip
          then spillway.now() else m.wake_at end
      from seen, before
      where m.instance_id = seen.instance_id and before.id = m.id
      returning m.id, m.state <> 'terminated'
        and (before.observed_state is distinct from m.observed_state or before.private_ip is distinct from m.private_ip) as changed`.execute(
      tx,
    );
    if (listing.complete) await countMissing(tx, region, listing);
    return { changed: seen.rows.flatMap((row) => (row.changed ? [row.id as MachineId] : [])) };
  });
}

async function countMissing(tx: Db, region: string, listing: InstanceListing): Promise<void> {
  await sql`
    update spillway.machines m set
      missing_listings = m.missing_listings + 1,
      wake_at = spillway.now()
    from spillway.launches l
    where l.id = m.launch_id and l.body->>'region' = ${region}
      and m.state <> 'terminated' and m.instance_id is not null
      and m.state_since < ${new Date(listing.startedAtMs)}::timestamptz
      and coalesce(m.launch_time, m.created_at) < spillway.now() - ${MISSING_AGE_MS} * interval '1 millisecond'
      and not (m.instance_id = any(${listing.instances.map((i) => i.instanceId)}::text[]))`.execute(tx);
}

async function findUnbound(db: Db, instances: readonly CloudInstance[]): Promise<readonly UnboundInstance[]> {
  const live = instances.filter((i) => i.state !== 'terminated' && i.state !== 'shutting-down');
  if (live.length === 0) return [];
  const rows = await sql<{
    instance_id: string;
    launch_id: string | null;
    launch_state: string | null;
    attempt: number | null;
    current_attempt: number | null;
    row_state: string | null;
  }>`
    select seen.instance_id, l.id as launch_id, l.state as launch_state, m.state as row_state,
      a.attempt, l.attempt as current_attempt
    from unnest(${live.map((i) => i.instanceId)}::text[], ${live.map((i) => i.clientToken)}::text[]) as seen(instance_id, token)
    left join spillway.machines m on m.instance_id = seen.instance_id
    -- Of whatever attempt: EC2 shows the token that the instance was asked for with, long after the launch went on.
    left join spillway.launch_attempts a on a.token = seen.token
    left join spillway.launches l on l.id = a.launch_id
    where m.id is null or m.state = 'terminated'`.execute(db);
  const byId = new Map(live.map((instance) => [instance.instanceId, instance]));
  return rows.rows.flatMap((row) => {
    const instance = byId.get(row.instance_id);
    if (instance === undefined) return [];
    const launch =
      row.launch_id === null
        ? null
        : {
            id: row.launch_id as LaunchId,
            state: row.launch_state ?? '',
            attempt: row.attempt ?? 1,
            isCurrentAttempt: row.attempt === row.current_attempt,
          };
    return [{ instance, launch, rowEnded: row.row_state === 'terminated' }];
  });
}

function dateOrNull(ms: number | null): string | null {
  return ms === null ? null : new Date(ms).toISOString();
}
