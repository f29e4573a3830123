import type pg from 'pg';
import { assignTasks, recoverTasks } from '../../src/engine/assign.ts';
import { AgentBell } from '../../src/engine/bell.ts';
import { submitTasks } from '../../src/engine/intake.ts';
import type { EnginePorts } from '../../src/engine/ports.ts';
import type { StepTimings } from '../../src/jobs/ports.ts';
import { runStep } from '../../src/jobs/run-step.ts';
import { accountTick } from '../../src/loops/account.ts';
import type { LoopPorts } from '../../src/loops/ports.ts';
import { createLead } from '../../src/loops/lead.ts';
import { planTick, type PlanTick } from '../../src/loops/plan.ts';
import { pricesTick } from '../../src/loops/prices.ts';
import { ringTick } from '../../src/loops/ring.ts';
import { sweepTick } from '../../src/loops/sweep.ts';
import { AppError } from '../../src/model/errors.ts';
import type { TaskId } from '../../src/model/ids.ts';
import type { WorkloadPolicy } from '../../src/model/policy.ts';
import type { Resources } from '../../src/model/resources.ts';
import type { WakeJob } from '../../src/ports/queue.ts';
import { hashToken } from '../../src/server/agent-api/credentials.ts';
import { Region } from '../../src/simulator/region.ts';
import type { RegionSettings } from '../../src/simulator/world.ts';
import { createDatabase, type Db } from '../../src/store/database.ts';
import { buildStores, type Stores } from '../../src/wiring/stores.ts';
import { SeededIds } from '../simulator/support.ts';
import { recordingLog } from './log.ts';
import { WorldAgent } from './world-agents.ts';
import { createRegionCloud } from '../../src/chaos/region-cloud.ts';
import { InjectedCrash, Injector } from './world-faults.ts';
import { WorldHosts } from './world-hosts.ts';
import { worldPolicy } from './world-policy.ts';
import { buildProcess, type Process } from './world-process.ts';
import { WorldTaskQueues, WorldWakeQueue } from './world-queues.ts';
import { WorldTime } from './world-time.ts';
import { WorldTruth } from './world-truth.ts';
import { MemoryWitness } from './world-witness.ts';

const TIMINGS: StepTimings = { bootPollMs: 5000, joinPollMs: 5000, drainPollMs: 5000, terminatePollMs: 10_000 };
/** Who puts agents into a world. */
const ORDERER = { by: 'operator', reason: null, installs: null };
const LOOPS = { plan: 5, sweep: 10, ring: 5, assign: 2, recover: 7, account: 300, prices: 900 } as const;
export type WorldLoop = keyof typeof LOOPS;

/** For stories of many minutes: everything still happens, only later, and a simulated hour costs a second. */
export const CALM = {
  everyS: { plan: 20, sweep: 20, ring: 15, assign: 20, recover: 30, account: Infinity, prices: Infinity },
  heartbeatS: 15,
} as const;

export interface WorldOptions {
  readonly policies?: readonly WorkloadPolicy[];
  readonly region?: Partial<RegionSettings>;
  /** Further regions, by name. */
  readonly otherRegions?: readonly string[];
  /** Seconds from turn to turn; Infinity = never. */
  readonly everyS?: Partial<Record<WorldLoop, number>>;
  readonly types?: readonly string[];
  readonly seed?: number;
  /** How often waiting steps look again; default: every five to ten seconds. */
  readonly timings?: StepTimings;
  /** Seconds between reports of the agents; their leases last six times as long. Default 5. */
  readonly heartbeatS?: number;
  /** Instances on one page of a listing. Default 5, EC2's least, so that every story turns pages. */
  readonly pageSize?: number;
  /** Every job is handled by two workers at the same time. */
  readonly twins?: boolean;
  /** Steps may meet bugs; elsewhere one ends the test. */
  readonly bugs?: boolean;
  /** Every job is handled a second time as soon as it is done, and every loop turns twice. */
  readonly again?: boolean;
}

/**
 * The product in a simulated world: its own planner, loops, steps, engine and SQL on real Postgres; EC2, hosts, agents and the
 * queue in process; one virtual clock for all of them, the database's included. The same options give the same story.
 */
export class World {
  readonly time: WorldTime;
  readonly db: Db;
  readonly stores: Stores;
  readonly region: Region;
  readonly regions: ReadonlyMap<string, Region>;
  readonly truth: WorldTruth;
  readonly hosts: WorldHosts;
  readonly wake: WorldWakeQueue;
  readonly injector = new Injector();
  /** The witness file of the machine that the service runs on. */
  readonly witness = new MemoryWitness();
  readonly log = recordingLog();
  /** The last plan of each kind of turn, and failures that loops and steps outlived. */
  readonly plans: PlanTick[] = [];
  readonly outlived: string[] = [];
  readonly localAgents: WorldAgent[] = [];
  policies: readonly WorkloadPolicy[];
  process: Process;
  private readonly ids: SeededIds;
  private readonly options: WorldOptions;
  private readonly bell = new AgentBell();
  private readonly queues: WorldTaskQueues;
  readonly engine: EnginePorts;
  private readonly heartbeatS: number;
  private planDue = false;
  private processes = 0;
  private readonly bugs: string[] = [];

