import { sql } from 'kysely';

import type { AgentId, LaunchId, MachineId } from '../model/ids.ts';
import { MINUTE_MS, SECOND_MS } from '../model/time.ts';
import type { CloudInstance, InstanceListing } from '../ports/cloud.ts';
import type { Lease } from '../ports/leadership.ts';
import type {
  CondemnOutcome,
  OwnedInstance,
  SweepStore,
  UnboundInstance,
  UnnoticedMachine,
} from '../ports/sweeping.ts';
import { hasForgotten } from './amnesia.ts';
import { dbNow, inTransaction, toMs, type Db, type Tx } from './database.ts';
import { holdsLease } from './leadership.ts';
import { bearsProtection, PROTECTION_TAG } from './protection.ts';

/**
 * A row younger than this may rightly be missing from a listing: EC2 shows new instances late (eventual consistency),
 * by seconds as a rule and by minutes on a bad day.
 */
const MISSING_AGE_MS = 5 * MINUTE_MS;
/** More than this missing from one listing at once says that the listing is wrong. */
const MASS_MISSING_MAX = 10;
const MASS_MISSING_AGE_MS = 30 * MINUTE_MS;

/** LaunchTimes of one run may be told a little differently; no instance stops and starts again within so little time. */
const SAME_RUN_MS = 5 * SECOND_MS;

