import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readdirSync, readlinkSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { countFreshAgents, enrolAgent } from '../../examples/demo/agents.ts';
import { Child } from '../../examples/demo/processes.ts';
import { deriveHostKey } from '../../src/cloud/host-key.ts';
import { ServiceClient } from '../../src/commands/service-client.ts';
import type { ServiceHealth } from '../../src/ports/operator.ts';
import { SIMULATED_ACCESS_KEY, SIMULATED_REGION } from '../../src/simulator/world.ts';
import { startRedis, type TestRedis } from '../support/redis.ts';
import { freePort } from '../support/server-program.ts';
import { until } from '../support/wait.ts';
import { Balancer } from './balancer.ts';
import { AGENT, MACHINES_MAX, renderPolicy, WORKLOAD } from './policy.ts';
import { PostgresServer } from './postgres-server.ts';
import { Supervised } from './supervised.ts';

const SPILLWAY = fileURLToPath(new URL('../../bin/spillway', import.meta.url));
const OWNER = 'outside';
const START_MS = 60_000;
const STOP_MS = 15_000;
const ASK_MS = 5_000;

interface Replica {
  readonly process: Supervised;
  readonly socket: string;
  readonly operatorPort: number;
}

/**
 * Everything that Spillway runs among, as real processes: a simulated region, Postgres, Redis, two services behind a balancer,
 * agents of the datacenter. Nothing in it shares a process with a service.
 */
export class Datacenter {
  readonly folder: string;
  readonly traces: string;
  readonly postgres: PostgresServer;
  replicas: readonly Replica[] = [];
  private readonly environment: Record<string, string>;
  private readonly children: Child[] = [];
  private readonly stopping = new AbortController();
  private redis: TestRedis | null = null;
  private balancer: Balancer | null = null;
  private endpoint = '';
  private sshPort = 0;
  private reloads = 0;
  private readonly lastResort = (): void => endStragglers(this.folder);

  private constructor(folder: string, postgres: PostgresServer) {
    this.folder = folder;
    this.traces = join(folder, 'traces');
    this.postgres = postgres;
    this.environment = { PATH: process.env['PATH'] ?? '/usr/bin:/bin', HOME: folder, LANG: 'C.UTF-8' };
    process.once('exit', this.lastResort);
  }

  /** Starts all of it and waits until every agent reports. What was started before a failure is ended. */
  static async start(): Promise<Datacenter> {
    // Short on purpose: the services' Unix sockets lie in it and may have at most 107 bytes.
    const folder = await mkdtemp(join(tmpdir(), 'spw-out-'));
    const datacenter = new Datacenter(folder, await PostgresServer.start(join(folder, 'pg')));
    try {
      await datacenter.startAll();
      return datacenter;
    } catch (error) {
      await datacenter.stop(true);
      throw error;
    }
  }

  /** The operator API of whichever service answers. */
  async ask<T>(work: (client: ServiceClient) => Promise<T>): Promise<T> {
    let problem: unknown = null;
    return await until(
      'a service answers',
      async () => {
        for (const { socket } of this.replicas) {
          try {
            return { value: await work(new ServiceClient({ kind: 'socket', path: socket }, this.deadline(ASK_MS))) };
          } catch (error) {
            problem = error;
          }
        }
        return null;
      },
      { deadlineMs: START_MS, everyMs: 100 },
    ).then(
      ({ value }) => value,
      (error: unknown) => Promise.reject(new Error('no service answers', { cause: problem ?? error })),
    );
  }

  /** The tasks that were acknowledged. A submission whose answer is lost is made again, and may have been taken twice. */
  async submit(command: readonly string[], count: number): Promise<readonly string[]> {
    const { taskIds } = await this.ask(
      async (client) =>
        await client.post<{ taskIds: readonly string[] }>('TaskReceipt', '/v1/tasks', {
          workload: WORKLOAD,
          command,
          count,
        }),
    );
    return taskIds;
  }

