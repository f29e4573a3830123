import type { Market } from '../model/offering.ts';
import type { EpochMs } from '../model/time.ts';
import type { EndCause, LifeStepKind, SimulatedInstance } from './life.ts';

/** What a bill has to know of an instance; it never changes during a life. */
export interface BilledThing {
  readonly instanceType: string;
  readonly zone: string;
  readonly market: Market;
  /** Its image has a licence that EC2 bills; absent = none. */
  readonly platform?: 'windows';
  readonly volumes: readonly {
    readonly volumeId: string;
    readonly sizeGib: number;
    readonly deleteOnTermination: boolean;
  }[];
  readonly publicIpv4: boolean;
}

/** One line of the region's log. `seq` counts from 0 without gaps; `atMs` never decreases within one instance. */
export interface RegionEvent {
  readonly seq: number;
  readonly atMs: EpochMs;
  readonly instanceId: string;
  readonly kind: LifeStepKind;
  readonly cause: EndCause | null;
  /** Only on the first event of an instance (the `pending` of its launch). */
  readonly launched: BilledThing | null;
}

export function billedThingOf(instance: SimulatedInstance): BilledThing {
  return {
    instanceType: instance.type.name,
    zone: instance.subnet.zone,
    market: instance.market,
    ...(instance.image.platform === undefined ? {} : { platform: instance.image.platform }),
    volumes: instance.volumes.map(({ volumeId, sizeGib, deleteOnTermination }) => ({
      volumeId,
      sizeGib,
      deleteOnTermination,
    })),
    publicIpv4: instance.publicIp !== null,
  };
}
