import { isTakenBack } from '../cost/charges.ts';
import type { Amnesia } from '../model/amnesia.ts';
import { AppError } from '../model/errors.ts';
import type { LaunchId, MachineId } from '../model/ids.ts';
import type { EpochMs } from '../model/time.ts';
import { HOUR_MS, MINUTE_MS } from '../model/time.ts';
import type { CloudInstance, InstanceListing } from '../ports/cloud.ts';
import type { OwnedInstance, UnboundInstance } from '../ports/sweeping.ts';
import { noteMarked } from './interruptions.ts';
import type { Mandate } from './lead.ts';
import type { LoopPorts } from './ports.ts';
import { declareUnknown, recover } from './rebuild.ts';
import { checkMemory } from './recollection.ts';
import { ringFor } from './ring.ts';

/** An orphan is ended only after this many complete listings showed it, and not before this age of its first mark. */
const SUSPECT_LISTINGS_MIN = 3;
const SUSPECT_AGE_MS = MINUTE_MS;
/** And not before it is as old as this itself: what was launched a moment ago may belong to a call that is still answered. */
const INSTANCE_AGE_MIN_MS = 5 * MINUTE_MS;
/**
 * More orphans than this, over all regions and within the window, are a sign that we are wrong, not that EC2 is. One sweep after
 * another must not do little by little what one may not do at once.
 */
const MASS_KILL_MAX = 10;
const MASS_KILL_WINDOW_MS = HOUR_MS;

export interface SweepResult {
  readonly listed: number;
  readonly complete: boolean;
  readonly adopted: number;
  readonly condemned: number;
  /** Bears our tag, but its token is not ours: reported, never touched. */
  readonly foreign: number;
}

/** What one look at a region came to. */
export interface Look {
  readonly region: string;
  readonly listing: InstanceListing;
  readonly adopted: number;
  readonly foreign: number;
  readonly unbound: readonly UnboundInstance[];
}

/**
 * Compares EC2 with the rows, the cloud FIRST: whatever is launched in between is then missing from the listing and
 * young in the rows, which harms nobody; the other way round it would look like an orphan.
 */
export async function sweepTick(ports: LoopPorts): Promise<readonly SweepResult[]> {
  // Before the lease is renewed: a renewal would hide that the lease went back.
  const before = await checkMemory(ports);
  // Taken before anything is read that is acted upon: whoever was stopped or deposed in between ends nothing.
  const mandate = await ports.lead.take();
  const { looks, failure } = await lookEverywhere(ports, await listRegions(ports, before));
  const unmarked = await noteMarked(ports, looks);
  await declareUnknown(ports, looks);
  const amnesia = await checkMemory(ports);
  if (amnesia !== null) {
    // Marks made by rows that forget prove nothing: afterwards each suspect is looked at anew.
    await ports.sweeping.clearSuspects([]);
    await recover(ports, mandate, { looks, isWhole: failure === null });
  }
  const condemned = amnesia === null ? await condemn(ports, mandate, looks) : new Map<string, number>();
  // What went wrong anywhere fails the turn, so that health shows it; it has hidden nothing.
  const trouble = failure ?? unmarked;
  if (trouble !== null) throw trouble;
  return looks.map(({ region, listing, adopted, foreign }) => ({
    listed: listing.instances.length,
    complete: listing.complete,
    adopted,
    condemned: condemned.get(region) ?? 0,
    foreign,
  }));
}

/** Where there may be machines of ours. Rows that forget may have forgotten whole regions: then the witness names them. */
async function listRegions(ports: LoopPorts, amnesia: Amnesia | null): Promise<readonly string[]> {
  const regions = new Set(await ports.sweeping.listLiveRegions());
  for (const { policy } of ports.policies.current()) regions.add(policy.burst.region);
  if (amnesia !== null) for (const region of (await ports.recollection.recall()).regions) regions.add(region);
  const sorted = [...regions].sort();
  await ports.recollection.noteRegions(sorted);
  return sorted;
}

