/**
 * Wait or burst: work that local agents are expected to have room for sooner than a machine could be ready is left to them. Nobody
 * waits longer for it than a machine would have taken, and a machine is not paid for.
 */
import type { Resources } from '../model/resources.ts';
import { NO_RESOURCES, addResources, subtractResources } from '../model/resources.ts';
import { BILLED_MIN_MS } from '../model/money.ts';
import { HOUR_MS, SECOND_MS } from '../model/time.ts';
import type { AfterPending, Waiting } from './coverage.ts';
import type { World } from './fleet.ts';
import type { RankOf } from './keep-local.ts';
import { KINDS_MAX, leastUsdPerHour } from './keep-local.ts';
import type { Catalogue } from './offerings.ts';
import type { Batch, Slot } from './slots.ts';
import { countTasks, openTier, placeByRank, placedOf } from './slots.ts';
import type { WaitReport, WorkloadInput } from './types.ts';

/** Promises of room are believed for so many times the join of a machine beyond `maxWait`: they may fail again and again. */
const JOINS_MAX = 2;
const HOUR_S = HOUR_MS / SECOND_MS;

export interface WaitInput {
  readonly world: World;
  readonly workload: WorkloadInput;
  /** Room of local agents as pending work has left it, shared by the workloads that select them. */
  readonly slots: readonly Slot[];
  readonly after: AfterPending;
  /** What earlier workloads of this pass wait for, by agent; what this one waits for is added. */
  readonly promised: Map<string, Resources>;
  /** Which tasks wait for the room, when it does not hold all. */
  readonly rankOf: RankOf;
}

/** Moves urgent work that may wait for local room to what is patient. */
export function waitForLocal(input: WaitInput): AfterPending {
  const { world, workload, after } = input;
  const joinS = workload.times?.joinP50S ?? null;
  if (joinS === null || after.urgent.length === 0) return after;
  const maxWaitMs = workload.policy.demand.queue?.maxWaitMs ?? 0;
  const sinceMs = world.nowMs - maxWaitMs - JOINS_MAX * joinS * SECOND_MS;
  const may = after.urgent.filter(({ oldestMs }) => oldestMs >= sinceMs);
  const rooms = soonFree(input, joinS);
  if (may.length === 0 || rooms.length === 0) return after;
  const slots = rooms.map(({ slot }) => slot);
  const unplaced = placeByRank(openTier(slots, may), may, input.rankOf);
  const waiting = placedOf(may, unplaced);
  if (waiting.length === 0) return after;
  for (const { slot, given } of rooms) input.promised.set(slot.id, subtractResources(given, slot.free));
  return {
    onLocal: after.onLocal,
    urgent: [...after.urgent.filter(({ oldestMs }) => oldestMs < sinceMs), ...unplaced],
    patient: [...after.patient, ...waiting],
    wait: { batches: waiting, localInS: Math.max(...rooms.map(({ inS }) => inS)), machineInS: Math.ceil(joinS) },
  };
}

interface SoonFree {
  /** Room as it will be, less what is promised. */
  readonly slot: Slot;
  /** The same before anything was promised. */
  readonly given: Resources;
  /** When the last of it is expected. */
  readonly inS: number;
}

/** Local agents on which tasks are expected to end before a machine could be ready. */
function soonFree({ world, slots, promised }: WaitInput, joinS: number): SoonFree[] {
  return slots.flatMap((slot) => {
    const freeing = (world.freeing.get(slot.id) ?? []).filter(({ inS }) => inS < joinS);
    if (freeing.length === 0) return [];
    const given = freeing.reduce((sum, { resources }) => addResources(sum, resources), slot.free);
    const free = subtractResources(given, promised.get(slot.id) ?? NO_RESOURCES);
    return [{ slot: { ...slot, free, taken: 0 }, given, inS: Math.max(...freeing.map(({ inS }) => inS)) }];
  });
}

/** Waiting and its alternative, in figures. */
export function reportWait(
  { batches, localInS, machineInS }: Waiting,
  catalogue: Catalogue,
  runS: number | null,
): WaitReport {
  // A machine is billed from its launch, the time it joins in included.
  const billedS = Math.max(BILLED_MIN_MS / SECOND_MS, machineInS + (runS ?? 0));
  return { tasks: countTasks(batches), localInS, machineInS, burstUsd: burstUsd(catalogue, batches, billedS) };
}

/** What the tasks would cost at least: their share of the machine that is cheapest for them. */
function burstUsd(catalogue: Catalogue, batches: readonly Batch[], billedS: number): number | null {
  if (batches.length > KINDS_MAX) return null;
  let usd = 0;
  for (const batch of batches) {
    const usdPerHour = leastUsdPerHour(catalogue, batch);
    if (usdPerHour === null) return null;
    usd += (batch.count * usdPerHour * billedS) / HOUR_S;
  }
  return Math.round(usd * 1e6) / 1e6;
}
