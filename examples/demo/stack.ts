import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { deriveHostKey } from '../../src/cloud/host-key.ts';
import { ServiceClient } from '../../src/commands/service-client.ts';
import {
  SIMULATED_ACCESS_KEY,
  SIMULATED_IMAGES,
  SIMULATED_REGION,
  SIMULATED_SECURITY_GROUP,
  SIMULATED_SUBNETS,
} from '../../src/simulator/world.ts';
import { countFreshAgents, enrolAgent } from './agents.ts';
import { Child } from './processes.ts';
import { renderPolicy, SCENARIO } from './scenario.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const SPILLWAY = join(ROOT, 'bin/spillway');
/** Everything here answers within seconds; a cold start of Postgres on a slow disk is the longest. */
const START_MS = 40_000;
const STOP_MS = 15_000;
const POLL_MS = 200;
const OWNER = 'demo';

/** A running demo: a region, a service and on-prem agents, each a real process. */
export class Stack {
  readonly folder: string;
  private readonly children: Child[] = [];
  private endpoint = '';
  private readonly stopping = new AbortController();
  private readonly environment: Record<string, string>;
  private readonly settings: Readonly<Record<string, string>>;
  private sshPort = 0;
  private agentPort = 0;
  private service: Child | null = null;

  private constructor(folder: string, settings: Readonly<Record<string, string>>) {
    this.folder = folder;
    this.settings = settings;
    this.environment = { PATH: process.env['PATH'] ?? '/usr/bin:/bin', HOME: folder, LANG: 'C.UTF-8' };
  }

  /** @param settings more variables for the service, e.g. QUEUE_URL */
  static async create(settings: Readonly<Record<string, string>> = {}): Promise<Stack> {
    // Short on purpose: the service's Unix socket lies in it and may have at most 107 bytes.
    return new Stack(await mkdtemp(join(tmpdir(), 'spillway-demo-')), settings);
  }

  get client(): ServiceClient {
    return new ServiceClient({ kind: 'socket', path: join(this.folder, 'data/spillway.sock') }, this.stopping.signal);
  }

  /** What the region itself says: its bill or its instances; the service never sees this. */
  async askRegion<T>(what: 'bill' | 'instances'): Promise<T> {
    const response = await fetch(`${this.endpoint}/_region/${what}`, { signal: AbortSignal.timeout(5000) });
    if (!response.ok) throw new Error(`the region answered ${response.status} for its ${what}`);
    return (await response.json()) as T;
  }

  /** Ends an instance from inside, as a power cut or `shutdown` would. */
  async shutDown(instanceId: string): Promise<void> {
    await this.tellRegion('shutdown', instanceId);
  }

  /** Takes a spot instance back, with EC2's two minutes of notice. */
  async interrupt(instanceId: string): Promise<void> {
    await this.tellRegion('interrupt', instanceId);
  }

  /** The next call of this action is answered with an error. */
  async failNext(action: string, code: string): Promise<void> {
    await this.postRegion('faults', { kind: 'error', action, code });
  }

  private async tellRegion(what: 'shutdown' | 'interrupt', instanceId: string): Promise<void> {
    await this.postRegion(what, { instanceId });
  }

  private async postRegion(what: string, body: object): Promise<void> {
    const response = await fetch(`${this.endpoint}/_region/${what}`, {
      method: 'POST',
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(5000),
    });
    if (!response.ok) throw new Error(`the region answered ${response.status} to ${what} ${JSON.stringify(body)}`);
  }

  async startRegion(): Promise<void> {
    this.sshPort = await freePort();
    const region = this.spawn('region', SPILLWAY, [
      'simulate',
      'region',
      '--port',
      '0',
      '--ssh-port',
      String(this.sshPort),
      '--boot',
      `${SCENARIO.bootSeconds}s`,
      // The region enforces infra/iam-policy.json for this owner: the demo runs with least privilege too.
      '--owner',
      OWNER,
    ]);
    const [, endpoint] = await region.firstLine(/AWS_ENDPOINT_URL_EC2=(\S+)/, START_MS);
    this.endpoint = endpoint ?? '';
  }

