/** Pending work of all workloads on local agents, which they may share. */
import type { Resources } from '../model/resources.ts';
import { NO_RESOURCES } from '../model/resources.ts';
import type { AfterPending } from './coverage.ts';
import { placePendingLocally } from './coverage.ts';
import type { Demand } from './demand.ts';
import type { Claimant } from './fair-share.ts';
import { claimantOf, compareClaimants, dominantShare, nextClaimant, tasksPerTurn, withTasks } from './fair-share.ts';
import type { RankOf } from './keep-local.ts';
import type { Batch, Slot, Tier } from './slots.ts';
import { countTasks, openTier, placeBatches, sortBatches } from './slots.ts';
import type { WorkloadInput } from './types.ts';

/** A workload, what it wants, and the slots it may use. */
export interface LocalWish {
  readonly workload: WorkloadInput;
  readonly demand: Demand;
  readonly slots: readonly Slot[];
  /** Which of its tasks get local room first. */
  readonly rankOf: RankOf;
}

/** What a wish got of local agents. */
export interface LocalRoom {
  readonly pending: AfterPending;
  readonly headroom: readonly Batch[];
  /** Null: nobody else wanted the same agents. */
  readonly share: LocalShare | null;
}

/** What workloads that wanted the same agents have of local capacity afterwards. */
export interface LocalShare {
  readonly own: Claimant & { readonly dominant: number };
  readonly rivals: readonly (Claimant & { readonly dominant: number })[];
}

/**
 * Places pending work, and only then headroom: room for tasks that do not exist yet may not push out tasks that do. Where
 * workloads want the same agents they draw in turns, by {@link nextClaimant}. One room per wish, in the order of the wishes.
 */
export function placeLocally(wishes: readonly LocalWish[], total: Resources): LocalRoom[] {
  const rivals = findRivals(wishes);
  const claims = new Map([...rivals].map((wish) => [wish, openClaim(wish)]));
  takeTurns([...claims.values()], total);
  const placed = wishes.map((wish) => {
    const claim = claims.get(wish);
    return {
      wish,
      claim,
      pending: claim === undefined ? placePendingLocally(wish.slots, wish.demand, wish.rankOf) : resultOf(claim),
    };
  });
  const headroom = new Map(
    wishes
      .map((wish) => ({ wish, claimant: claims.get(wish)?.claimant ?? claimantFor(wish.workload) }))
      .sort((a, b) => compareClaimants(a.claimant, b.claimant, total))
      .map(({ wish: { slots, demand }, claimant: { workload } }) => [
        workload,
        placeBatches(openTier(slots, demand.headroom), demand.headroom),
      ]),
  );
  return placed.map(({ wish, claim, pending }) => ({
    pending,
    headroom: headroom.get(wish.workload.policy.name) ?? [],
    share: claim === undefined ? null : shareOf(claim, [...claims.values()], total),
  }));
}

function claimantFor({ policy, heldLocally }: WorkloadInput): Claimant {
  return claimantOf(policy.name, policy, heldLocally ?? NO_RESOURCES);
}

/** Wishes with pending work, and a slot that another such wish may use, too. */
function findRivals(wishes: readonly LocalWish[]): ReadonlySet<LocalWish> {
  const usersOf = new Map<string, LocalWish[]>();
  for (const wish of wishes) {
    if (wish.demand.urgent.length + wish.demand.patient.length === 0) continue;
    for (const { id } of wish.slots) {
      const users = usersOf.get(id);
      if (users === undefined) usersOf.set(id, [wish]);
      else users.push(wish);
    }
  }
  const rivals = new Set<LocalWish>();
  for (const users of usersOf.values()) if (users.length > 1) for (const wish of users) rivals.add(wish);
  return rivals;
}

/** One rival while the turns go round. */
interface Claim {
  readonly wish: LocalWish;
  claimant: Claimant;
  /** Still to be placed, the next one first. */
  readonly queue: { readonly batch: Batch; readonly isUrgent: boolean }[];
  /** Found no room. */
  readonly left: Record<'urgent' | 'patient', Batch[]>;
}

