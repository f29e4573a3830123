/** Machines that were stopped instead of terminated: which are started before anything is launched, and which are kept no longer. */
import type { Architecture } from '../model/offering.ts';
import type { Resources } from '../model/resources.ts';
import { fits } from '../model/resources.ts';
import type { Wish } from './choose.ts';
import type { Bounds, Draft, Planning, Room } from './draft.ts';
import {
  countStarted,
  isAffordable,
  noteBound,
  noteBudgetBound,
  noteCountBounds,
  noteVcpuBound,
  readRoom,
} from './draft.ts';
import type { Host } from './fleet.ts';
import { hostSlots } from './fleet.ts';
import { wideProbes } from './holds.ts';
import { nameJudge } from './offerings.ts';
import { nanoOf } from './order.ts';
import { openTier, placeBatches } from './slots.ts';
import { countOf } from './text.ts';
import type { MachineView } from './types.ts';

/** Why a stopped machine is terminated. */
export type RetireReason = 'pool-aged' | 'pool-above-max' | 'pool-unfit';

export interface Retired {
  readonly host: Host;
  readonly why: RetireReason;
}

/** Stopped machines to be started for the wish, the cheapest that help, within every limit; what stood in the way is noted. */
export function startStopped(planning: Planning, draft: Draft, wish: Wish, bounds: Bounds): Host[] {
  const candidates = listStartable(planning, draft, bounds);
  if (candidates.length === 0) return [];
  const room = readRoom(planning, draft);
  if (noteCountBounds(planning, room, bounds)) return [];
  // Affordable alone at least: else a large one that may not start would hide a small one that may.
  const affordable = candidates.filter((host) => isWithin(planning, room, { host, bounds }));
  const helping = wish.bare === null ? helpingWith(affordable, wish) : holding(affordable, wish.bare);
  return admit(planning, room, { helping, bounds });
}

function listStartable(planning: Planning, draft: Draft, bounds: Bounds): Host[] {
  // The one machine that tries a hold again is a launch: its answer says more.
  if (wideProbes(planning.workload).length > 0) return [];
  const taken = new Set(draft.started.map(({ machine }) => machine.id));
  const why = retireRule(planning);
  const kept = planning.fleet.stopped.filter(({ machine }) => !taken.has(machine.id) && why(machine) === null);
  const startable = kept.filter(({ machine }) => machine.startHeld !== true);
  if (startable.length < kept.length) {
    const detail = `${countOf(kept.length - startable.length, 'stopped machine')} of types that EC2 refused a while ago`;
    noteBound(bounds, 'start-held', detail);
  }
  return startable;
}

function isWithin(
  planning: Planning,
  room: Room,
  { host: { machine }, bounds }: { readonly host: Host; readonly bounds: Bounds },
): boolean {
  const type = { vcpus: machine.resources.cpuMilli / 1000, priceUsdPerHour: machine.priceUsdPerHour };
  if (isAffordable(type, room)) return true;
  if (type.vcpus > room.vcpus) noteVcpuBound(planning, room, bounds);
  else noteBudgetBound(planning, room, bounds);
  return false;
}

function holding(candidates: readonly Host[], { count, shape }: { count: number; shape: Resources }): Host[] {
  const fitting = candidates.filter(({ place, free }) => place.hasGpus === shape.gpus > 0 && fits(shape, free));
  return fitting.slice(0, count);
}

function helpingWith(candidates: readonly Host[], { batches }: Wish): Host[] {
  const slots = hostSlots(candidates);
  // A machine with GPUs is no more started than bought for work that needs none.
  for (const [hasGpus, group] of Map.groupBy(batches, ({ shape }) => shape.gpus > 0)) {
    const fitting = slots.filter(({ place }) => place.hasGpus === hasGpus);
    placeBatches(openTier(fitting, group), group);
  }
  const taken = new Set(slots.filter((slot) => slot.taken > 0).map(({ id }) => id));
  return candidates.filter(({ machine }) => taken.has(machine.id));
}

function admit(
  planning: Planning,
  all: Room,
  { helping, bounds }: { readonly helping: readonly Host[]; readonly bounds: Bounds },
): Host[] {
  const room = { ...all };
  const started: Host[] = [];
  for (const host of helping) {
    if (noteCountBounds(planning, room, bounds)) break;
    if (!isWithin(planning, room, { host, bounds })) continue;
    started.push(host);
    room.max -= 1;
    room.perHour -= 1;
    room.perPlan -= 1;
    room.vcpus -= host.machine.resources.cpuMilli / 1000;
    room.nanoUsdPerHour -= nanoOf(host.machine.priceUsdPerHour);
  }
  return started;
}

/** Stopped machines that this plan does not start and that are kept no longer; above the maximum those stopped longest go first. */
export function retireStopped(planning: Planning, draft: Draft): Retired[] {
  if (planning.world.amnesia !== null) return [];
  const started = new Set(draft.started.map(({ machine }) => machine.id));
  const rule = retireRule(planning);
  const stopped = planning.fleet.stopped.filter(({ machine }) => !started.has(machine.id));
  const gone = stopped.flatMap((host): Retired[] => {
    const why = rule(host.machine);
    return why === null ? [] : [{ host, why }];
  });
  const names = new Set(gone.map(({ host }) => host.machine.id));
  const kept = stopped.filter(({ machine }) => !names.has(machine.id)).sort((a, b) => stoppedAt(a) - stoppedAt(b));
  const above = kept.length - (planning.workload.policy.burst.warmPool?.max ?? 0);
  return [...gone, ...kept.slice(0, Math.max(0, above)).map((host) => ({ host, why: 'pool-above-max' as const }))];
}

function stoppedAt({ machine: { stoppedSinceMs, createdAtMs } }: Host): number {
  return stoppedSinceMs ?? createdAtMs;
}

/** What speaks against a stopped machine, whatever the demand; null = nothing. */
function retireRule({ world, workload: { policy } }: Planning): (machine: MachineView) => RetireReason | null {
  const { image, warmPool } = policy.burst;
  const isAllowed = nameJudge(policy);
  return ({ stoppedSinceMs = null, imageId = null, instanceType, resources, arch = null }) => {
    const maxAgeMs = warmPool?.maxAgeMs ?? Infinity;
    if (stoppedSinceMs !== null && world.nowMs - stoppedSinceMs > maxAgeMs) return 'pool-aged';
    const isOfImage = imageId === null || imagesFor(image, arch).includes(imageId);
    return isOfImage && isAllowed(instanceType, resources) ? null : 'pool-unfit';
  };
}

function imagesFor(image: Readonly<Partial<Record<Architecture, string>>>, arch: Architecture | null): string[] {
  return arch === null ? Object.values(image) : [image[arch] ?? ''];
}

/** Clauses for the account of a plan. */
export function startedDetail(draft: Draft): string {
  return `${countOf(countStarted(draft), 'stopped machine')} started before anything is bought`;
}

export function retiredDetail(retired: readonly Retired[]): string {
  const said: Readonly<Record<RetireReason, string>> = {
    'pool-aged': 'stopped for longer than burst.warmPool.maxAge',
    'pool-above-max': 'more than burst.warmPool.max',
    'pool-unfit': 'of a type or image that the policy does not name any more',
  };
  const counts = Map.groupBy(retired, ({ why }) => why);
  return Object.entries(said)
    .flatMap(([why, text]) => {
      const count = counts.get(why as RetireReason)?.length ?? 0;
      return count === 0 ? [] : [`${count} ${text}`];
    })
    .join(', ');
}