  /** Writes what the service needs (login key, policy), then starts it. */
  async startService(): Promise<void> {
    const identityFile = join(this.folder, 'id_ed25519');
    const login = deriveHostKey(randomBytes(32), 'login key of the demo');
    await writeFile(identityFile, login.privateOpenSsh, { mode: 0o600 });
    await mkdir(join(this.folder, 'policies'));
    await writeFile(
      join(this.folder, 'policies/render.yaml'),
      renderPolicy({
        region: SIMULATED_REGION,
        subnets: Object.values(SIMULATED_SUBNETS),
        securityGroup: SIMULATED_SECURITY_GROUP,
        image: SIMULATED_IMAGES.x86_64,
        identityFile,
        sshPort: this.sshPort,
      }),
    );
    this.agentPort = await freePort();
    await this.launchService();
  }

  /** Starts the service process on what is there, for the first time or after a crash, and waits until it answers. */
  async launchService(): Promise<void> {
    const service = this.spawn('service', SPILLWAY, ['serve'], {
      SPILLWAY_DATA_DIR: join(this.folder, 'data'),
      SPILLWAY_POLICIES: join(this.folder, 'policies'),
      SPILLWAY_LISTEN: '127.0.0.1:0',
      SPILLWAY_AGENT_LISTEN: `127.0.0.1:${this.agentPort}`,
      // A demo is watched: everything looks more often than it would in a datacenter.
      SPILLWAY_PLAN_INTERVAL: '1s',
      SPILLWAY_OBSERVE_INTERVAL: '1s',
      SPILLWAY_HEARTBEAT_INTERVAL: '2s',
      SPILLWAY_TASK_LEASE: '12s',
      SPILLWAY_OWNER: OWNER,
      AWS_ENDPOINT_URL_EC2: this.endpoint,
      AWS_ENDPOINT_URL_EC2_INSTANCE_CONNECT: this.endpoint,
      AWS_REGION: SIMULATED_REGION,
      AWS_ACCESS_KEY_ID: SIMULATED_ACCESS_KEY.accessKeyId,
      AWS_SECRET_ACCESS_KEY: SIMULATED_ACCESS_KEY.secretAccessKey,
      ...this.settings,
    });
    this.service = service;
    await this.waitUntil('the service answers', async () => {
      if (service.isOver) throw new Error(`the service ended; its log is ${join(this.folder, 'service.log')}`);
      return await this.client.get('Status', '/v1/status').then(
        () => true,
        () => false,
      );
    });
  }

  /** SIGKILL: the service gets no chance to say or write anything. Its database goes on and is adopted by the next start. */
  async crashService(): Promise<void> {
    await this.service?.kill();
  }

  async startAgents(): Promise<void> {
    for (let number = 1; number <= SCENARIO.agents; number += 1) {
      const name = `rack1-${number}`;
      const agent = {
        name,
        pool: SCENARIO.workload,
        cpus: SCENARIO.agentCpus,
        memoryMib: SCENARIO.agentMemoryMib,
      };
      this.spawn(name, 'sh', await enrolAgent(this.client, agent, this.folder));
    }
    await this.waitUntil(
      'the on-prem agents report',
      async () => (await countFreshAgents(this.client)) >= SCENARIO.agents,
    );
  }

  /** Stops everything that was started, newest first, and removes the folder; `keep` leaves it for reading logs. */
  async stop(keep: boolean): Promise<void> {
    this.stopping.abort();
    for (const child of this.children.splice(0).reverse()) await child.stop(STOP_MS);
    if (!keep) await rm(this.folder, { recursive: true, force: true });
  }

  private spawn(name: string, command: string, args: readonly string[], env: Record<string, string> = {}): Child {
    const child = new Child({
      name,
      command,
      args,
      env: { ...this.environment, ...env },
      cwd: this.folder,
      logFile: join(this.folder, `${name}.log`),
    });
    this.children.push(child);
    return child;
  }

  private async waitUntil(what: string, probe: () => Promise<boolean>): Promise<void> {
    const startedMs = performance.now();
    while (!(await probe())) {
      this.stopping.signal.throwIfAborted();
      if (performance.now() - startedMs > START_MS) throw new Error(`waited ${START_MS / 1000} s until ${what}`);
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  }
}

async function freePort(): Promise<number> {
  return await new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0));
    });
  });
}
