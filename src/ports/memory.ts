import type { Amnesia, AmnesiaFinding, MemoryFacts } from '../model/amnesia.ts';
import type { LaunchId, MachineId, PlanId, TraceId } from '../model/ids.ts';
import type { LaunchBody } from '../model/launch.ts';
import type { Architecture } from '../model/offering.ts';
import type { Resources } from '../model/resources.ts';
import type { EpochMs } from '../model/time.ts';
import type { CloudInstance } from './cloud.ts';
import type { Lease } from './leadership.ts';

/** What the database says of its own memory, and how it gets it back. */
export interface MemoryStore {
  /** Lease, launches and amnesia as they are now; of `nonces`, those that some launch has. */
  look(nonces: readonly string[]): Promise<MemoryFacts>;
  /** From now on no transaction of this process launches or ends anything where the leader's lease is older than this. */
  expect(lease: { readonly epoch: number; readonly turns: number }): Promise<void>;
  /** From the commit of this on, nothing is launched and nothing ended. True = it was not known before. */
  declare(finding: AmnesiaFinding): Promise<boolean>;
  /**
   * Rows for instances that EC2 has and the database lost; safe to repeat. An open launch whose newest attempt was lost goes
   * on to it and gets its instances. Null = another process leads.
   */
  rebuild(lease: Lease, launches: readonly RebuiltLaunch[]): Promise<readonly MachineId[] | null>;
  /** The current attempt of an open launch has instances: a call was made whose row was lost, so that it may be repeated. */
  noteLostCall(launchId: LaunchId): Promise<void>;
  /**
   * Counts a complete listing of all regions; one that is not clean begins the count anew. Ends the amnesia when they
   * suffice: machines get their deadlines anew, and the amnesia that is over is returned.
   */
  noteListing(
    lease: Lease,
    listing: { readonly clean: boolean; readonly startedAtMs: EpochMs },
  ): Promise<Amnesia | null>;
}

/** One attempt of a launch as far as EC2 and our tags tell it. */
export interface RebuiltLaunch {
  /** Stands for the plan that was lost with its launch; launches of one plan share it. */
  readonly planId: PlanId;
  /** From our tag, else made for the occasion. */
  readonly traceId: TraceId;
  /** From our tag; `spareId` when it is taken. */
  readonly id: LaunchId;
  readonly spareId: LaunchId;
  readonly workload: string;
  readonly nonce: string;
  readonly attempt: number;
  readonly token: string;
  readonly body: LaunchBody;
  readonly zone: string;
  readonly priceUsdPerHour: number;
  readonly resources: Resources;
  /** Null = not known. */
  readonly arch: Architecture | null;
  readonly machines: readonly { readonly id: MachineId; readonly instance: CloudInstance }[];
  /** When the listing that showed them was asked for. */
  readonly listedAtMs: EpochMs;
}
