import { readFile } from 'node:fs/promises';

import { createEc2Cloud, type Ec2Cloud } from './cloud/ec2.ts';
import { formatListen } from './config/parsers.ts';
import type { Config } from './config/types.ts';
import { AgentBell } from './engine/bell.ts';
import { createAgentGateway } from './engine/gateway.ts';
import type { EnginePorts } from './engine/ports.ts';
import { stepLaunch } from './jobs/launch.ts';
import { stepMachine } from './jobs/machine.ts';
import type { StepPorts } from './jobs/ports.ts';
import { CloudView, type LoopPorts } from './loops/ports.ts';
import { checkMemory, Recollection } from './loops/recollection.ts';
import { AppError } from './model/errors.ts';
import { SECOND_MS } from './model/time.ts';
import { createLogger } from './observability/log.ts';
import { createMetrics } from './observability/metrics.ts';
import type { Log } from './ports/log.ts';
import type { Witness } from './ports/witness.ts';
import { createQueues, type Queues } from './queue/queues.ts';
import { createAgentApi } from './server/agent-api/create-agent-api.ts';
import { createOperatorApi } from './server/operator-api/create-operator-api.ts';
import { createOfferingSource } from './sources/offerings.ts';
import { renderEnvFile } from './ssh/quote.ts';
import { createShell } from './ssh/shell.ts';
import { ensureInstallationValue } from './store/installation.ts';
import { listPriceUsdPerHour } from './cost/catalogue.ts';
import { createCredentials } from './wiring/credentials.ts';
import { ensureDeploymentKey } from './wiring/deployment-key.ts';
import { listenOnSocket, listenOnTcp } from './wiring/listeners.ts';
import { startLoops, type Loops } from './wiring/loops.ts';
import { createOperatorActions } from './wiring/operator-actions.ts';
import { openPolicies, type PolicyBook } from './wiring/policies.ts';
import { openDatabase, openStores, type OpenDatabase, type Stores } from './wiring/stores.ts';
import { systemClock, systemIds } from './wiring/system.ts';
import { startWatchdog } from './wiring/watchdog.ts';
import { createFileWitness } from './wiring/witness.ts';

/** Three missed renewals at the default plan interval; a crashed leader is replaced after this long. */
const LEASE_TTL_MS = 15 * SECOND_MS;
/** A loop that stands still for a third of the lease ends the process, long before another one leads. */
const STALL_MS_MAX = LEASE_TTL_MS / 3;
/** Machine steps at a time: they mostly wait for SSH and EC2. */
const STEP_CONCURRENCY = 50;
/**
 * The lock on a step's doorbell: a step of a killed process is taken up within one and a half times this. A stall of the
 * event loop beyond it runs a step twice, which every step bears.
 */
const WAKE_LOCK_MS = 2 * SECOND_MS;
/** For the steps under way when the service is stopped; whatever is cut short is taken up by the next start. */
const STOP_STEPS_MS = 10 * SECOND_MS;

/** Everything that was opened, in order; stopping goes through it backwards. */
class Opened {
  private readonly closers: { readonly name: string; readonly close: () => Promise<unknown> }[] = [];
  private readonly log: Log;

  constructor(log: Log) {
    this.log = log;
  }

  add(name: string, close: () => Promise<unknown>): void {
    this.closers.unshift({ name, close });
  }

  /** Closes all of it, whatever fails on the way. */
  async close(): Promise<void> {
    for (const { name, close } of this.closers.splice(0)) {
      try {
        await close();
      } catch (error) {
        this.log.warn({ part: name, error: String(error) }, 'a part did not stop cleanly');
      }
    }
  }
}

/**
 * Runs the service until SIGTERM or SIGINT, then stops it cleanly and leaves the fleet alone. SIGHUP reads the policies
 * again. Returns the exit code. @throws AppError when it cannot start: nothing is left half-done then.
 */
export async function runService(config: Config): Promise<number> {
  const log = createLogger({ level: config.logLevel });
  const opened = new Opened(log);
  const stop = new Promise<NodeJS.Signals>((resolve) => {
    process.once('SIGTERM', resolve);
    process.once('SIGINT', resolve);
  });
  try {
    const policies = await startService(config, log, opened);
    const reload = (): void => void policies.reload();
    process.on('SIGHUP', reload);
    const signal = await stop;
    process.off('SIGHUP', reload);
    log.info({ signal }, 'stopping; the fleet stays as it is');
  } finally {
    await opened.close();
  }
  log.info({}, 'stopped');
  return 0;
}

interface Foundation {
  readonly config: Config;
  readonly log: Log;
  readonly policies: PolicyBook;
  readonly stores: Stores;
  readonly queues: Queues;
  readonly cloud: Ec2Cloud;
  readonly owner: string;
  readonly deploymentKey: Buffer;
  readonly witness: Witness;
}