async function lookEverywhere(
  ports: LoopPorts,
  regions: readonly string[],
): Promise<{ readonly looks: readonly Look[]; readonly failure: AppError | null }> {
  const looks: Look[] = [];
  let failure: AppError | null = null;
  for (const region of regions) {
    try {
      looks.push(await lookAt(ports, region));
    } catch (error) {
      // A region that is away must not hide the others; the turn fails all the same, so that health shows it.
      if (!(error instanceof AppError)) throw error;
      failure ??= error;
    }
  }
  return { looks, failure };
}

async function lookAt(ports: LoopPorts, region: string): Promise<Look> {
  // By the database's clock, which the rows are compared with: a process whose own clock is wrong would date the bill wrongly.
  const startedAtMs = await ports.ledger.databaseNowMs();
  const listed = { ...(await ports.cloud.listInstances(region, ports.owner)), startedAtMs };
  const listing = await withSpotEnds(ports, region, listed);
  const ours = listing.instances.flatMap((instance): OwnedInstance[] => {
    const proof = ports.credentials.verifyToken(instance.clientToken);
    return proof === null ? [] : [{ instance, ...proof }];
  });
  // Rows name their instances: what they show needs no proof. The token is asked for where an instance would be touched.
  const { changed } = await ports.sweeping.observe(region, listing);
  await ringFor(
    ports,
    changed.map((id) => ({ kind: 'machine' as const, id })),
  );
  const unbound = await ports.sweeping.findUnbound(ours);
  const adopted = await adopt(ports, unbound);
  if (listing.complete) ports.view.markListed(region, ports.clock.monotonicMs());
  const owned = new Set(ours.map(({ instance }) => instance));
  const foreign = listing.instances.filter((instance) => isAlive(instance) && !owned.has(instance));
  for (const instance of foreign) {
    if (!ports.view.isNewForeigner(instance.instanceId)) continue;
    ports.log.warn(
      { region, instanceId: instance.instanceId },
      'instance bears our owner tag without a token of ours; it is not touched',
    );
  }
  return { region, listing, adopted, foreign: foreign.length, unbound };
}

/**
 * A listing does not say when EC2 took a spot instance back, and whether its first hour was over decides about all of its price. One
 * call more for those that are new; the turn fails with it, so that none is dated by when we happened to look.
 */
async function withSpotEnds(ports: LoopPorts, region: string, listing: InstanceListing): Promise<InstanceListing> {
  const ended = listing.instances.filter(({ endCode, endedAtMs }) => endedAtMs === null && isTakenBack(endCode));
  if (ended.length === 0) return listing;
  const undated = await ports.sweeping.findUndatedEnds(ended.map(({ instanceId }) => instanceId));
  if (undated.length === 0) return listing;
  const ends = await spotEndsOf(ports, region, undated);
  const dated = (instance: CloudInstance): CloudInstance => {
    const endedAtMs = ends.get(instance.instanceId);
    return endedAtMs === undefined ? instance : { ...instance, endedAtMs };
  };
  return { ...listing, instances: listing.instances.map(dated) };
}

async function spotEndsOf(
  ports: LoopPorts,
  region: string,
  instanceIds: readonly string[],
): Promise<ReadonlyMap<string, EpochMs>> {
  try {
    return await ports.cloud.listSpotEnds(region, instanceIds);
  } catch (error) {
    // A role from before this call was made: the end is when it was first seen, and the sweep goes on.
    if (!(error instanceof AppError) || error.code !== 'AWS_AUTH') throw error;
    ports.log.warn({ region, instanceIds, error: error.message }, 'the ends of spot instances are estimated');
    return new Map();
  }
}

/**
 * An instance whose call we never heard back from belongs to its launch, as long as that is open. The replay of the current
 * attempt's token binds all its instances at once: for those the launch is only woken. An earlier attempt's token is never
 * sent again, so what still appears of it is bound here.
 */
async function adopt(ports: LoopPorts, unbound: readonly UnboundInstance[]): Promise<number> {
  const owners = new Map<LaunchId, UnboundInstance[]>();
  for (const found of unbound) {
    if (found.launch?.state !== 'open') continue;
    owners.set(found.launch.id, [...(owners.get(found.launch.id) ?? []), found]);
  }
  const bound: MachineId[] = [];
  for (const [id, found] of owners) {
    for (const [attempt, late] of Map.groupBy(found, (one) => one.attempt)) {
      // Later than the current one: its row was lost (see `rebuild.ts`).
      if (late.every(({ launch }) => launch === null || attempt >= launch.currentAttempt)) continue;
      bound.push(
        ...(await ports.launches.fulfil(
          id,
          attempt,
          late.map(({ instance }) => instance),
        )),
      );
    }
  }
  await ringFor(ports, [
    ...[...owners.keys()].map((id) => ({ kind: 'launch' as const, id })),
    ...bound.map((id) => ({ kind: 'machine' as const, id })),
  ]);
  return owners.size;
}

