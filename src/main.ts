import { readFile } from 'node:fs/promises';

import type { Ec2Cloud } from './cloud/ec2.ts';
import { formatListen } from './config/parsers.ts';
import type { Config } from './config/types.ts';
import { AgentBell } from './engine/bell.ts';
import { checkMemory } from './loops/recollection.ts';
import { AppError, ERROR_CODES } from './model/errors.ts';
import { SECOND_MS } from './model/time.ts';
import { waitMs } from './model/waits.ts';
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
import { listenForWork } from './store/work-bell.ts';
import { listPriceUsdPerHour } from './cost/catalogue.ts';
import { openCloud } from './wiring/cloud.ts';
import { createCredentials } from './wiring/credentials.ts';
import { ensureDeploymentKey } from './wiring/deployment-key.ts';
import { PlanProver } from './wiring/plan-prover.ts';
import { nameHolder } from './wiring/holder.ts';
import { listenOnSocket, listenOnTcp } from './wiring/listeners.ts';
import { loopIntervals, startLoops, type Loops } from './wiring/loops.ts';
import { createOperatorActions } from './wiring/operator-actions.ts';
import { openPolicies, type PolicyBook } from './wiring/policies.ts';
import { assembleService, type ServiceOutside, type ServiceParts } from './wiring/service.ts';
import { settlingMs } from './wiring/settling.ts';
import { openDatabase, openStores, type OpenDatabase, type Stores } from './wiring/stores.ts';
import { aborted, Opened, watchStopSignals, type StopOutcome } from './wiring/opened.ts';
import { systemClock, systemIds } from './wiring/system.ts';
import { startWatchdog } from './wiring/watchdog.ts';
import { createFileWitness } from './wiring/witness.ts';

/** Machine steps at a time: they mostly wait for SSH and EC2. */
const STEP_CONCURRENCY = 50;

/** Of a stop that somebody could not wait for, as of any interrupted command; and of one that took too long. */
const EXIT_CODES = { closed: 0, hurried: 130, late: ERROR_CODES.TIMEOUT.exitCode } as const;

/**
 * Runs the service until SIGTERM or SIGINT, then stops it cleanly and leaves the fleet alone; a second signal ends it at
 * once. SIGHUP reads the policies again. Returns the exit code. @throws AppError when it cannot start: nothing is left
 * half-done then.
 */
export async function runService(config: Config): Promise<number> {
  const log = createLogger({ level: config.logLevel });
  const opened = new Opened({ log, clock: systemClock });
  const stop = watchStopSignals(process);
  let outcome: StopOutcome;
  try {
    const policies = await Promise.race([startService(config, log, opened), aborted(stop.hurry)]);
    const reload = (): void => void policies?.reload();
    process.on('SIGHUP', reload);
    const signal = await stop.first;
    process.off('SIGHUP', reload);
    log.info({ signal }, 'stopping; the fleet stays as it is');
  } finally {
    outcome = await opened.close(stop.hurry);
    stop.forget();
  }
  log.info({ outcome }, 'stopped');
  return EXIT_CODES[outcome];
}

interface Foundation {
  readonly config: Config;
  readonly log: Log;
  readonly policies: PolicyBook;
  readonly databaseUrl: string;
  readonly stores: Stores;
  readonly queues: Queues;
  readonly metrics: ReturnType<typeof createMetrics>;
  readonly cloud: Ec2Cloud;
  readonly owner: string;
  readonly deploymentKey: Buffer;
  /** How long this process looks before it decides. */
  readonly settleMs: number;
  readonly witness: Witness;
}

async function startService(config: Config, log: ReturnType<typeof createLogger>, opened: Opened): Promise<PolicyBook> {
  const foundation = await openFoundation(config, log, opened);
  const { policies, stores, queues, metrics } = foundation;
  let running: Loops | null = null;
  const agentUrl = new LateText();
  const parts = assembleService(await reachOutside(foundation, { agentUrl, wake: (name) => running?.[name].wake() }));
  const { loops, engine, gateway } = parts;
  const actions = createOperatorActions({
    loops,
    engine,
    agents: stores.agents,
    agentOrdering: stores.agentOrdering,
    running: () => running,
    pingQueue: async () => await queues.ping(),
    isLeader: () => loops.view.leading,
    prover: new PlanProver(systemClock),
    orders: stores.orders,
    reports: stores.reports,
  });

  // Ports first: a second service on the same ports must fail before it decides anything.
  const agentApi = createAgentApi({
    gateway,
    clock: systemClock,
    deploymentKey: foundation.deploymentKey,
    ids: systemIds,
    log,
  });
  opened.add('agent API', async () => await agentApi.close());
  const agentPort = await listenOnTcp(agentApi, config.agentListen, 'SPILLWAY_AGENT_LISTEN');
  agentUrl.set(agentUrlOf(config, agentPort));
  const operatorOptions = {
    actions,
    reports: stores.reports,
    log,
    metrics,
    clock: systemClock,
    agentUrl: agentUrl.get(),
  };
  const overSocket = createOperatorApi(operatorOptions);
  opened.add('operator API on the socket', async () => await overSocket.close());
  const overTcp = createOperatorApi(operatorOptions);
  opened.add('operator API', async () => await overTcp.close());

  await listenOnSocket(overSocket, config.socketPath);
  const operatorPort = await listenOnTcp(overTcp, config.listen, 'SPILLWAY_LISTEN');
  running = await startWork(foundation, { parts, metrics, opened });
  log.info(
    { operator: `http://${config.listen.host}:${operatorPort}`, agents: agentUrl.get(), socket: config.socketPath },
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
  opened.add('database', database.close, waitMs('service.stop-database'));
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
    // A stall of the event loop beyond it runs a step twice, which every step bears.
    wakeLockMs: waitMs('queue.wake-lock'),
  });
  opened.add('queue', async () => await queues.close());
  const metrics = createMetrics(await readVersion());
  const cloud = await openCloud({ config, log, budget: stores.apiBudget, meter: metrics });
  opened.add('EC2 connections', async () => cloud.close());
  const settleMs = settlingMs({
    silentMs: await stores.leadership.silenceMs(waitMs('leader.lease')),
    heartbeatMs: config.heartbeatIntervalMs,
    freshnessMs: policies.current().map(({ policy }) => policy.demand.freshnessMs),
  });
  const { url: databaseUrl } = database;
  return {
    config,
    log,
    policies,
    databaseUrl,
    stores,
    queues,
    metrics,
    cloud,
    owner,
    deploymentKey,
    settleMs,
    witness,
  };
}

