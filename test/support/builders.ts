import { sql } from 'kysely';
import type { AgentId, IdPrefix, LaunchId, MachineId, PlanId, TaskId } from '../../src/model/ids.ts';
import type { LaunchBody, LaunchState } from '../../src/model/launch.ts';
import { REBUILT_REASON, type MachineState } from '../../src/model/machine.ts';
import type { Architecture, Market } from '../../src/model/offering.ts';
import type { BurstLimits, DemandPolicy, WorkloadPolicy } from '../../src/model/policy.ts';
import type { Resources } from '../../src/model/resources.ts';
import type { TaskState } from '../../src/model/task.ts';
import type { AgentReport } from '../../src/ports/agent-gateway.ts';
import type { CloudInstance } from '../../src/ports/cloud.ts';
import { aDrainPolicy } from './drain-policy.ts';
import { kindColumns } from './kind-columns.ts';
import { dbNow, type Db } from '../../src/store/database.ts';

/** Things with everything filled in: a test names only what it is about. Rows are inserted as they are, not by the code under test. */

/** Where `stopClock` stops the database's clock unless the test says otherwise. */
export const NOW_MS = Date.parse('2026-11-22T10:00:00.000Z');
export const REGION = 'eu-central-1';
export const ZONE = 'eu-central-1a';
export const WORKLOAD = 'transcode';

let made = 0;

/** A new id; ids sort in the order in which they were made. */
export function anId<P extends IdPrefix>(prefix: P): `${P}-${string}` {
  made += 1;
  return `${prefix}-${String(made).padStart(12, '0')}`;
}

/** Lower-case hex that no other call gets. */
export function someHex(digits: number): string {
  made += 1;
  return made.toString(16).padStart(digits, '0');
}

/** Stops the database's clock. From here on time passes only by `passTime`. */
export async function stopClock(db: Db, atMs: number = NOW_MS): Promise<void> {
  await sql`create or replace function spillway.now() returns timestamptz language sql volatile parallel safe
    as ${sql.lit(`select timestamptz '${new Date(atMs).toISOString()}'`)}`.execute(db);
}

/** Moves a stopped clock forward (or back). */
export async function passTime(db: Db, ms: number): Promise<void> {
  const { now } = await db.selectNoFrom(dbNow().as('now')).executeTakeFirstOrThrow();
  await stopClock(db, now.getTime() + ms);
}

export interface PolicyOptions {
  readonly name?: string;
  readonly selector?: Readonly<Record<string, string>>;
  readonly demand?: Partial<DemandPolicy>;
  readonly limits?: Partial<BurstLimits>;
}

export function aPolicy(options: PolicyOptions = {}): WorkloadPolicy {
  const name = options.name ?? WORKLOAD;
  return {
    name,
    agents: { selector: options.selector ?? { pool: 'media' } },
    demand: {
      utilization: null,
      queue: { source: 'bullmq', task: { cpuMilli: 1000, memoryMib: 1024, gpus: 0 }, maxWaitMs: 0 },
      headroom: null,
      freshnessMs: 30_000,
      ...options.demand,
    },
    burst: {
      region: REGION,
      subnets: ['subnet-1'],
      securityGroups: [],
      image: { x86_64: 'ami-1' },
      instanceProfile: null,
      volumeGib: 20,
      instances: { cpu: null, memoryMib: null, memoryMibPerCpu: null, families: [], exclude: [] },
      market: { spot: 0, onDemandBase: 0 },
      limits: {
        min: 0,
        max: 20,
        vcpus: null,
        launchesPerHour: 60,
        maxScaleUp: 10,
        maxScaleDown: 5,
        ...options.limits,
      },
      budget: { hourlyUsd: null },
    },
    join: {
      ssh: { user: 'ubuntu', port: 22, identityFile: '/etc/spillway/id_ed25519', hostKey: 'injected' },
      recipe: { script: null, env: {} },
      ready: { command: null, deadlineMs: 300_000 },
    },
    drain: aDrainPolicy(),
  };
}

