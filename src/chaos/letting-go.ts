import type { MachineId } from '../model/ids.ts';
import type { WorkloadPolicy } from '../model/policy.ts';
import { AGENT_LOST_AFTER_MS } from '../model/state-waits.ts';
import { MINUTE_MS } from '../model/time.ts';
import type { InstanceView } from '../simulator/region.ts';
import type { Sim } from './sim.ts';
import type { SqlWorld } from './sql.ts';
import { Violation } from './truth.ts';

/** What hooks of the policies say here; the hosts know them by this. */
export const HOOKS = {
  health: 'health-check',
  checkpoint: 'save-work',
  beforeDrain: 'save-state',
  beforeTerminate: 'say-goodbye',
} as const;

/** Reports may have reached the service and not its rows: an agent counts as gone so much sooner here. */
const LOST_SLACK_MS = 2 * MINUTE_MS;
/** After a failover a process that stood still may carry out what was decided in the lost time. */
const BLIND_MS = 15 * MINUTE_MS;

export interface LettingGoOptions {
  readonly sim: Sim;
  readonly policies: readonly WorkloadPolicy[];
  find(instanceId: string): InstanceView | null;
  /** EC2 takes it, or has said so. */
  isTaken(instanceId: string): boolean;
  /** When something was heard last of the agent on it; null = it has none that lives and has registered. */
  lastHeardMs(instanceId: string): number | null;
}

/** The service's rows. */
type Asked = Pick<SqlWorld, 'query'>;

/** One machine, from one start to the stop or end that follows. */
interface Run {
  readonly instanceId: string;
  readonly startedAtMs: number;
}

interface Suspicion {
  readonly rule: string;
  readonly message: string;
  readonly atMs: number;
  readonly instanceIds: readonly string[];
}

interface Promised {
  readonly machineId: MachineId;
  readonly fromMs: number;
  /** Infinity = until it is taken back. */
  untilMs: number;
}

/**
 * How machines are let go, seen from the world: which are touched, what their hooks said before, and what operators were promised.
 * Why the service did it is asked of its rows in the end, for who is lost, or never joined, or broke, goes without any of this.
 */
export class LettingGo {
  private readonly options: LettingGoOptions;
  private readonly touched = new Map<string, Run>();
  private readonly healthy = new Map<string, Run>();
  private readonly forced = new Set<string>();
  private suspicions: Suspicion[] = [];
  private promised: Promised[] = [];
  private blindUntilMs = 0;

  constructor(options: LettingGoOptions) {
    this.options = options;
  }

  /** A hook ended with 0. */
  noteHook(instanceId: string, command: string): void {
    const run = this.runOf(instanceId);
    if (run === null) return;
    if (command === HOOKS.health) this.healthy.set(instanceId, run);
    if (command === HOOKS.beforeDrain || command === HOOKS.beforeTerminate) this.noteTouch(instanceId, command);
  }

  /** Somebody is about to run a hook on it that may touch its work, or to stop or end it. */
  noteTouch(instanceId: string, how: string): void {
    const run = this.runOf(instanceId);
    const policy = this.policyOf(instanceId);
    if (run === null || policy === null || this.isBlind() || this.isExcused(instanceId)) return;
    if (policy.drain.hooks.health !== undefined && this.healthy.get(instanceId)?.startedAtMs !== run.startedAtMs) {
      this.suspect('health', `${instanceId} meets ${how} though it never was healthy`, [instanceId]);
    }
    if (this.isTouched(instanceId)) return;
    if (policy.drain.oneAtATime === true) {
      const other = [...this.touched.keys()].find((id) => this.isBeside(id, instanceId));
      if (other !== undefined) {
        const message = `${instanceId} meets ${how} while ${other} goes`;
        this.suspect('one-at-a-time', message, [instanceId, other]);
      }
    }
    this.touched.set(instanceId, run);
  }

  /** An operator wants it gone whatever runs on it. */
  noteForced(instanceId: string): void {
    this.forced.add(instanceId);
  }

  isForced(instanceId: string): boolean {
    return this.forced.has(instanceId);
  }

  /** An operator was told that nothing lets it go. */
  notePromise(machineId: MachineId, untilMs: number): void {
    this.endPromise(machineId);
    this.promised.push({ machineId, fromMs: this.options.sim.nowMs, untilMs });
  }

