import type { Offering } from '../model/offering.ts';
import type { Resources } from '../model/resources.ts';
import type { Demand } from './demand.ts';
import type { Draft } from './draft.ts';
import type { Fleet, Host } from './fleet.ts';
import { hostSlots } from './fleet.ts';
import type { RankOf } from './keep-local.ts';
import type { SlotPlace } from './slot-place.ts';
import { slotPlace } from './slot-place.ts';
import type { Batch, Slot } from './slots.ts';
import { countTasks, openTier, placeBatches, placeByRank } from './slots.ts';

/** What local agents left over; the same for every draft, because they are filled first. */
export interface AfterLocal extends AfterPending {
  readonly headroom: readonly Batch[];
}

/** The same before headroom was kept. */
export interface AfterPending {
  readonly onLocal: number;
  readonly urgent: readonly Batch[];
  readonly patient: readonly Batch[];
  /** Urgent work that is patient now, because local agents will have room sooner than a machine would; null = none. */
  readonly wait: Waiting | null;
}

/** Work that is left to local agents although it may burst. */
export interface Waiting {
  readonly batches: readonly Batch[];
  /** Seconds until the last of the room is expected. */
  readonly localInS: number;
  /** Seconds until a machine launched now would be ready. */
  readonly machineInS: number;
}

/** Where pending work and headroom end up, given a draft. */
export interface Coverage {
  readonly onCloud: number;
  readonly inFlight: number;
  readonly planned: number;
  /** Found no room anywhere. */
  readonly urgent: readonly Batch[];
  readonly patient: readonly Batch[];
  readonly headroom: readonly Batch[];
  /** What ready agents leave over: the claim of the queue and headroom signals. */
  readonly beyondReady: Record<'urgent' | 'patient' | 'headroom', readonly Batch[]>;
  /** Machines with a task or headroom placed on them. */
  readonly needed: ReadonlySet<string>;
}

/** Places work in tiers: ready cloud machines, then what is on its way. Work that may not wait is placed first. */
export function coverDemand(fleet: Fleet, draft: Draft, after: AfterLocal): Coverage {
  const cloudSlots = hostSlots([...fleet.cloud, ...draft.undrained]);
  const launchedSlots = draft.launched.map(({ capacity, offering, count }) => ({
    ...newSlot(NEW_MACHINE, capacity, placeOfOffering(offering)),
    count,
  }));
  const coming = (hosts: readonly Host[]): Slot[] =>
    hosts.map(({ machine, free, place }) => newSlot(machine.id, free, place));
  const [inFlightSlots, startedSlots] = [coming(fleet.inFlight), coming(draft.started)];
  const all = [...after.urgent, ...after.patient, ...after.headroom];
  const cloud = openTier(cloudSlots, all);
  const onTheWay = openTier([...inFlightSlots, ...startedSlots, ...launchedSlots], all);
  const urgentReady = placeBatches(cloud, after.urgent);
  const patientReady = placeBatches(cloud, after.patient);
  const urgent = placeBatches(onTheWay, urgentReady);
  const patient = placeBatches(onTheWay, patientReady);
  const inFlight = taken(inFlightSlots);
  const placedOnComing = countTasks(urgentReady) + countTasks(patientReady) - countTasks(urgent) - countTasks(patient);
  const counts = { onCloud: taken(cloudSlots), inFlight, planned: placedOnComing - inFlight };
  const headroomReady = placeBatches(cloud, after.headroom);
  const headroom = placeBatches(onTheWay, headroomReady);
  return {
    ...counts,
    urgent,
    patient,
    headroom,
    beyondReady: { urgent: urgentReady, patient: patientReady, headroom: headroomReady },
    needed: new Set(cloudSlots.filter((slot) => slot.taken > 0).map(({ id }) => id)),
  };
}

/** Places pending work on the workload's local agents. Changes the slots, which other workloads may share. */
export function placePendingLocally(slots: readonly Slot[], demand: Demand, rankOf: RankOf): AfterPending {
  const tier = openTier(slots, [...demand.urgent, ...demand.patient]);
  const urgent = placeByRank(tier, demand.urgent, rankOf);
  const patient = placeByRank(tier, demand.patient, rankOf);
  const before = countTasks(demand.urgent) + countTasks(demand.patient);
  return { onLocal: before - countTasks(urgent) - countTasks(patient), urgent, patient, wait: null };
}

/** Sorts after the ids of machines, which begin with `mc-`: what is on its way is filled before what is not yet ordered. */
const NEW_MACHINE = 'new';

function newSlot(id: string, free: Resources, place: SlotPlace): Slot {
  return { id, count: 1, rank: 0, place, free, taken: 0 };
}

function placeOfOffering({ instanceType, market }: Offering): SlotPlace {
  return slotPlace({ site: 'aws', arch: instanceType.architecture, market }, instanceType.resources.gpus > 0);
}

function taken(slots: readonly Slot[]): number {
  return slots.reduce((sum, slot) => sum + slot.taken, 0);
}
