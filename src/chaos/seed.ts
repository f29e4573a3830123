import { submitTasks } from '../engine/intake.ts';
import type { TaskId } from '../model/ids.ts';
import type { WorkloadPolicy } from '../model/policy.ts';
import { HOUR_MS, MINUTE_MS, SECOND_MS } from '../model/time.ts';
import type { Clock } from '../ports/clock.ts';
import type { LaunchCredentials } from '../ports/credentials.ts';
import type { LoadedPolicy } from '../ports/policies.ts';
import { Region } from '../simulator/region.ts';
import { fingerprint } from '../simulator/listing.ts';
import { createCredentials } from '../wiring/credentials.ts';
import type { AgentWorld } from './agents.ts';
import { Chance, ChanceIds } from './chance.ts';
import type { ChaosServer } from './database.ts';
import { EndChecks } from './end-checks.ts';
import { Failover } from './failover.ts';
import { ChaosHosts } from './hosts.ts';
import { LettingGo } from './letting-go.ts';
import { Locals } from './locals.ts';
import { AgentNetwork } from './network.ts';
import { Operators } from './operators.ts';
import { ChaosTaskQueues, ChaosWakeQueue } from './queues.ts';
import { createRegionCloud } from './region-cloud.ts';
import { Replica } from './replica.ts';
import { CALL_RATES, chooseScenario, chooseSwarm, type Scenario } from './scenario.ts';
import { Sim } from './sim.ts';
import { SqlWorld } from './sql.ts';
import { startStorms } from './storms.ts';
import { runInside } from './tripwire.ts';
import { Truth, Violation } from './truth.ts';

const START_MS = Date.UTC(2026, 6, 20, 12, 7);
const OWNER = 'spillway-chaos';
const KEY = Buffer.alloc(32, 7);
const TYPES = ['c5.large', 'c5.xlarge', 'm5.large', 'm5.xlarge'];
/** Agents report a few hundred instances at most; EC2's least page makes many of few. */
const PAGE_SIZE = 5;
/** Before the end no more faults, then no more work: what is left must come to rest. */
const QUIET_MS = 15 * MINUTE_MS;
/** After the last fault everything is done and gone within this and what the work left would take here alone, or it is stuck. */
const REST_MS_MAX = 6 * HOUR_MS;
/** Between two looks whether a machine of the datacenter has an agent. */
const ENROL_AGAIN_MS = 6 * MINUTE_MS;
export interface SeedOptions {
  readonly seed: number;
  /** Virtual time with faults and new work. */
  readonly hours: number;
  /** Only these faults; null = as the seed says. */
  readonly only: ReadonlySet<string> | null;
}

export interface SeedResult {
  readonly seed: number;
  readonly digest: string;
  readonly simulatedMs: number;
  readonly faults: readonly string[];
  readonly faultsByKind: Readonly<Record<string, number>>;
  /** As `from>to`, with `>requested` for a birth. */
  readonly transitions: readonly string[];
  readonly statements: number;
  /** From the last fault until everything was done and gone. */
  readonly restMs: number;
  readonly violation: { readonly rule: string; readonly message: string } | null;
}

/** Runs one seed from an empty database to rest. A violation is a result; anything else that goes wrong is thrown. */
export async function runSeed(server: ChaosServer, options: SeedOptions): Promise<SeedResult> {
  await server.renew();
  const run = new SeedRun(server, options);
  try {
    return await run.live();
  } finally {
    await run.end();
  }
}

class SeedRun {
  private readonly options: SeedOptions;
  private readonly sim: Sim;
  private readonly scenario: Scenario;
  private readonly sql: SqlWorld;
  private readonly region: Region;
  private readonly hosts: ChaosHosts;
  private readonly truth: Truth;
  private readonly lettingGo: LettingGo;
  private readonly operators: Operators;
  private readonly atEnd: EndChecks;
  private readonly replicas: readonly Replica[];
  private readonly agents: AgentWorld;
  private readonly locals: Locals;
  private readonly ids: ChanceIds;
  private readonly wake: ChaosWakeQueue;
  private readonly tasks: ChaosTaskQueues;
  private policies: readonly LoadedPolicy[];
  /** Tasks whose submission was confirmed to the user. */
  private readonly promised = new Set<TaskId>();
  private readonly failover: Failover;

