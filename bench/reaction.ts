/**
 * From a pending row that somebody else commits to the call to EC2 that it causes: whole service with its default settings, 3,125
 * agents that report every 10 s, and 1,000 tasks that wait for what nobody has.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { startRegion, type RunningRegion } from '../src/simulator/start.ts';
import { makeFigure, type Bench, type BenchContext, type Figure } from './support/bench.ts';
import { openBenchDatabase, seedAgents, type BenchDatabase } from './support/database.ts';
import { layOut, WORKLOAD } from './support/deployment.ts';
import { describeMachine } from './support/machine.ts';
import { BenchProcess, freePort } from './support/processes.ts';
import { startService } from './support/service.ts';
import { quantile } from './support/stats.ts';
import type { SwarmOrders } from './support/swarm.ts';

const AGENTS = 3125;
const REPORT_MS = 10_000;
const WAITING_TASKS = 1000;
const TRIALS = 200;
/** Half of what AWS grants is one launch a second: trials come slower, and not in step with any loop. */
const PAUSE_MS = { min: 1300, max: 2100 } as const;
/** No agent of 16 cores has room for it. */
const TASK_CPU = 32;
/** Its machines are on their way for as long as the benchmark runs, so that joins take no part in it. */
const BOOT_MS = 3_600_000;
const READY_MS = 60_000;
const SWARM_MS = 3_600_000;
const TRIAL_MS = 30_000;
const POLL_MS = 2;
/** Slower ones are told one by one, to be looked up in the service's log. */
const SLOW_MS = 1000;

export const reaction: Bench = {
  name: 'reaction',
  about: 'from a pending row, committed by another process, to the launch call that it causes',
  async run(context) {
    const database = await openBenchDatabase();
    try {
      const region = await startRegion({ bootMs: BOOT_MS, sshPort: await freePort() });
      try {
        return await measureWithSwarm(context, database, region);
      } finally {
        await region.stop();
      }
    } finally {
      await database.stop();
    }
  },
};

async function measureWithSwarm(
  context: BenchContext,
  database: BenchDatabase,
  region: RunningRegion,
): Promise<Figure[]> {
  const tokens = (await seedAgents(database.pool, AGENTS, 0)).map(({ token }) => token);
  const env = await layOut(database, {
    endpoint: region.endpoint,
    taskCpu: TASK_CPU,
    instanceCpu: `${TASK_CPU}..${TASK_CPU}`,
    machines: { min: 0, max: TRIALS + 1 },
  });
  const service = await startService({ database, signal: context.signal, env });
  try {
    const { hostname: host, port } = new URL(service.agentUrl);
    const orders: SwarmOrders = {
      host,
      port: Number(port),
      connections: 0,
      tokens,
      periodMs: REPORT_MS,
      holdS: 9,
      seqFrom: 0,
      warmUpMs: REPORT_MS,
      // It is stopped with the benchmark: agents that fell silent before would be doubted, and launches with them.
      measureMs: SWARM_MS,
    };
    const swarm = new BenchProcess({
      name: 'the swarm',
      command: process.execPath,
      args: [fileURLToPath(new URL('support/swarm.ts', import.meta.url))],
      cwd: database.dataDir,
      input: JSON.stringify(orders),
    });
    try {
      await swarm.line(/^measuring$/, READY_MS, context.signal);
      return await measure(context, database, region);
    } finally {
      await swarm.stop();
    }
  } finally {
    await service.process.stop();
  }
}

async function measure(context: BenchContext, database: BenchDatabase, region: RunningRegion): Promise<Figure[]> {
  await submit(database, { count: WAITING_TASKS, cpuMilli: 999_000 });
  context.progress('a first launch, not counted');
  await waitForLaunch(context, database, region);
  const tookMs: number[] = [];
  for (let trial = 1; trial <= TRIALS; trial += 1) {
    if (trial % 20 === 0) context.progress(`launch ${trial} of ${TRIALS}`);
    await sleep(PAUSE_MS.min + Math.random() * (PAUSE_MS.max - PAUSE_MS.min), undefined, { signal: context.signal });
    const took = await waitForLaunch(context, database, region);
    if (took > SLOW_MS)
      context.progress(`launch ${trial} took ${(took / 1000).toFixed(1)} s, at ${new Date().toISOString()}`);
    tookMs.push(took);
  }
  const detail = `from before the INSERT is sent to the call at the region; ${TRIALS} launches, ${AGENTS} agents reporting every ${REPORT_MS / 1000} s, ${WAITING_TASKS} tasks that fit nowhere; whole service with default settings; ${database.version}; ${describeMachine()}`;
  return [0.5, 0.99].map((share) =>
    makeFigure('reaction', `p${share * 100}`, quantile(tookMs, share) / 1000, 's', detail),
  );
}

async function waitForLaunch(
  { signal }: BenchContext,
  database: BenchDatabase,
  { region }: RunningRegion,
): Promise<number> {
  const seq = region.eventsSince(0).length;
  const fromMs = Date.now();
  await submit(database, { count: 1, cpuMilli: TASK_CPU * 1000 });
  for (;;) {
    const launched = region.eventsSince(seq).find((event) => event.launched !== null);
    if (launched !== undefined) return launched.atMs - fromMs;
    if (Date.now() - fromMs > TRIAL_MS) throw new Error(`no launch within ${TRIAL_MS / 1000} s`);
    await sleep(POLL_MS, undefined, { signal });
  }
}

/** By hand, as a process would that has nothing in common with the service but the database. */
async function submit(
  { pool }: BenchDatabase,
  { count, cpuMilli }: { readonly count: number; readonly cpuMilli: number },
): Promise<void> {
  await pool.query(
    `insert into spillway.tasks (id, workload, command, cpu_milli, memory_mib, state)
     select 'tk-' || substr(md5(random()::text), 1, 12), $1, '["true"]', $2, 1024, 'pending' from generate_series(1, $3::int)`,
    [WORKLOAD, cpuMilli, count],
  );
}
