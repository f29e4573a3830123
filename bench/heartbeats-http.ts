/** Heartbeats through the whole service: HTTP, credentials, batches, Postgres; the agents are a process of their own. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { makeFigure, type Bench, type BenchContext, type Figure } from './support/bench.ts';
import { openBenchDatabase, seedAgents, type BenchDatabase } from './support/database.ts';
import { describeMachine, readCpuMs, readMachineCpuMs, readRssMib, readTreeCpuMs } from './support/machine.ts';
import { BenchProcess } from './support/processes.ts';
import { startService, type RunningService } from './support/service.ts';
import type { SwarmOrders, SwarmResult } from './support/swarm.ts';

/** 50,000 cores in agents of 16. */
const AGENTS = 3125;
/** A million cores in agents of eight. */
const FLEET_AGENTS = 125_000;
/** Fewer than the service takes in at one time (2,500), so that what is due waits here and is not refused. */
const FLEET_CONNECTIONS = 2000;
/** Enough to keep the service busy, and fewer than it admits at one time (2,500). */
const CLOSED_LOOP_AGENTS = 200;
/** The service asks for agents' credentials again every half minute; each span sees some of that. */
const SPAN_MS = 15_000;
const DEADLINE_MS = 60_000;

export const heartbeatsHttp: Bench = {
  name: 'heartbeats-http',
  about: 'heartbeats through the whole service over HTTP, from another process',
  async run(context) {
    return [...(await inWorld(context, AGENTS, measure)), ...(await inWorld(context, FLEET_AGENTS, measureFleet))];
  },
};

/** A service of its own, with so many agents. */
async function inWorld(
  context: BenchContext,
  agents: number,
  work: (world: World) => Promise<readonly Figure[]>,
): Promise<readonly Figure[]> {
  const database = await openBenchDatabase();
  try {
    const tokens = (await seedAgents(database.pool, agents, 0)).map(({ token }) => token);
    const policies = join(database.dataDir, 'policies');
    await mkdir(policies);
    const env = { SPILLWAY_POLICIES: policies, AWS_REGION: 'us-east-1' };
    const service = await startService({ database, signal: context.signal, env });
    try {
      return await work({ context, database, service, tokens });
    } finally {
      await service.process.stop();
    }
  } finally {
    await database.stop();
  }
}

interface World {
  readonly context: BenchContext;
  readonly database: BenchDatabase;
  readonly service: RunningService;
  readonly tokens: readonly string[];
}

interface Outcome extends SwarmResult {
  readonly serviceCores: number;
  readonly postgresCores: number;
  readonly rssMib: number;
  /** What other programs took meanwhile. */
  readonly otherCores: number;
}

async function measure(world: World): Promise<Figure[]> {
  const { context, database, tokens } = world;
  const { hostname: host, port } = new URL(world.service.agentUrl);
  const common = { host, port: Number(port), connections: 0, measureMs: SPAN_MS, holdS: 0 };
  context.progress('200 agents, as fast as it goes');
  const rush = await observe(world, {
    ...common,
    tokens: tokens.slice(0, CLOSED_LOOP_AGENTS),
    periodMs: null,
    warmUpMs: 3000,
    seqFrom: 0,
  });
  context.progress(`${AGENTS} agents, one report each per second`);
  const steady = await observe(world, { ...common, tokens, periodMs: 1000, warmUpMs: 3000, seqFrom: 1e6 });
  context.progress(`${AGENTS} agents, one report each per 10 s, held for up to 10 s as real agents ask`);
  const usual = await observe(world, { ...common, tokens, periodMs: 10_000, holdS: 9, warmUpMs: 10_000, seqFrom: 2e6 });

  const about = `whole service, agents without tasks, no policy; loopback, the generator shares the cores; ${database.version}; ${describeMachine()}`;
  const figure = (name: string, value: number, unit: string, how: string): Figure =>
    makeFigure('heartbeats-http', name, value, unit, `${how}; ${about}`);
  const cores = ({ serviceCores, postgresCores, cpuCores, otherCores }: Outcome): string =>
    `service ${serviceCores.toFixed(2)}, Postgres ${postgresCores.toFixed(2)}, generator ${cpuCores.toFixed(2)}, other programs ${otherCores.toFixed(2)} cores`;
  const rushed = `closed loop of ${CLOSED_LOOP_AGENTS} keep-alive connections, ${SPAN_MS / 1000} s, ${rush.refused} refused; ${cores(rush)}`;
  const steadied = `open loop, ${AGENTS} agents once per second, latency from the scheduled time, ${SPAN_MS / 1000} s, ${steady.accepted} accepted, ${steady.refused} refused, ${steady.missed} missed; ${cores(steady)}`;
  const usually = `${AGENTS} agents every 10 s with held answers, ${SPAN_MS / 1000} s, ${usual.accepted} accepted, ${usual.refused} refused; ${cores(usual)}`;
  return [
    figure('per-second', (rush.accepted / SPAN_MS) * 1000, '1/s', rushed),
    figure(
      'service-cpu',
      (rush.serviceCores * SPAN_MS * 1000) / rush.accepted,
      'us',
      `CPU of the service process per heartbeat; ${rushed}`,
    ),
    figure('at-1hz-accepted', (steady.accepted / SPAN_MS) * 1000, '1/s', steadied),
    figure('at-1hz-p50', steady.p50Ms, 'ms', steadied),
    figure('at-1hz-p99', steady.p99Ms, 'ms', steadied),
    figure('at-1hz-service-cpu', steady.serviceCores, 'cores', steadied),
    figure('at-1hz-postgres-cpu', steady.postgresCores, 'cores', steadied),
    figure('at-1hz-rss', steady.rssMib, 'MiB', `resident memory of the service at the end; ${steadied}`),
    figure('at-10s-service-cpu', usual.serviceCores, 'cores', usually),
    figure('at-10s-postgres-cpu', usual.postgresCores, 'cores', usually),
  ];
}

