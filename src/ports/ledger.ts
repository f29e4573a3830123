import type { Charge, PastRun } from '../cost/charges.ts';
import type { MachineId } from '../model/ids.ts';
import type { Market } from '../model/offering.ts';
import type { EpochMs } from '../model/time.ts';
import type { SpotPrice } from './cloud.ts';

/** A machine whose life is not fully charged yet. */
export interface Chargeable {
  readonly machineId: MachineId;
  readonly workload: string;
  readonly instanceType: string;
  readonly zone: string;
  readonly market: Market;
  readonly volumeGib: number;
  readonly priceUsdPerHour: string;
  readonly launchTimeMs: EpochMs | null;
  readonly pendingSeenAtMs: EpochMs | null;
  readonly runningSeenAtMs: EpochMs | null;
  /** The run that it is in, or was in last; what was seen above is of it. */
  readonly run: number;
  readonly runLaunchTimeMs: EpochMs | null;
  readonly stoppedAtMs: EpochMs | null;
  /** Runs before it, in their order. */
  readonly pastRuns: readonly PastRun[];
  /** The last look that saw it, in whatever state. */
  readonly observedAtMs: EpochMs | null;
  readonly endedAtMs: EpochMs | null;
  readonly endCode: string | null;
  readonly chargedThroughMs: EpochMs | null;
}

export interface LedgerStore {
  /** Machines that ended and are not charged to the end, and living ones last charged before `chargedBeforeMs`. */
  listChargeable(chargedBeforeMs: EpochMs, limit: number): Promise<readonly Chargeable[]>;
  /** Appends the charges and moves `charged_through` forward, by compare-and-set on its old value; false = lost the race. */
  append(
    machineId: MachineId,
    chargedThroughMs: { readonly from: EpochMs | null; readonly to: EpochMs },
    charges: readonly Charge[],
  ): Promise<boolean>;
  recordSpotPrices(prices: readonly SpotPrice[]): Promise<void>;
  /** Prices of one type and zone in force at or after `sinceMs`, oldest first, the one in force at `sinceMs` included. */
  readSpotPrices(instanceType: string, zone: string, sinceMs: EpochMs): Promise<readonly SpotPrice[]>;
  /** The newest known price of every type and zone. */
  listLatestSpotPrices(): Promise<readonly SpotPrice[]>;
  databaseNowMs(): Promise<EpochMs>;
}
