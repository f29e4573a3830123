import type { AgentId, TaskId } from '../model/ids.ts';
import { FENCE_SHARE } from '../model/task.ts';
import type {
  AgentOrders,
  AgentReport,
  AgentTiming,
  CordonState,
  RunOrder,
  TaskAttempt,
} from '../ports/agent-gateway.ts';
import type { Ids } from '../ports/ids.ts';
import { hashToken } from '../server/agent-api/credentials.ts';
import {
  type AgentBirth,
  fromProgress,
  type Metadata,
  progressOf,
  type RunningTask,
  takeEnded,
  toProgress,
  usedBy,
} from './agent-work.ts';
import { type AgentNetwork, type AgentService, NO_ANSWER } from './network.ts';
import type { Sim } from './sim.ts';

const RETRY_MS = 4_000;
/** Between two looks at whether work ended. */
const NUDGE_MS = 50;
/** From EC2's notice until tasks are told to end: the agent's default. */
const CHECKPOINT_MS = 80_000;
const UNTOLD: Metadata = { interruption: null, rebalance: false };

/** What all agents of a run share. */
export interface AgentWorld {
  readonly sim: Sim;
  readonly ids: Ids;
  readonly network: AgentNetwork;
  /** An agent begins a task, after so many seconds of earlier work: the truth looks whether another one still runs it. */
  onStart(agent: ChaosAgent, taskId: TaskId, doneS: number): void;
  /** The service has taken note of so many seconds of work. */
  onProgress(taskId: TaskId, doneS: number): void;
  /** A report reached a process of the service, whatever becomes of it there; and again when it is written down. */
  onHeard(agentId: AgentId): void;
  /** A token that nobody but its agent may keep in plain text. */
  onSecret(secret: string): void;
  /** Somebody logs in to a host that answers with another key than it was given. */
  onForeignHost(instanceId: string): void;
  /** A hook of a policy ended with 0 on this instance; called as it ends. */
  onHook(instanceId: string, command: string): void;
}

/** Told to end because its machine does, and what it had written down by then. */
interface SavedTask {
  readonly attempt: number;
  readonly doneS: number;
}

interface EndedTask {
  readonly taskId: TaskId;
  readonly attempt: number;
}

/**
 * An agent as the `sh` one behaves (PROTOCOL.md), at the level of reports and orders: registers, reports, obeys the cordon, runs
 * each attempt once, for as long as its command says, and ends its work itself when its reports go unanswered for two thirds of a lease.
 */
export class ChaosAgent {
  readonly name: string;
  /** Cut off until then: nothing of it arrives, nothing reaches it. */
  private silentUntilMs = 0;
  /** What it says it uses beyond the truth; a lie. */
  lies = false;
  id: AgentId | null = null;
  private readonly world: AgentWorld;
  private readonly birth: AgentBirth;
  private readonly running = new Map<TaskId, RunningTask>();
  private bootId: string;
  /** As the API makes it: the same for every registration of one boot. */
  private readonly token: string;
  private ended: EndedTask[] = [];
  /** Ended by SIGTERM and not reported yet: to the service they run until they are missing. */
  private readonly saved = new Map<TaskId, SavedTask>();
  private noticed = false;
  private cordon: CordonState = { cordoned: false, generation: 0 };
  private timing: AgentTiming = { intervalS: 10, leaseS: 60 };
  private seq = 0;
  private lastAcceptedMs = 0;
  private stopped = false;
  private asking = false;

  constructor(world: AgentWorld, birth: AgentBirth) {
    this.world = world;
    this.birth = birth;
    this.name = birth.name;
    const { identity } = birth;
    this.bootId = identity?.bootId ?? world.ids.hex(8);
    this.token = identity?.token ?? world.ids.hex(32);
    world.onSecret(this.token);
    for (const [taskId, task] of birth.inherited ?? []) this.running.set(taskId, task);
    this.lastAcceptedMs = world.sim.nowMs;
    if (identity !== undefined) {
      this.id = identity.id;
      this.seq = identity.seq;
      this.timing = identity.timing;
      this.lastAcceptedMs = identity.acceptedMs;
    }
    world.sim.launch(200, async () => await (identity === undefined ? this.register() : this.beat()));
    this.fence();
  }

  /** The truth about its work, whatever it reports. */
  runningTasks(): ReadonlyMap<TaskId, RunningTask> {
    this.endDue();
    return this.isAlive() ? this.running : new Map();
  }

  isAlive(): boolean {
    return !this.stopped && this.birth.isPowered();
  }

  /** The process is gone, its tasks with it. */
  stop(): void {
    this.stopped = true;
    this.running.clear();
    this.saved.clear();
  }

