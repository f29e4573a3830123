/** How many heartbeats the batcher and the store put into Postgres, in one process and without HTTP. */
import { setTimeout as sleep } from 'node:timers/promises';
import { Batcher } from '../src/engine/batcher.ts';
import type { AgentReport } from '../src/ports/agent-gateway.ts';
import type { AgentStore, ReportOf, ReportResult } from '../src/ports/tasks.ts';
import { createAgentStore } from '../src/store/agents.ts';
import { createDatabase } from '../src/store/database.ts';
import { systemClock } from '../src/wiring/system.ts';
import { makeFigure, type Bench, type BenchContext, type Figure } from './support/bench.ts';
import { openBenchDatabase, seedAgents, type BenchDatabase, type SeededAgent } from './support/database.ts';
import { describeMachine, readMachineCpuMs, readTreeCpuMs } from './support/machine.ts';
import { quantile } from './support/stats.ts';

/** 50,000 cores in agents of 16. */
const AGENTS = 3125;
const LEASE_MS = 60_000;
const WARM_UP_MS = 2000;
const MEASURE_MS = 8000;
const TASKS_PER_BUSY_AGENT = 2;
/** Two million cores in agents of 16, at the default interval. */
const FLEET_AGENTS = 125_000;
const FLEET_INTERVAL_MS = 10_000;
/** Reports on their way at one time; what is due beyond them waits, and counts as waiting. */
const PENDING_MAX = 20_000;

type Reports = Batcher<ReportOf, ReportResult>;

export const heartbeats: Bench = {
  name: 'heartbeats',
  about: 'heartbeats into Postgres through the batcher and the store',
  async run(context) {
    const figures: Figure[] = [];
    for (const tasks of [0, TASKS_PER_BUSY_AGENT]) {
      const database = await openBenchDatabase();
      try {
        figures.push(...(await measure(context, database, tasks)));
      } finally {
        await database.stop();
      }
    }
    const database = await openBenchDatabase();
    try {
      figures.push(...(await measureFleet(context, database)));
    } finally {
      await database.stop();
    }
    return figures;
  },
};

/** As the agents' gateway has it. */
function batchReports(store: AgentStore): Reports {
  return new Batcher({
    clock: systemClock,
    carryOut: async (batch) => await store.writeReports(batch, LEASE_MS),
    keyOf: ({ agentId }) => agentId,
  });
}

interface Span {
  readonly latenciesMs: readonly number[];
  readonly perSecond: number;
  readonly statementsEach: number;
  readonly ownCpuUs: number;
  readonly postgresCpuUs: number;
  /** What other programs took meanwhile. */
  readonly otherCores: number;
}

