import { CLEAN_LISTINGS_MIN, CLEAN_SPAN_MS } from '../../src/model/amnesia.ts';
import { withClient } from '../support/postgres.ts';
import { until } from '../support/wait.ts';
import { Datacenter } from './datacenter.ts';
import { gatherEvidence, readRows, untilCharged, type RegionInstance, type Rows } from './evidence.ts';
import { MACHINES_MAX } from './policy.ts';
import { tracedCommand } from './trace.ts';
import { findViolations } from './verdict.ts';

const TASKS = 40;
const TASK_S = 3;
const LAUNCH_MS = 60_000;
/** The service notices, rebuilds its rows, joins the machines anew and runs what is left to its end. */
const WORK_MS = 120_000;
/** Drains, ends and charges what is no longer needed. */
const LEAVE_MS = 120_000;

export interface LostCommits {
  /** Rows that the region had acted upon and the new primary has never heard of. */
  readonly lost: { readonly launches: number; readonly instances: number };
  /** What the service made of it: machines whose rows it wrote again, and those that it ended before it was sure. */
  readonly amnesia: { readonly rebuilt: number; readonly endedMeanwhile: number };
  readonly violations: readonly string[];
}

/**
 * Tasks are submitted while the policy allows no machine, and reach the standby; then its stream stands still, the policy allows
 * machines, the service launches for the tasks, and the primary dies for good. The tasks and agents are known to both, so all of it must still come to its end.
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
  await datacenter.limitMachines(0);
  const acknowledged = await datacenter.submit(tracedCommand(datacenter.traces, TASK_S), TASKS);
  await postgres.untilReplayed();
  await postgres.holdBackCommits();
  progress('the standby hears nothing any more');
  await datacenter.limitMachines(MACHINES_MAX);
  await until('the region made instances', async () => (await listInstances(datacenter)).length > 0, {
    deadlineMs: LAUNCH_MS,
  });
  const before = await readLaunches(datacenter);
  await postgres.failOver();
  const after = new Set((await readLaunches(datacenter)).map(({ nonce }) => nonce));
  const lost = before.filter(({ nonce }) => !after.has(nonce));
  const made = await listInstances(datacenter);
  progress(`${lost.length} launches and ${made.length} instances are forgotten`);
  const amnesia = await remember(datacenter, signal);
  progress(`${amnesia.rebuilt} machines are rebuilt`);
  await until('every instance is gone', async () => await isEmpty(datacenter, signal), {
    deadlineMs: LEAVE_MS,
    everyMs: 500,
  });
  await untilCharged(datacenter);
  const evidence = await gatherEvidence(datacenter);
  // What was lost was committed all the same: its launches are judged by their own counts.
  const rows = { ...evidence.rows, launches: [...evidence.rows.launches, ...lost] };
  const violations = findViolations({ ...evidence, rows }, { machinesMax: MACHINES_MAX, acknowledged });
  return { lost: { launches: lost.length, instances: made.length }, amnesia, violations };
}

/**
 * The work goes on while nothing is launched or ended. Once EC2 has shown nothing unknown often enough, what is left of the
 * minutes that this must last is taken as passed: nothing but time happens in them.
 */
async function remember(datacenter: Datacenter, signal: AbortSignal): Promise<LostCommits['amnesia']> {
  await until('the service knows that it forgot', async () => (await readAmnesia(datacenter)).lasts, {
    deadlineMs: LAUNCH_MS,
    everyMs: 100,
  });
  await until('every task is done', async () => (await countOpenTasks(datacenter, signal)) === 0, {
    deadlineMs: WORK_MS,
    everyMs: 500,
  });
  const { rebuilt } = await until(
    'every instance has its row again',
    async () => {
      const found = await readAmnesia(datacenter);
      return found.cleanListings >= CLEAN_LISTINGS_MIN ? found : null;
    },
    { deadlineMs: WORK_MS, everyMs: 500 },
  );
  const endedMeanwhile = (await listInstances(datacenter)).filter(({ state }) => state !== 'running').length;
  await withClient(datacenter.postgres.url, async (client) =>
    client.query(`update spillway.amnesia set clean_since = clean_since - $1 * interval '1 millisecond'`, [
      CLEAN_SPAN_MS,
    ]),
  );
  await until('the service is sure again', async () => !(await readAmnesia(datacenter)).lasts, {
    deadlineMs: LAUNCH_MS,
    everyMs: 100,
  });
  return { rebuilt, endedMeanwhile };
}

async function readAmnesia(
  datacenter: Datacenter,
): Promise<{ readonly lasts: boolean; readonly rebuilt: number; readonly cleanListings: number }> {
  return await withClient(datacenter.postgres.url, async (client) => {
    const { rows } = await client.query<{ lasts: boolean; rebuilt: number; cleanListings: number }>(
      `select since is not null as lasts, rebuilt, clean_listings as "cleanListings" from spillway.amnesia`,
    );
    return rows[0] ?? { lasts: false, rebuilt: 0, cleanListings: 0 };
  });
}

async function listInstances(datacenter: Datacenter): Promise<readonly RegionInstance[]> {
  return (await datacenter.askRegion<{ instances: readonly RegionInstance[] }>('instances')).instances;
}

async function readLaunches(datacenter: Datacenter): Promise<Rows['launches']> {
  return (await withClient(datacenter.postgres.url, readRows)).launches;
}

async function countOpenTasks(datacenter: Datacenter, signal: AbortSignal): Promise<number> {
  signal.throwIfAborted();
  return await withClient(datacenter.postgres.url, async (client) => {
    const { rows } = await client.query<{ open: number }>(
      `select count(*)::int as open from spillway.tasks where state in ('pending', 'leased', 'running')`,
    );
    return rows[0]?.open ?? 0;
  });
}

async function isEmpty(datacenter: Datacenter, signal: AbortSignal): Promise<boolean> {
  signal.throwIfAborted();
  return (await listInstances(datacenter)).every(({ state }) => state === 'terminated');
}
