import { sql } from 'kysely';

import type { Hold, HoldClass, HoldKey, HoldScope } from '../model/holds.ts';
import { holdKeyText } from '../model/holds.ts';
import type { LaunchId } from '../model/ids.ts';
import { MINUTE_MS } from '../model/time.ts';
import type { NewHold } from '../ports/machines.ts';
import { toMs, type Db, type Tx } from './database.ts';

/**
 * A hold that nobody asked about for this long after its time is forgotten: the shortage it tells of is no news any more.
 * A workload's hold (rights, configuration) stays until a launch succeeds or the policy changes.
 */
const FORGOTTEN_AFTER_MS = 30 * MINUTE_MS;

/**
 * Writes a hold, or prolongs one whose time is over: each strike doubles the time up to its most. One that still holds is
 * left alone: launches refused at the same moment met one shortage, not several.
 */
export async function writeHold(db: Db, launchId: LaunchId, hold: NewHold): Promise<void> {
  const { scope, name, errorClass, errorCode, detail, minMs, maxMs } = hold;
  await sql`
    with launch as (select policy_hash from spillway.launches where id = ${launchId})
    insert into spillway.launch_holds as h
      (scope, name, error_class, error_code, detail, since, until, strikes, policy_hash)
    select ${scope}, ${name}, ${errorClass}, ${errorCode}, ${detail.slice(0, 1000)}, spillway.now(),
           spillway.now() + ${minMs}::float8 * interval '1 millisecond', 1, launch.policy_hash
    from launch
    on conflict (scope, name) do update set
      strikes = case when ${IS_FORGOTTEN} then 1 else h.strikes + 1 end,
      until = case
        when ${minMs}::float8 is null then null
        when ${IS_FORGOTTEN} then excluded.until
        else spillway.now() + least(${maxMs}::float8, ${minMs}::float8 * power(2, least(h.strikes, 10))) * interval '1 millisecond' end,
      since = case when ${IS_FORGOTTEN} then excluded.since else h.since end,
      error_class = excluded.error_class, error_code = excluded.error_code, detail = excluded.detail,
      policy_hash = excluded.policy_hash, probe_launch_id = null
    where h.until <= spillway.now()
       or (h.scope in ('workload', 'join') and h.policy_hash is distinct from excluded.policy_hash)
       or (h.until is not null and excluded.until is null)`.execute(db);
}

/** Old news, so that the count of strikes begins anew; `h` is the row, `excluded` the hold that comes. */
const IS_FORGOTTEN = sql`(case
  when h.scope = 'workload' or (h.scope = 'join' and h.policy_hash is distinct from excluded.policy_hash)
  then h.policy_hash is distinct from excluded.policy_hash
  else h.until < spillway.now() - ${FORGOTTEN_AFTER_MS} * interval '1 millisecond' end)`;

/** A launch tries it: until EC2 has answered, or, where joins failed, until its machine has joined or is given up. */
const IS_PROBED = sql`(exists (select 1 from spillway.launches l where l.id = h.probe_launch_id and l.state = 'open')
  or (h.scope = 'join' and exists (select 1 from spillway.machines m where m.launch_id = h.probe_launch_id
    and m.state in ('requested', 'launching', 'booting', 'joining'))))`;

/** A changed policy may have mended what was refused. */
function isOfPolicyInForce(workload: 'h.name' | "split_part(h.name, '/', 1)") {
  return sql`exists (select 1 from spillway.policies p where p.workload = ${sql.raw(workload)} and p.active
    and p.hash is not distinct from coalesce(h.policy_hash, p.hash))`;
}

/** A launch succeeded on these: what was held and could be tried again is held no more. */
export async function forgetHolds(tx: Tx, launchId: LaunchId, keys: readonly HoldKey[]): Promise<void> {
  await sql`
    delete from spillway.launch_holds
    where scope || ':' || name = any(${keys.map(holdKeyText)}::text[])
      -- One that was written after this launch was asked for stands: it is the newer word.
      and (probe_launch_id = ${launchId} or until <= spillway.now())`.execute(tx);
}

/**
 * Locks holds that new launches want to try again; false when one is not over, or tried already. The plan saw them free a
 * moment ago, and exactly one launch may try.
 */
export async function lockProbes(tx: Tx, keys: readonly string[]): Promise<boolean> {
  const free = await sql`
    select 1 from spillway.launch_holds h
    where h.scope || ':' || h.name = any(${[...keys]}::text[]) and h.until <= spillway.now()
      and not ${IS_PROBED}
    order by h.scope, h.name for update`.execute(tx);
  return free.rows.length === keys.length;
}

/** Notes which launch tries holds again; they were locked by `lockProbes`. */
export async function claimProbes(tx: Tx, launchId: LaunchId, keys: readonly string[]): Promise<void> {
  await sql`
    update spillway.launch_holds h set probe_launch_id = ${launchId}
    where h.scope || ':' || h.name = any(${[...keys]}::text[])`.execute(tx);
}

interface HoldRow {
  readonly scope: HoldScope;
  readonly name: string;
  readonly error_class: HoldClass;
  readonly error_code: string;
  readonly detail: string;
  readonly since: Date;
  readonly until: Date | null;
  readonly half_open: boolean;
  readonly probing: boolean;
}

/**
 * Every hold that counts now, for everyone but `probe`, the launch that tries it: those whose time is long over, or whose
 * policy changed, do not count.
 */
export async function listHolds(db: Db, probe: LaunchId | null = null): Promise<readonly Hold[]> {
  const { rows } = await sql<HoldRow>`
    select h.scope, h.name, h.error_class, h.error_code, h.detail, h.since, h.until,
           coalesce(h.until <= spillway.now(), false) as half_open, ${IS_PROBED} as probing
    from spillway.launch_holds h
    where case when h.scope = 'workload' then ${isOfPolicyInForce('h.name')}
      else (h.scope <> 'join' or ${isOfPolicyInForce("split_part(h.name, '/', 1)")})
        and (h.until is null or ${IS_PROBED}
          or h.until >= spillway.now() - ${FORGOTTEN_AFTER_MS} * interval '1 millisecond') end
      and h.probe_launch_id is distinct from coalesce(${probe}::text, '')
    order by h.scope, h.name`.execute(db);
  return rows.map((row) => ({
    scope: row.scope,
    name: row.name,
    state: row.half_open ? (row.probing ? 'probing' : 'half-open') : 'open',
    errorClass: row.error_class,
    errorCode: row.error_code,
    detail: row.detail,
    sinceMs: toMs(row.since),
    untilMs: toMs(row.until),
  }));
}