  /** Which replica says that it leads; null when none does. */
  async findLeader(): Promise<number | null> {
    const leads = await Promise.all(
      this.replicas.map(async ({ operatorPort }) => {
        try {
          const response = await fetch(`http://127.0.0.1:${operatorPort}/readyz`, {
            signal: AbortSignal.timeout(1_000),
          });
          return ((await response.json()) as Pick<ServiceHealth, 'leader'>).leader;
        } catch {
          // It starts, stands still or is gone: it does not say so.
          return false;
        }
      }),
    );
    const leader = leads.indexOf(true);
    return leader < 0 ? null : leader;
  }

  /** As an operator does it: the policy's file, and SIGHUP. Told of by each service before this resolves. */
  async limitMachines(machinesMax: number): Promise<void> {
    await this.writePolicy(machinesMax);
    for (const { process } of this.replicas) process.signal('SIGHUP');
    const reloads = this.reloads + 1;
    await until(
      'the services have read the policy again',
      async () => {
        const logs = await Promise.all(
          this.replicas.map(async ({ process }) => readFile(process.program.logFile, 'utf8')),
        );
        return logs.every((log) => log.split('"policies reloaded"').length > reloads);
      },
      { deadlineMs: START_MS, everyMs: 25 },
    );
    this.reloads = reloads;
  }

  async emptyRedis(): Promise<void> {
    const { port } = this.requireRedis();
    await this.requireRedis().stop();
    this.redis = await startRedis({ port });
  }

  /** What the region itself says; no service ever asks for this. */
  async askRegion<T>(what: 'bill' | 'events' | 'instances'): Promise<T> {
    const response = await fetch(`${this.endpoint}/_region/${what}`, { signal: this.deadline(30_000) });
    if (!response.ok) throw new Error(`the region answered ${response.status} for its ${what}`);
    return (await response.json()) as T;
  }

  /** The command line, speaking to the given replica. */
  async spillway(replica: number, ...args: readonly string[]): Promise<string> {
    const env = { ...this.environment, SPILLWAY_SOCKET: this.replicas[replica]?.socket ?? '' };
    const { stdout } = await promisify(execFile)(SPILLWAY, [...args], { cwd: this.folder, env, timeout: START_MS });
    return stdout;
  }

  /** Ends every process that was started and removes the folder; `keep` leaves it for reading logs. */
  async stop(keep: boolean): Promise<void> {
    for (const child of this.children.splice(0).reverse()) await child.stop(STOP_MS);
    await Promise.all(this.replicas.map(async ({ process }) => process.stop()));
    this.stopping.abort();
    await this.balancer?.stop();
    await this.redis?.stop();
    await this.postgres.stop();
    process.off('exit', this.lastResort);
    endStragglers(this.folder);
    if (!keep) await rm(this.folder, { recursive: true, force: true, maxRetries: 5 });
  }

  private async startAll(): Promise<void> {
    await mkdir(this.traces);
    await mkdir(join(this.folder, 'policies'));
    this.redis = await startRedis();
    this.sshPort = await freePort();
    // With --owner the region enforces infra/iam-policy.json for it.
    const regionArgs =
      `simulate region --port 0 --ssh-port ${this.sshPort} --boot 2s --owner ${OWNER} --data-dir`.split(' ');
    const region = this.spawn('region', SPILLWAY, [...regionArgs, join(this.folder, 'hosts')]);
    const [, endpoint = ''] = await region.firstLine(/AWS_ENDPOINT_URL_EC2=(\S+)/, START_MS);
    this.endpoint = endpoint;
    await writeFile(this.identityFile(), deriveHostKey(randomBytes(32), 'login key').privateOpenSsh, { mode: 0o600 });
    await this.writePolicy(MACHINES_MAX);
    await promisify(execFile)(SPILLWAY, ['migrate'], {
      env: { ...this.environment, DATABASE_URL: this.postgres.url },
      timeout: START_MS,
    });
    await this.startReplicas();
    await this.startAgents();
  }

  private identityFile(): string {
    return join(this.folder, 'id_ed25519');
  }

