import { type AgentBirth, type RunningTask, takeEnded, usedBy } from '../../src/chaos/agent-work.ts';
import { taskQueueName } from '../../src/engine/queue-name.ts';
import type { AgentId, TaskId } from '../../src/model/ids.ts';
import type { AgentReport, CordonState, ReportedTask } from '../../src/ports/agent-gateway.ts';
import type { Ids } from '../../src/ports/ids.ts';
import type { TaskQueues, WakeQueue } from '../../src/ports/queue.ts';
import type { AgentStore, HeldTask, ReportResult } from '../../src/ports/tasks.ts';
import { hashToken } from '../../src/server/agent-api/credentials.ts';
import type { WorldTime } from './world-time.ts';

export interface AgentSurroundings {
  readonly time: WorldTime;
  readonly ids: Ids;
  readonly agents: AgentStore;
  readonly queues: TaskQueues;
  readonly wake: WakeQueue;
  readonly timing: { readonly intervalMs: number; readonly leaseMs: number };
  /** A task ended or came back: room or work appeared. */
  readonly onChange: () => void;
  /** Two living agents run one task at once: the engine's promise is broken. */
  readonly onStart: (agent: WorldAgent, taskId: TaskId) => void;
}

/**
 * An agent as the `sh` one behaves, at the level of reports: registers, reports, obeys the cordon, runs what it is given for
 * as long as its command says, and ends its work itself when its reports are not accepted for two thirds of a lease.
 */
export class WorldAgent {
  readonly name: string;
  /** Cut off: reports do not arrive, work goes on until it fences itself. */
  silent = false;
  id: AgentId | null = null;
  private readonly world: AgentSurroundings;
  private readonly birth: AgentBirth;
  private readonly bootId: string;
  private readonly running: Map<TaskId, RunningTask>;
  private ended: (ReportedTask & { readonly state: 'exited' })[] = [];
  private cordon: CordonState = { cordoned: false, generation: 0 };
  private seq = 0;
  private lastAcceptedMs = 0;
  private stopped = false;

  constructor(world: AgentSurroundings, birth: AgentBirth) {
    this.world = world;
    this.birth = birth;
    this.name = birth.name;
    this.bootId = world.ids.hex(8);
    this.running = new Map(birth.inherited);
    this.lastAcceptedMs = world.time.nowMs();
    world.time.at(200, async () => await this.register());
  }

  /** The truth about its work, whatever it reports. */
  runningTasks(): readonly TaskId[] {
    this.endDue();
    return this.isAlive() ? [...this.running.keys()] : [];
  }

  isAlive(): boolean {
    return !this.stopped && this.birth.isPowered();
  }

  stop(): void {
    this.stopped = true;
    this.running.clear();
  }

  /** SIGUSR2: it goes, and its tasks stay for the next one. */
  leave(): ReadonlyMap<TaskId, RunningTask> {
    const left = new Map(this.isAlive() ? this.running : []);
    this.stop();
    return left;
  }

  /** Word from the service that orders changed. */
  nudge(): void {
    this.world.time.at(50, async () => await this.report());
  }

  private async register(): Promise<void> {
    if (!this.isAlive()) return;
    const { ids, agents, time } = this.world;
    const outcome = await agents.register(hashToken(this.birth.enrolmentToken), {
      id: ids.next('ag'),
      name: this.name,
      tokenHash: hashToken(ids.hex(32)),
      labels: this.birth.labels ?? {},
      capacity: this.birth.capacity,
      bootId: this.bootId,
    });
    if (outcome.kind === 'refused') return this.stop();
    this.id = outcome.agentId;
    this.lastAcceptedMs = time.nowMs();
    await this.beat();
  }

  private async beat(): Promise<void> {
    if (!this.isAlive()) return;
    await this.report();
    this.world.time.at(this.world.timing.intervalMs, async () => await this.beat());
  }

  private async report(): Promise<void> {
    if (!this.isAlive() || this.id === null) return;
    this.endDue();
    if (this.silent) return this.fenceItself();
    this.seq += 1;
    const [result] = await this.world.agents.writeReports(
      [{ agentId: this.id, report: this.render() }],
      this.world.timing.leaseMs,
    );
    // A service whose database forgot commits gives an unknown agent no answer.
    if (result?.kind === 'unknown-agent' && (await this.world.agents.mayBeForgotten())) return this.fenceItself();
    if (result?.kind !== 'accepted') return this.stop();
    this.lastAcceptedMs = this.world.time.nowMs();
    await this.settle(result);
    this.obey(result);
  }

  private render(): AgentReport {
    const running = [...this.running].map(([taskId, { attempt }]) => ({
      taskId,
      attempt,
      state: 'running' as const,
      progressBase64: null,
    }));
    return {
      bootId: this.bootId,
      seq: this.seq,
      capacity: this.birth.capacity,
      used: usedBy(running.length),
      cordon: this.cordon,
      tasks: [...running, ...this.ended],
      leaving: false,
    };
  }

  /** What the gateway does with the queues after a report. */
  private async settle(result: ReportResult): Promise<void> {
    const { queues, wake, timing } = this.world;
    await queues.renew(result.held.map(leaseOf), timing.leaseMs);
    const over = result.ended.flatMap(({ lease }) => (lease === null ? [] : [lease]));
    for (const task of over) await queues.complete(leaseOf(task));
    for (const task of result.lost) await queues.release(leaseOf(task));
    if (result.waitingMachineId !== null) await wake.ring([{ kind: 'machine', id: result.waitingMachineId }]);
    if (over.length + result.lost.length > 0) this.world.onChange();
  }

  private obey(result: ReportResult): void {
    for (const { taskId } of result.foreign) this.running.delete(taskId);
    this.ended = this.ended.filter((task) => !result.ended.some(({ taskId }) => taskId === task.taskId));
    const cordon = { cordoned: result.cordoned, generation: result.cordonGeneration };
    const isNew = cordon.generation !== this.cordon.generation;
    this.cordon = cordon;
    const begun = result.held.filter(
      ({ id }) => !this.running.has(id) && !this.ended.some((task) => task.taskId === id),
    );
    for (const task of begun) this.start(task);
    if (result.leave && this.running.size === 0) return this.stop();
    // An agent tells at once what it obeys now.
    if (isNew || begun.length > 0) this.nudge();
  }

  private start(task: HeldTask): void {
    this.world.onStart(this, task.id);
    const seconds = Number(task.command[1] ?? 0);
    const bornAtMs = this.world.time.nowMs();
    this.running.set(task.id, { attempt: task.attempt, endsAtMs: bornAtMs + seconds * 1000, bornAtMs, begunAtS: 0 });
  }

  private endDue(): void {
    for (const task of takeEnded(this.running, this.world.time.nowMs())) {
      this.ended.push({ ...task, state: 'exited', exitCode: 0, progressBase64: null });
    }
  }

  private fenceItself(): void {
    if (this.world.time.nowMs() - this.lastAcceptedMs >= (this.world.timing.leaseMs * 2) / 3) this.running.clear();
  }
}

function leaseOf(task: HeldTask): { queue: string; taskId: TaskId; token: string } {
  return { queue: taskQueueName(task), taskId: task.id, token: task.leaseToken };
}
