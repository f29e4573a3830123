/**
 * Two hundred machines that become reachable together, from the moment SSH answers to the report of their agents: first
 * log-in, a host key of their own, second log-in, upload, agent. Whole service with its default settings, real SSH, all
 * hosts and agents on this machine.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { makeFigure, type Bench, type BenchContext, type Figure } from './support/bench.ts';
import { openBenchDatabase, type BenchDatabase } from './support/database.ts';
import { layOut, WORKLOAD } from './support/deployment.ts';
import { describeMachine } from './support/machine.ts';
import { startService } from './support/service.ts';
import { quantile } from './support/stats.ts';
import { openRegion } from './time-to-ready.ts';

const JOINS = 200;
/** Well above what it takes: beyond it something is broken. */
const ALL_READY_MS = 8 * 60_000;
const POLL_MS = 500;

export const joins: Bench = {
  name: 'joins',
  about: `${JOINS} machines that join at once over SSH: from an open port to ready`,
  async run(context) {
    const database = await openBenchDatabase();
    const region = await openRegion(database, context.signal);
    try {
      const env = await layOut(database, {
        endpoint: region.endpoint,
        sshPort: region.sshPort,
        taskCpu: 4,
        instanceCpu: '4..4',
        machines: { min: 0, max: JOINS },
        maxScaleUp: JOINS,
      });
      const service = await startService({ database, signal: context.signal, env });
      try {
        await service.client.post('TaskReceipt', '/v1/tasks', {
          workload: WORKLOAD,
          command: ['sleep', '3600'],
          count: JOINS,
        });
        await untilReady(context, database);
        return await readFigures(database);
      } finally {
        await service.process.stop();
      }
    } finally {
      await region.process.stop();
      await database.stop();
    }
  },
};

async function untilReady(context: BenchContext, database: BenchDatabase): Promise<void> {
  const startedMs = performance.now();
  for (let told = -1; ;) {
    const { rows } = await database.pool.query<{ state: string; machines: number }>(
      'select state, count(*)::int as machines from spillway.machines group by state order by state',
    );
    const ready = rows.find(({ state }) => state === 'ready')?.machines ?? 0;
    if (ready >= JOINS) return;
    if (performance.now() - startedMs > ALL_READY_MS) {
      throw new Error(`not ready after ${ALL_READY_MS / 1000} s: ${JSON.stringify(rows)}`);
    }
    if (ready !== told && ready % 20 === 0) context.progress(`${ready} of ${JOINS} are ready`);
    told = ready;
    await sleep(POLL_MS, undefined, { signal: context.signal });
  }
}

interface Times {
  readonly pinnedS: number;
  readonly readyS: number;
  readonly allS: number;
}

async function readFigures(database: BenchDatabase): Promise<Figure[]> {
  const { rows } = await database.pool.query<Times>(
    `select extract(epoch from pinned.at - opened.at)::float8 as "pinnedS",
       extract(epoch from ready.at - opened.at)::float8 as "readyS",
       extract(epoch from max(ready.at) over () - min(opened.at) over ())::float8 as "allS"
     from spillway.machine_events opened
     join spillway.machine_events pinned on pinned.machine_id = opened.machine_id and pinned.reason = 'host-key-confirmed'
     join spillway.machine_events ready on ready.machine_id = opened.machine_id and ready.reason = 'agent-reported'
     where opened.reason = 'ssh-open' order by ready.at`,
  );
  const { rows: ended } = await database.pool.query<{ machines: number }>(
    "select count(*)::int as machines from spillway.machines where state = 'terminated'",
  );
  const detail = `${rows.length} joins, ${ended[0]?.machines ?? 0} failed; service, region, ${JOINS} hosts and their agents share this machine; ${database.version}; ${describeMachine()}`;
  const figure = (name: string, values: readonly number[], share: number): Figure =>
    makeFigure('joins', name, quantile(values, share), 's', detail);
  const [ready, pinned] = [rows.map(({ readyS }) => readyS), rows.map(({ pinnedS }) => pinnedS)];
  return [
    figure('ready-p50', ready, 0.5),
    figure('ready-p95', ready, 0.95),
    figure('pinned-p50', pinned, 0.5),
    figure('pinned-p95', pinned, 0.95),
    figure(
      'all',
      rows.map(({ allS }) => allS),
      1,
    ),
  ];
}
