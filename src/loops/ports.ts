import type { AgentId } from '../model/ids.ts';
import type { Clock } from '../ports/clock.ts';
import type { Cloud } from '../ports/cloud.ts';
import type { LaunchCredentials } from '../ports/credentials.ts';
import type { Ids } from '../ports/ids.ts';
import type { LedgerStore } from '../ports/ledger.ts';
import type { LearningStore } from '../ports/learning.ts';
import type { MemoryStore } from '../ports/memory.ts';
import type { Log } from '../ports/log.ts';
import type { MachineOrders } from '../ports/machine-orders.ts';
import type { LaunchStore, MachineStore } from '../ports/machines.ts';
import type { OfferingSource } from '../ports/offerings.ts';
import type { PlanningStore } from '../ports/planning.ts';
import type { PolicySource } from '../ports/policies.ts';
import type { WakeQueue } from '../ports/queue.ts';
import type { SweepStore } from '../ports/sweeping.ts';
import type { Lead } from './lead.ts';
import type { Recollection } from './recollection.ts';

/** Everything the loops may touch. */
export interface LoopPorts {
  readonly clock: Clock;
  readonly ids: Ids;
  readonly log: Log;
  readonly cloud: Cloud;
  readonly offerings: OfferingSource;
  readonly policies: PolicySource;
  readonly credentials: LaunchCredentials;
  readonly lead: Lead;
  readonly planning: PlanningStore;
  readonly machines: MachineStore;
  readonly launches: LaunchStore;
  readonly sweeping: SweepStore;
  readonly interruptions: Pick<MachineOrders, 'noteInterruption'>;
  readonly memory: MemoryStore;
  /** What this process and those before it saw of the database. */
  readonly recollection: Recollection;
  readonly ledger: LedgerStore;
  readonly learning: LearningStore;
  readonly wake: WakeQueue;
  /** Value of the owner tag on everything of ours. */
  readonly owner: string;
  readonly view: CloudView;
  /** Monotonic time before which nothing is decided: after an outage every agent looks silent until it has reported once. */
  readonly decideFromMs: number;
  /** Tells waiting agents that their orders changed. */
  readonly notifyAgents: (agentIds: readonly AgentId[]) => void;
}

const FOREIGNERS_MAX = 10_000;

/** What this process knows of its own view: when each region was last listed completely, and whether it leads. */
export class CloudView {
  /** Set by each decision pass; for health and metrics only, never for deciding. */
  leading = false;
  private readonly listedAtMs = new Map<string, number>();
  private readonly foreigners = new Set<string>();
  private readonly silences = new Map<string, { readonly fromMs: number; readonly untilMs: number }>();

  /** @param nowMs monotonic */
  markListed(region: string, nowMs: number): void {
    this.listedAtMs.set(region, nowMs);
  }

  /** True once for each instance that bears our tag without a token of ours: it is told once, not with every sweep. */
  isNewForeigner(instanceId: string): boolean {
    if (this.foreigners.has(instanceId)) return false;
    // Forgotten all at once when there are absurdly many: then some are told again, and memory stays bounded.
    if (this.foreigners.size >= FOREIGNERS_MAX) this.foreigners.clear();
    this.foreigners.add(instanceId);
    return true;
  }

  /**
   * Notes that a workload's local agents look silent together, or do not; returns for how long they have, without a gap between looks.
   * Monotonic times.
   */
  noteSilence(workload: string, isSilent: boolean, { nowMs, gapMaxMs }: { nowMs: number; gapMaxMs: number }): number {
    const known = this.silences.get(workload);
    if (!isSilent) {
      this.silences.delete(workload);
      return 0;
    }
    const isSame = known !== undefined && nowMs - known.untilMs <= gapMaxMs;
    const fromMs = isSame ? known.fromMs : nowMs;
    this.silences.set(workload, { fromMs, untilMs: nowMs });
    return nowMs - fromMs;
  }

  isFresh(region: string, nowMs: number, maxAgeMs: number): boolean {
    const atMs = this.listedAtMs.get(region);
    return atMs !== undefined && nowMs - atMs <= maxAgeMs;
  }
}
