import type { AgentId, LaunchId, MachineId } from '../model/ids.ts';
import type { CloudInstance, InstanceListing } from './cloud.ts';
import type { Lease } from './leadership.ts';

/** What the database knows of instances, for comparing with a listing that was made BEFORE it is asked. */
export interface SweepStore {
  /**
   * Writes what the listing shows into the rows of the machines it shows and wakes those that changed. In a complete listing,
   * rows old enough that are not shown get one more `missing`.
   */
  observe(region: string, listing: InstanceListing): Promise<{ readonly changed: readonly MachineId[] }>;
  /** Of these instances those whose rows do not say yet when they ended. */
  findUndatedEnds(instanceIds: readonly string[]): Promise<readonly string[]>;
  /** Of these instances those whose rows live, have not begun to leave and have no notice of EC2 yet. */
  findUnnoticed(instanceIds: readonly string[]): Promise<readonly UnnoticedMachine[]>;
  /**
   * For each of our instances that no live row names, the launch it came of. Instances that are over are told only when their
   * launch, or the attempt of it that they came of, is not known.
   */
  findUnbound(instances: readonly OwnedInstance[]): Promise<readonly UnboundInstance[]>;
  /** Notes a suspect, or counts one more complete listing that shows it; returns how often it was seen and for how long. */
  markSuspect(
    instanceId: string,
    reason: 'no-row' | 'row-ended',
  ): Promise<{ readonly listings: number; readonly ageMs: number }>;
  clearSuspects(except: readonly string[]): Promise<void>;
  /** Writes down that these are about to be ended, unless something forbids it; ids that were written before count once. */
  condemn(
    lease: Lease,
    instanceIds: readonly string[],
    limit: { readonly instancesMax: number; readonly windowMs: number },
  ): Promise<CondemnOutcome>;
  /** Regions that live machines are in. */
  listLiveRegions(): Promise<readonly string[]>;
}

export interface UnnoticedMachine {
  readonly id: MachineId;
  readonly instanceId: string;
  readonly agentId: AgentId | null;
}

/** `too-many`: with what was ended within the window it would be more than the limit; nothing was written. */
export type CondemnOutcome = 'condemned' | 'fenced' | 'amnesia' | 'too-many';

/** Bears our tag and a token of ours: both proofs of ownership. */
export interface OwnedInstance {
  readonly instance: CloudInstance;
  readonly nonce: string;
  /** The one whose token the instance bears. */
  readonly attempt: number;
}

export interface UnboundInstance extends OwnedInstance {
  /** Null: no launch has this nonce. Every intent is committed before EC2 is called, so that its commit was lost. */
  readonly launch: { readonly id: LaunchId; readonly state: string; readonly currentAttempt: number } | null;
  /** The row that names the instance says `terminated`. */
  readonly rowEnded: boolean;
}