export async function aPlanRow(db: Db, options: { readonly digest?: string } = {}): Promise<PlanId> {
  const id = anId('pl');
  const digest = options.digest ?? id;
  await db
    .insertInto('plans')
    .values({ id, trace_id: someHex(32), epoch: 1, decided_at: dbNow(), input: '{}', outcome: '{}', digest })
    .execute();
  return id;
}

export function aBody(overrides: Partial<LaunchBody> = {}): LaunchBody {
  return {
    region: REGION,
    imageId: 'ami-1',
    instanceType: 'c6a.large',
    subnetId: 'subnet-1',
    securityGroupIds: [],
    instanceProfile: null,
    market: 'on-demand',
    count: 1,
    volumeGib: 20,
    rootDeviceName: '/dev/xvda',
    tags: {},
    sshUser: 'ubuntu',
    authorizedKey: 'ssh-ed25519 AAAA',
    userDataSha256: 'ab'.repeat(32),
    ...overrides,
  };
}

export interface LaunchOptions {
  readonly planId?: PlanId;
  readonly workload?: string;
  readonly state?: LaunchState;
  readonly nonce?: string;
  readonly token?: string;
  readonly body?: Partial<LaunchBody>;
  readonly count?: number;
  /** How long ago it was made; default 0. */
  readonly ageMs?: number;
  /** How long ago it wanted attention; negative = later. Default 0. */
  readonly dueMs?: number;
}

export async function aLaunch(db: Db, options: LaunchOptions = {}): Promise<LaunchId> {
  const id = anId('ln');
  const count = options.count ?? 1;
  await db
    .insertInto('launches')
    .values({
      id,
      plan_id: options.planId ?? (await aPlanRow(db)),
      workload: options.workload ?? WORKLOAD,
      state: 'open',
      nonce: options.nonce ?? someHex(32),
      attempt: 1,
      token: options.token ?? `sw1.${someHex(16)}.1.test`,
      body: JSON.stringify(aBody({ count, ...options.body })),
      zone: ZONE,
      instance_count: count,
      price_usd_per_hour: '0.076500',
      epoch: 1,
      created_at: ago(options.ageMs ?? 0),
      deadline_at: ago(-600_000),
      wake_at: ago(options.dueMs ?? 0),
    })
    .execute();
  const { state = 'open' } = options;
  if (state !== 'open') await db.updateTable('launches').set({ state }).where('id', '=', id).execute();
  return id;
}

export interface MachineOptions {
  /** Default: a launch of its own, open before the machine has an instance and fulfilled after. */
  readonly launchId?: LaunchId;
  readonly workload?: string;
  readonly market?: Market;
  readonly arch?: Architecture;
  readonly instanceType?: string;
  /** Default: null before `booting`, else a new one. */
  readonly instanceId?: string | null;
  /** How long ago the row was made and entered its state; default 0. */
  readonly ageMs?: number;
  readonly dueMs?: number;
  readonly drainIrrevocable?: boolean;
  readonly agent?: AgentOptions;
}

export interface MadeMachine {
  readonly id: MachineId;
  readonly launchId: LaunchId;
  readonly instanceId: string | null;
  /** From `ready` on, while the machine lives. */
  readonly agentId: AgentId | null;
}

const WITHOUT_INSTANCE: ReadonlySet<MachineState> = new Set(['requested', 'launching']);
const WITH_AGENT: ReadonlySet<MachineState> = new Set(['ready', 'draining', 'leaving']);
const WITHOUT_AGENT_AGAIN = ['stopping', 'stopped', 'terminating', 'terminated'] as const;
const WITH_END_REASON: ReadonlySet<MachineState> = new Set(['draining', 'leaving', ...WITHOUT_AGENT_AGAIN]);