async function measure(context: BenchContext, database: BenchDatabase, tasks: number): Promise<Figure[]> {
  const kind = tasks === 0 ? 'idle' : 'busy';
  const agents = (await seedAgents(database.pool, AGENTS, tasks)).map((agent) => new Reporter(agent));
  const store = createAgentStore(createDatabase(database.pool));
  const batcher = batchReports(store);
  context.progress(`${kind} agents, as fast as it goes`);
  const closed = await observe(context, database, async (over, done) => {
    await Promise.all(
      agents.map(async (agent) => {
        while (!over.aborted) await agent.report(batcher, performance.now(), done);
      }),
    );
  });
  context.progress(`${kind} agents, one report each per second`);
  const everySecond = async (over: AbortSignal, done: Done): Promise<void> =>
    await openLoop(agents, batcher, { over, done, intervalMs: 1000 });
  const open = await observe(context, database, everySecond);

  const about = `${AGENTS} agents with ${tasks} running tasks each, one process, no HTTP; ${database.version}; ${describeMachine()}`;
  const figure = (name: string, value: number, unit: string, how: string): Figure =>
    makeFigure('heartbeats', `${kind}-${name}`, value, unit, `${how}; ${about}`);
  const rush = `closed loop, every agent always waiting, ${MEASURE_MS / 1000} s, others used ${closed.otherCores.toFixed(2)} cores`;
  const steady = `open loop, each agent once per second, from the scheduled time, ${open.latenciesMs.length} reports, others used ${open.otherCores.toFixed(2)} cores`;
  return [
    figure('per-second', closed.perSecond, '1/s', rush),
    figure('statements', closed.statementsEach, '1', `statements per heartbeat, begin and commit counted; ${rush}`),
    figure('own-cpu', closed.ownCpuUs, 'us', `CPU of the Node process per heartbeat; ${rush}`),
    figure('postgres-cpu', closed.postgresCpuUs, 'us', `CPU of all Postgres processes per heartbeat; ${rush}`),
    figure('at-1hz-per-second', open.perSecond, '1/s', steady),
    figure('at-1hz-p50', quantile(open.latenciesMs, 0.5), 'ms', steady),
    figure('at-1hz-p99', quantile(open.latenciesMs, 0.99), 'ms', steady),
    figure('at-1hz-own-cpu', (open.ownCpuUs * open.perSecond) / 1e6, 'cores', `Node, generator included; ${steady}`),
    figure(
      'at-1hz-postgres-cpu',
      (open.postgresCpuUs * open.perSecond) / 1e6,
      'cores',
      `all Postgres processes; ${steady}`,
    ),
    figure('at-1hz-statements', open.statementsEach, '1', `statements per heartbeat; ${steady}`),
  ];
}

/** As many agents as Spillway is meant for, each at its own moment of each interval. */
async function measureFleet(context: BenchContext, database: BenchDatabase): Promise<Figure[]> {
  context.progress(`${FLEET_AGENTS} idle agents, one report each per ${FLEET_INTERVAL_MS / 1000} s`);
  const agents = (await seedAgents(database.pool, FLEET_AGENTS, 0)).map((agent) => new Reporter(agent));
  const store = createAgentStore(createDatabase(database.pool));
  const batcher = batchReports(store);
  const load = async (over: AbortSignal, done: Done): Promise<void> =>
    await openLoop(agents, batcher, { over, done, intervalMs: FLEET_INTERVAL_MS });
  const span = await observe(context, database, load, {
    warmUpMs: FLEET_INTERVAL_MS,
    measureMs: 2 * FLEET_INTERVAL_MS,
  });
  const wanted = (FLEET_AGENTS / FLEET_INTERVAL_MS) * 1000;
  const cores = ((span.ownCpuUs + span.postgresCpuUs) * span.perSecond) / 1e6;
  const about = `open loop, ${FLEET_AGENTS} idle agents, ${wanted}/s wanted, from the scheduled time, one process, no HTTP, others used ${span.otherCores.toFixed(2)} cores; ${database.version}; ${describeMachine()}`;
  return [
    makeFigure('heartbeats', 'fleet-per-second', span.perSecond, '1/s', about),
    makeFigure(
      'heartbeats',
      'fleet-per-core',
      span.perSecond / cores,
      '1/s',
      `per core that Node and Postgres used; ${about}`,
    ),
    makeFigure('heartbeats', 'fleet-p50', quantile(span.latenciesMs, 0.5), 'ms', about),
    makeFigure('heartbeats', 'fleet-p99', quantile(span.latenciesMs, 0.99), 'ms', about),
    makeFigure('heartbeats', 'fleet-cores', cores, 'cores', `Node with the generator, and Postgres; ${about}`),
  ];
}

type Done = (latencyMs: number) => void;

