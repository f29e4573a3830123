import type { PastRun } from '../cost/charges.ts';
import { toMs, type Db } from './database.ts';

/** Runs that are over, by machine and in their order. Most machines have none: only those that say so are asked about. */
export async function readPastRuns(
  db: Db,
  machines: readonly { readonly id: string; readonly run: number }[],
): Promise<ReadonlyMap<string, readonly PastRun[]>> {
  const restarted = machines.filter(({ run }) => run > 1).map(({ id }) => id);
  if (restarted.length === 0) return new Map();
  const rows = await db
    .selectFrom('machine_runs')
    .select(['machine_id', 'run', 'launch_time', 'pending_seen_at', 'running_seen_at', 'stopped_at'])
    .where('machine_id', 'in', restarted)
    .orderBy('machine_id')
    .orderBy('run')
    .execute();
  const runs = Map.groupBy(rows, (row) => row.machine_id);
  return new Map(
    [...runs].map(([id, past]) => [
      id,
      past.map((row) => ({
        run: row.run,
        launchAtMs: toMs(row.launch_time),
        pendingSeenAtMs: toMs(row.pending_seen_at),
        runningSeenAtMs: toMs(row.running_seen_at),
        stoppedAtMs: toMs(row.stopped_at),
      })),
    ]),
  );
}
