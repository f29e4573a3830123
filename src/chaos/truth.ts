import type { TaskId } from '../model/ids.ts';
import type { WorkloadPolicy } from '../model/policy.ts';
import type { LaunchCredentials } from '../ports/credentials.ts';
import type { RunRequest } from '../ports/cloud.ts';
import { listPriceUsdPerHour } from '../cost/catalogue.ts';
import type { InstanceView, Region } from '../simulator/region.ts';
import type { ChaosAgent } from './agents.ts';
import type { ChaosHosts } from './hosts.ts';

/** An invariant of design.md section 4 does not hold. `rule` is its short name. */
export class Violation extends Error {
  override readonly name = 'Violation';
  readonly rule: string;

  constructor(rule: string, message: string) {
    super(`${rule}: ${message}`);
    this.rule = rule;
  }
}

interface TruthOptions {
  readonly region: Region;
  /** Whatever runs on it: an operator says so, or EC2 takes it at this very moment. */
  readonly mayDie: (instanceId: string) => boolean;
  readonly hosts: ChaosHosts;
  readonly localAgents: readonly ChaosAgent[];
  readonly credentials: LaunchCredentials;
  readonly policies: readonly WorkloadPolicy[];
}

/** Below half a cent of difference, floating point in a sum of prices is no breach. */
const ROUNDING_USD = 1e-6;

/** What must hold at every moment, seen from the world and never from the service's tables. */
export class Truth {
  private readonly options: TruthOptions;
  /** Instances that each intent may own, by the nonce in its tokens. */
  private readonly countByNonce = new Map<string, number>();
  private readonly foreign = new Set<string>();
  private readonly heard = new Map<string, number[]>();
  private readonly secrets = new Set<string>();
  /** Seconds of each task's work that the service has taken note of. */
  private readonly progress = new Map<TaskId, number>();
  private seenEvents = 0;
  /** Requests to terminate, by instance. */
  readonly terminated = new Set<string>();

  constructor(options: TruthOptions) {
    this.options = options;
  }

  /** An instance of somebody else who bears our tag: nobody may touch it. */
  addForeign(instanceId: string): void {
    this.foreign.add(instanceId);
  }

  isForeign(instanceId: string): boolean {
    return this.foreign.has(instanceId);
  }

  living(): readonly InstanceView[] {
    return this.options.region
      .instances()
      .filter(({ state, instanceId }) => (state === 'pending' || state === 'running') && !this.foreign.has(instanceId));
  }

  /** Stopped instances of ours: each still costs its volume. */
  stopped(): readonly InstanceView[] {
    return this.options.region
      .instances()
      .filter(
        ({ state, instanceId }) => (state === 'stopping' || state === 'stopped') && !this.foreign.has(instanceId),
      );
  }

  /** A launch is on its way to EC2. */
  noteRun({ token, body }: RunRequest): void {
    const nonce = this.nonceOf(token);
    if (nonce === null)
      throw new Violation('own-token', `a launch goes out with a token that does not verify: ${token}`);
    this.countByNonce.set(nonce, Math.max(this.countByNonce.get(nonce) ?? 0, body.count));
  }

  /** Someone is about to end an instance: it must be ours, and nobody may be working on it. */
  noteTerminate(instanceId: string): void {
    this.terminated.add(instanceId);
    if (this.foreign.has(instanceId)) throw new Violation('foreign', `${instanceId} is not ours and is terminated`);
    if (this.options.mayDie(instanceId)) return;
    const running = this.options.hosts.agentOn(instanceId)?.runningTasks() ?? new Map();
    if (running.size > 0) {
      throw new Violation('never-kill', `${instanceId} is terminated while it runs ${[...running.keys()].join(', ')}`);
    }
  }

  /** A report of this agent reached the service. */
  noteHeard(agentId: string, atMs: number): void {
    const heard = this.heard.get(agentId) ?? [];
    heard.push(atMs);
    this.heard.set(agentId, heard);
  }

  lastHeardBefore(agentId: string, atMs: number): number | null {
    return this.heard.get(agentId)?.findLast((heardMs) => heardMs <= atMs) ?? null;
  }

