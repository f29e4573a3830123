import { AppError } from '../model/errors.ts';
import type { LaunchId, MachineId } from '../model/ids.ts';
import { MINUTE_MS } from '../model/time.ts';
import type { CloudInstance, InstanceListing } from '../ports/cloud.ts';
import type { UnboundInstance } from '../ports/sweeping.ts';
import type { Mandate } from './lead.ts';
import type { LoopPorts } from './ports.ts';
import { ringFor } from './ring.ts';

/** An orphan is ended only after this many complete listings showed it, and not before this age of its first mark. */
const SUSPECT_LISTINGS_MIN = 3;
const SUSPECT_AGE_MS = MINUTE_MS;
/** More orphans than this at once are a sign that we are wrong (an empty or restored database), not that EC2 is. */
const MASS_KILL_MAX = 10;

export interface SweepResult {
  readonly listed: number;
  readonly complete: boolean;
  readonly adopted: number;
  readonly condemned: number;
  /** Bears our tag, but its token is not ours: reported, never touched. */
  readonly foreign: number;
}

/** What one look at a region came to. */
interface Look {
  readonly region: string;
  readonly listing: InstanceListing;
  readonly adopted: number;
  readonly foreign: number;
  /** Ours and alive, but no live row and no open launch stands for them. */
  readonly suspects: readonly UnboundInstance[];
}

/**
 * Compares EC2 with the rows, the cloud FIRST: whatever is launched in between is then missing from the listing and
 * young in the rows, which harms nobody; the other way round it would look like an orphan.
 */
export async function sweepTick(ports: LoopPorts): Promise<readonly SweepResult[]> {
  // Taken before anything is read: whoever was stopped or deposed in between ends nothing.
  const mandate = await ports.lead.take();
  const regions = new Set(await ports.sweeping.listLiveRegions());
  for (const { policy } of ports.policies.current()) regions.add(policy.burst.region);
  const looks: Look[] = [];
  let failure: AppError | null = null;
  for (const region of [...regions].sort()) {
    try {
      looks.push(await lookAt(ports, region));
    } catch (error) {
      // A region that is away must not hide the others; the turn fails all the same, so that health shows it.
      if (!(error instanceof AppError)) throw error;
      failure ??= error;
    }
  }
  // Once for all regions: marks know no region, and one region's innocence says nothing about another's suspects.
  await ports.sweeping.clearSuspects(
    looks.flatMap(({ suspects }) => suspects.map(({ instance }) => instance.instanceId)),
  );
  const results: SweepResult[] = [];
  for (const { region, listing, adopted, foreign, suspects } of looks) {
    const condemned = listing.complete ? await condemn(ports, mandate, { region, suspects }) : 0;
    results.push({ listed: listing.instances.length, complete: listing.complete, adopted, condemned, foreign });
  }
  if (failure !== null) throw failure;
  return results;
}

async function lookAt(ports: LoopPorts, region: string): Promise<Look> {
  const listing = await ports.cloud.listInstances(region, ports.owner);
  const ours = listing.instances.filter((instance) => ports.credentials.verifyToken(instance.clientToken) !== null);
  // Rows name their instances: what they show needs no proof. The token is asked for where an instance would be touched.
  const { changed } = await ports.sweeping.observe(region, listing);
  await ringFor(
    ports,
    changed.map((id) => ({ kind: 'machine' as const, id })),
  );
  const unbound = await ports.sweeping.findUnbound(ours);
  const adopted = await adopt(ports, unbound);
  if (listing.complete) ports.view.markListed(region, ports.clock.monotonicMs());
  const foreign = listing.instances.filter((instance) => isAlive(instance) && !ours.includes(instance));
  for (const instance of foreign) {
    if (!ports.view.isNewForeigner(instance.instanceId)) continue;
    ports.log.warn(
      { region, instanceId: instance.instanceId },
      'instance bears our owner tag without a token of ours; it is not touched',
    );
  }
  const suspects = unbound.filter(({ launch, rowEnded }) => rowEnded || launch?.state !== 'open');
  return { region, listing, adopted, foreign: foreign.length, suspects };
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
    for (const [attempt, late] of Map.groupBy(found, ({ launch }) => launch?.attempt ?? 0)) {
      if (late.every(({ launch }) => launch?.isCurrentAttempt === true)) continue;
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
  { region, suspects }: Pick<Look, 'region' | 'suspects'>,
): Promise<number> {
  const doomed: string[] = [];
  for (const { instance, rowEnded } of suspects) {
    const mark = await ports.sweeping.markSuspect(instance.instanceId, rowEnded ? 'row-ended' : 'no-row');
    if (mark.listings >= SUSPECT_LISTINGS_MIN && mark.ageMs >= SUSPECT_AGE_MS) doomed.push(instance.instanceId);
  }
  if (doomed.length === 0) return 0;
  if (doomed.length > MASS_KILL_MAX) {
    ports.log.error(
      { region, instances: doomed.length, limit: MASS_KILL_MAX },
      'too many orphans at once; none is ended, look before you act',
    );
    return 0;
  }
  if (mandate === null || !mandate.holds()) return 0;
  ports.log.warn({ region, instanceIds: doomed }, 'orphaned instances are terminated');
  return (await endInstances(ports, mandate, { region, instanceIds: doomed })) ? doomed.length : 0;
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
