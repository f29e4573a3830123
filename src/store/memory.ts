import assert from 'node:assert/strict';
import { sql, type RawBuilder } from 'kysely';

import { isRecovered, type Amnesia, type AmnesiaFinding, type MemoryFacts } from '../model/amnesia.ts';
import type { LaunchId } from '../model/ids.ts';
import { DEADLINE_ANEW_MS } from '../model/state-waits.ts';
import type { MemoryStore } from '../ports/memory.ts';
import { readAmnesia, toAmnesia, type AmnesiaRow } from './amnesia.ts';
import { dbNow, inTransaction, leaseSeenThrough, type Db, type Tx } from './database.ts';
import { isCallNoted, lockOpenLaunch, LOST_CALL_CODE } from './launch-rows.ts';
import { holdsLease } from './leadership.ts';
import { rebuildLaunches } from './rebuilding.ts';

const INSUFFICIENT_PRIVILEGE = '42501';
/** Kept for people; the rest is in the log. */
const EVIDENCE_CHARS_MAX = 4000;

/** The one row that says whether the database has forgotten something. */
export function createMemoryStore(db: Db): MemoryStore {
  return {
    look: async (nonces) => await look(db, nonces),
    async expect({ epoch, turns }) {
      Object.assign(leaseSeenThrough(db), { epoch, turns });
    },
    declare: async (finding) => await inTransaction(db, async (tx) => await declare(tx, finding)),

    rebuild: async (lease, launches) =>
      await inTransaction(db, async (tx) =>
        (await holdsLease(tx, lease)) ? await rebuildLaunches(tx, lease, launches) : null,
      ),

    noteLostCall: async (launchId) => await inTransaction(db, async (tx) => await noteLostCall(tx, launchId)),

    noteListing: async (lease, listing) =>
      await inTransaction(db, async (tx) => {
        if (!(await holdsLease(tx, lease))) return null;
        return listing.clean ? await countClean(tx, listing.startedAtMs) : await beginAnew(tx);
      }),
  };
}

async function look(db: Db, nonces: readonly string[]): Promise<MemoryFacts> {
  const row = (await readMemory(db, nonces, SERVER)) ?? (await readMemory(db, nonces, sql`null::text`));
  assert(row !== null, 'the tables themselves may be read');
  const { epoch, turns, server } = row;
  return { epoch: epoch ?? 0, turns: turns ?? 0, nonces: row.nonces, server, amnesia: toAmnesia(row) };
}

type MemoryRow = Pick<MemoryFacts, 'server'> & {
  epoch: number | null;
  turns: number | null;
  nonces: string[];
} & AmnesiaRow;

/** Which cluster this is, and how often one of its standbys took over. */
const SERVER = sql`(select s.system_identifier::text || '/' || c.timeline_id::text from pg_control_system() s, pg_control_checkpoint() c)`;

/** Null where the role may not ask for `server`. */
async function readMemory(db: Db, nonces: readonly string[], server: RawBuilder<unknown>): Promise<MemoryRow | null> {
  try {
    const { rows } = await sql<MemoryRow>`
      select l.epoch, l.turns, a.*, ${server} as server,
        array(select n.nonce from spillway.launches n where n.nonce = any(${[...nonces]}::text[]) order by n.nonce) as nonces
      from spillway.amnesia a left join spillway.leases l on l.name = 'leader'`.execute(db);
    assert(rows[0] !== undefined, 'the one row of amnesia is there since its migration');
    return rows[0];
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === INSUFFICIENT_PRIVILEGE) return null;
    throw error;
  }
}

async function declare(tx: Tx, { reason, evidence }: AmnesiaFinding): Promise<boolean> {
  const text = JSON.stringify(evidence);
  const row = await tx
    .updateTable('amnesia')
    .set({
      since: dbNow(),
      reason,
      evidence: text.length > EVIDENCE_CHARS_MAX ? '{}' : text,
      rebuilt: 0,
      clean_listings: 0,
      clean_since: null,
    })
    .where('since', 'is', null)
    .returning('since')
    .executeTakeFirst();
  if (row !== undefined) return true;
  // It is known already; more of it begins the count of clean listings anew.
  await beginAnew(tx);
  return false;
}

async function beginAnew(tx: Tx): Promise<null> {
  await tx
    .updateTable('amnesia')
    .set({ clean_listings: 0, clean_since: null })
    .where('clean_listings', '>', 0)
    .execute();
  return null;
}

async function countClean(tx: Tx, startedAtMs: number): Promise<Amnesia | null> {
  await tx
    .updateTable('amnesia')
    .set({
      clean_listings: sql<number>`clean_listings + 1`,
      // A listing that was asked for before the amnesia was known says nothing about it.
      clean_since: sql<Date>`coalesce(clean_since, greatest(since, ${new Date(startedAtMs)}::timestamptz))`,
    })
    .where('since', 'is not', null)
    .execute();
  const amnesia = await readAmnesia(tx);
  if (amnesia === null || amnesia.cleanSinceMs === null) return null;
  if (!isRecovered(amnesia.cleanListings, startedAtMs - amnesia.cleanSinceMs)) return null;
  await tx
    .updateTable('amnesia')
    .set({ since: null, reason: null, evidence: '{}', rebuilt: 0, clean_listings: 0, clean_since: null })
    .execute();
  await beginDrainsAnew(tx);
  // In the order of every writer of many machines, or two of them would wait for one another.
  await sql`
    with alive as (
      select m.id from spillway.machines m
      where m.state in ('booting', 'joining', 'draining', 'leaving', 'stopping', 'stopped', 'terminating') order by m.id for update
    )
    update spillway.machines m set
      deadline_at = greatest(m.deadline_at, spillway.now() + ${DEADLINE_ANEW_MS} * interval '1 millisecond'),
      wake_at = spillway.now()
    from alive where alive.id = m.id`.execute(tx);
  return amnesia;
}

/**
 * A drain that lost commits had called off may be one of a machine that works, with a cordon that its agent does not obey any more:
 * the cordon must be acknowledged anew, and what runs is read after that. What was passed once in it is passed again, but for what
 * has touched work.
 */
async function beginDrainsAnew(tx: Tx): Promise<void> {
  // Agents before machines, as everywhere; none begins or ends to drain while the amnesia's row is ours.
  await sql`
    with draining as (
      select a.id from spillway.agents a join spillway.machines m on m.id = a.machine_id
      where m.state = 'draining' and a.removed_at is null order by a.id for update of a
    )
    update spillway.agents a set cordon_generation = a.cordon_generation + 1, cordon_acked_at = null
    from draining where draining.id = a.id`.execute(tx);
  await sql`
    with draining as (
      select m.id from spillway.machines m where m.state = 'draining' and not m.drain_irrevocable order by m.id for update
    )
    update spillway.machines m set drain_done = '{}' from draining where draining.id = m.id`.execute(tx);
}

async function noteLostCall(tx: Tx, launchId: LaunchId): Promise<void> {
  const launch = await lockOpenLaunch(tx, launchId);
  if (launch === null || (await isCallNoted(tx, launchId, launch.attempt))) return;
  await tx
    .insertInto('launch_calls')
    .values({
      launch_id: launchId,
      attempt: launch.attempt,
      started_at: dbNow(),
      finished_at: dbNow(),
      outcome: 'unknown',
      error_code: LOST_CALL_CODE,
    })
    .execute();
}