/** Rows compared with what EC2 shows. The listing must have been made before these statements run. */
export function createSweepStore(db: Db): SweepStore {
  return {
    observe: async (region, listing) => await observe(db, region, listing),
    findUndatedEnds: async (instanceIds) => await findUndatedEnds(db, instanceIds),
    findUnnoticed: async (instanceIds) => await findUnnoticed(db, instanceIds),
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

    condemn: async (lease, instanceIds, limit) =>
      await inTransaction(db, async (tx) => await condemn(tx, lease, instanceIds, limit)),

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

async function findUndatedEnds(db: Db, instanceIds: readonly string[]): Promise<readonly string[]> {
  const rows = await db
    .selectFrom('machines')
    .select('instance_id')
    .where('instance_id', 'in', [...instanceIds])
    .where('ended_at', 'is', null)
    .orderBy('instance_id')
    .execute();
  return rows.flatMap(({ instance_id }) => instance_id ?? []);
}

async function findUnnoticed(db: Db, instanceIds: readonly string[]): Promise<readonly UnnoticedMachine[]> {
  const rows = await db
    .selectFrom('machines')
    .select(['id', 'instance_id', 'agent_id'])
    .where('instance_id', 'in', [...instanceIds])
    .where('state', 'in', ['booting', 'joining', 'ready', 'draining'])
    .where('interrupted_at', 'is', null)
    .orderBy('id')
    .execute();
  return rows.map((row) => ({
    id: row.id as MachineId,
    instanceId: row.instance_id ?? '',
    agentId: row.agent_id as AgentId | null,
  }));
}

/** A few statements for a whole listing: the number of round trips must not grow with the fleet. */
async function observe(
  db: Db,
  region: string,
  listing: InstanceListing,
): Promise<{ readonly changed: readonly MachineId[] }> {
  const shown = listing.instances;
  return await inTransaction(db, async (tx) => {
    await lockShownAndMissing(tx, region, listing);
    const seen = await sql<{ id: string; changed: boolean }>`
      with seen as (
        select * from unnest(
          ${shown.map((i) => i.instanceId)}::text[], ${shown.map((i) => i.state)}::text[], ${shown.map((i) => i.privateIp)}::inet[],
          ${shown.map((i) => dateOrNull(i.launchTimeMs))}::timestamptz[], ${shown.map((i) => dateOrNull(i.endedAtMs))}::timestamptz[],
          ${shown.map((i) => i.endCode)}::text[]
        ) as t(instance_id, state, private_ip, launch_time, ended_at, end_code)
      ), before as (
        -- Needed to tell what changed, and whether EC2 has started it anew: LaunchTime is that of the last start. One that is
        -- older than ours comes from a view that lags.
        select m.id, m.observed_state, m.private_ip,
          coalesce(seen.launch_time > m.run_launch_time + ${SAME_RUN_MS} * interval '1 millisecond', false) as is_new_run,
          coalesce(seen.launch_time < m.run_launch_time, false) as is_of_old_run
        from spillway.machines m join seen on seen.instance_id = m.instance_id
      ), over as (
        insert into spillway.machine_runs (machine_id, run, launch_time, pending_seen_at, running_seen_at, stopped_at)
        select m.id, m.run, m.run_launch_time, m.pending_seen_at, m.running_seen_at, coalesce(m.stopped_at, seen.launch_time)
        from spillway.machines m join before on before.id = m.id join seen on seen.instance_id = m.instance_id
        where before.is_new_run
      )
      update spillway.machines m set
        observed_state = seen.state,
        -- What is alive is charged up to here: not beyond the moment at which the listing was asked for.
        observed_at = greatest(m.observed_at, least(spillway.now(), ${new Date(listing.startedAtMs)}::timestamptz)),
        missing_listings = 0,
        private_ip = coalesce(seen.private_ip, m.private_ip),
        launch_time = coalesce(m.launch_time, seen.launch_time),
        run = m.run + before.is_new_run::int,
        run_launch_time = case when before.is_new_run then seen.launch_time else coalesce(m.run_launch_time, m.launch_time, seen.launch_time) end,
        pending_seen_at = case
          when seen.state = 'pending' and (before.is_new_run or m.running_seen_at is null) and not before.is_of_old_run
          then greatest(case when not before.is_new_run then m.pending_seen_at end, ${new Date(listing.startedAtMs)}::timestamptz)
          when not before.is_new_run then m.pending_seen_at end,
        running_seen_at = case
          when seen.state = 'running' and not before.is_of_old_run
          then coalesce(case when not before.is_new_run then m.running_seen_at end, spillway.now())
          when not before.is_new_run then m.running_seen_at end,
        stopped_at = case
          when seen.state in ('stopping', 'stopped') and not before.is_of_old_run
          then coalesce(case when not before.is_new_run then m.stopped_at end, seen.ended_at, spillway.now())
          when not before.is_new_run then m.stopped_at end,
        ended_at = case when seen.state in ('shutting-down', 'terminated') then coalesce(m.ended_at, seen.ended_at, spillway.now()) else m.ended_at end,
        -- Of its end only: what is stopped may live again.
        end_code = case when seen.state in ('shutting-down', 'terminated') then coalesce(m.end_code, seen.end_code) else m.end_code end,
        wake_at = case
          when before.observed_state is distinct from seen.state or coalesce(seen.private_ip, m.private_ip) is distinct from before.private_ip
          then spillway.now() else m.wake_at end
      from seen, before
      where m.instance_id = seen.instance_id and before.id = m.id
      returning m.id, m.state <> 'terminated'
        and (before.observed_state is distinct from m.observed_state or before.private_ip is distinct from m.private_ip) as changed`.execute(
      tx,
    );
    await noteTags(tx, shown);
    if (listing.complete) await countMissing(tx, region, listing);
    return { changed: seen.rows.flatMap((row) => (row.changed ? [row.id as MachineId] : [])) };
  });
}

/** Takes over what people say by the instances' tags; the machine hears of it at once. */
async function noteTags(tx: Tx, shown: readonly CloudInstance[]): Promise<void> {
  await sql`
    with seen as (
      select * from unnest(${shown.map((i) => i.instanceId)}::text[], ${shown.map(bearsProtection)}::bool[]) as t(instance_id, is_protected)
    ), changed as (
      update spillway.machines m set tag_protected = seen.is_protected, wake_at = spillway.now()
      from seen
      where m.instance_id = seen.instance_id and m.tag_protected <> seen.is_protected and m.state <> 'terminated'
      returning m.id, m.state, m.tag_protected
    )
    insert into spillway.machine_events (machine_id, at, from_state, to_state, actor, reason, detail)
    select id, spillway.now(), state, state, 'sweeper', case when tag_protected then 'protected' else 'unprotected' end,
      jsonb_build_object('tag', ${PROTECTION_TAG}::text)
    from changed order by id`.execute(tx);
}

/**
 * In one order for every writer, and all at once: a launch locks its machines in that order too, and of those one may be shown
 * and another missing.
 */
async function lockShownAndMissing(tx: Tx, region: string, { instances, complete }: InstanceListing): Promise<void> {
  await sql`
    select id from spillway.machines where id in (
      select id from spillway.machines where instance_id = any(${instances.map((i) => i.instanceId)}::text[])
      union
      select m.id from spillway.machines m join spillway.launches l on l.id = m.launch_id
      where ${complete} and l.body->>'region' = ${region} and m.state <> 'terminated' and m.instance_id is not null
    ) order by id for update`.execute(tx);
}

/**
 * One more for each row old enough that the listing does not show. Many at once are rather a listing that is wrong while it
 * looks whole (an empty page, another account's credentials) than a fleet that vanished without the hour for which EC2 goes on
 * showing what ended: then `missing` stays below what counts, until nothing has been seen of them for long.
 */
async function countMissing(tx: Db, region: string, listing: InstanceListing): Promise<void> {
  await sql`
    with missing as (
      select m.id, count(*) over () > ${MASS_MISSING_MAX} as is_mass
      from spillway.machines m join spillway.launches l on l.id = m.launch_id
      where l.body->>'region' = ${region}
        and m.state <> 'terminated' and m.instance_id is not null
        and m.state_since < ${new Date(listing.startedAtMs)}::timestamptz
        and coalesce(m.launch_time, m.created_at) < spillway.now() - ${MISSING_AGE_MS} * interval '1 millisecond'
        and not (m.instance_id = any(${listing.instances.map((i) => i.instanceId)}::text[]))
    )
    update spillway.machines m set
      missing_listings = case
        when missing.is_mass and coalesce(m.observed_at, m.created_at) > spillway.now() - ${MASS_MISSING_AGE_MS} * interval '1 millisecond'
        then least(m.missing_listings + 1, 1) else m.missing_listings + 1 end,
      wake_at = spillway.now()
    from missing where missing.id = m.id`.execute(tx);
}

async function findUnbound(db: Db, owned: readonly OwnedInstance[]): Promise<readonly UnboundInstance[]> {
  if (owned.length === 0) return [];
  const rows = await sql<{
    instance_id: string;
    launch_id: string | null;
    launch_state: string | null;
    current_attempt: number | null;
    row_state: string | null;
  }>`
    select seen.instance_id, l.id as launch_id, l.state as launch_state, l.attempt as current_attempt, m.state as row_state
    from unnest(
      ${owned.map(({ instance }) => instance.instanceId)}::text[], ${owned.map(({ nonce }) => nonce)}::text[],
      ${owned.map(({ attempt }) => attempt)}::int[], ${owned.map(({ instance }) => isOver(instance))}::bool[]
    ) with ordinality as seen(instance_id, nonce, attempt, is_over, place)
    left join spillway.machines m on m.instance_id = seen.instance_id
    -- By nonce: each attempt of a launch has a token of its own, and the newest may be lost.
    left join spillway.launches l on l.nonce = seen.nonce
    where (m.id is null and (l.id is null or seen.attempt > l.attempt))
      or (not seen.is_over and (m.id is null or m.state = 'terminated'))
    order by seen.place`.execute(db);
  const byId = new Map(owned.map((one) => [one.instance.instanceId, one]));
  return rows.rows.flatMap((row) => {
    const one = byId.get(row.instance_id);
    if (one === undefined) return [];
    const launch =
      row.launch_id === null
        ? null
        : { id: row.launch_id as LaunchId, state: row.launch_state ?? '', currentAttempt: row.current_attempt ?? 1 };
    return [{ ...one, launch, rowEnded: row.row_state === 'terminated' }];
  });
}

function isOver({ state }: CloudInstance): boolean {
  return state === 'terminated' || state === 'shutting-down';
}

async function condemn(
  tx: Tx,
  lease: Lease,
  instanceIds: readonly string[],
  { instancesMax, windowMs }: { readonly instancesMax: number; readonly windowMs: number },
): Promise<CondemnOutcome> {
  if (!(await holdsLease(tx, lease))) return 'fenced';
  if (await hasForgotten(tx)) return 'amnesia';
  await sql`delete from spillway.sweep_kills where at <= spillway.now() - ${windowMs} * interval '1 millisecond'`.execute(
    tx,
  );
  const { rows } = await sql<{ total: number }>`
    select count(*)::int as total
    from (select instance_id from spillway.sweep_kills union select unnest(${[...instanceIds]}::text[])) ended`.execute(
    tx,
  );
  if ((rows[0]?.total ?? 0) > instancesMax) return 'too-many';
  await sql`
    insert into spillway.sweep_kills (instance_id, at) select t.id, spillway.now()
    from unnest(${[...instanceIds]}::text[]) as t(id) on conflict do nothing`.execute(tx);
  return 'condemned';
}

function dateOrNull(ms: number | null): string | null {
  return ms === null ? null : new Date(ms).toISOString();
}
