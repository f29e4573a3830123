import type { LaunchId, MachineId } from '../model/ids.ts';
import type { CloudInstance, InstanceListing } from './cloud.ts';

/** What the database knows of instances, for comparing with a listing that was made BEFORE it is asked. */
export interface SweepStore {
  /**
   * Writes what the listing shows into the rows of the machines it shows and wakes those that changed. In a complete listing,
   * rows old enough that are not shown get one more `missing`.
   */
  observe(region: string, listing: InstanceListing): Promise<{ readonly changed: readonly MachineId[] }>;
  /** For each of our instances that no row names: the launch its token belongs to, if any. */
  findUnbound(instances: readonly CloudInstance[]): Promise<readonly UnboundInstance[]>;
  /** Notes a suspect, or counts one more complete listing that shows it; returns how often it was seen and for how long. */
  markSuspect(
    instanceId: string,
    reason: 'no-row' | 'row-ended',
  ): Promise<{ readonly listings: number; readonly ageMs: number }>;
  clearSuspects(except: readonly string[]): Promise<void>;
  /** Regions that live machines are in. */
  listLiveRegions(): Promise<readonly string[]>;
}

export interface UnboundInstance {
  readonly instance: CloudInstance;
  /** Null: no launch of ours has this token. */
  readonly launch: {
    readonly id: LaunchId;
    readonly state: string;
    /** The one whose token the instance bears. */
    readonly attempt: number;
    readonly isCurrentAttempt: boolean;
  } | null;
  /** The row that names the instance says `terminated`. */
  readonly rowEnded: boolean;
}