/**
 * A machine in a state, with everything that its state promises. It is there without a life before: its one event says
 * `rebuilt`, and {@link eventsSince} leaves that out.
 */
export async function aMachine(db: Db, state: MachineState, options: MachineOptions = {}): Promise<MadeMachine> {
  const id = anId('mc');
  const workload = options.workload ?? WORKLOAD;
  const before = WITHOUT_INSTANCE.has(state);
  const launchId = options.launchId ?? (await aLaunch(db, { workload, state: before ? 'open' : 'fulfilled' }));
  const instanceId = options.instanceId === undefined ? (before ? null : `i-${someHex(17)}`) : options.instanceId;
  const { plan_id } = await db
    .selectFrom('launches')
    .select('plan_id')
    .where('id', '=', launchId)
    .executeTakeFirstOrThrow();
  const row = db
    .insertInto('machines')
    .values({
      id,
      launch_id: launchId,
      plan_id,
      workload,
      state,
      instance_type: options.instanceType ?? 'c6a.large',
      cpu_milli: 2000,
      memory_mib: 4096,
      arch: options.arch ?? null,
      zone: ZONE,
      market: options.market ?? 'on-demand',
      volume_gib: 20,
      price_usd_per_hour: '0.076500',
      created_at: ago(options.ageMs ?? 0),
      state_since: ago(options.ageMs ?? 0),
      wake_at: ago(options.dueMs ?? 0),
      instance_id: instanceId,
      private_ip: instanceId === null ? null : '10.0.0.7',
      drain_irrevocable: options.drainIrrevocable ?? false,
      end_reason: WITH_END_REASON.has(state) ? 'scale-down' : null,
    })
    .returning('id');
  // One statement, because the row may not be committed without its event, and `db` may be a transaction already.
  await db
    .with('made', () => row)
    .insertInto('machine_events')
    .columns(['machine_id', 'at', 'to_state', 'actor', 'reason'])
    .expression((eb) =>
      eb
        .selectFrom('made')
        .select(['id', dbNow().as('at'), sql.val(state).as('to_state')])
        .select([sql.lit('builder').as('actor'), sql.lit(REBUILT_REASON).as('reason')]),
    )
    .execute();
  if (!WITH_AGENT.has(state)) return { id, launchId, instanceId, agentId: null };
  const agentId = await anAgent(db, { cordoned: state !== 'ready', ...options.agent, machineId: id });
  await db.updateTable('machines').set({ agent_id: agentId }).where('id', '=', id).execute();
  return { id, launchId, instanceId, agentId };
}

/** Every machine's events in order but those that {@link aMachine} wrote. */
export async function eventsSince(db: Db, machineId?: MachineId) {
  return await db
    .selectFrom('machine_events')
    .selectAll()
    .where('actor', '<>', 'builder')
    .$if(machineId !== undefined, (query) => query.where('machine_id', '=', machineId ?? ''))
    .orderBy('id')
    .execute();
}

export interface AgentOptions {
  /** Default: its id. */
  readonly name?: string;
  /** Makes it an `aws` agent. */
  readonly machineId?: MachineId;
  readonly labels?: Readonly<Record<string, string>>;
  readonly capacity?: Resources;
  readonly arch?: Architecture;
  readonly cordoned?: boolean;
  /** How long ago it last reported; null = never. Default 0. */
  readonly silentMs?: number | null;
  readonly bootId?: string;
  readonly tokenHash?: string;
  readonly removed?: boolean;
}

export const BOOT = 'b0000000-0000-4000-8000-000000000001';
export const OTHER_BOOT = 'b0000000-0000-4000-8000-000000000002';

