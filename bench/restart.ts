/**
 * From the SIGKILL of a service that looks after 1,000 living machines to the first sweep and the first plan of the process that
 * is started in its place: defaults, real wire protocol; the region's instances have no hosts behind them.
 */
import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { startRegion, type RunningRegion } from '../src/simulator/start.ts';
import { makeFigure, type Bench, type BenchContext, type Figure } from './support/bench.ts';
import { openBenchDatabase, type BenchDatabase } from './support/database.ts';
import { layOut, WORKLOAD } from './support/deployment.ts';
import { seedFleet } from './support/fleet.ts';
import { describeMachine, readCpuMs } from './support/machine.ts';
import { freePort } from './support/processes.ts';
import { startService, type RunningService } from './support/service.ts';
import { quantile } from './support/stats.ts';

const MACHINES = 1_000;
const ROUNDS = 7;
/** Instances that never answer SSH; nobody asks them to. */
const NEVER_BOOTED_MS = 24 * 3_600_000;
const ROUND_MS = 60_000;
const POLL_MS = 20;

export const restart: Bench = {
  name: 'restart',
  about: 'from a killed service to the first sweep and plan of its successor, with 1,000 living machines',
  async run(context) {
    const database = await openBenchDatabase();
    try {
      const region = await startRegion({ bootMs: NEVER_BOOTED_MS, throttling: false, sshPort: await freePort() });
      try {
        return await measure(context, database, await makeWorld(database, region));
      } finally {
        await region.stop();
      }
    } finally {
      await database.stop();
    }
  },
};

interface World {
  readonly env: Readonly<Record<string, string>>;
  readonly operatorPort: number;
}

async function makeWorld(database: BenchDatabase, region: RunningRegion): Promise<World> {
  const env = await layOut(database, {
    endpoint: region.endpoint,
    taskCpu: 2,
    instanceCpu: '2..4',
    machines: { min: MACHINES, max: MACHINES },
  });
  const keyFile = join(database.dataDir, 'deployment.key');
  const deploymentKey = randomBytes(32);
  await writeFile(keyFile, `${deploymentKey.toString('hex')}\n`, { mode: 0o600 });
  await seedFleet(database.pool, region.region, {
    owner: 'bench',
    workload: WORKLOAD,
    machines: MACHINES,
    deploymentKey,
  });
  const operatorPort = await freePort();
  return {
    operatorPort,
    env: { ...env, SPILLWAY_LISTEN: `127.0.0.1:${operatorPort}`, SPILLWAY_KEY_FILE: keyFile },
  };
}

interface Restart {
  readonly servingMs: number;
  readonly sweptMs: number;
  readonly plannedMs: number;
  /** CPU of the new process until then: what the machine's other work cannot lengthen. */
  readonly cpuMs: number;
}

async function measure(context: BenchContext, database: BenchDatabase, world: World): Promise<Figure[]> {
  const { signal, progress } = context;
  const start = async (): Promise<RunningService> => await startService({ database, signal, env: world.env });
  progress(`${MACHINES} machines; a first start, which has nobody to follow and looks before it decides`);
  let service = await start();
  const restarts: Restart[] = [];
  try {
    await untilReconciling(world, signal, performance.now());
    for (let round = 1; round <= ROUNDS; round += 1) {
      // No agent runs here; those of a living fleet have reported within the last interval.
      await database.pool.query('update spillway.agents set last_seen_at = spillway.now()');
      progress(`SIGKILL ${round} of ${ROUNDS}`);
      const killedMs = performance.now();
      await service.process.kill();
      service = await start();
      const servingMs = performance.now() - killedMs;
      const reconciling = await untilReconciling(world, signal, killedMs);
      restarts.push({ servingMs, ...reconciling, cpuMs: await readCpuMs(service.process.pid) });
    }
  } finally {
    await service.process.stop();
  }
  await requireUnharmed(database);
  return figuresOf(restarts, database);
}

/** When, after `fromMs`, this process had swept and had planned; neither is true of a process that has only just started. */
async function untilReconciling(
  world: World,
  signal: AbortSignal,
  fromMs: number,
): Promise<Pick<Restart, 'sweptMs' | 'plannedMs'>> {
  const ask = async (path: string): Promise<string> => {
    const response = await fetch(`http://127.0.0.1:${world.operatorPort}${path}`, {
      signal: AbortSignal.any([signal, AbortSignal.timeout(ROUND_MS)]),
    });
    return await response.text();
  };
  const isSwept = async (): Promise<boolean> =>
    /"name":\s*"sweep",\s*"state":\s*"ok"/.test(await ask('/healthz?verbose'));
  const isPlanned = async (): Promise<boolean> =>
    /^\w*planner_last_tick_timestamp_seconds [1-9]/m.test(await ask('/metrics'));
  let sweptMs: number | null = null;
  let plannedMs: number | null = null;
  while (sweptMs === null || plannedMs === null) {
    if (performance.now() - fromMs > ROUND_MS) throw new Error(`no sweep and plan within ${ROUND_MS / 1000} s`);
    if (sweptMs === null && (await isSwept())) sweptMs = performance.now() - fromMs;
    if (plannedMs === null && (await isPlanned())) plannedMs = performance.now() - fromMs;
    await sleep(POLL_MS, undefined, { signal });
  }
  return { sweptMs, plannedMs };
}

/** A restart that drained or forgot machines would be fast for nothing. */
async function requireUnharmed(database: BenchDatabase): Promise<void> {
  const { rows } = await database.pool.query<{ ready: number }>(
    `select count(*)::int as ready from spillway.machines where state = 'ready'`,
  );
  if (rows[0]?.ready !== MACHINES) throw new Error(`${rows[0]?.ready} of ${MACHINES} machines are ready afterwards`);
}

function figuresOf(restarts: readonly Restart[], database: BenchDatabase): Figure[] {
  const about = `${restarts.length} SIGKILLs of a service with default settings and ${MACHINES} living machines, process started at once; simulated region over HTTP, no agents reporting; ${database.version}; ${describeMachine()}`;
  const seconds = restarts.map(({ sweptMs, plannedMs }) => Math.max(sweptMs, plannedMs) / 1000);
  const median = (read: (one: Restart) => number): string =>
    `${(quantile(restarts.map(read), 0.5) / 1000).toFixed(2)} s`;
  const detail = `SIGKILL to the first sweep and plan of the new process; medians: serving ${median((one) => one.servingMs)}, swept ${median((one) => one.sweptMs)}, planned ${median((one) => one.plannedMs)}; ${about}`;
  return [
    makeFigure('restart', 'reconciling-p50', quantile(seconds, 0.5), 's', detail),
    makeFigure('restart', 'reconciling-max', Math.max(...seconds), 's', detail),
    makeFigure(
      'restart',
      'reconciling-cpu',
      quantile(
        restarts.map(({ cpuMs }) => cpuMs / 1000),
        0.5,
      ),
      's',
      `CPU of the new process until then, median; ${about}`,
    ),
  ];
}