async function startService(config: Config, log: ReturnType<typeof createLogger>, opened: Opened): Promise<PolicyBook> {
  const foundation = await openFoundation(config, log, opened);
  const { policies, stores, queues } = foundation;
  const bell = new AgentBell();
  let running: Loops | null = null;
  const wake = (name: 'plan' | 'assign'): void => running?.[name].wake();
  const engine = buildEnginePorts(foundation, bell, wake);
  const loops = buildLoopPorts(foundation, bell);
  const metrics = createMetrics(await readVersion());
  const actions = createOperatorActions({
    loops,
    engine,
    agents: stores.agents,
    running: () => running,
    pingQueue: async () => await queues.ping(),
    isLeader: () => loops.view.leading,
  });

  // Ports first: a second service on the same ports must fail before it decides anything.
  const agentApi = createAgentApi({ gateway: createAgentGateway(engine), clock: systemClock, ids: systemIds, log });
  opened.add('agent API', async () => await agentApi.close());
  const agentPort = await listenOnTcp(agentApi, config.agentListen, 'SPILLWAY_AGENT_LISTEN');
  const agentUrl = agentUrlOf(config, agentPort);
  const operatorOptions = { actions, reports: stores.reports, log, metrics, clock: systemClock, agentUrl };
  const overSocket = createOperatorApi(operatorOptions);
  opened.add('operator API on the socket', async () => await overSocket.close());
  const overTcp = createOperatorApi(operatorOptions);
  opened.add('operator API', async () => await overTcp.close());

  await listenOnSocket(overSocket, config.socketPath);
  const operatorPort = await listenOnTcp(overTcp, config.listen, 'SPILLWAY_LISTEN');
  running = await startWork(foundation, { engine, loops, metrics, wake, opened, agentUrl });
  log.info(
    { operator: `http://${config.listen.host}:${operatorPort}`, agents: agentUrl, socket: config.socketPath },
    policies.current().length === 0 ? 'serving, but there is no policy: nothing will be launched' : 'serving',
  );
  return policies;
}

async function openFoundation(
  config: Config,
  log: ReturnType<typeof createLogger>,
  opened: Opened,
): Promise<Foundation> {
  const policies = await openPolicies({
    path: config.policiesPath,
    heartbeatIntervalMs: config.heartbeatIntervalMs,
    log,
  });
  const deploymentKey = await ensureDeploymentKey(config.keyFile);
  const database: OpenDatabase = await openDatabase(config, log);
  opened.add('database', database.close);
  const { stores, pools, db } = openStores(database.url, log);
  opened.add('database connections', async () => await Promise.all(pools.map(async (pool) => await pool.end())));
  const witness = createFileWitness(config.witnessFile, { log, ids: systemIds });
  // An empty database with the witness still there is this installation without its memory: it keeps its name.
  const proposed = (await witness.read())?.owner ?? `spillway-${systemIds.hex(6)}`;
  const owner = config.owner ?? (await ensureInstallationValue(db, 'owner', proposed));
  const queues = await createQueues({
    queueUrl: config.queueUrl,
    databaseUrl: database.url,
    clock: systemClock,
    ids: systemIds,
    log,
    wakeLockMs: WAKE_LOCK_MS,
  });
  opened.add('queue', async () => await queues.close());
  const cloud = await createEc2Cloud({
    clock: systemClock,
    timeouts: { requestMs: config.awsRequestTimeoutMs },
    logger: log,
  });
  opened.add('EC2 connections', async () => cloud.close());
  return { config, log, policies, stores, queues, cloud, owner, deploymentKey, witness };
}

function buildEnginePorts(
  foundation: Foundation,
  bell: AgentBell,
  wake: (name: 'plan' | 'assign') => void,
): EnginePorts {
  const { config, log, policies, stores, queues } = foundation;
  return {
    clock: systemClock,
    ids: systemIds,
    log,
    tasks: stores.tasks,
    agents: stores.agents,
    queues: queues.tasks,
    wake: queues.wake,
    bell,
    timing: { intervalS: config.heartbeatIntervalMs / SECOND_MS, leaseS: config.taskLeaseMs / SECOND_MS },
    policies: () => policies.byWorkload(),
    wakeAssigner: () => wake('assign'),
    wakePlanner: () => wake('plan'),
  };
}