  /** An operator is about to take that back. */
  endPromise(machineId: MachineId): void {
    const { nowMs } = this.options.sim;
    for (const one of this.promised) if (one.machineId === machineId) one.untilMs = Math.min(one.untilMs, nowMs);
  }

  /** What the rows knew of all this may be lost. */
  forget(): void {
    this.touched.clear();
    this.promised = [];
    this.blindUntilMs = this.options.sim.nowMs + BLIND_MS;
  }

  /** @throws Violation when something was let go as it must not be */
  async check(sql: Asked): Promise<void> {
    for (const { rule, message, atMs, instanceIds } of this.suspicions) {
      let chosen = 0;
      for (const id of instanceIds) chosen += (await wasChosen(sql, id, atMs)) ? 1 : 0;
      if (chosen === instanceIds.length) throw new Violation(rule, `${message}, at ${new Date(atMs).toISOString()}`);
    }
    await this.checkProtected(sql);
  }

  private async checkProtected(sql: Asked): Promise<void> {
    const rows = await sql.query<{ machine_id: MachineId; at: Date; to_state: string; actor: string; reason: string }>(
      `select machine_id, at, to_state, actor, reason from spillway.machine_events
       where (actor = 'sweeper' and reason in ('protected', 'unprotected'))
         or (from_state = 'ready' and to_state in ('draining', 'terminating') and actor in ('planner', 'operator'))
       order by id`,
    );
    const tagged = new Set<MachineId>();
    for (const { machine_id: id, at, to_state: to, actor, reason } of rows) {
      if (actor === 'sweeper') {
        if (reason === 'protected') tagged.add(id);
        else tagged.delete(id);
        continue;
      }
      const ms = at.getTime();
      const promise = this.promised.find((one) => one.machineId === id && one.fromMs <= ms && ms < one.untilMs);
      if (promise === undefined && !tagged.has(id)) continue;
      const how = promise === undefined ? 'by its tag' : `since ${new Date(promise.fromMs).toISOString()}`;
      const what = `${id} is ${to} by the ${actor} (${reason}) at ${at.toISOString()}`;
      throw new Violation('protected', `${what}, though it is protected ${how}`);
    }
  }

  private suspect(rule: string, message: string, instanceIds: readonly string[]): void {
    this.suspicions.push({ rule, message, atMs: this.options.sim.nowMs, instanceIds });
  }

  private isBlind(): boolean {
    return this.options.sim.nowMs < this.blindUntilMs;
  }

  private isBeside(id: string, instanceId: string): boolean {
    if (id === instanceId || !this.isTouched(id) || this.isExcused(id)) return false;
    return this.policyOf(id)?.name === this.policyOf(instanceId)?.name;
  }

  /** In this very run of it. */
  private isTouched(instanceId: string): boolean {
    const run = this.runOf(instanceId);
    return run !== null && this.touched.get(instanceId)?.startedAtMs === run.startedAtMs;
  }

  private isExcused(instanceId: string): boolean {
    const { sim, isTaken, lastHeardMs } = this.options;
    if (isTaken(instanceId) || this.forced.has(instanceId)) return true;
    const heardMs = lastHeardMs(instanceId);
    return heardMs === null || sim.nowMs - heardMs >= AGENT_LOST_AFTER_MS - LOST_SLACK_MS;
  }

  /** Null: it does not run. */
  private runOf(instanceId: string): Run | null {
    const found = this.options.find(instanceId);
    return found?.state === 'running' ? { instanceId, startedAtMs: found.startedAtMs } : null;
  }

  private policyOf(instanceId: string): WorkloadPolicy | null {
    const workload = this.options.find(instanceId)?.tags['spillway:workload'];
    return this.options.policies.find(({ name }) => name === workload) ?? null;
  }
}

/** True when the service drained it by choice in this run, and did not end it for anything else meanwhile. */
async function wasChosen(sql: Asked, instanceId: string, atMs: number): Promise<boolean> {
  const rows = await sql.query<{ to_state: string; actor: string }>(
    `select e.to_state, e.actor from spillway.machine_events e join spillway.machines m on m.id = e.machine_id
     where m.instance_id = $1 and e.at <= $2 and e.from_state is distinct from e.to_state
       and (e.to_state in ('booting', 'ready', 'draining') or e.from_state = 'draining' and e.to_state = 'terminating')
     order by e.id desc limit 1`,
    [instanceId, new Date(atMs)],
  );
  const [last] = rows;
  return last?.to_state === 'draining' && (last.actor === 'planner' || last.actor === 'operator');
}