/** Runs a load for the warm-up and the measured span, and counts only the latter. */
async function observe(
  { signal }: BenchContext,
  database: BenchDatabase,
  load: (over: AbortSignal, done: Done) => Promise<void>,
  { warmUpMs, measureMs } = { warmUpMs: WARM_UP_MS, measureMs: MEASURE_MS },
): Promise<Span> {
  const over = new AbortController();
  let latenciesMs: number[] = [];
  const running = load(AbortSignal.any([over.signal, signal]), (latencyMs) => void latenciesMs.push(latencyMs));
  try {
    await Promise.race([sleep(warmUpMs, undefined, { signal }), running]);
    const before = await readMeters(database);
    latenciesMs = [];
    await Promise.race([sleep(measureMs, undefined, { signal }), running]);
    const counted = latenciesMs;
    const after = await readMeters(database);
    latenciesMs = [];
    const each = 1 / counted.length;
    return {
      latenciesMs: counted,
      perSecond: (counted.length / (after.atMs - before.atMs)) * 1000,
      statementsEach: (after.statements - before.statements) * each,
      ownCpuUs: (after.ownCpuUs - before.ownCpuUs) * each,
      postgresCpuUs: (after.postgresCpuMs - before.postgresCpuMs) * 1000 * each,
      otherCores: otherCores(before, after),
    };
  } finally {
    over.abort();
    await running;
  }
}

interface Meters {
  readonly atMs: number;
  readonly statements: number;
  readonly ownCpuUs: number;
  readonly postgresCpuMs: number;
  readonly machineCpuMs: number;
}

async function readMeters(database: BenchDatabase): Promise<Meters> {
  const [postgresCpuMs, machineCpuMs] = await Promise.all([readTreeCpuMs(database.pid), readMachineCpuMs()]);
  const { user, system } = process.cpuUsage();
  return {
    atMs: performance.now(),
    statements: database.statements(),
    ownCpuUs: user + system,
    postgresCpuMs,
    machineCpuMs,
  };
}

function otherCores(before: Meters, after: Meters): number {
  const ours = (after.ownCpuUs - before.ownCpuUs) / 1000 + after.postgresCpuMs - before.postgresCpuMs;
  return Math.max(0, (after.machineCpuMs - before.machineCpuMs - ours) / (after.atMs - before.atMs));
}

/** Agents report at their own moment of each interval. One that has no answer yet is late, and that counts as waiting. */
async function openLoop(
  agents: readonly Reporter[],
  batcher: Reports,
  { over, done, intervalMs }: { readonly over: AbortSignal; readonly done: Done; readonly intervalMs: number },
): Promise<void> {
  const startMs = performance.now();
  const pending = new Set<Promise<void>>();
  for (let sent = 0; !over.aborted;) {
    const due = Math.floor(((performance.now() - startMs) * agents.length) / intervalMs);
    for (; sent < due && pending.size < PENDING_MAX; sent += 1) {
      const scheduledMs = startMs + (sent * intervalMs) / agents.length;
      const report = agents[sent % agents.length]!.report(batcher, scheduledMs, done);
      pending.add(report);
      void report.finally(() => pending.delete(report));
    }
    await sleep(1);
  }
  await Promise.all(pending);
}

class Reporter {
  readonly #agent: SeededAgent;
  #seq = 0;

  constructor(agent: SeededAgent) {
    this.#agent = agent;
  }

  async report(batcher: Reports, sinceMs: number, done: Done): Promise<void> {
    this.#seq += 1;
    const report: AgentReport = {
      bootId: '00000000-0000-4000-8000-000000000001',
      seq: this.#seq,
      capacity: { cpuMilli: 16_000, memoryMib: 65_536, gpus: 0 },
      used: { cpuMilli: (this.#seq * 997) % 16_000, memoryMib: 8192 },
      cordon: { cordoned: false, generation: 0 },
      tasks: this.#agent.tasks.map((taskId) => ({ taskId, attempt: 1, state: 'running', progressBase64: null })),
      leaving: false,
    };
    const result = await batcher.add({ agentId: this.#agent.id, report });
    if (result.kind !== 'accepted' || result.held.length !== report.tasks.length) {
      throw new Error(`a report of ${this.#agent.id} was ${result.kind}, with ${result.held.length} tasks held`);
    }
    done(performance.now() - sinceMs);
  }
}
