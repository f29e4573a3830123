import { sql } from 'kysely';
import type { Db } from '../../src/store/database.ts';

/** The moment at which the database of a test stands still. */
export const NOW = '2026-11-22T10:00:00.000Z';
export const NOW_MS = Date.parse(NOW);

/** Of the one plan, hence of everything. */
export const TRACE = '0af7651916cd43dd8448eb211c80319c';

export const ids = {
  plan: 'pl-000000000001',
  launch: 'ln-000000000001',
  ready: 'mc-000000000001',
  booting: 'mc-000000000002',
  ended: 'mc-000000000003',
  local: 'ag-000000000001',
  cloud: 'ag-000000000002',
  silent: 'ag-000000000003',
  running: 'tk-000000000001',
  pending: 'tk-000000000002',
  done: 'tk-000000000003',
} as const;

/** Stops the database's clock at NOW. */
export async function stopClock(db: Db): Promise<void> {
  await sql`create or replace function spillway.now() returns timestamptz language sql volatile parallel safe
    as $$ select timestamptz '2026-11-22T10:00:00Z' $$`.execute(db);
}

/**
 * A small fleet at NOW: one local agent (4 cores), one cloud agent on a ready machine, one silent agent; a machine that boots
 * and one that ended; a running, a pending and a finished task; an hour of charges.
 */
export async function seedFleet(db: Db): Promise<void> {
  await stopClock(db);
  await sql`insert into spillway.plans (id, trace_id, epoch, decided_at, input, outcome, digest)
    values (${ids.plan}, ${TRACE}, 1, '2026-11-22T09:59:20Z', '{}', '{}', 'd')`.execute(db);
  await sql`insert into spillway.launches (id, plan_id, workload, state, nonce, attempt, token, body, zone, instance_count, price_usd_per_hour, epoch, deadline_at)
    values (${ids.launch}, ${ids.plan}, 'transcode', 'open', repeat('a', 32), 1, 'sw1.a.1.b', '{}', 'eu-central-1a', 3, 0.34, 1, '2026-11-22T12:00:00Z')`.execute(
    db,
  );
  await sql`update spillway.launches set state = 'fulfilled'`.execute(db);
  await insertMachines(db);
  await insertAgents(db);
  await sql`update spillway.machines set agent_id = ${ids.cloud} where id = ${ids.ready}`.execute(db);
  await insertTasks(db);
  await sql`insert into spillway.charges (machine_id, workload, kind, instance_type, market, zone, from_at, to_at, quantity_seconds, unit_price_usd_per_hour, amount_usd, price_source) values
    (${ids.ready}, 'transcode', 'compute', 'c6a.2xlarge', 'spot', 'eu-central-1a', '2026-11-22T08:00:00Z', '2026-11-22T09:00:00Z', 3600, 0.34, 0.34, 'spot'),
    (${ids.ready}, 'transcode', 'volume', 'c6a.2xlarge', 'spot', 'eu-central-1a', '2026-11-22T08:00:00Z', '2026-11-22T09:00:00Z', 3600, 0.002, 0.002, 'table'),
    (${ids.ended}, 'transcode', 'compute', 'm6a.large', 'on-demand', 'eu-central-1b', '2026-11-21T23:30:00Z', '2026-11-21T23:40:00Z', 600, 0.12, 0.02, 'table')`.execute(
    db,
  );
}

