import { setTimeout as sleep } from 'node:timers/promises';
import { withClient } from '../support/postgres.ts';
import { until } from '../support/wait.ts';
import { Datacenter } from './datacenter.ts';
import { gatherEvidence, readRows, type RegionInstance, type Rows } from './evidence.ts';
import { MACHINES_MAX } from './policy.ts';
import { tracedCommand } from './trace.ts';
import { findViolations } from './verdict.ts';

const TASKS = 40;
const TASK_S = 3;
const LAUNCH_MS = 60_000;
/** What nobody claims is ended after three listings and a minute; an operator who has to confirm takes none of it. */
const QUIET_MS = 200_000;

export interface LostCommits {
  /** Rows that the region had acted upon and the new primary has never heard of. */
  readonly lost: { readonly launches: number; readonly instances: number };
  readonly violations: readonly string[];
}

/**
 * Tasks are submitted and reach the standby; then its stream stands still, the service launches for them, and the primary dies
 * for good. The tasks and agents are known to both, so all of it must still come to its end.
 */
export async function loseCommits(options: {
  readonly signal: AbortSignal;
  readonly progress: (text: string) => void;
}): Promise<LostCommits> {
  const datacenter = await Datacenter.start();
  let failed = true;
  try {
    const outcome = await play(datacenter, options);
    failed = outcome.violations.length > 0;
    return outcome;
  } finally {
    if (failed) options.progress(`logs are kept in ${datacenter.folder}`);
    await datacenter.stop(failed);
  }
}

async function play(
  datacenter: Datacenter,
  { signal, progress }: { readonly signal: AbortSignal; readonly progress: (text: string) => void },
): Promise<LostCommits> {
  const { postgres } = datacenter;
  await postgres.startStandby();
  const acknowledged = await datacenter.submit(tracedCommand(datacenter.traces, TASK_S), TASKS);
  await postgres.untilReplayed();
  await postgres.holdBackCommits();
  progress('the standby hears nothing any more');
  await until('the region made instances', async () => (await listInstances(datacenter)).length > 0, {
    deadlineMs: LAUNCH_MS,
  });
  const before = await readLaunches(datacenter);
  await postgres.failOver();
  const after = new Set((await readLaunches(datacenter)).map(({ nonce }) => nonce));
  const lost = before.filter(({ nonce }) => !after.has(nonce));
  const made = await listInstances(datacenter);
  progress(`${lost.length} launches and ${made.length} instances are forgotten`);
  await until('every task is done and every instance gone', async () => await isOver(datacenter, signal), {
    deadlineMs: QUIET_MS,
    everyMs: 1_000,
  });
  await sleep(SETTLE_MS);
  const evidence = await gatherEvidence(datacenter);
  // What was lost was committed all the same: its launches are judged by their own counts.
  const rows = { ...evidence.rows, launches: [...evidence.rows.launches, ...lost] };
  const violations = findViolations({ ...evidence, rows }, { machinesMax: MACHINES_MAX, acknowledged });
  return { lost: { launches: lost.length, instances: made.length }, violations };
}

/** The last charges are written a few seconds after the last machine is gone. */
const SETTLE_MS = 10_000;

async function listInstances(datacenter: Datacenter): Promise<readonly RegionInstance[]> {
  return (await datacenter.askRegion<{ instances: readonly RegionInstance[] }>('instances')).instances;
}

async function readLaunches(datacenter: Datacenter): Promise<Rows['launches']> {
  return (await withClient(datacenter.postgres.url, readRows)).launches;
}

async function isOver(datacenter: Datacenter, signal: AbortSignal): Promise<boolean> {
  signal.throwIfAborted();
  const open = await withClient(datacenter.postgres.url, async (client) => {
    const { rows } = await client.query<{ open: number }>(
      `select count(*)::int as open from spillway.tasks where state in ('pending', 'leased', 'running')`,
    );
    return rows[0]?.open ?? 0;
  });
  const instances = await listInstances(datacenter);
  return open === 0 && instances.every(({ state }) => state === 'terminated');
}