/** Marks what no live row names, looks again, and ends it by id only after several complete listings agree. */
async function condemn(
  ports: LoopPorts,
  mandate: Mandate | null,
  looks: readonly Look[],
): Promise<ReadonlyMap<string, number>> {
  const suspects = looks.map((look) => ({ ...look, suspects: look.unbound.filter(isSuspect) }));
  // Once for all regions: marks know no region, and one region's innocence says nothing about another's suspects.
  await ports.sweeping.clearSuspects(
    suspects.flatMap((look) => look.suspects.map(({ instance }) => instance.instanceId)),
  );
  const doomed = new Map<string, readonly string[]>();
  for (const look of suspects) {
    const ids = look.listing.complete ? await markSuspects(ports, look.listing, look.suspects) : [];
    if (ids.length > 0) doomed.set(look.region, ids);
  }
  const all = [...doomed.values()].flat();
  if (mandate === null || all.length === 0 || !(await mayEnd(ports, mandate, all))) return new Map();
  const ended = new Map<string, number>();
  for (const [region, instanceIds] of doomed) {
    ports.log.warn({ region, instanceIds }, 'orphaned instances are terminated');
    if (await endInstances(ports, mandate, { region, instanceIds })) ended.set(region, instanceIds.length);
  }
  return ended;
}

/** Alive, and no live row and no open launch stands for it. One of an unknown launch is no orphan: the database forgot it. */
function isSuspect({ launch, rowEnded }: UnboundInstance): boolean {
  return rowEnded || (launch !== null && launch.state !== 'open');
}

/** Notes the suspects of a complete listing and returns those that were looked at often enough. */
async function markSuspects(
  ports: LoopPorts,
  listing: InstanceListing,
  suspects: readonly UnboundInstance[],
): Promise<readonly string[]> {
  const doomed: string[] = [];
  for (const { instance, rowEnded } of suspects) {
    const mark = await ports.sweeping.markSuspect(instance.instanceId, rowEnded ? 'row-ended' : 'no-row');
    const isOld = listing.startedAtMs - (instance.launchTimeMs ?? listing.startedAtMs) >= INSTANCE_AGE_MIN_MS;
    if (isOld && mark.listings >= SUSPECT_LISTINGS_MIN && mark.ageMs >= SUSPECT_AGE_MS)
      doomed.push(instance.instanceId);
  }
  return doomed;
}

async function mayEnd(ports: LoopPorts, mandate: Mandate, instanceIds: readonly string[]): Promise<boolean> {
  if (!mandate.holds()) return false;
  const limit = { instancesMax: MASS_KILL_MAX, windowMs: MASS_KILL_WINDOW_MS };
  const outcome = await ports.sweeping.condemn(mandate.lease, instanceIds, limit);
  if (outcome === 'too-many') {
    ports.log.error(
      { instances: instanceIds.length, limit: MASS_KILL_MAX, windowMinutes: MASS_KILL_WINDOW_MS / MINUTE_MS },
      'too many orphans at once; none is ended, look before you act',
    );
  }
  return outcome === 'condemned' && mandate.holds();
}

/** False when EC2 did not take the call; the next sweep asks again, and the other regions are not kept waiting. */
async function endInstances(
  ports: LoopPorts,
  mandate: Mandate,
  { region, instanceIds }: { readonly region: string; readonly instanceIds: readonly string[] },
): Promise<boolean> {
  try {
    const outcome = await ports.cloud.terminateInstances(region, instanceIds, mandate.signBefore());
    return outcome.kind === 'accepted';
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    ports.log.warn({ region, code: error.code, error: error.message }, 'orphaned instances could not be terminated');
    return false;
  }
}

function isAlive(instance: CloudInstance): boolean {
  return instance.state !== 'terminated' && instance.state !== 'shutting-down';
}
