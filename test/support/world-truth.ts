import type { TaskId } from '../../src/model/ids.ts';
import type { InstanceView, Region } from '../../src/simulator/region.ts';
import type { WorldAgent } from './world-agents.ts';
import type { WorldHosts } from './world-hosts.ts';

/**
 * What must hold whatever goes wrong, seen from the world and never from the service's tables. A breach throws at the moment
 * it happens.
 */
export class WorldTruth {
  /** How many instances a token may have made at most; by token, from the launches the test expects. */
  instancesPerTokenMax = 10;
  /** Living instances of all regions at once. */
  livingMax = 10;
  /** Tasks may be cut short: a policy said `onDeadline: terminate`. */
  killsAllowed = false;
  /** Instances named in TerminateInstances, calls that failed included. */
  terminateCalls = 0;
  private readonly regions: ReadonlyMap<string, Region>;
  private readonly agents: () => readonly WorldAgent[];
  private readonly hosts: WorldHosts;
  private readonly seenEvents = new Map<Region, number>();

  constructor(regions: ReadonlyMap<string, Region>, agents: () => readonly WorldAgent[], hosts: WorldHosts) {
    this.regions = regions;
    this.agents = agents;
    this.hosts = hosts;
  }

  instances(): InstanceView[] {
    return [...this.regions.values()].flatMap((region) => region.instances());
  }

  living(): InstanceView[] {
    return this.instances().filter(({ state }) => state === 'pending' || state === 'running');
  }

  /** Cheap unless an instance was made. */
  check(): void {
    if (!this.sawLaunch()) return;
    const byToken = Map.groupBy(this.instances(), ({ clientToken }) => clientToken);
    for (const [token, made] of byToken) {
      if (token !== '' && made.length > this.instancesPerTokenMax) {
        throw new Error(`${made.length} instances came of one launch (${token})`);
      }
    }
    const living = this.living();
    if (living.length > this.livingMax)
      throw new Error(`${living.length} instances live, the limit is ${this.livingMax}`);
  }

  private sawLaunch(): boolean {
    let launched = false;
    for (const region of this.regions.values()) {
      const seen = this.seenEvents.get(region) ?? 0;
      const events = region.eventsSince(seen);
      this.seenEvents.set(region, seen + events.length);
      launched ||= events.some(({ kind }) => kind === 'pending');
    }
    return launched;
  }

  /** Someone is about to end an instance: nobody may be working on it. */
  noteTerminate(instanceId: string): void {
    this.terminateCalls += 1;
    const running = this.hosts.agentOn(instanceId)?.runningTasks() ?? [];
    if (running.length > 0 && !this.killsAllowed) {
      throw new Error(`${instanceId} is terminated while it runs ${running.join(', ')}`);
    }
  }

  noteStart(agent: WorldAgent, taskId: TaskId): void {
    const twin = this.agents().find((other) => other !== agent && other.runningTasks().includes(taskId));
    if (twin !== undefined) throw new Error(`${taskId} starts on ${agent.name} while it runs on ${twin.name}`);
  }
}