/** A million cores in agents of eight, each once per 10 s, as the reports come out of a proxy that keeps its connections. */
async function measureFleet(world: World): Promise<readonly Figure[]> {
  const { context, database, service, tokens } = world;
  context.progress(`${tokens.length} agents, one report each per 10 s, over ${FLEET_CONNECTIONS} connections`);
  const { hostname: host, port } = new URL(service.agentUrl);
  const fleet = await observe(world, {
    host,
    port: Number(port),
    tokens,
    connections: FLEET_CONNECTIONS,
    periodMs: 10_000,
    holdS: 0,
    // In its first round the service asks whose each token is.
    warmUpMs: 15_000,
    measureMs: 20_000,
    seqFrom: 3e6,
  });
  const perSecond = fleet.accepted / 20;
  const about =
    `whole service, ${tokens.length} agents without tasks every 10 s over ${FLEET_CONNECTIONS} connections, 20 s, ${fleet.refused} refused, ${fleet.missed} missed; ` +
    `service ${fleet.serviceCores.toFixed(2)}, Postgres ${fleet.postgresCores.toFixed(2)}, generator ${fleet.cpuCores.toFixed(2)}, other programs ${fleet.otherCores.toFixed(2)} cores; ` +
    `${database.version}; ${describeMachine()}`;
  const figure = (name: string, value: number, unit: string): Figure =>
    makeFigure('heartbeats-http', name, value, unit, about);
  return [
    figure('fleet-per-second', perSecond, '1/s'),
    figure('fleet-per-core', perSecond / fleet.serviceCores, '1/s'),
    figure('fleet-per-core-with-postgres', perSecond / (fleet.serviceCores + fleet.postgresCores), '1/s'),
    figure('fleet-p50', fleet.p50Ms, 'ms'),
    figure('fleet-p99', fleet.p99Ms, 'ms'),
    figure('fleet-rss', fleet.rssMib, 'MiB'),
  ];
}

async function observe({ context, database, service }: World, orders: SwarmOrders): Promise<Outcome> {
  const swarm = new BenchProcess({
    name: 'the swarm',
    command: process.execPath,
    args: [fileURLToPath(new URL('support/swarm.ts', import.meta.url))],
    cwd: database.dataDir,
    input: JSON.stringify(orders),
  });
  try {
    const read = async (): Promise<{ atMs: number; serviceMs: number; postgresMs: number; machineMs: number }> => ({
      serviceMs: await readCpuMs(service.process.pid),
      postgresMs: await readTreeCpuMs(database.pid),
      machineMs: await readMachineCpuMs(),
      atMs: performance.now(),
    });
    await swarm.line(/^measuring$/, DEADLINE_MS, context.signal);
    const before = await read();
    await swarm.line(/^measured$/, DEADLINE_MS, context.signal);
    const after = await read();
    const rssMib = await readRssMib(service.process.pid);
    const [, json = ''] = await swarm.line(/^result (.*)$/, DEADLINE_MS, context.signal);
    const tookMs = after.atMs - before.atMs;
    const result = JSON.parse(json) as SwarmResult;
    const serviceCores = (after.serviceMs - before.serviceMs) / tookMs;
    const postgresCores = (after.postgresMs - before.postgresMs) / tookMs;
    const busyCores = (after.machineMs - before.machineMs) / tookMs;
    return {
      ...result,
      serviceCores,
      postgresCores,
      rssMib,
      otherCores: Math.max(0, busyCores - serviceCores - postgresCores - result.cpuCores),
    };
  } finally {
    await swarm.stop();
  }
}
