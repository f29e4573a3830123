import { openCallGate } from '../cloud/call-gate.ts';
import { limitCloud } from '../cloud/limited.ts';
import { AgentBell } from '../engine/bell.ts';
import { checkMemory } from '../loops/recollection.ts';
import type { Testimony } from '../model/amnesia.ts';
import type { AgentId } from '../model/ids.ts';
import type { Clock } from '../ports/clock.ts';
import type { Cloud } from '../ports/cloud.ts';
import type { LaunchCredentials } from '../ports/credentials.ts';
import type { Log } from '../ports/log.ts';
import type { OperatorActions } from '../ports/operator.ts';
import type { Witness } from '../ports/witness.ts';
import { listPriceUsdPerHour } from '../cost/catalogue.ts';
import { Credentials } from '../server/agent-api/credentials.ts';
import { createOfferingSource } from '../sources/offerings.ts';
import { createDatabase, nothingSeen } from '../store/database.ts';
import { type Loops, startLoops } from '../wiring/loops.ts';
import { assembleService, type ServiceOutside, type ServiceParts } from '../wiring/service.ts';
import { createOperatorActions } from '../wiring/operator-actions.ts';
import { buildStores, type Stores } from '../wiring/stores.ts';
import { ChanceIds } from './chance.ts';
import { withDecisionPoints } from './decision-points.ts';
import type { ChaosHosts } from './hosts.ts';
import type { AgentService, Endpoint } from './network.ts';
import { createProcessCloud } from './process-cloud.ts';
import type { ChaosTaskQueues, ChaosWakeQueue } from './queues.ts';
import { CALL_RATES, type Scenario } from './scenario.ts';
import { InjectedThrow, type Proc, type Sim } from './sim.ts';
import { SimPool } from './sql-pool.ts';
import type { SqlWorld } from './sql.ts';

const RETENTION_MS = 14 * 24 * 3_600_000;

/** What the processes of one installation share. */
export interface Datacenter {
  readonly sim: Sim;
  readonly scenario: Scenario;
  readonly sql: SqlWorld;
  readonly hosts: ChaosHosts;
  readonly wake: ChaosWakeQueue;
  readonly tasks: ChaosTaskQueues;
  readonly credentials: LaunchCredentials;
  readonly owner: string;
  readonly policies: ServiceOutside['policies'];
  /** EC2 as seen with a clock; the process adds its own travels and troubles. */
  cloud(clock: Clock): Cloud;
  /** A line of a process's log. */
  onLog(line: string): void;
  /** Orders of these agents changed: whoever waits at a process of ours is told. */
  nudge(agentIds: ReadonlySet<AgentId>): void;
}

/** One service process: the product's own parts, on the simulation's adapters. */
export class Replica implements Endpoint {
  readonly proc: Proc;
  /** Added to true time on its wall clock. */
  skewMs: number;
  private readonly world: Datacenter;
  /** The file beside the service: it outlives the process, and no failover of the database touches it. */
  private readonly witness = new MemoryWitness();
  private parts: ServiceParts | null = null;
  private credentials: Credentials | null = null;
  private loops: Loops | null = null;
  private actions: OperatorActions | null = null;

  constructor(world: Datacenter, name: string, skewMs: number) {
    this.world = world;
    this.skewMs = skewMs;
    this.proc = world.sim.createProc(name, () => this.main());
  }

  agentService(): AgentService | null {
    const { loops, parts, credentials } = this;
    return loops === null || parts === null || credentials === null ? null : { gateway: parts.gateway, credentials };
  }

  /** For what a user does through the operator API; null while it starts. */
  service(): ServiceParts | null {
    return this.loops === null ? null : this.parts;
  }

  /** What people order through the operator API; null while it starts. */
  operatorActions(): OperatorActions | null {
    return this.loops === null ? null : this.actions;
  }

  private main(): void {
    const { sim } = this.world;
    this.parts = null;
    this.loops = null;
    const { incarnation } = this.proc;
    this.boot().catch(() => {
      // A service that cannot start ends; whoever runs it starts it again.
      if (this.proc.incarnation === incarnation) sim.crash(this.proc);
    });
  }

  private async boot(): Promise<void> {
    const { scenario } = this.world;
    const stores = this.openStores();
    const outside = this.reachOutside(stores);
    const parts = assembleService(outside);
    this.parts = parts;
    this.credentials = new Credentials(parts.gateway, this.clock());
    this.actions = this.openActions(parts, stores);
    // As a service does: asked before the first step what it remembers, which also proves that the database answers.
    await checkMemory(parts.loops);
    await outside.queues.wake.consume(async (job) => await parts.handle(job), { concurrency: 50 });
    this.loops = startLoops({
      intervals: scenario.intervals,
      retentionMs: RETENTION_MS,
      loops: parts.loops,
      engine: parts.engine,
      retention: stores.retention,
      metrics: { leading: () => undefined, planned: () => undefined, orphansSeen: () => undefined },
    });
  }