  static async create(pool: pg.Pool, options: WorldOptions = {}): Promise<World> {
    return new World(await WorldTime.inDatabase(pool), createDatabase(pool), options);
  }

  private constructor(time: WorldTime, db: Db, options: WorldOptions) {
    this.time = time;
    this.db = db;
    this.options = options;
    this.heartbeatS = options.heartbeatS ?? 5;
    this.policies = options.policies ?? [worldPolicy()];
    this.ids = new SeededIds(options.seed ?? 1);
    this.stores = buildStores(db, db, db);
    const open = (settings: Partial<RegionSettings>): Region => new Region({ clock: time, ids: this.ids, settings });
    this.region = open(options.region ?? {});
    const others = (options.otherRegions ?? []).map((region) => [region, open({ region })] as const);
    this.regions = new Map([[this.region.settings.region, this.region], ...others]);
    this.wake = new WorldWakeQueue(time);
    this.queues = new WorldTaskQueues(time);
    this.hosts = new WorldHosts(this.regions, this.agentSurroundings(), this.injector);
    this.truth = new WorldTruth(this.regions, () => [...this.hosts.listAgents(), ...this.localAgents], this.hosts);
    this.engine = this.buildEngine();
    this.process = this.buildProcess();
    void this.wake.consume(async (job) => await this.repeatedly(async () => await this.handle(job)));
    for (const name of Object.keys(LOOPS) as WorldLoop[]) this.schedule(name);
  }

  /** Lets time pass, checking the invariants against the world's truth after every event. */
  async run(ms: number, until?: () => boolean | Promise<boolean>): Promise<void> {
    await this.time.run(ms, async () => {
      this.truth.check();
      return (await until?.()) ?? false;
    });
  }

  /** Runs until something holds, looked at every `lookMs` of virtual time; fails when it does not within `withinMs`. */
  async runUntil(
    what: string,
    holds: () => boolean | Promise<boolean>,
    withinMs = 3_600_000,
    lookMs = 1000,
  ): Promise<void> {
    let held = await holds();
    let lookAtMs = this.time.nowMs() + lookMs;
    const look = async (): Promise<boolean> => {
      if (this.time.nowMs() < lookAtMs) return false;
      lookAtMs = this.time.nowMs() + lookMs;
      held = await holds();
      return held;
    };
    if (!held) await this.run(withinMs, look);
    if (!held) throw new Error(`waited ${withinMs / 1000} virtual seconds in vain until ${what}`);
  }

  async submit(count: number, seconds: number, shape: Resources | null = null): Promise<readonly TaskId[]> {
    const workload = this.policies[0]?.name ?? '';
    return await submitTasks(this.engine, { workload, command: ['sleep', String(seconds)], shape, count });
  }

  async addLocalAgent(cpus: number): Promise<WorldAgent> {
    const token = this.ids.hex(32);
    await this.stores.agents.createEnrolment(hashToken(token), { pool: 'local' }, 60_000, ORDERER);
    const capacity = { cpuMilli: cpus * 1000, memoryMib: cpus * 4096, gpus: 0 };
    const birth = { name: `local-${this.localAgents.length}`, enrolmentToken: token, capacity, isPowered: () => true };
    const agent = new WorldAgent(this.agentSurroundings(), birth);
    this.localAgents.push(agent);
    return agent;
  }

  async count(table: 'machines' | 'tasks' | 'launches', state: string): Promise<number> {
    const rows = await this.db.selectFrom(table).select('id').where('state', '=', state).execute();
    return rows.length;
  }

  async liveMachines(): Promise<number> {
    const rows = await this.db.selectFrom('machines').select('id').where('state', '<>', 'terminated').execute();
    return rows.length;
  }

  /** Each machine's transitions in order, as `from>to reason`. */
  async history(): Promise<string[][]> {
    const rows = await this.db.selectFrom('machine_events').selectAll().orderBy('id').execute();
    const lives = Map.groupBy(rows, ({ machine_id: id }) => id);
    return [...lives.values()].map((life) =>
      life.map((row) => `${row.from_state ?? ''}>${row.to_state} ${row.reason}`),
    );
  }

  /** The process dies here and now; a new one takes over with nothing but the rows. */
  crash(): void {
    this.injector.revive();
    this.bugs.length = 0;
    this.process = this.buildProcess();
  }

  /** One turn of a loop, now. Failures that a real process outlives are noted, everything else is a bug and thrown. */
  async turn(name: WorldLoop): Promise<void> {
    let rivals = 0;
    await this.repeatedly(async () => {
      rivals += 1;
      // The second of two at once belongs to another process: a process does not turn a loop twice at a time.
      await this.turnOnce(name, this.options.twins === true ? { lead: this.leadOf(`rival-${rivals}`) } : {});
    });
  }