  constructor(server: ChaosServer, options: SeedOptions) {
    this.options = options;
    const choices = new Chance(options.seed);
    this.scenario = chooseScenario(choices);
    const stormMs = options.hours * HOUR_MS;
    this.sim = new Sim({
      seed: options.seed,
      only: options.only,
      startMs: START_MS,
      without: chooseSwarm(choices),
      quietAfterMs: Math.max(0, stormMs - QUIET_MS),
    });
    const { sim } = this;
    this.ids = new ChanceIds(sim.chance, 'world');
    this.sql = new SqlWorld(sim, server);
    this.region = new Region({ clock: this.trueClock(), ids: this.ids, settings: this.scenario.region });
    this.wake = new ChaosWakeQueue(sim, CALL_RATES.ring);
    this.tasks = new ChaosTaskQueues(sim);
    const network = new AgentNetwork(sim, CALL_RATES.net);
    this.agents = {
      sim,
      ids: this.ids,
      network,
      onStart: (agent, taskId, doneS) => this.guarding(() => this.truth.noteStart(agent, taskId, doneS)),
      onProgress: (taskId, doneS) => this.truth.noteProgress(taskId, doneS),
      onHeard: (agentId) => this.truth.noteHeard(agentId, sim.nowMs),
      onSecret: (secret) => this.truth.noteSecret(secret),
      onForeignHost: (instanceId) => this.guarding(() => this.truth.noteForeignHost(instanceId)),
      onHook: (instanceId, command) => this.lettingGo.noteHook(instanceId, command),
    };
    this.locals = new Locals(this.agents, { sql: this.sql, ids: this.ids, cpus: this.scenario.localCpus });
    this.hosts = new ChaosHosts(sim, { regions: [this.region], agents: this.agents, rates: CALL_RATES.host });
    const credentials = {
      ...createCredentials(KEY),
      loginPublicKey: async () => 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAQ',
    };
    this.lettingGo = new LettingGo({
      sim,
      policies: this.scenario.policies,
      find: (instanceId) => this.region.findInstance(instanceId),
      isTaken: (instanceId) => this.region.interruptedAtMs(instanceId) !== null,
      lastHeardMs: (instanceId) => this.truth.lastHeardOn(instanceId, sim.nowMs),
    });
    this.truth = new Truth({
      mayDie: (instanceId) => this.mayDie(instanceId),
      region: this.region,
      hosts: this.hosts,
      localAgents: this.locals.agents,
      credentials,
      policies: this.scenario.policies,
    });
    this.atEnd = new EndChecks(this.sql, this.region, this.truth, this.lettingGo);
    this.policies = this.scenario.policies.map(loaded);
    this.replicas = this.buildReplicas(credentials);
    for (const replica of this.replicas) network.add(replica);
    const { sql, region, replicas, lettingGo } = this;
    this.operators = new Operators({ sim, sql, region, replicas, lettingGo });
    const onForgotten = (): void => {
      lettingGo.forget();
      this.truth.forgetProgress();
    };
    this.failover = new Failover({ sim, sql, region, onForgotten });
  }

  private buildReplicas(credentials: LaunchCredentials): readonly Replica[] {
    const { sim } = this;
    return this.scenario.skewMs.map(
      (skewMs, index) =>
        new Replica(
          {
            sim,
            scenario: this.scenario,
            sql: this.sql,
            hosts: this.hosts,
            wake: this.wake,
            tasks: this.tasks,
            credentials,
            owner: OWNER,
            policies: {
              current: () => this.policies,
              byWorkload: () => new Map(this.policies.map(({ policy }) => [policy.name, policy])),
            },
            cloud: (clock) => this.cloud(clock),
            onLog: (line) => this.guarding(() => this.truth.checkSecrets('a line of the log', line)),
            nudge: (agentIds) => this.nudge(agentIds),
          },
          `P${index}`,
          skewMs,
        ),
    );
  }