function buildLoopPorts(foundation: Foundation, bell: AgentBell): LoopPorts {
  const { config, log, policies, stores, queues, cloud, owner, deploymentKey, witness } = foundation;
  return {
    clock: systemClock,
    ids: systemIds,
    log,
    cloud,
    offerings: createOfferingSource({
      cloud,
      clock: systemClock,
      log,
      listPriceUsdPerHour,
      latestSpotPrices: async () => await stores.ledger.listLatestSpotPrices(),
    }),
    policies,
    credentials: createCredentials(deploymentKey),
    leadership: stores.leadership,
    planning: stores.planning,
    machines: stores.machines,
    launches: stores.launches,
    sweeping: stores.sweeping,
    memory: stores.memory,
    recollection: new Recollection({ witness, clock: systemClock, owner }),
    ledger: stores.ledger,
    wake: queues.wake,
    owner,
    holder: `${process.pid}-${systemIds.hex(8)}`,
    leaseTtlMs: LEASE_TTL_MS,
    view: new CloudView(),
    decideFromMs: systemClock.monotonicMs() + config.heartbeatIntervalMs + SECOND_MS,
    notifyAgents: (agentIds) => bell.ring(agentIds),
  };
}

interface WorkParts {
  readonly engine: EnginePorts;
  readonly loops: LoopPorts;
  readonly metrics: ReturnType<typeof createMetrics>;
  readonly wake: (name: 'plan' | 'assign') => void;
  readonly opened: Opened;
  /** Where agents reach this service. */
  readonly agentUrl: string;
}

/** The configured address, with the port that was really bound where the system chose it. */
function agentUrlOf(config: Config, port: number): string {
  const chosen = config.agentListen.port === 0 && config.origins['SPILLWAY_AGENT_URL'] === 'default';
  return chosen ? `http://${formatListen({ host: config.agentListen.host, port })}` : config.agentUrl;
}

/** Starts deciding and doing. What it opens is closed first, so that nothing acts while the rest goes down. */
async function startWork(foundation: Foundation, parts: WorkParts): Promise<Loops> {
  const { config, stores, queues } = foundation;
  const { loops, engine, metrics, opened } = parts;
  const watchdog = startWatchdog(STALL_MS_MAX);
  opened.add('watchdog', watchdog.stop);
  opened.add('leadership', async () => {
    const lease = await loops.leadership.acquire(loops.holder, LEASE_TTL_MS);
    if (lease !== null) await loops.leadership.release(lease);
  });
  const steps = await buildStepPorts(foundation, parts);
  // Before the first step: a database that lost commits must not have its open rows acted upon.
  await checkMemory(loops);
  const consumer = await queues.wake.consume(
    async (job) => {
      const outcome = job.kind === 'launch' ? await stepLaunch(steps, job.id) : await stepMachine(steps, job.id);
      // The row keeps its own time beside the queue's: whichever rings first, the other finds nothing to do.
      if (outcome.kind === 'again') await wakeRow(stores, job, outcome.afterMs);
      return outcome;
    },
    { concurrency: STEP_CONCURRENCY },
  );
  opened.add('machine steps', async () => await consumer.stop(STOP_STEPS_MS));
  const running = startLoops({ config, loops, engine, retention: stores.retention, metrics });
  opened.add('loops', async () => await Promise.all(Object.values(running).map(async (loop) => await loop.stop())));
  return running;
}

async function wakeRow(
  stores: Stores,
  job: Parameters<Parameters<Queues['wake']['consume']>[0]>[0],
  afterMs: number,
): Promise<void> {
  if (job.kind === 'launch') await stores.launches.wakeAfter(job.id, afterMs);
  else await stores.machines.wakeAfter(job.id, afterMs);
}

async function buildStepPorts(
  foundation: Foundation,
  { loops, metrics, wake, agentUrl }: WorkParts,
): Promise<StepPorts> {
  const { config, stores } = foundation;
  return {
    clock: systemClock,
    ids: systemIds,
    cloud: foundation.cloud,
    shell: createShell(),
    machines: stores.machines,
    launches: stores.launches,
    credentials: loops.credentials,
    log: foundation.log,
    meter: metrics,
    readPolicy: async (workload) => (await stores.planning.readPolicy(workload))?.policy ?? null,
    wakePlanner: () => wake('plan'),
    agent: {
      script: await readFile(new URL('./agent/spillway-agent.sh', import.meta.url), 'utf8'),
      serviceUrl: agentUrl,
      allowHttp: config.agentAllowHttp,
      renderEnv: renderEnvFile,
      readRecipe,
    },
    timings: {
      bootPollMs: SECOND_MS / 2,
      joinPollMs: SECOND_MS / 2,
      drainPollMs: SECOND_MS,
      terminatePollMs: 5 * SECOND_MS,
    },
  };
}

async function readRecipe(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    throw new AppError('POLICY_UNREADABLE', `the recipe ${file} cannot be read`, {
      remedy: 'put the file back, or change join.recipe.script in the policy',
      cause: error,
    });
  }
}

async function readVersion(): Promise<string> {
  const text = await readFile(new URL('../package.json', import.meta.url), 'utf8');
  const { version } = JSON.parse(text) as { readonly version: string };
  return version;
}