  private leadOf(holder: string): LoopPorts['lead'] {
    const { time: clock, log } = this;
    return createLead({ leadership: this.stores.leadership, clock, log, holder });
  }

  private async turnOnce(name: WorldLoop, changes: Partial<LoopPorts>): Promise<void> {
    await this.outliving(name, async () => {
      const loops = { ...this.process.loops, ...changes };
      if (name === 'plan') this.plans.push(await planTick(loops));
      else if (name === 'sweep') await sweepTick(loops);
      else if (name === 'ring') await ringTick(loops);
      else if (name === 'account') await accountTick(loops);
      else if (name === 'prices') await pricesTick(loops);
      else if (name === 'assign') await assignTasks(this.engine);
      else await recoverTasks(this.engine);
    });
  }

  private buildProcess(): Process {
    this.processes += 1;
    return buildProcess({
      time: this.time,
      ids: this.ids,
      stores: this.stores,
      injector: this.injector,
      hosts: this.hosts,
      wake: this.wake,
      log: { ...this.log, debug: () => undefined },
      cloud: this.buildCloud(),
      witness: this.witness,
      policies: () => this.policies,
      holder: `process-${this.processes}`,
      onStepFailed: ({ kind, code }) => {
        if (code === 'INTERNAL') this.bugs.push(kind);
        else this.outlived.push(`${kind} step: ${code}`);
      },
      timings: this.options.timings ?? TIMINGS,
      wakePlanner: () => this.wakePlanner(),
      notifyAgents: (agentIds) => this.nudge(new Set(agentIds)),
    });
  }

  private buildCloud() {
    return createRegionCloud({
      regions: this.regions,
      clock: this.time,
      types: this.options.types ?? ['c5.large', 'c5.xlarge', 'm5.large'],
      pageSize: this.options.pageSize ?? 5,
      onTerminate: (instanceId) => this.truth.noteTerminate(instanceId),
    });
  }

  private buildEngine(): EnginePorts {
    const { time, ids, stores, queues, wake, bell } = this;
    return {
      clock: time,
      ids,
      log: { ...this.log, debug: () => undefined },
      tasks: stores.tasks,
      agents: stores.agents,
      interruptions: stores.interruptions,
      queues,
      wake,
      bell: Object.assign(bell, { ring: (agentIds: Iterable<string>) => this.nudge(new Set(agentIds)) }),
      timing: { intervalS: this.heartbeatS, leaseS: this.heartbeatS * 6 },
      policies: () => new Map(this.policies.map((policy) => [policy.name, policy])),
      wakeAssigner: () => time.at(10, async () => await this.turn('assign')),
      wakePlanner: () => this.wakePlanner(),
    };
  }

  private agentSurroundings() {
    return {
      time: this.time,
      ids: this.ids,
      agents: this.stores.agents,
      queues: this.queues,
      wake: this.wake,
      timing: { intervalMs: this.heartbeatS * 1000, leaseMs: this.heartbeatS * 6000 },
      onChange: () => this.wakePlanner(),
      onStart: (agent: WorldAgent, taskId: TaskId) => this.truth.noteStart(agent, taskId),
    };
  }

  /** What `main.ts` does with a job. */
  private async handle(job: WakeJob) {
    return await this.outliving(`${job.kind} step`, async () => {
      const outcome = await runStep(this.process.steps, job);
      if (this.bugs.splice(0).length > 0 && this.options.bugs !== true) {
        const said = this.log.lines.findLast(({ message }) => message.startsWith('a step met a bug'));
        throw new Error(`${said?.message}: ${JSON.stringify(said?.details)}`);
      }
      return outcome;
    });
  }

  private async repeatedly<T>(work: () => Promise<T>): Promise<T> {
    if (this.options.twins === true) {
      const [first] = await Promise.all([work(), work()]);
      return first;
    }
    const outcome = await work();
    return this.options.again === true ? await work() : outcome;
  }

  private async outliving<T>(what: string, work: () => Promise<T>): Promise<T | { readonly kind: 'done' }> {
    try {
      return await work();
    } catch (error) {
      if (error instanceof InjectedCrash) this.crash();
      else if (!(error instanceof AppError)) throw error;
      this.outlived.push(`${what}: ${error.message}`);
      return { kind: 'done' };
    }
  }

  private schedule(name: WorldLoop): void {
    const everyMs = (this.options.everyS?.[name] ?? LOOPS[name]) * 1000;
    if (!Number.isFinite(everyMs)) return;
    this.time.at(everyMs, async () => {
      await this.turn(name);
      this.schedule(name);
    });
  }

  private wakePlanner(): void {
    if (this.planDue || this.options.everyS?.plan === Infinity) return;
    this.planDue = true;
    this.time.at(200, async () => {
      this.planDue = false;
      await this.turn('plan');
    });
  }

  private nudge(agentIds: ReadonlySet<string>): void {
    for (const agent of [...this.hosts.listAgents(), ...this.localAgents]) {
      if (agent.id !== null && agentIds.has(agent.id)) agent.nudge();
    }
  }
}
