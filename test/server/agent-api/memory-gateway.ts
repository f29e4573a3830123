import type { AgentId, TaskId } from '../../../src/model/ids.ts';
import type {
  AgentGateway,
  AgentOrders,
  AgentRegistration,
  AgentReport,
  AgentTiming,
  CordonState,
  HeartbeatOutcome,
  LogOutcome,
  LogPart,
  RegistrationOutcome,
  RunOrder,
} from '../../../src/ports/agent-gateway.ts';
import { randomIds } from '../../support/clock.ts';

interface Assignment {
  readonly order: RunOrder;
  exitCode: number | null;
}

/** One agent as the gateway holds it; tests read and change it, then call `gateway.ring()`. */
export interface MemoryAgent {
  readonly id: AgentId;
  tokenHash: string;
  registration: AgentRegistration;
  cordon: CordonState;
  leave: boolean;
  removed: boolean;
  readonly assigned: Map<TaskId, Assignment>;
  readonly reports: AgentReport[];
  readonly progress: Map<TaskId, string>;
}

/** The service behind the agents' HTTP interface, in memory: the whole contract of the port, nothing else. */
export class MemoryGateway implements AgentGateway {
  timing: AgentTiming = { intervalS: 1, leaseS: 3 };
  readonly enrolments = new Map<string, AgentId | null>();
  readonly agents = new Map<AgentId, MemoryAgent>();
  readonly logs = new Map<string, Buffer>();
  logBytesMax = 1024 * 1024;
  /** Replaces what happens before a heartbeat is taken: to reject, or never to answer. */
  beforeHeartbeat: () => Promise<void> = async () => undefined;
  /** How many heartbeats came, also those that were not accepted. */
  heartbeats = 0;
  /** How often somebody asked whose a token is. */
  authentications = 0;
  waiting = 0;
  #mark = 0;
  #bells = new Set<() => void>();

  /** The agent with this name that was registered last. */
  agent(name: string): MemoryAgent | null {
    return [...this.agents.values()].findLast((agent) => agent.registration.name === name) ?? null;
  }

  assign(
    agent: MemoryAgent,
    order: Omit<RunOrder, 'taskId' | 'shape' | 'attempt'> & { taskId?: TaskId; attempt?: number; gpus?: number },
  ): TaskId {
    const taskId = order.taskId ?? randomIds.next('tk');
    const { gpus = 0, ...rest } = order;
    const whole = { attempt: 1, ...rest, taskId, shape: { cpuMilli: 250, memoryMib: 32, gpus } };
    agent.assigned.set(taskId, { order: whole, exitCode: null });
    this.ring();
    return taskId;
  }

