/** Runs a region on the real clock: its HTTP face, and a real SSH host for every instance that has booted. */
import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, mkdtemp, realpath, rm } from 'node:fs/promises';
import type { AddressInfo, Server as NetServer } from 'node:net';
import { createServer } from 'node:net';
import type { Server as HttpServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { AppError } from '../model/errors.ts';
import type { IdPrefix } from '../model/ids.ts';
import type { Clock } from '../ports/clock.ts';
import type { Ids } from '../ports/ids.ts';
import type { Bill } from './bill.ts';
import type { HostKind } from './hosts/fleet.ts';
import { HostFleet } from './hosts/fleet.ts';
import { SSHD_PATH } from './hosts/openssh-host.ts';
import { renderIamPolicy } from './iam.ts';
import type { InstanceView } from './region.ts';
import { Region } from './region.ts';
import { IMDS_PREFIX } from './wire/imds.ts';
import { createWireServer } from './wire/server.ts';
import type { AccessKey } from './wire/signature.ts';
import type { RegionSettings } from './world.ts';
import { DEFAULT_SETTINGS, SIMULATED_ACCESS_KEY, SIMULATED_ACCOUNT } from './world.ts';

export interface StartRegionOptions extends Partial<Omit<RegionSettings, 'addressSlot'>> {
  /** Port of the HTTP face on 127.0.0.1. Default 0: the system chooses. */
  readonly port?: number;
  /** Port of every SSH host. Default: 22 for root (2222 when 22 is taken), else 2222. */
  readonly sshPort?: number;
  /** Default `ssh2`; `openssh` needs /usr/sbin/sshd, and logins under the name of the user who runs the region. */
  readonly host?: HostKind;
  /** Default {@link SIMULATED_ACCESS_KEY}. */
  readonly accessKeys?: readonly AccessKey[];
  /** Enforces the project's own `infra/iam-policy.json` for this owner. Without it and `iamPolicy` everything is allowed. */
  readonly owner?: string;
  /** A rendered policy to enforce instead. */
  readonly iamPolicy?: string;
  /** Folder for the instances' files. Default: a new one under the system's temporary folder, removed at the end. */
  readonly dataDir?: string;
  /** PATH of commands on the hosts. Default: the usual system folders. */
  readonly hostPath?: string;
  /** Where errors of the simulation itself go. Default: standard error. */
  readonly onError?: (error: unknown) => void;
}

export interface RunningRegion {
  /** For `AWS_ENDPOINT_URL_EC2` and `AWS_ENDPOINT_URL_EC2_INSTANCE_CONNECT`, e.g. `http://127.0.0.1:41234`. */
  readonly endpoint: string;
  readonly sshPort: number;
  readonly region: Region;
  readonly accessKey: AccessKey;
  bill(): Bill;
  instances(): InstanceView[];
  /** Ends every host and process, frees every port, removes every file. May be called again. */
  stop(): Promise<void>;
}

const SYSTEM_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
const IAM_POLICY_URL = new URL('../../infra/iam-policy.json', import.meta.url);
const SLOTS = 16;
/** setTimeout takes no more than 2^31 - 1 ms. */
const TIMER_MAX_MS = 2 ** 31 - 1;

const systemClock: Clock = {
  nowMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  sleep: (ms, signal) => sleep(ms, undefined, signal === undefined ? {} : { signal }),
};

const randomIds: Ids = {
  next: <P extends IdPrefix>(prefix: P) => `${prefix}-${randomBytes(6).toString('hex')}` as const,
  hex: (bytes) => randomBytes(bytes).toString('hex'),
  random: () => randomBytes(4).readUInt32LE(0) / 2 ** 32,
};

/** Starts a region. Throws `PORT_IN_USE` when a port is taken, `CONFIG_INVALID` when sshd is asked for and missing. */
export async function startRegion(options: StartRegionOptions = {}): Promise<RunningRegion> {
  if (options.host === 'openssh' && !existsSync(SSHD_PATH)) {
    throw new AppError('CONFIG_INVALID', `${SSHD_PATH} does not exist`, {
      remedy: 'Install openssh-server, or leave out --host openssh.',
    });
  }
  const slot = await claimSlot(options.sshPort === undefined ? defaultPorts() : [options.sshPort]);
  try {
    return await startOnSlot(options, slot);
  } catch (error) {
    await close(slot.guard);
    throw error;
  }
}

function defaultPorts(): readonly number[] {
  return process.getuid?.() === 0 ? [22, 2222] : [2222];
}

async function startOnSlot(options: StartRegionOptions, slot: Slot): Promise<RunningRegion> {
  const { onError = reportError, accessKeys = [SIMULATED_ACCESS_KEY] } = options;
  const region = new Region({
    clock: systemClock,
    ids: randomIds,
    settings: { ...settingsOf(options), addressSlot: slot.number },
    iamPolicy: policyOf(options),
  });
  const dataDir = await makeDataDir(options.dataDir);
  // Known before the first instance boots; hosts that end with the server may still ask for it.
  let endpoint = '';
  const hosts = new HostFleet({
    kind: options.host ?? 'ssh2',
    port: slot.sshPort,
    dataDir,
    path: options.hostPath ?? SYSTEM_PATH,
    imdsUrlOf: (instanceId) => `${endpoint}${IMDS_PREFIX}${instanceId}`,
    pushedKeysOf: (instanceId, user) => region.pushedKeys(instanceId, user),
    onShutdown: (instanceId) => {
      if (region.shutDownFromInside(instanceId)) pump.turn();
    },
    onBooted: (instanceId, console) => region.writeConsole(instanceId, console),
    onError,
  });
  const pump = new Pump(region, hosts);
  const server = createWireServer({ region, accessKeys, onChange: () => pump.turn(), onError });
  const stopServer = async (): Promise<void> => {
    const closed = close(server);
    server.closeAllConnections();
    await closed;
  };
  let stopped: Promise<void> | null = null;
  const removeOwnDataDir = async (): Promise<void> => {
    if (options.dataDir === undefined) await rm(dataDir, { recursive: true, force: true });
  };
  const stop = async (): Promise<void> => {
    pump.stop();
    await stopServer();
    await hosts.endAll();
    await close(slot.guard);
    await removeOwnDataDir();
  };
  try {
    await listen(server, { host: '127.0.0.1', port: options.port ?? 0 });
  } catch (error) {
    await removeOwnDataDir();
    throw error;
  }
  endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    endpoint,
    sshPort: slot.sshPort,
    region,
    accessKey: accessKeys[0] ?? SIMULATED_ACCESS_KEY,
    bill: () => region.bill(),
    instances: () => region.instances(),
    stop: () => (stopped ??= stop()),
  };
}

