import type { Pool } from 'pg';

import type { Config } from '../config/types.ts';
import { redactUrl } from '../config/redact-url.ts';
import { AppError } from '../model/errors.ts';
import type { Log } from '../ports/log.ts';
import { createAgentOrdering } from '../store/agent-orders.ts';
import { createAgentStore } from '../store/agents.ts';
import { createApiBuckets } from '../store/api-buckets.ts';
import { createDatabase, nothingSeen, type Db } from '../store/database.ts';
import { startEmbeddedPostgres } from '../store/embedded-postgres.ts';
import { createLaunchStore } from '../store/launches.ts';
import { createLeadership } from '../store/leadership.ts';
import { createLedgerStore } from '../store/ledger.ts';
import { createMemoryStore } from '../store/memory.ts';
import { createMachineOrders } from '../store/machine-orders.ts';
import { createMachineStore } from '../store/machines.ts';
import { migrate, pendingMigrations } from '../store/migrate.ts';
import { createPlanningStore } from '../store/planning.ts';
import { createPool } from '../store/pool.ts';
import { createReports } from '../store/reports.ts';
import { createRetentionStore } from '../store/retention.ts';
import { createLearningStore } from '../store/workload-times.ts';
import { createSweepStore } from '../store/sweeping.ts';
import { createTaskStore } from '../store/tasks.ts';
import { isHolderGone } from './holder.ts';
import { systemClock, systemIds } from './system.ts';
import { translatingErrors } from './translate-errors.ts';

/** The database, embedded or not, migrated or refused. */
export interface OpenDatabase {
  readonly url: string;
  /** Ends the embedded server when nobody else uses it; nothing for a server of the user's. */
  close(): Promise<void>;
}

/**
 * Opens the database. The embedded one is brought up to date by itself; a server of the user's is only changed by
 * `spillway migrate`, so that nobody's tables move because a service started.
 * @throws AppError DATABASE_*
 */
export async function openDatabase(config: Config, log: Log): Promise<OpenDatabase> {
  if (config.databaseUrl === null) {
    const embedded = await startEmbeddedPostgres({ dataDir: config.dataDir, log, clock: systemClock, ids: systemIds });
    await migrate(embedded.url, { log });
    return {
      url: embedded.url,
      async close() {
        await embedded.stop();
      },
    };
  }
  const pending = await pendingMigrations(config.databaseUrl);
  if (pending.length > 0) {
    throw new AppError(
      'DATABASE_SCHEMA',
      `${pending.length} migrations are missing in ${redactUrl(config.databaseUrl)}`,
      {
        remedy: 'run `spillway migrate`',
        details: { pending },
      },
    );
  }
  return { url: config.databaseUrl, close: async () => {} };
}

export type Stores = ReturnType<typeof buildStores>;

/** Connections of each purpose: a flood of one kind must not starve another (above all not the leader's lease). */
const DECIDER_CONNECTIONS = 8;
const INGEST_CONNECTIONS = 6;
const REPORT_CONNECTIONS = 4;

/** Pools and the stores on them. */
export function openStores(
  url: string,
  log: Log,
): { readonly stores: Stores; readonly pools: readonly Pool[]; readonly db: Db } {
  const decider = createPool(url, { applicationName: 'spillway-decider', max: DECIDER_CONNECTIONS, log });
  const ingest = createPool(url, { applicationName: 'spillway-ingest', max: INGEST_CONNECTIONS, log });
  const reports = createPool(url, { applicationName: 'spillway-reports', max: REPORT_CONNECTIONS, log });
  const seen = nothingSeen();
  const db = createDatabase(decider, seen);
  return {
    stores: buildStores(db, createDatabase(ingest, seen), createDatabase(reports, seen), isHolderGone),
    pools: [decider, ingest, reports],
    db,
  };
}

/**
 * The stores on their pools, with errors that say what an operator can do.
 * @param isHolderGone whether a process that holds the lease provably exists no more; default: nobody can know
 */
export function buildStores(
  decider: Db,
  ingest: Db,
  reports: Db,
  isHolderGone: (holder: string) => boolean = () => false,
) {
  return {
    leadership: translatingErrors(createLeadership(decider, isHolderGone)),
    apiBudget: translatingErrors(createApiBuckets(decider)),
    planning: translatingErrors(createPlanningStore(decider)),
    machines: translatingErrors(createMachineStore(decider)),
    orders: translatingErrors(createMachineOrders(decider)),
    launches: translatingErrors(createLaunchStore(decider)),
    sweeping: translatingErrors(createSweepStore(decider)),
    memory: translatingErrors(createMemoryStore(decider)),
    ledger: translatingErrors(createLedgerStore(decider)),
    learning: translatingErrors(createLearningStore(reports)),
    retention: translatingErrors(createRetentionStore(reports)),
    agents: translatingErrors(createAgentStore(ingest)),
    agentOrdering: translatingErrors(createAgentOrdering(decider)),
    interruptions: translatingErrors(createMachineOrders(ingest)),
    tasks: translatingErrors(createTaskStore(ingest)),
    reports: translatingErrors(createReports(reports)),
  };
}