  async live(): Promise<SeedResult> {
    const { sim } = this;
    const stormEndMs = START_MS + this.options.hours * HOUR_MS;
    let violation: SeedResult['violation'] = null;
    let restMs = 0;
    try {
      await this.locals.enrol();
      for (const replica of this.replicas) sim.start(replica.proc);
      this.startWorld();
      await sim.run(stormEndMs, () => this.look());
      const restMsMax = REST_MS_MAX + (await this.workLeftMs());
      const rested = await this.rest(stormEndMs + restMsMax);
      restMs = sim.nowMs - stormEndMs;
      if (!rested)
        throw new Violation(
          'liveness',
          `not at rest after ${(restMsMax / HOUR_MS).toFixed(1)} h without a fault: ${await this.atEnd.describeRest()}`,
        );
      await this.atEnd.check({
        promised: this.promised,
        failedOver: this.failover.happened,
        freshnessMs: Math.max(...this.scenario.policies.map(({ demand }) => demand.freshnessMs)),
      });
    } catch (error) {
      if (!(error instanceof Violation)) throw error;
      violation = { rule: error.rule, message: error.message };
    }
    return {
      seed: this.options.seed,
      digest: sim.digest(),
      simulatedMs: sim.nowMs - START_MS,
      faults: sim.faults,
      faultsByKind: Object.fromEntries(sim.faultsByKind),
      transitions: await this.atEnd.transitionsSeen(),
      statements: this.sql.statements,
      restMs,
      violation,
    };
  }

  async end(): Promise<void> {
    await this.sql.end();
    this.sim.end();
  }

  private look(): boolean {
    this.truth.check();
    return false;
  }

  private guarding(check: () => void): void {
    try {
      check();
    } catch (error) {
      this.sim.fail(error);
    }
  }

  private startWorld(): void {
    const { sim, operators } = this;
    this.scheduleWave();
    operators.lookAfter();
    sim.every(ENROL_AGAIN_MS, async () => await this.locals.enrol());
    startStorms({
      sim,
      region: this.region,
      replicas: this.replicas,
      wake: this.wake,
      tasks: this.tasks,
      owner: OWNER,
      agents: () => [...this.locals.agents, ...this.hosts.listAgents()],
      someInstance: (site, market) => {
        const running = this.truth.living().filter(({ state }) => state === 'running');
        const living = running.filter((one) => market === undefined || one.market === market);
        return living[sim.chance.integer(site, 0, Math.max(0, living.length - 1))]?.instanceId ?? null;
      },
      instanceIn: async (state) => {
        const [row] = await this.sql.query<{ instance_id: string }>(
          'select instance_id from spillway.machines where state = $1 and instance_id is not null order by id limit 1',
          [state],
        );
        return row?.instance_id ?? null;
      },
      clone: (agent, isWhole) => this.locals.clone(agent, isWhole),
      operators,
      hosts: this.hosts,
      addForeign: (instanceId) => this.truth.addForeign(instanceId),
      failOver: async () => await this.failover.begin(),
      removePolicy: (ms) => this.removePolicy(ms),
      silence: (ms) => {
        for (const agent of [...this.locals.agents, ...this.hosts.listAgents()]) agent.fallSilent(ms);
      },
    });
  }

  private scheduleWave(): void {
    const { sim, scenario } = this;
    const waitMs = sim.chance.integer('demand:wait', scenario.demandEveryMs / 2, scenario.demandEveryMs * 1.5);
    sim.at(waitMs, () => {
      if (!sim.isStormy()) return;
      void this.submitWave();
      this.scheduleWave();
    });
  }