/** Carries what happens in the core by the passing of time to the hosts. */
class Pump {
  private readonly region: Region;
  private readonly hosts: HostFleet;
  private timer: NodeJS.Timeout | null = null;
  private seen = 0;
  private isStopped = false;

  constructor(region: Region, hosts: HostFleet) {
    this.region = region;
    this.hosts = hosts;
  }

  turn(): void {
    if (this.isStopped) return;
    for (const { kind, instanceId } of this.region.eventsSince(this.seen)) {
      this.seen += 1;
      const view = this.region.findInstance(instanceId);
      if (kind === 'booted' && view !== null) this.hosts.boot(view);
      if (kind === 'shutting-down' || kind === 'stopping') this.hosts.end(instanceId, kind === 'stopping');
    }
    this.wait();
  }

  stop(): void {
    this.isStopped = true;
    if (this.timer !== null) clearTimeout(this.timer);
  }

  private wait(): void {
    if (this.timer !== null) clearTimeout(this.timer);
    const nextAtMs = this.region.nextChangeAtMs();
    if (nextAtMs === null) return;
    this.timer = setTimeout(() => this.turn(), Math.min(Math.max(0, nextAtMs - Date.now()), TIMER_MAX_MS));
  }
}

function settingsOf(options: StartRegionOptions): Partial<RegionSettings> {
  const names = Object.keys(DEFAULT_SETTINGS).filter((name) => name !== 'addressSlot');
  return Object.fromEntries(
    Object.entries(options).filter(([name, value]) => names.includes(name) && value !== undefined),
  );
}

function policyOf({ iamPolicy, owner, region = DEFAULT_SETTINGS.region }: StartRegionOptions): string | null {
  if (iamPolicy !== undefined) return iamPolicy;
  if (owner === undefined) return null;
  return renderIamPolicy(readFileSync(IAM_POLICY_URL, 'utf8'), { region, accountId: SIMULATED_ACCOUNT, owner });
}

/** The real path, because processes are recognised by it. */
async function makeDataDir(dataDir: string | undefined): Promise<string> {
  if (dataDir === undefined) return realpath(await mkdtemp(join(tmpdir(), 'spillway-region-')));
  await mkdir(dataDir, { recursive: true });
  return realpath(dataDir);
}

interface Slot {
  readonly number: number;
  readonly sshPort: number;
  /** Holds the slot's gateway address as long as the region runs. */
  readonly guard: NetServer;
}

/**
 * Each region on a machine takes a sixteenth of the simulated subnets by listening on its gateway address, so that
 * regions that run at the same time never give the same address to two instances.
 */
async function claimSlot(ports: readonly number[]): Promise<Slot> {
  let problem: unknown = null;
  for (const sshPort of ports) {
    for (let number = 0; number < SLOTS; number += 1) {
      const guard = createServer((socket) => socket.destroy());
      try {
        await listen(guard, { host: `127.20.${number * SLOTS}.1`, port: sshPort });
        return { number, sshPort, guard };
      } catch (error) {
        problem = error;
      }
    }
  }
  throw new AppError(
    'PORT_IN_USE',
    `the simulated hosts cannot listen on port ${ports.join(' or ')} of 127.20.0.0/16`,
    {
      remedy: 'Choose another port for the hosts with --ssh-port, above 1023 unless you are root.',
      cause: problem,
    },
  );
}

/** Rejects with PORT_IN_USE when the port of the HTTP face is taken. */
function listen(server: NetServer | HttpServer, at: { host: string; port: number }): Promise<void> {
  return new Promise((resolve, reject) => {
    const fail = (error: NodeJS.ErrnoException): void => {
      reject(
        new AppError('PORT_IN_USE', `cannot listen on ${at.host}:${at.port} (${error.code ?? error.message})`, {
          remedy: 'Stop what uses the port, or choose another one with --port.',
          cause: error,
        }),
      );
    };
    server.once('error', fail);
    server.listen({ ...at, exclusive: true }, () => {
      server.off('error', fail);
      resolve();
    });
  });
}

function close(server: NetServer | HttpServer): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
  });
}

function reportError(error: unknown): void {
  process.stderr.write(
    `simulated region: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`,
  );
}
