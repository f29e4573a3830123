/**
 * From a task nobody has room for to a machine that is ready for it, minus the time the region's instance takes to boot: what
 * is left is Spillway's own. Whole service with its default settings, real SSH, a region of our own.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { makeFigure, type Bench, type BenchContext, type Figure } from './support/bench.ts';
import { openBenchDatabase, type BenchDatabase } from './support/database.ts';
import { layOut, WORKLOAD } from './support/deployment.ts';
import { describeMachine } from './support/machine.ts';
import { BenchProcess, freePort, SPILLWAY } from './support/processes.ts';
import { startService, type RunningService } from './support/service.ts';
import { quantile } from './support/stats.ts';

const BOOT_S = 3;
/** One after the other, so that each is a decision, a launch and a join of its own. */
const SINGLE_ROUNDS = 8;
/** All at once: one launch of many. */
const BURST = 8;
const START_MS = 60_000;
const ROUND_MS = 45_000;
const POLL_MS = 50;

export const timeToReady: Bench = {
  name: 'time-to-ready',
  about: 'from a pending task to a ready machine, minus the boot of the instance',
  async run(context) {
    const database = await openBenchDatabase();
    const region = await openRegion(database, context.signal);
    try {
      const service = await openService(database, region, context.signal);
      try {
        return await measure(context, database, service);
      } finally {
        await service.process.stop();
      }
    } finally {
      await region.process.stop();
      await database.stop();
    }
  },
};

export interface Region {
  readonly process: BenchProcess;
  readonly endpoint: string;
  readonly sshPort: number;
}

/** The simulated region as a process of its own, with real SSH hosts. The caller stops it. */
export async function openRegion(database: BenchDatabase, signal: AbortSignal): Promise<Region> {
  const sshPort = await freePort();
  const region = new BenchProcess({
    name: 'the region',
    command: SPILLWAY,
    args: ['simulate', 'region', '--port', '0', '--ssh-port', String(sshPort), '--boot', `${BOOT_S}s`],
    cwd: database.dataDir,
  });
  try {
    const [, endpoint = ''] = await region.line(/AWS_ENDPOINT_URL_EC2=(\S+)/, START_MS, signal);
    return { process: region, endpoint, sshPort };
  } catch (error) {
    await region.stop();
    await database.stop();
    throw error;
  }
}

async function openService(database: BenchDatabase, region: Region, signal: AbortSignal): Promise<RunningService> {
  const { endpoint, sshPort } = region;
  const env = await layOut(database, {
    endpoint,
    sshPort,
    taskCpu: 4,
    instanceCpu: '4..4',
    machines: { min: 0, max: 100 },
  });
  return await startService({ database, signal, env });
}

interface Arrival {
  readonly fromTaskMs: number;
  /** Time in each state on the way, from the machine's events. */
  readonly steps: Readonly<Record<string, number>>;
}

async function measure(context: BenchContext, database: BenchDatabase, service: RunningService): Promise<Figure[]> {
  // A service that has just started decides nothing until every agent had the time to report; that is not measured here.
  context.progress('a first machine, not counted');
  await launch({ context, database, service }, 1);
  const arrivals: Arrival[] = [];
  for (let round = 1; round <= SINGLE_ROUNDS; round += 1) {
    context.progress(`machine ${round} of ${SINGLE_ROUNDS}`);
    arrivals.push(...(await launch({ context, database, service }, 1)));
  }
  context.progress(`${BURST} machines at once`);
  const burst = await launch({ context, database, service }, BURST);

  const about = `whole service with default settings, simulated region over HTTP, join over SSH, all on this machine; ${database.version}; ${describeMachine()}`;
  const figures = (name: string, list: readonly Arrival[], how: string): Figure[] => {
    const seconds = list.map(({ fromTaskMs }) => fromTaskMs / 1000 - BOOT_S);
    const detail = `task committed to machine ready, minus ${BOOT_S} s of boot; ${list.length} machines ${how}; median time in each state: ${describeSteps(list)}; ${about}`;
    return [0.5, 0.95].map((share) =>
      makeFigure('time-to-ready', `${name}-p${share * 100}`, quantile(seconds, share), 's', detail),
    );
  };
  return [
    ...figures('single', arrivals, 'one after the other'),
    ...figures('burst', burst, 'for as many tasks at once'),
  ];
}

interface World {
  readonly context: BenchContext;
  readonly database: BenchDatabase;
  readonly service: RunningService;
}

/** Submits tasks that fill a machine each and never end, so that the next ones need machines of their own. */
async function launch({ context, database, service }: World, count: number): Promise<Arrival[]> {
  const { rows: before } = await database.pool.query<{ id: string }>('select id from spillway.machines');
  const known = before.map(({ id }) => id);
  const receipt = await service.client.post<{ taskIds: readonly string[] }>('TaskReceipt', '/v1/tasks', {
    workload: WORKLOAD,
    command: ['sleep', '3600'],
    count,
  });
  const startedMs = performance.now();
  for (;;) {
    const { rows } = await database.pool.query<{ id: string; from_task_ms: number }>(
      `select e.machine_id as id,
         (extract(epoch from e.at - (select min(submitted_at) from spillway.tasks where id = any($2))) * 1000)::float8 as from_task_ms
       from spillway.machine_events e where e.to_state = 'ready' and e.machine_id <> all($1)`,
      [known, receipt.taskIds],
    );
    if (rows.length >= count) {
      return await Promise.all(
        rows.map(async (row) => ({ fromTaskMs: row.from_task_ms, steps: await readSteps(database, row.id) })),
      );
    }
    if (performance.now() - startedMs > ROUND_MS)
      throw new Error(`${rows.length} of ${count} machines ready after ${ROUND_MS / 1000} s`);
    await sleep(POLL_MS, undefined, { signal: context.signal });
  }
}

async function readSteps(database: BenchDatabase, machineId: string): Promise<Record<string, number>> {
  const { rows } = await database.pool.query<{ state: string; ms: number }>(
    `select to_state as state, (extract(epoch from lead(at) over (order by id) - at) * 1000)::float8 as ms
     from spillway.machine_events where machine_id = $1 and from_state is distinct from to_state`,
    [machineId],
  );
  return Object.fromEntries(rows.filter(({ ms }) => ms !== null).map(({ state, ms }) => [state, ms]));
}

function describeSteps(arrivals: readonly Arrival[]): string {
  const states = ['requested', 'launching', 'booting', 'joining'];
  const median = (state: string): number =>
    quantile(
      arrivals.map(({ steps }) => steps[state] ?? 0),
      0.5,
    );
  return states.map((state) => `${state} ${(median(state) / 1000).toFixed(2)} s`).join(', ');
}