function openClaim(wish: LocalWish): Claim {
  const { urgent, patient } = wish.demand;
  return {
    wish,
    claimant: claimantFor(wish.workload),
    queue: [
      ...inLine(urgent, wish).map((batch) => ({ batch, isUrgent: true })),
      ...inLine(patient, wish).map((batch) => ({ batch, isUrgent: false })),
    ],
    left: { urgent: [], patient: [] },
  };
}

function inLine(batches: readonly Batch[], { rankOf }: LocalWish): Batch[] {
  return sortBatches(batches).sort((a, b) => rankOf(b) - rankOf(a));
}

function takeTurns(claims: readonly Claim[], total: Resources): void {
  const tiersOf = openSharedTiers(claims);
  let wanting = claims;
  for (;;) {
    wanting = wanting.filter(({ queue }) => queue.length > 0);
    const claim = nextClaimant(wanting, total);
    const head = claim?.queue.shift();
    if (claim === null || head === undefined) return;
    const { batch, isUrgent } = head;
    const turn = Math.min(batch.count, tasksPerTurn(batch.shape, total));
    let left: Batch[] = [{ ...batch, count: turn }];
    for (const tier of tiersOf.get(claim) ?? []) left = placeBatches(tier, left);
    const unplaced = countTasks(left);
    claim.claimant = withTasks(claim.claimant, batch.shape, turn - unplaced);
    const rest = { ...batch, count: batch.count - turn + unplaced };
    // One that has no room now gets none later in this pass: room only shrinks.
    if (unplaced > 0) claim.left[isUrgent ? 'urgent' : 'patient'].push(rest);
    else if (rest.count > 0) claim.queue.unshift({ batch: rest, isUrgent });
  }
}

/**
 * Each slot belongs to one tier, that of all who may use it: a tier keeps what it knows of its slots, and two tiers over one
 * slot would not see what the other took. Whoever draws begins with what the fewest others want.
 */
function openSharedTiers(claims: readonly Claim[]): ReadonlyMap<Claim, readonly Tier[]> {
  const slots = new Map<string, { readonly slot: Slot; readonly users: Claim[] }>();
  for (const claim of claims) {
    for (const slot of claim.wish.slots) {
      const known = slots.get(slot.id);
      if (known === undefined) slots.set(slot.id, { slot, users: [claim] });
      else known.users.push(claim);
    }
  }
  const kinds = Map.groupBy(slots.values(), ({ users }) => users.map(({ claimant }) => claimant.workload).join('\n'));
  const batches = claims.flatMap(({ queue }) => queue.map(({ batch }) => batch));
  const tiers = [...kinds]
    .map(([name, members]) => ({ name, users: members[0]?.users ?? [], slots: members.map(({ slot }) => slot) }))
    .sort((a, b) => a.users.length - b.users.length || (a.name < b.name ? -1 : 1))
    .map(({ users, slots }) => ({ users, tier: openTier(slots, batches) }));
  return new Map(
    claims.map((claim) => [claim, tiers.filter(({ users }) => users.includes(claim)).map(({ tier }) => tier)]),
  );
}

function resultOf({ wish: { demand }, left: { urgent, patient } }: Claim): AfterPending {
  const before = countTasks(demand.urgent) + countTasks(demand.patient);
  return { onLocal: before - countTasks(urgent) - countTasks(patient), urgent, patient, wait: null };
}

/** Rivals are those with a slot in common, not everybody who shares anything with anybody. */
function shareOf(own: Claim, claims: readonly Claim[], total: Resources): LocalShare {
  const mine = new Set(own.wish.slots.map(({ id }) => id));
  const withShare = ({ claimant }: Claim) => ({ ...claimant, dominant: dominantShare(claimant.held, total) });
  const rivals = claims.filter((claim) => claim !== own && claim.wish.slots.some(({ id }) => mine.has(id)));
  return { own: withShare(own), rivals: rivals.map(withShare) };
}
