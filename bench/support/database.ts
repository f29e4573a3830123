import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Pool } from 'pg';
import type { AgentId, TaskId } from '../../src/model/ids.ts';
import type { Log } from '../../src/ports/log.ts';
import { startEmbeddedPostgres } from '../../src/store/embedded-postgres.ts';
import { migrate } from '../../src/store/migrate.ts';
import { createPool } from '../../src/store/pool.ts';
import { systemClock, systemIds } from '../../src/wiring/system.ts';

export const silentLog: Log = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
};

/** The embedded Postgres as users have it: on a disk, with fsync; migrated and empty. */
export interface BenchDatabase {
  readonly url: string;
  /** The service under test finds the same server through `SPILLWAY_DATA_DIR`. */
  readonly dataDir: string;
  /** Parent of all its processes. */
  readonly pid: number;
  /** e.g. `Postgres 18.4, fsync on` */
  readonly version: string;
  readonly pool: Pool;
  /** Statements sent through `pool` so far, `begin` and `commit` included. */
  statements(): number;
  stop(): Promise<void>;
}

export async function openBenchDatabase(): Promise<BenchDatabase> {
  const dataDir = await mkdtemp(join(tmpdir(), 'spillway-bench-'));
  const server = await startEmbeddedPostgres({ dataDir, log: silentLog, clock: systemClock, ids: systemIds });
  await migrate(server.url, { log: silentLog });
  // As many connections as the service gives to reports.
  const pool = createPool(server.url, { applicationName: 'spillway-bench', max: 6, log: silentLog });
  let statements = 0;
  pool.on('connect', (client) => {
    const query = client.query.bind(client) as (...parameters: unknown[]) => unknown;
    Object.assign(client, {
      query: (...parameters: unknown[]) => {
        statements += 1;
        return query(...parameters);
      },
    });
  });
  const { rows } = await pool.query<{ version: string; fsync: string }>(
    `select current_setting('server_version') as version, current_setting('fsync') as fsync`,
  );
  const pidFile = await readFile(join(dataDir, 'postgres/postmaster.pid'), 'utf8');
  return {
    url: server.url,
    dataDir,
    pid: Number.parseInt(pidFile, 10),
    version: `Postgres ${rows[0]?.version}, fsync ${rows[0]?.fsync}`,
    pool,
    statements: () => statements,
    async stop() {
      await pool.end();
      await server.stop();
      await rm(dataDir, { recursive: true, force: true });
    },
  };
}

export const TASK_SHAPE = { cpuMilli: 1000, memoryMib: 2048, gpus: 0 };

export interface SeededAgent {
  readonly id: AgentId;
  readonly token: string;
  readonly tasks: readonly TaskId[];
}

/**
 * Agents as they are after their registration, with tasks that run there. Written straight into the rows, because
 * registering thousands is not what is measured.
 */
export async function seedAgents(pool: Pool, agents: number, tasksPerAgent: number): Promise<readonly SeededAgent[]> {
  const seeded = Array.from({ length: agents }, (_, index): SeededAgent => {
    const number = String(index).padStart(8, '0');
    return {
      id: `ag-0000${number}`,
      token: `bench-token-of-agent-${number}`,
      tasks: Array.from(
        { length: tasksPerAgent },
        (_task, task): TaskId => `tk-${String(task).padStart(4, '0')}${number}`,
      ),
    };
  });
  await pool.query(
    `insert into spillway.agents (id, name, site, labels, token_hash, capacity_cpu_milli, capacity_memory_mib)
     select id, id, 'on-prem', '{"pool": "bench"}', hash, 16000, 65536 from unnest($1::text[], $2::text[]) as a(id, hash)`,
    [seeded.map(({ id }) => id), seeded.map(({ token }) => createHash('sha256').update(token).digest('hex'))],
  );
  const held = seeded.flatMap(({ id, tasks }) => tasks.map((task) => [task, id] as const));
  await pool.query(
    `insert into spillway.tasks (id, workload, command, cpu_milli, memory_mib, state, attempt, agent_id, lease_token,
       lease_expires_at, started_at)
     select id, 'bench', '["true"]', $3, $4, 'running', 1, agent, 'lease-' || id, spillway.now() + interval '1 hour', spillway.now()
     from unnest($1::text[], $2::text[]) as t(id, agent)`,
    [held.map(([task]) => task), held.map(([, agent]) => agent), TASK_SHAPE.cpuMilli, TASK_SHAPE.memoryMib],
  );
  await pool.query('analyze spillway.agents, spillway.tasks');
  return seeded;
}