  /** Something changed: held answers look again. */
  ring(): void {
    this.#mark += 1;
    for (const bell of this.#bells) bell();
  }

  async register(request: Parameters<AgentGateway['register']>[0]): Promise<RegistrationOutcome> {
    const known = this.enrolments.get(request.enrolmentTokenHash);
    if (known === undefined) return { kind: 'refused' };
    const repeated = known === null ? undefined : this.agents.get(known);
    if (repeated !== undefined) {
      const same = repeated.registration.bootId === request.registration.bootId && repeated.reports.length === 0;
      if (!same) return { kind: 'refused' };
      repeated.tokenHash = request.agentTokenHash;
      return { kind: 'registered', agentId: repeated.id, timing: this.timing };
    }
    const id = randomIds.next('ag');
    this.enrolments.set(request.enrolmentTokenHash, id);
    this.agents.set(id, {
      id,
      tokenHash: request.agentTokenHash,
      registration: request.registration,
      cordon: { cordoned: false, generation: 0 },
      leave: false,
      removed: false,
      assigned: new Map(),
      reports: [],
      progress: new Map(),
    });
    return { kind: 'registered', agentId: id, timing: this.timing };
  }

  async authenticate(tokenHash: string): Promise<AgentId | null> {
    this.authentications += 1;
    const agent = [...this.agents.values()].find(
      (candidate) => candidate.tokenHash === tokenHash && !candidate.removed,
    );
    return agent?.id ?? null;
  }

  async heartbeat(agentId: AgentId, report: AgentReport, tokenHash?: string): Promise<HeartbeatOutcome> {
    this.heartbeats += 1;
    await this.beforeHeartbeat();
    const agent = this.#find(agentId);
    if (agent.removed || (tokenHash ?? agent.tokenHash) !== agent.tokenHash) return { kind: 'unknown-agent' };
    if (isSuperseded(agent, report)) return { kind: 'superseded' };
    agent.reports.push(report);
    for (const task of report.tasks) {
      const assignment = agent.assigned.get(task.taskId);
      if (assignment?.order.attempt !== task.attempt) continue;
      const { progressBase64 } = task;
      if (progressBase64 !== null) agent.progress.set(task.taskId, Buffer.from(progressBase64, 'base64').toString());
      if (task.state === 'exited') assignment.exitCode ??= task.exitCode;
    }
    return { kind: 'accepted', orders: this.#orders(agent, report), mark: this.#mark };
  }

  async ordersAfter(
    request: Parameters<AgentGateway['ordersAfter']>[0],
  ): Promise<{ orders: AgentOrders; mark: number }> {
    const { signal } = request;
    this.waiting += 1;
    await new Promise<void>((resolve) => {
      const bell = (): void => {
        if (this.#mark === request.mark && !signal.aborted) return;
        this.#bells.delete(bell);
        signal.removeEventListener('abort', bell);
        resolve();
      };
      this.#bells.add(bell);
      signal.addEventListener('abort', bell);
      bell();
    });
    this.waiting -= 1;
    return { orders: this.#orders(this.#find(request.agentId), request.report), mark: this.#mark };
  }

  async appendLog(agentId: AgentId, part: LogPart): Promise<LogOutcome> {
    if (!this.#find(agentId).assigned.has(part.taskId)) return { kind: 'not-yours' };
    const key = `${part.taskId}.${part.attempt}`;
    const kept = this.logs.get(key) ?? Buffer.alloc(0);
    if (kept.length >= this.logBytesMax) return { kind: 'full' };
    if (part.byteOffset !== kept.length) return { kind: 'stored', nextByteOffset: kept.length };
    this.logs.set(key, Buffer.concat([kept, part.content]));
    return { kind: 'stored', nextByteOffset: kept.length + part.content.length };
  }

  #find(agentId: AgentId): MemoryAgent {
    const agent = this.agents.get(agentId);
    if (agent === undefined) throw new Error(`no agent ${agentId}`);
    return agent;
  }

  #orders(agent: MemoryAgent, report: AgentReport): AgentOrders {
    const isReported = (order: RunOrder): boolean =>
      report.tasks.some((task) => task.taskId === order.taskId && task.attempt === order.attempt);
    const current = (taskId: TaskId, attempt: number): Assignment | undefined => {
      const assignment = agent.assigned.get(taskId);
      return assignment?.order.attempt === attempt ? assignment : undefined;
    };
    const open = [...agent.assigned.values()].filter((assignment) => assignment.exitCode === null);
    return {
      timing: this.timing,
      cordon: agent.cordon,
      run: open.map((assignment) => assignment.order).filter((order) => !isReported(order)),
      stop: report.tasks.filter((task) => current(task.taskId, task.attempt) === undefined),
      ack: report.tasks.filter(
        (task) => task.state === 'exited' && (current(task.taskId, task.attempt)?.exitCode ?? null) !== null,
      ),
      leave: agent.leave,
    };
  }
}

function isSuperseded(agent: MemoryAgent, report: AgentReport): boolean {
  const last = agent.reports.at(-1);
  if (last === undefined) return false;
  if (last.bootId === report.bootId) return report.seq <= last.seq;
  return agent.reports.some((old) => old.bootId === report.bootId);
}
