import { sql } from 'kysely';
import { assignTasks, recoverTasks } from '../../src/engine/assign.ts';
import { AgentBell } from '../../src/engine/bell.ts';
import { createAgentGateway } from '../../src/engine/gateway.ts';
import { submitTasks } from '../../src/engine/intake.ts';
import type { EnginePorts } from '../../src/engine/ports.ts';
import type { AgentId, TaskId } from '../../src/model/ids.ts';
import type { Resources } from '../../src/model/resources.ts';
import type { AgentGateway, AgentOrders, AgentReport, ReportedTask } from '../../src/ports/agent-gateway.ts';
import { createQueues } from '../../src/queue/queues.ts';
import { createAgentStore } from '../../src/store/agents.ts';
import { createMachineOrders } from '../../src/store/machine-orders.ts';
import type { Db } from '../../src/store/database.ts';
import { createTaskStore } from '../../src/store/tasks.ts';
import { aPolicy, aReport, WORKLOAD } from '../support/builders.ts';
import { randomIds, realClock } from '../support/clock.ts';
import { type LogLine, recordingLog } from '../support/log.ts';

/** Interval and lease of the engine under test; the lease runs on the database's clock, which tests can move. */
export const TIMING = { intervalS: 10, leaseS: 60 } as const;

export interface TestEngine extends AsyncDisposable {
  readonly ports: EnginePorts;
  readonly gateway: AgentGateway;
  readonly woken: { assigner: number; planner: number };
  readonly lines: readonly LogLine[];
  submit(
    count: number,
    request?: { readonly shape?: Resources; readonly command?: readonly string[] },
  ): Promise<readonly TaskId[]>;
  assign(): Promise<boolean>;
  recover(): Promise<number>;
  agent(id: AgentId): TestAgent;
  /** All jobs of all queues are lost. */
  emptyQueues(): Promise<void>;
}

/** The built-in engine on real Postgres, with BullMQ on the same server. */
export async function startEngine(
  db: Db,
  databaseUrl: string,
  overrides: Partial<EnginePorts> = {},
): Promise<TestEngine> {
  const log = recordingLog();
  const queues = await createQueues({ queueUrl: null, databaseUrl, clock: realClock, ids: randomIds, log });
  const woken = { assigner: 0, planner: 0 };
  const ports: EnginePorts = {
    clock: realClock,
    ids: randomIds,
    log,
    tasks: createTaskStore(db),
    agents: createAgentStore(db),
    interruptions: createMachineOrders(db),
    queues: queues.tasks,
    wake: queues.wake,
    bell: new AgentBell(),
    timing: TIMING,
    policies: () => new Map([[WORKLOAD, aPolicy()]]),
    wakeAssigner: () => void (woken.assigner += 1),
    wakePlanner: () => void (woken.planner += 1),
    ...overrides,
  };
  const gateway = createAgentGateway(ports);
  return {
    ports,
    gateway,
    woken,
    lines: log.lines,
    submit: async (count, request = {}) =>
      await submitTasks(ports, { workload: WORKLOAD, command: ['true'], shape: null, ...request, count }),
    assign: async () => await assignTasks(ports),
    recover: async () => await recoverTasks(ports),
    agent: (id) => new TestAgent(gateway, id),
    emptyQueues: async () => await emptyQueues(db),
    [Symbol.asyncDispose]: async () => await queues.close(),
  };
}

async function emptyQueues(db: Db): Promise<void> {
  const { rows } = await sql<{ name: string }>`select tablename as name from pg_tables
    where schemaname = 'bullmq' and tablename not like '%migration%'`.execute(db);
  await sql`truncate ${sql.join(rows.map(({ name }) => sql.table(`bullmq.${name}`)))} cascade`.execute(db);
}

/** An agent as the service sees it: it reports what it has and does what it is told when the test says so. */
export class TestAgent {
  readonly id: AgentId;
  tasks: ReportedTask[] = [];
  private readonly gateway: AgentGateway;
  private seq = 0;

  constructor(gateway: AgentGateway, id: AgentId) {
    this.gateway = gateway;
    this.id = id;
  }

  report(overrides: Partial<AgentReport> = {}): AgentReport {
    this.seq += 1;
    return aReport({ seq: this.seq, tasks: this.tasks, ...overrides });
  }

  /** One heartbeat; throws unless it is accepted. */
  async beat(overrides: Partial<AgentReport> = {}): Promise<AgentOrders> {
    const outcome = await this.gateway.heartbeat(this.id, this.report(overrides));
    if (outcome.kind !== 'accepted') throw new Error(`the report of ${this.id} was ${outcome.kind}`);
    return outcome.orders;
  }

  /** Starts what it is told to run, stops and forgets what it is told to. */
  obey(orders: AgentOrders): void {
    const gone = new Set([...orders.stop, ...orders.ack].map(({ taskId, attempt }) => `${taskId}/${attempt}`));
    this.tasks = this.tasks.filter(({ taskId, attempt }) => !gone.has(`${taskId}/${attempt}`));
    for (const { taskId, attempt } of orders.run) {
      this.tasks.push({ taskId, attempt, state: 'running', progressBase64: null });
    }
  }

  /** Everything it runs ends. */
  finish(exitCode = 0): void {
    this.tasks = this.tasks.map(({ taskId, attempt }) => ({
      taskId,
      attempt,
      state: 'exited',
      exitCode,
      progressBase64: null,
    }));
  }
}