export async function anAgent(db: Db, options: AgentOptions = {}): Promise<AgentId> {
  const id = anId('ag');
  const capacity = options.capacity ?? { cpuMilli: 4000, memoryMib: 8192, gpus: 0 };
  const cordoned = options.cordoned ?? false;
  const silentMs = options.silentMs === undefined ? 0 : options.silentMs;
  await db
    .insertInto('agents')
    .values({
      id,
      name: options.name ?? id,
      site: options.machineId === undefined ? 'on-prem' : 'aws',
      labels: JSON.stringify(options.labels ?? { pool: 'media' }),
      token_hash: options.tokenHash ?? someHex(64),
      machine_id: options.machineId ?? null,
      capacity_cpu_milli: capacity.cpuMilli,
      capacity_memory_mib: capacity.memoryMib,
      capacity_gpus: capacity.gpus,
      arch: options.arch ?? null,
      cordoned,
      cordon_generation: cordoned ? 1 : 0,
      boot_id: options.bootId ?? BOOT,
      registered_at: dbNow(),
      last_seen_at: silentMs === null ? null : ago(silentMs),
      removed_at: options.removed === true ? dbNow() : null,
    })
    .execute();
  return id;
}

export interface TaskOptions {
  readonly workload?: string;
  readonly shape?: Resources;
  readonly constraints?: Parameters<typeof kindColumns>[1];
  readonly runTimeS?: number;
  readonly state?: TaskState;
  readonly agentId?: AgentId;
  readonly attempt?: number;
  /** Default 0. */
  readonly interruptions?: number;
  readonly command?: readonly string[];
  /** How long ago it was submitted and became pending; default 0. */
  readonly ageMs?: number;
  /** Left of its lease; negative = over. Default 60 s. */
  readonly leaseMs?: number;
  readonly leaseToken?: string;
}

export async function aTask(db: Db, options: TaskOptions = {}): Promise<TaskId> {
  const id = anId('tk');
  const shape = options.shape ?? { cpuMilli: 1000, memoryMib: 1024, gpus: 0 };
  const held = options.state === 'leased' || options.state === 'running';
  await db
    .insertInto('tasks')
    .values({
      id,
      workload: options.workload ?? WORKLOAD,
      command: JSON.stringify(options.command ?? ['true']),
      ...kindColumns(shape, options.constraints),
      run_time_s: options.runTimeS ?? null,
      state: options.state ?? 'pending',
      attempt: options.attempt ?? (options.agentId === undefined ? 0 : 1),
      interruptions: options.interruptions ?? 0,
      agent_id: options.agentId ?? null,
      lease_token: held ? (options.leaseToken ?? someHex(32)) : null,
      lease_expires_at: held ? ago(-(options.leaseMs ?? 60_000)) : null,
      submitted_at: ago(options.ageMs ?? 0),
      pending_since: ago(options.ageMs ?? 0),
    })
    .execute();
  return id;
}

/** A report of an agent with nothing to do. */
export function aReport(overrides: Partial<AgentReport> = {}): AgentReport {
  return {
    bootId: BOOT,
    seq: 1,
    capacity: { cpuMilli: 4000, memoryMib: 8192, gpus: 0 },
    used: { cpuMilli: 500, memoryMib: 1024 },
    cordon: { cordoned: false, generation: 0 },
    tasks: [],
    leaving: false,
    ...overrides,
  };
}

export function anInstance(overrides: Partial<CloudInstance> = {}): CloudInstance {
  return {
    instanceId: `i-${someHex(17)}`,
    state: 'running',
    origin: {
      imageId: 'ami-1',
      subnetId: 'subnet-1',
      securityGroupIds: [],
      instanceProfile: null,
      rootDeviceName: '/dev/sda1',
    },
    clientToken: '',
    instanceType: 'c6a.large',
    zone: ZONE,
    market: 'on-demand',
    privateIp: '10.0.0.7',
    launchTimeMs: null,
    endedAtMs: null,
    endCode: null,
    tags: {},
    ...overrides,
  };
}

function ago(ms: number): ReturnType<typeof dbNow> {
  return sql<Date>`spillway.now() - ${ms} * interval '1 millisecond'`;
}
