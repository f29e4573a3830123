/**
 * One shard of a campaign: a process with a Postgres of its own that runs the seeds it is told. Speaks over the channel to its
 * parent, and ends with it.
 */
import { mkdtemp, rm, statfs } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Log } from '../ports/log.ts';
import { startEmbeddedPostgres } from '../store/embedded-postgres.ts';
import { systemClock, systemIds } from '../wiring/system.ts';
import { ChaosServer } from './database.ts';
import { runSeed, type SeedResult } from './seed.ts';
import { shrinkFaults } from './shrink.ts';
import { InjectedThrow } from './sim.ts';
import { stretchTripwire } from './tripwire.ts';

/** From the parent. */
export type ShardOrder =
  | {
      readonly kind: 'run';
      readonly seed: number;
      readonly hours: number;
      readonly only: readonly string[] | null;
      /** Looks for the few faults that a violation needs. */
      readonly shrink: boolean;
    }
  | { readonly kind: 'end' };

/** To the parent. */
export type ShardNews =
  | { readonly kind: 'ready' }
  | { readonly kind: 'result'; readonly result: SeedResult; readonly needed: readonly string[] | null }
  /** The simulation itself broke. */
  | { readonly kind: 'broken'; readonly seed: number; readonly error: string };

const quiet: Log = { debug: ignore, info: ignore, warn: ignore, error: ignore };
/** A cluster in memory takes 100 MB and some for the log. */
const MEMORY = '/dev/shm';
const MEMORY_FREE_MIN = 2 ** 30;

function ignore(): void {
  // What the product says is no news here.
}

async function openServer(adminUrl: string | null): Promise<{ server: ChaosServer; close(): Promise<void> }> {
  if (adminUrl !== null) {
    const server = await ChaosServer.prepare(adminUrl, quiet);
    return { server, close: async () => await server.close() };
  }
  const folder = await mkdtemp(join(await chooseRoot(), 'spillway-chaos-data-'));
  const options = { dataDir: folder, log: quiet, clock: systemClock, ids: systemIds, durable: false };
  const postgres = await startEmbeddedPostgres(options);
  const server = await ChaosServer.prepare(postgres.url, quiet);
  return {
    server,
    async close() {
      await server.close();
      await postgres.stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

async function chooseRoot(): Promise<string> {
  try {
    const disk = await statfs(MEMORY);
    return disk.bavail * disk.bsize >= MEMORY_FREE_MIN ? MEMORY : tmpdir();
  } catch {
    return tmpdir();
  }
}

function tell(news: ShardNews): void {
  if (process.connected) process.send?.(news);
}

async function obey(server: ChaosServer, order: Extract<ShardOrder, { kind: 'run' }>): Promise<void> {
  const { seed, hours } = order;
  try {
    const result = await runSeed(server, { seed, hours, only: order.only === null ? null : new Set(order.only) });
    const needed =
      order.shrink && result.violation !== null
        ? await shrinkFaults(result, async (only) => await runSeed(server, { seed, hours, only }))
        : null;
    tell({ kind: 'result', result, needed });
  } catch (error) {
    tell({ kind: 'broken', seed, error: error instanceof Error ? (error.stack ?? error.message) : String(error) });
  }
}

const open = await openServer(process.argv[2] ?? null);
stretchTripwire();
// An injected throw may hit a promise that nobody waits for; its process is dying anyway. Anything else is a bug: it ends the run.
process.on('unhandledRejection', (error) => {
  if (error instanceof InjectedThrow) return;
  throw error;
});
const end = async (): Promise<void> => {
  await open.close();
  process.exit(0);
};
// The parent is gone or wants no more: whatever runs is of no use to anybody.
process.on('disconnect', () => void end());
process.on('message', (order: ShardOrder) => void (order.kind === 'end' ? end() : obey(open.server, order)));
// Ctrl-C reaches the parent as well, which knows what to do.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, ignore);
tell({ kind: 'ready' });