  private async writePolicy(machinesMax: number): Promise<void> {
    const text = renderPolicy({ identityFile: this.identityFile(), sshPort: this.sshPort, machinesMax });
    await writeFile(join(this.folder, `policies/${WORKLOAD}.yaml`), text);
  }

  private async startReplicas(): Promise<void> {
    const ports = await Promise.all([0, 1].map(async () => ({ port: await freePort(), healthPort: await freePort() })));
    const balancer = await Balancer.start(ports);
    this.balancer = balancer;
    this.replicas = ports.map(({ port, healthPort }, index) => {
      const dataDir = join(this.folder, `replica-${index}`);
      const process = new Supervised({
        name: `replica ${index}`,
        command: SPILLWAY,
        args: ['serve'],
        cwd: this.folder,
        logFile: join(this.folder, `replica-${index}.log`),
        env: {
          ...this.environment,
          ...this.settings(),
          SPILLWAY_DATA_DIR: dataDir,
          SPILLWAY_LISTEN: `127.0.0.1:${healthPort}`,
          SPILLWAY_AGENT_LISTEN: `127.0.0.1:${port}`,
          SPILLWAY_AGENT_URL: `http://127.0.0.1:${balancer.port}`,
        },
      });
      return { process, socket: join(dataDir, 'spillway.sock'), operatorPort: healthPort };
    });
  }

  /** What both replicas share; everything looks somewhat more often than by default, because a run is short. */
  private settings(): Record<string, string> {
    return {
      DATABASE_URL: this.postgres.url,
      QUEUE_URL: this.requireRedis().url,
      SPILLWAY_KEY_FILE: join(this.folder, 'deployment.key'),
      SPILLWAY_POLICIES: join(this.folder, 'policies'),
      SPILLWAY_OWNER: OWNER,
      SPILLWAY_PLAN_INTERVAL: '1s',
      SPILLWAY_OBSERVE_INTERVAL: '2s',
      SPILLWAY_HEARTBEAT_INTERVAL: '2s',
      SPILLWAY_TASK_LEASE: '15s',
      AWS_ENDPOINT_URL_EC2: this.endpoint,
      AWS_REGION: SIMULATED_REGION,
      AWS_ACCESS_KEY_ID: SIMULATED_ACCESS_KEY.accessKeyId,
      AWS_SECRET_ACCESS_KEY: SIMULATED_ACCESS_KEY.secretAccessKey,
    };
  }

  private async startAgents(): Promise<void> {
    for (const name of AGENT.names) {
      const agent = { name, pool: WORKLOAD, cpus: AGENT.cpus, memoryMib: AGENT.memoryMib };
      const args = await this.ask(async (client) => await enrolAgent(client, agent, this.folder));
      this.spawn(name, 'sh', args);
    }
    await until('the agents report', async () => (await this.ask(countFreshAgents)) >= AGENT.names.length, {
      deadlineMs: START_MS,
      everyMs: 100,
    });
  }

  private spawn(name: string, command: string, args: readonly string[]): Child {
    const logFile = join(this.folder, `${name}.log`);
    const child = new Child({ name, command, args, env: this.environment, cwd: this.folder, logFile });
    this.children.push(child);
    return child;
  }

  private requireRedis(): TestRedis {
    if (this.redis === null) throw new Error('bug: Redis was not started');
    return this.redis;
  }

  private deadline(ms: number): AbortSignal {
    return AbortSignal.any([this.stopping.signal, AbortSignal.timeout(ms)]);
  }
}

/**
 * Tasks, agents and servers lead sessions of their own: whatever still works in the run's folder is ended, one by one. Without
 * waiting for anything, because it is also the last thing that a run does which ends unexpectedly.
 */
function endStragglers(folder: string): void {
  for (const name of readdirSync('/proc').filter((entry) => /^\d+$/.test(entry))) {
    try {
      const cwd = readlinkSync(`/proc/${name}/cwd`);
      if (cwd === folder || cwd.startsWith(`${folder}/`)) process.kill(Number(name), 'SIGKILL');
    } catch {
      // It ended meanwhile, or is another user's.
    }
  }
}