async function insertMachines(db: Db): Promise<void> {
  await db.transaction().execute(async (tx) => {
    await sql`insert into spillway.machines (id, launch_id, plan_id, workload, state, instance_type, cpu_milli, memory_mib, zone, market, volume_gib,
        price_usd_per_hour, created_at, state_since, instance_id, private_ip, running_seen_at, ended_at, charged_through, end_reason) values
      (${ids.ready}, ${ids.launch}, ${ids.plan}, 'transcode', 'requested', 'c6a.2xlarge', 8000, 16384, 'eu-central-1a', 'spot', 20,
        0.34, '2026-11-22T08:00:00.123456Z', '2026-11-22T08:01:30Z', 'i-0abc', '10.0.0.7', '2026-11-22T08:00:10Z', null, '2026-11-22T09:00:00Z', null),
      (${ids.booting}, ${ids.launch}, ${ids.plan}, 'transcode', 'booting', 'c6a.2xlarge', 8000, 16384, 'eu-central-1a', 'spot', 20,
        0.34, '2026-11-22T09:59:00Z', '2026-11-22T09:59:05Z', 'i-0def', null, null, null, null, null),
      (${ids.ended}, ${ids.launch}, ${ids.plan}, 'transcode', 'terminated', 'm6a.large', 2000, 8192, 'eu-central-1b', 'on-demand', 20,
        0.12, '2026-11-21T23:29:00Z', '2026-11-21T23:41:00Z', 'i-0fed', '10.0.0.8', '2026-11-21T23:30:00Z', '2026-11-21T23:40:00Z', '2026-11-21T23:40:00Z', 'scale-down')`.execute(
      tx,
    );
    await sql`insert into spillway.machine_events (machine_id, at, to_state, actor, reason) values
      (${ids.ready}, '2026-11-22T08:00:00Z', 'requested', 'planner', 'unserved-work'),
      (${ids.booting}, '2026-11-22T09:59:05Z', 'booting', 'fleet', 'rebuilt'), (${ids.ended}, '2026-11-21T23:41:00Z', 'terminated', 'fleet', 'rebuilt')`.execute(
      tx,
    );
    const steps = [
      ['requested', 'launching', '08:00:02', 'run-instances', '{}'],
      ['launching', 'booting', '08:00:03', 'instance-launched', '{}'],
      ['booting', 'joining', '08:00:40', 'ssh-open', '{}'],
      ['joining', 'ready', '08:01:30', 'agent reports', `{"agentId":"${ids.cloud}"}`],
    ] as const;
    for (const [from, to, at, reason, detail] of steps) {
      await sql`update spillway.machines set state = ${to}, revision = revision + 1 where id = ${ids.ready}`.execute(
        tx,
      );
      await sql`insert into spillway.machine_events (machine_id, at, from_state, to_state, actor, reason, detail)
        values (${ids.ready}, ${`2026-11-22T${at}Z`}, ${from}, ${to}, 'step', ${reason}, ${detail})`.execute(tx);
    }
  });
}

async function insertAgents(db: Db): Promise<void> {
  const hash = (digit: string): string => digit.repeat(64);
  await sql`insert into spillway.agents (id, name, site, labels, token_hash, machine_id, capacity_cpu_milli, capacity_memory_mib, used_cpu_milli, used_memory_mib,
      running_tasks, registered_at, last_seen_at) values
    (${ids.local}, 'rack-1', 'on-prem', '{"pool":"media"}', ${hash('1')}, null, 4000, 8192, 1500, 2048, 1, '2026-11-20T00:00:00Z', '2026-11-22T09:59:57Z'),
    (${ids.cloud}, 'ip-10-0-0-7', 'aws', '{"pool":"media"}', ${hash('2')}, ${ids.ready}, 8000, 16384, null, null, 0, '2026-11-22T08:01:00Z', '2026-11-22T09:59:55Z'),
    (${ids.silent}, 'rack-2', 'on-prem', '{}', ${hash('3')}, null, 2000, 4096, null, null, 0, '2026-11-20T00:00:00Z', '2026-11-22T09:50:00Z')`.execute(
    db,
  );
}

async function insertTasks(db: Db): Promise<void> {
  await sql`insert into spillway.tasks (id, workload, command, cpu_milli, memory_mib, state, attempt, agent_id, submitted_at, pending_since, started_at, finished_at, exit_code) values
    (${ids.running}, 'transcode', '["./encode.sh","a.mov"]', 2000, 4096, 'running', 1, ${ids.local}, '2026-11-22T09:58:00Z', '2026-11-22T09:58:00Z', '2026-11-22T09:58:30Z', null, null),
    (${ids.pending}, 'transcode', '["sleep","5"]', 1000, 1024, 'pending', 0, null, '2026-11-22T09:55:48Z', '2026-11-22T09:55:48Z', null, null, null),
    (${ids.done}, 'transcode', '["=cmd()","x"]', 1000, 1024, 'done', 2, ${ids.local}, '2026-11-22T09:00:00Z', '2026-11-22T09:00:10Z', '2026-11-22T09:00:20Z', '2026-11-22T09:01:20Z', 0)`.execute(
    db,
  );
  await sql`insert into spillway.task_logs (task_id, attempt, byte_offset, content) values
    (${ids.done}, 1, 0, 'first try\n'), (${ids.done}, 2, 0, 'hello '), (${ids.done}, 2, 6, E'w\\303\\266rld\n'), (${ids.running}, 1, 0, 'so far\n')`.execute(
    db,
  );
}