  /** A user's command at whichever process answers; when it does not confirm, nothing is promised. */
  private async submitWave(): Promise<void> {
    const { sim, scenario } = this;
    const count = sim.chance.integer('demand:count', 1, scenario.tasksPerWaveMax);
    const seconds = sim.chance.integer('demand:seconds', 5, scenario.taskSecondsMax);
    const { name: workload } = sim.chance.pick('demand:workload', scenario.policies);
    const replica = this.replicas.find(({ proc }) => proc.up && proc.stoppedUntilMs <= sim.nowMs);
    const parts = replica?.service() ?? null;
    if (parts === null) return;
    try {
      const ids = await runInside(
        async () =>
          await submitTasks(parts.engine, { workload, command: ['sleep', String(seconds)], shape: null, count }),
      );
      for (const id of ids) this.promised.add(id);
    } catch (error) {
      sim.note(`submission failed: ${String(error)}`);
    }
  }

  private cloud(clock: Clock) {
    return createRegionCloud({
      regions: new Map([[this.region.settings.region, this.region]]),
      clock,
      types: TYPES,
      pageSize: PAGE_SIZE,
      onRun: (request) => this.guarding(() => this.truth.noteRun(request)),
      onTerminate: (instanceId) => {
        this.lettingGo.noteTouch(instanceId, 'its end');
        this.guarding(() => this.truth.noteTerminate(instanceId));
      },
    });
  }

  /** Whatever runs on it. To the second is how EC2 tells when it takes it. */
  private mayDie(instanceId: string): boolean {
    const interruptedAtMs = this.region.interruptedAtMs(instanceId) ?? Infinity;
    return this.lettingGo.isForced(instanceId) || this.sim.nowMs >= interruptedAtMs - SECOND_MS;
  }

  private nudge(agentIds: ReadonlySet<string>): void {
    for (const agent of [...this.hosts.listAgents(), ...this.locals.agents]) {
      if (agent.id === null || !agentIds.has(agent.id)) continue;
      if (this.sim.chance.roll('nudge').value < 0.5) agent.nudge();
    }
  }

  private removePolicy(ms: number): void {
    const [first] = this.scenario.policies;
    this.policies = this.policies.filter(({ policy }) => policy.name !== first.name);
    this.sim.at(ms, () => {
      this.policies = this.scenario.policies.map(loaded);
    });
  }

  /** How long the machines of the datacenter alone would need for what is open. */
  private async workLeftMs(): Promise<number> {
    const [row] = await this.sql.query<{ seconds: number }>(
      `select coalesce(sum((command ->> 1)::float8), 0) as seconds
       from spillway.tasks where state in ('pending', 'leased', 'running')`,
    );
    const cpus = this.scenario.localCpus.reduce((sum, count) => sum + count, 0);
    return ((row?.seconds ?? 0) * SECOND_MS) / cpus;
  }

  /** Lets time pass without faults and new work until everything is done and gone; false = it never was. */
  private async rest(untilMs: number): Promise<boolean> {
    let lookAtMs = this.sim.nowMs;
    this.region.faults.clear();
    this.policies = this.scenario.policies.map((policy) => loaded(forTheEnd(policy)));
    return await this.sim.run(untilMs, async () => {
      this.truth.check();
      if (this.sim.nowMs < lookAtMs) return false;
      lookAtMs = this.sim.nowMs + 10 * SECOND_MS;
      return (await this.atEnd.countOpen()) === 0;
    });
  }

  private trueClock(): Clock {
    const { sim } = this;
    return {
      nowMs: () => sim.nowMs,
      monotonicMs: () => sim.nowMs,
      sleep: async () => {
        throw new Error('bug: nothing in the region sleeps');
      },
    };
  }
}

/**
 * Headroom would keep a machine for ever: from here on nobody asks for it. And what EC2 refused for a reason that only people can
 * mend is tried again once the policy was touched.
 */
function forTheEnd(policy: WorkloadPolicy): WorkloadPolicy {
  const { demand, drain } = policy;
  return {
    ...policy,
    demand: { ...demand, headroom: null },
    drain: { ...drain, deadlineMs: drain.deadlineMs + 1 },
  };
}

function loaded(policy: WorkloadPolicy): LoadedPolicy {
  return { policy, hash: fingerprint(policy) };
}