  /** The process goes, its tasks stay for the next agent of the machine. */
  handOver(): ReadonlyMap<TaskId, RunningTask> {
    const left = new Map(this.runningTasks());
    this.stop();
    return left;
  }

  /**
   * Another machine with the same identity: a snapshot of the whole machine goes on with its tasks, a copy of its disk starts anew.
   * Null for an agent that has none yet.
   */
  clone(name: string, isWhole: boolean): ChaosAgent | null {
    const { id, token, bootId, timing, world } = this;
    if (id === null || !this.isAlive()) return null;
    const boot = isWhole ? { bootId, seq: this.seq } : { bootId: world.ids.hex(8), seq: 0 };
    const inherited: ReadonlyMap<TaskId, RunningTask> = isWhole ? new Map(this.runningTasks()) : new Map();
    const identity = { id, token, timing, acceptedMs: this.lastAcceptedMs, ...boot };
    return new ChaosAgent(world, { ...this.birth, name, inherited, identity });
  }

  /** The agent process starts again under a new boot; the tasks of the one before are gone. */
  restart(): void {
    if (!this.isAlive() || this.id === null) return;
    this.running.clear();
    this.saved.clear();
    this.ended = [];
    this.bootId = this.world.ids.hex(8);
    this.seq = 0;
  }

  /** Says and hears nothing for so long; who is silent for longer already stays so. */
  fallSilent(ms: number): void {
    this.silentUntilMs = Math.max(this.silentUntilMs, this.world.sim.nowMs + ms);
  }

  /** Word from the service that orders changed. */
  nudge(): void {
    this.world.sim.launch(NUDGE_MS, async () => await this.report());
  }

  private async register(): Promise<void> {
    if (!this.isAlive() || this.id !== null) return;
    const { sim } = this.world;
    const answer = await this.ask(
      async ({ gateway }) =>
        await gateway.register({
          enrolmentTokenHash: hashToken(this.birth.enrolmentToken),
          agentTokenHash: hashToken(this.token),
          registration: {
            name: this.name,
            bootId: this.bootId,
            capacity: this.birth.capacity,
            labels: this.birth.labels ?? {},
          },
        }),
    );
    if (answer === NO_ANSWER) return sim.launch(RETRY_MS, async () => await this.register());
    if (answer.kind === 'refused') return this.stop();
    this.id = answer.agentId;
    this.timing = answer.timing;
    this.lastAcceptedMs = sim.nowMs;
    this.fence();
    await this.beat();
  }

  private async beat(): Promise<void> {
    if (!this.isAlive()) return;
    await this.report();
    this.world.sim.launch(this.timing.intervalS * 1000, async () => await this.beat());
  }

  private async report(): Promise<void> {
    if (!this.isAlive() || this.id === null || this.asking) return;
    const agentId = this.id;
    this.asking = true;
    this.endDue();
    this.seq += 1;
    const said = this.render();
    const sentMs = this.world.sim.nowMs;
    const tokenHash = hashToken(this.token);
    const answer = await this.ask(async ({ gateway, credentials }) => {
      // As the API does: whose token is it, and is it still when the report is written?
      const known = credentials.presumed(tokenHash) ?? (await credentials.ask(tokenHash));
      if (known !== agentId) return { kind: 'unknown-agent' } as const;
      this.world.onHeard(agentId);
      const outcome = await gateway.heartbeat(agentId, said, tokenHash);
      if (outcome.kind === 'unknown-agent') credentials.forget(tokenHash);
      // Written down by now, which a process that stood still does late.
      this.world.onHeard(agentId);
      return outcome;
    });
    this.asking = false;
    if (!this.isAlive() || answer === NO_ANSWER || said.bootId !== this.bootId) return;
    if (answer.kind !== 'accepted') return this.stop();
    this.lastAcceptedMs = sentMs;
    this.timing = answer.orders.timing;
    this.noteSaid(said, answer.orders);
    this.fence();
    this.obey(answer.orders, said);
  }

  /** What the service has of its tasks' progress now; what it has to the end runs elsewhere, from there. */
  private noteSaid({ tasks }: AgentReport, { stop }: AgentOrders): void {
    const refused = new Set(stop.map(({ taskId }) => taskId));
    for (const { taskId, state, attempt, progressBase64 } of tasks) {
      if (state !== 'running' || refused.has(taskId)) continue;
      this.world.onProgress(taskId, fromProgress(progressBase64));
      if (this.saved.get(taskId)?.attempt === attempt) this.saved.delete(taskId);
    }
  }

  /** Looks for EC2's notice, as before each report. */
  private readMetadata(): Metadata {
    const said = this.birth.metadata?.() ?? UNTOLD;
    if (said.interruption !== null && !this.noticed) {
      this.noticed = true;
      this.world.sim.at(CHECKPOINT_MS, () => this.checkpoint());
    }
    return said;
  }

