import { isId, type LaunchId, type PlanId } from '../model/ids.ts';
import type { LaunchBody } from '../model/launch.ts';
import type { WorkloadPolicy } from '../model/policy.ts';
import type { Resources } from '../model/resources.ts';
import type { Lease } from '../ports/leadership.ts';
import type { RebuiltLaunch } from '../ports/memory.ts';
import type { UnboundInstance } from '../ports/sweeping.ts';
import type { LoopPorts } from './ports.ts';
import { declareAmnesia } from './recollection.ts';
import { ringFor } from './ring.ts';
import type { Look } from './sweep.ts';

/** Named as evidence; the log of the rebuilding has all. */
const EVIDENCE_MAX = 10;
/** Instances whose workload tag was taken away belong to this one, which has no policy. */
const UNKNOWN_WORKLOAD = 'unknown';

/** EC2 as a witness: the intent of a launch is committed before its call, so that a launch no row knows was forgotten. */
export async function declareUnknown(ports: LoopPorts, looks: readonly Look[]): Promise<void> {
  const unknown = looks.flatMap(({ unbound }) =>
    unbound.filter(({ launch, rowEnded }) => launch === null && !rowEnded),
  );
  if (unknown.length === 0) return;
  const instanceIds = unknown.slice(0, EVIDENCE_MAX).map(({ instance }) => instance.instanceId);
  const evidence = { instances: unknown.length, instanceIds };
  await declareAmnesia(ports, { reason: 'unknown-launch', evidence });
}

/**
 * One turn of getting the memory back: rows for every instance of ours that none names, then, when all regions were listed
 * completely, one more listing towards the end of the amnesia. Only the leader writes.
 */
export async function recover(
  ports: LoopPorts,
  looks: readonly Look[],
  { isWhole }: { readonly isWhole: boolean },
): Promise<void> {
  const lease = await ports.leadership.acquire(ports.holder, ports.leaseTtlMs);
  if (lease === null) return;
  let clean = isWhole && looks.every(({ listing }) => listing.complete);
  for (const look of looks) {
    // An ended row's instance is no news of a lost commit; it waits until the sweeper may judge again.
    const lost = look.unbound.filter(({ launch, rowEnded }) => !rowEnded && launch?.state !== 'open');
    if (lost.length > 0) {
      clean = false;
      await rebuild(ports, lease, look, lost);
    }
    if (await repeatLostCalls(ports, look)) clean = false;
  }
  const startedAtMs = Math.min(...looks.map(({ listing }) => listing.startedAtMs), ports.clock.nowMs());
  const over = await ports.memory.noteListing(lease, { clean, startedAtMs });
  if (over === null) return;
  const { reason, rebuilt, sinceMs } = over;
  ports.log.info({ reason, rebuilt, since: new Date(sinceMs).toISOString() }, 'the rows are rebuilt; deciding goes on');
}

/** Instances of an open launch prove a call whose row was lost. Noted, the launch repeats its token and binds them. */
async function repeatLostCalls(ports: LoopPorts, { unbound }: Look): Promise<boolean> {
  const open = new Set(unbound.flatMap(({ launch }) => (launch?.state === 'open' ? [launch.id] : [])));
  for (const id of open) await ports.memory.noteLostCall(id);
  await ringFor(
    ports,
    [...open].map((id) => ({ kind: 'launch' as const, id })),
  );
  return open.size > 0;
}

async function rebuild(ports: LoopPorts, lease: Lease, look: Look, lost: readonly UnboundInstance[]): Promise<void> {
  const resources = await readResources(ports, look.region);
  const launches: RebuiltLaunch[] = [];
  for (const group of Map.groupBy(lost, ({ nonce }) => nonce).values()) {
    launches.push(await describeLaunch(ports, look, group, resources));
  }
  const planId: PlanId = ports.ids.next('pl');
  const made = await ports.memory.rebuild(lease, planId, launches);
  if (made === null) return;
  ports.log.warn(
    {
      region: look.region,
      planId,
      machines: made.length,
      instanceIds: lost.map(({ instance }) => instance.instanceId),
    },
    'rows of instances were lost and are rebuilt',
  );
  await ringFor(
    ports,
    made.map((id) => ({ kind: 'machine' as const, id })),
  );
}

async function readResources(ports: LoopPorts, region: string): Promise<ReadonlyMap<string, Resources>> {
  const types = await ports.cloud.listInstanceTypes(region);
  return new Map(types.map(({ name, resources }) => [name, resources]));
}

/** A launch from what EC2 tells of its instances, our own tags, and the policy for what neither tells. */
async function describeLaunch(
  ports: LoopPorts,
  { region, listing }: Look,
  group: readonly UnboundInstance[],
  resources: ReadonlyMap<string, Resources>,
): Promise<RebuiltLaunch> {
  const first = group.reduce((newest, one) => (one.attempt > newest.attempt ? one : newest));
  const { instance } = first;
  const { tags } = instance;
  const workload = tags['spillway:workload'] ?? UNKNOWN_WORKLOAD;
  const policy = (await ports.planning.readPolicy(workload))?.policy ?? null;
  const spareId: LaunchId = ports.ids.next('ln');
  const tagged = tags['spillway:launch'] ?? '';
  return {
    id: isId('ln', tagged) ? tagged : spareId,
    spareId,
    workload,
    nonce: first.nonce,
    attempt: first.attempt,
    token: instance.clientToken,
    body: describeBody(region, group, policy),
    zone: instance.zone,
    priceUsdPerHour: readNumber(tags['spillway:price']) ?? (await guessPrice(ports, first, policy)),
    // A type that the region tells nothing of any more: its agent's own report counts, as soon as there is one.
    resources: resources.get(instance.instanceType) ?? { cpuMilli: 0, memoryMib: 0 },
    machines: group.map((one) => ({ id: ports.ids.next('mc'), instance: one.instance })),
    listedAtMs: listing.startedAtMs,
  };
}

/** No call will be made of it: EC2 has acted upon the launch already. What only a call needs is left empty. */
function describeBody(region: string, group: readonly UnboundInstance[], policy: WorkloadPolicy | null): LaunchBody {
  const [first] = group;
  if (first === undefined) throw new Error('bug: a launch without instances');
  const { instance } = first;
  return {
    region,
    ...instance.origin,
    instanceType: instance.instanceType,
    market: instance.market,
    count: group.length,
    volumeGib: readNumber(instance.tags['spillway:volume']) ?? policy?.burst.volumeGib ?? 0,
    tags: instance.tags,
    sshUser: policy?.join.ssh.user ?? '',
    authorizedKey: '',
    userDataSha256: '',
  };
}

/** For instances of versions that did not tag the price: what the same offering costs now. */
async function guessPrice(
  ports: LoopPorts,
  { instance }: UnboundInstance,
  policy: WorkloadPolicy | null,
): Promise<number> {
  const offerings = policy === null ? null : await ports.offerings.list(policy);
  const same = offerings?.find(
    ({ instanceType, zone, market }) =>
      instanceType.name === instance.instanceType && zone === instance.zone && market === instance.market,
  );
  if (same !== undefined) return same.priceUsdPerHour;
  ports.log.error(
    { instanceId: instance.instanceId },
    'the price of a rebuilt machine is not known; it is charged as 0',
  );
  return 0;
}

/** A tag may have been edited: what is no sensible number is not there. */
function readNumber(text: string | undefined): number | null {
  if (text === undefined || !/^\d{1,6}(?:\.\d{1,6})?$/.test(text)) return null;
  return Number(text);
}