interface WorkParts {
  readonly parts: ServiceParts;
  readonly metrics: ReturnType<typeof createMetrics>;
  readonly opened: Opened;
}

/** The configured address, with the port that was really bound where the system chose it. */
function agentUrlOf(config: Config, port: number): string {
  const chosen = config.agentListen.port === 0 && config.origins['SPILLWAY_AGENT_URL'] === 'default';
  return chosen ? `http://${formatListen({ host: config.agentListen.host, port })}` : config.agentUrl;
}

/** Starts deciding and doing. What it opens is closed first, so that nothing acts while the rest goes down. */
async function startWork(foundation: Foundation, { parts, metrics, opened }: WorkParts): Promise<Loops> {
  const { config, stores, queues } = foundation;
  const { loops, engine } = parts;
  const watchdog = startWatchdog(waitMs('leader.stall'));
  opened.add('watchdog', watchdog.stop);
  opened.add('leadership', async () => await loops.lead.release());
  // Before the first step: a database that lost commits must not have its open rows acted upon.
  await checkMemory(loops);
  const consumer = await queues.wake.consume(async (job) => await parts.handle(job), {
    concurrency: STEP_CONCURRENCY,
  });
  opened.add('machine steps', async () => await consumer.stop(waitMs('service.stop-steps')));
  const running = startLoops({
    intervals: loopIntervals(config),
    retentionMs: config.retentionMs,
    loops,
    engine,
    retention: stores.retention,
    metrics,
  });
  opened.add('loops', async () => await Promise.all(Object.values(running).map(async (loop) => await loop.stop())));
  // Work that another process took in, or that came back, need not wait for the next turn.
  const onWork = (): void => [running.assign, running.plan].forEach((loop) => loop.wake());
  const bell = listenForWork({ url: foundation.databaseUrl, onWork, clock: systemClock, log: foundation.log });
  opened.add('listening for work', async () => await bell.close());
  return running;
}

/** A text that is known a little later than those who will ask for it. */
class LateText {
  private text: string | null = null;

  set(text: string): void {
    this.text = text;
  }

  get(): string {
    if (this.text === null) throw new Error('bug: asked for before it was known');
    return this.text;
  }
}

interface LateParts {
  /** Where agents reach this service: known once its port is bound. */
  readonly agentUrl: LateText;
  readonly wake: (name: 'plan' | 'assign') => void;
}

async function reachOutside(foundation: Foundation, { agentUrl, wake }: LateParts): Promise<ServiceOutside> {
  const { config, log, policies, stores, queues, metrics, cloud, owner, deploymentKey } = foundation;
  return {
    clock: systemClock,
    ids: systemIds,
    log,
    stores,
    cloud,
    offerings: createOfferingSource({
      cloud,
      clock: systemClock,
      log,
      listPriceUsdPerHour,
      latestSpotPrices: async () => await stores.ledger.listLatestSpotPrices(),
    }),
    shell: createShell({ agentSocket: config.sshAuthSock }),
    queues,
    policies,
    credentials: createCredentials(deploymentKey, config.sshAuthSock),
    bell: new AgentBell(),
    meter: metrics,
    agent: {
      scripts: {
        sh: await readFile(new URL('./agent/spillway-agent.sh', import.meta.url), 'utf8'),
        powershell: await readFile(new URL('./agent/spillway-agent.ps1', import.meta.url), 'utf8'),
      },
      get serviceUrl() {
        return agentUrl.get();
      },
      allowHttp: config.agentAllowHttp,
      renderEnv: renderEnvFile,
      readRecipe,
    },
    witness: foundation.witness,
    owner,
    holder: nameHolder(systemIds),
    leaseTtlMs: waitMs('leader.lease'),
    settleMs: foundation.settleMs,
    agentTiming: { intervalS: config.heartbeatIntervalMs / SECOND_MS, leaseS: config.taskLeaseMs / SECOND_MS },
    stepTimings: {
      bootPollMs: SECOND_MS / 2,
      joinPollMs: SECOND_MS / 2,
      drainPollMs: SECOND_MS,
      terminatePollMs: 5 * SECOND_MS,
    },
    wake,
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