  /** SIGTERM to all its tasks: each writes down how far it is, and ends. */
  private checkpoint(): void {
    if (!this.isAlive()) return;
    this.endDue();
    for (const [taskId, task] of this.running) {
      this.saved.set(taskId, { attempt: task.attempt, doneS: progressOf(task, this.world.sim.nowMs, true) });
    }
    this.running.clear();
    this.nudge();
  }

  private render(): AgentReport {
    const { interruption, rebalance } = this.readMetadata();
    const running = [...this.running].map(([taskId, task]) => {
      const progressBase64 = toProgress(progressOf(task, this.world.sim.nowMs, false));
      return { taskId, attempt: task.attempt, state: 'running' as const, progressBase64 };
    });
    const saved = [...this.saved].map(([taskId, { attempt, doneS }]) => {
      return { taskId, attempt, state: 'running' as const, progressBase64: toProgress(doneS) };
    });
    const ended = this.ended.map((task) => {
      return { ...task, state: 'exited' as const, exitCode: 0, progressBase64: null };
    });
    const { capacity } = this.birth;
    return {
      bootId: this.bootId,
      seq: this.seq,
      capacity,
      used: this.lies ? capacity : usedBy(running.length),
      cordon: this.cordon,
      tasks: [...running, ...saved, ...ended],
      leaving: false,
      interruption,
      rebalance,
    };
  }

  private drop(attempts: readonly TaskAttempt[]): void {
    for (const { taskId, attempt } of attempts) {
      if (this.running.get(taskId)?.attempt === attempt) this.running.delete(taskId);
      if (this.saved.get(taskId)?.attempt === attempt) this.saved.delete(taskId);
    }
  }

  private obey(orders: AgentOrders, said: AgentReport): void {
    this.drop(orders.stop);
    this.ended = this.ended.filter(
      (task) => !orders.ack.some(({ taskId, attempt }) => taskId === task.taskId && attempt === task.attempt),
    );
    const changed = orders.cordon.generation !== this.cordon.generation;
    this.cordon = orders.cordon;
    const begun = orders.run.filter((order) => this.isNew(order, said));
    for (const order of begun) this.start(order);
    if (orders.leave && this.running.size === 0 && this.ended.length === 0) return this.leave();
    // An agent tells at once what it obeys now.
    if (changed || begun.length > 0 || orders.stop.length + orders.ack.length > 0) this.nudge();
  }

  private isNew({ taskId, attempt }: RunOrder, said: AgentReport): boolean {
    if (this.running.has(taskId) || this.saved.has(taskId) || this.ended.some((task) => task.taskId === taskId))
      return false;
    return !said.tasks.some((task) => task.taskId === taskId && task.attempt === attempt);
  }

  private start({ taskId, attempt, script, progressBase64 }: RunOrder): void {
    const doneS = fromProgress(progressBase64);
    this.world.onStart(this, taskId, doneS);
    const seconds = Number(/'sleep' '(\d+)'/.exec(script)?.[1] ?? 0);
    const bornAtMs = this.world.sim.nowMs - doneS * 1000;
    const endsAtMs = bornAtMs + seconds * 1000;
    this.running.set(taskId, { attempt, endsAtMs, bornAtMs, begunAtS: doneS });
    this.world.sim.launch(Math.max(0, endsAtMs - this.world.sim.nowMs) + 1, async () => await this.report());
  }

  private endDue(): void {
    this.ended.push(...takeEnded(this.running, this.world.sim.nowMs));
  }

  /** The goodbye, heard or not. */
  private leave(): void {
    const { id } = this;
    if (id === null) return this.stop();
    this.seq += 1;
    const said = { ...this.render(), leaving: true };
    void this.ask(async ({ gateway }) => await gateway.heartbeat(id, said, hashToken(this.token)));
    this.stop();
  }

  /** When its reports went unanswered for two thirds of a lease it ends its work, whatever the service believes. */
  private fence(): void {
    const { sim } = this.world;
    const acceptedMs = this.lastAcceptedMs;
    sim.at(acceptedMs + this.timing.leaseS * 1000 * FENCE_SHARE - sim.nowMs, () => {
      if (!this.isAlive() || this.lastAcceptedMs !== acceptedMs) return;
      this.endDue();
      this.running.clear();
      this.saved.clear();
    });
  }

  private async ask<T>(request: (service: AgentService) => Promise<T>): Promise<T | typeof NO_ANSWER> {
    if (this.silentUntilMs > this.world.sim.nowMs) {
      await new Promise<void>((resolve) => this.world.sim.at(RETRY_MS, resolve));
      return NO_ANSWER;
    }
    return await this.world.network.ask(this.name, request);
  }
}