  private openActions({ loops, engine }: ServiceParts, stores: Stores): OperatorActions {
    const { agents, agentOrdering, orders, reports } = stores;
    return createOperatorActions({
      loops,
      engine,
      agents,
      agentOrdering,
      orders,
      reports,
      running: () => this.loops,
      pingQueue: async () => undefined,
      isLeader: () => false,
      prover: { prove: async () => [] },
    });
  }

  private openStores(): Stores {
    const { sim, sql, scenario } = this.world;
    const pool = (connectionsMax: number): SimPool =>
      new SimPool(sim, sql, { proc: this.proc, connectionsMax, rates: CALL_RATES.sql });
    const { decider, ingest, reports } = scenario.connections;
    const seen = nothingSeen();
    const stores = buildStores(
      createDatabase(pool(decider), seen),
      createDatabase(pool(ingest), seen),
      createDatabase(pool(reports), seen),
    );
    const { planning, sweeping, launches } = stores;
    return {
      ...stores,
      planning: withDecisionPoints(sim, this.proc, { name: 'planning', store: planning, methods: ['commit'] }),
      sweeping: withDecisionPoints(sim, this.proc, { name: 'sweeping', store: sweeping, methods: ['condemn'] }),
      launches: withDecisionPoints(sim, this.proc, {
        name: 'launches',
        store: launches,
        methods: ['beginCall', 'fulfil', 'moveOn'],
      }),
    };
  }

  private reachOutside(stores: Stores): ServiceOutside {
    const { sim, scenario, hosts, wake, tasks, credentials, owner, policies } = this.world;
    const { proc } = this;
    const clock = this.clock();
    const log = this.log();
    const ids = new ChanceIds(sim.chance, `${proc.name}.${proc.incarnation}`);
    const remote = createProcessCloud(sim, { proc, clock, rates: CALL_RATES.cloud, cloud: this.world.cloud(clock) });
    const gate = openCallGate({ clock, budget: stores.apiBudget, random: () => ids.random() });
    const cloud = limitCloud(remote, gate);
    return {
      clock,
      ids,
      log,
      stores,
      cloud,
      offerings: createOfferingSource({
        cloud,
        clock,
        log,
        listPriceUsdPerHour,
        latestSpotPrices: async () => await stores.ledger.listLatestSpotPrices(),
      }),
      shell: hosts.of(proc, CALL_RATES.ssh),
      queues: { wake: wake.of(proc, CALL_RATES.queue), tasks: tasks.of(proc, CALL_RATES.queue) },
      policies,
      credentials,
      bell: new NudgingBell((agentIds) => this.world.nudge(agentIds)),
      meter: {
        launchAttempted: () => undefined,
        joined: () => undefined,
        drained: () => undefined,
        stepFailed: () => undefined,
      },
      agent: {
        scripts: { sh: '#!/bin/sh\n', powershell: '' },
        serviceUrl: 'http://127.0.0.1:1',
        allowHttp: false,
        renderEnv: (variables) =>
          Object.entries(variables)
            .map(([name, value]) => `${name}=${value}\n`)
            .join(''),
        readRecipe: async (file) => `# ${file}\n`,
      },
      witness: this.witness,
      owner,
      holder: `${proc.name}-${ids.hex(4)}`,
      leaseTtlMs: scenario.leaseTtlMs,
      settleMs: (scenario.agentTiming.intervalS + 1) * 1_000,
      agentTiming: scenario.agentTiming,
      stepTimings: scenario.stepTimings,
      wake: (name) => this.loops?.[name].wake(),
    };
  }

  private clock(): Clock {
    const { sim } = this.world;
    const { proc } = this;
    return {
      nowMs: () => sim.nowMs + this.skewMs,
      monotonicMs: () => sim.nowMs,
      sleep: async (ms, signal) => await sim.sleep(proc, ms, signal),
    };
  }

  /** A bug that the product only logs is found here all the same. */
  private log(): Log {
    const note = (facts: Readonly<Record<string, unknown>>): void => this.world.onLog(JSON.stringify(facts));
    return {
      debug: note,
      info: note,
      warn: note,
      error: (facts, message) => {
        note(facts);
        const { stack } = facts;
        if (typeof stack !== 'string' || stack.includes(InjectedThrow.name)) return;
        this.world.sim.fail(new Error(`${this.proc.name}: ${message}: ${stack}`));
      },
    };
  }
}

class MemoryWitness implements Witness {
  private said: Testimony | null = null;

  async read(): Promise<Testimony | null> {
    return this.said;
  }

  async write(testimony: Testimony): Promise<void> {
    this.said = testimony;
  }
}

/** Half of the agents hold their request open at this process, and hear of changes at once. */
class NudgingBell extends AgentBell {
  private readonly tell: (agentIds: ReadonlySet<AgentId>) => void;

  constructor(tell: (agentIds: ReadonlySet<AgentId>) => void) {
    super();
    this.tell = tell;
  }

  override ring(agentIds: Iterable<AgentId>): void {
    const all = new Set(agentIds);
    super.ring(all);
    this.tell(all);
  }
}