  /** Of the agent on this instance; null = it has none that lives and has registered. */
  lastHeardOn(instanceId: string, nowMs: number): number | null {
    const agent = this.options.hosts.agentOn(instanceId);
    return agent === null || agent.id === null || !agent.isAlive() ? null : this.lastHeardBefore(agent.id, nowMs);
  }

  noteProgress(taskId: TaskId, doneS: number): void {
    this.progress.set(taskId, Math.max(doneS, this.progress.get(taskId) ?? 0));
  }

  /** Commits were lost, and what they knew with them. */
  forgetProgress(): void {
    this.progress.clear();
  }

  noteStart(agent: ChaosAgent, taskId: TaskId, doneS: number): void {
    const knownS = this.progress.get(taskId) ?? 0;
    if (doneS < knownS) {
      throw new Violation(
        'progress',
        `${taskId} goes on from ${doneS} s of its work, of ${knownS} s that were reported`,
      );
    }
    const all = [...this.options.hosts.listAgents(), ...this.options.localAgents];
    // Who has the same identity cannot be told apart before one of them reports and the other one gives way.
    const twin = all.find((other) => other !== agent && other.id !== agent.id && other.runningTasks().has(taskId));
    if (twin !== undefined) {
      throw new Violation('task-twice', `${taskId} starts on ${agent.name} while it runs on ${twin.name}`);
    }
  }

  /** Of machines with one identity, all but one have given way. */
  checkClones(): void {
    const alive = this.options.localAgents.filter((agent) => agent.isAlive() && agent.id !== null);
    for (const [id, agents] of Map.groupBy(alive, (agent) => agent.id)) {
      const names = agents.map(({ name }) => name).join(' and ');
      if (agents.length > 1) throw new Violation('one-identity', `${names} both live as ${id}`);
    }
  }

  noteSecret(secret: string): void {
    this.secrets.add(secret);
  }

  checkSecrets(where: string, text: string): void {
    for (const secret of this.secrets) {
      if (text.includes(secret)) throw new Violation('secret', `${where} shows a token: ${text.slice(0, 300)}`);
    }
  }

  noteForeignHost(instanceId: string): void {
    throw new Violation('host-key', `somebody logged in to ${instanceId}, which has another key than it was given`);
  }

  /** Cheap unless something happened in the region. */
  check(): void {
    const events = this.options.region.eventsSince(this.seenEvents);
    if (events.length === 0) return;
    this.seenEvents += events.length;
    if (!events.some(({ kind }) => kind === 'pending')) return;
    const living = this.living();
    this.checkIntents(living);
    for (const policy of this.options.policies) this.checkLimits(policy, living);
  }

  private checkIntents(living: readonly InstanceView[]): void {
    const byNonce = Map.groupBy(living, ({ clientToken }) => this.nonceOf(clientToken) ?? 'none');
    for (const [nonce, owned] of byNonce) {
      const allowed = this.countByNonce.get(nonce) ?? 0;
      if (owned.length > allowed) {
        throw new Violation('one-intent', `${owned.length} instances live of a launch of ${allowed} (nonce ${nonce})`);
      }
    }
  }

  private checkLimits({ name, burst }: WorkloadPolicy, living: readonly InstanceView[]): void {
    const own = living.filter(({ tags }) => tags['spillway:workload'] === name);
    if (own.length > burst.limits.max) {
      throw new Violation('limit', `${own.length} machines of ${name} live, the limit is ${burst.limits.max}`);
    }
    const { hourlyUsd } = burst.budget;
    if (hourlyUsd === null) return;
    const usdPerHour = own.reduce((sum, { instanceType }) => sum + (listPriceUsdPerHour(instanceType) ?? 0), 0);
    if (usdPerHour > hourlyUsd + ROUNDING_USD) {
      throw new Violation('budget', `${name} costs ${usdPerHour} USD an hour, the budget is ${hourlyUsd}`);
    }
  }

  private nonceOf(token: string): string | null {
    return this.options.credentials.verifyToken(token)?.nonce ?? null;
  }
}
