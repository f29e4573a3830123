import { isId, type LaunchId, type PlanId, type TraceId } from '../model/ids.ts';
import type { LaunchBody } from '../model/launch.ts';
import type { InstanceType } from '../model/offering.ts';
import type { WorkloadPolicy } from '../model/policy.ts';
import { NO_RESOURCES } from '../model/resources.ts';
import type { RebuiltLaunch } from '../ports/memory.ts';
import type { UnboundInstance } from '../ports/sweeping.ts';
import type { Mandate } from './lead.ts';
import type { LoopPorts } from './ports.ts';
import { declareAmnesia } from './recollection.ts';
import { ringFor } from './ring.ts';
import type { Look } from './sweep.ts';

/** Named as evidence; the log of the rebuilding has all. */
const EVIDENCE_MAX = 10;
/** Instances whose workload tag was taken away belong to this one, which has no policy. */
const UNKNOWN_WORKLOAD = 'unknown';

/** Zeros are no trace id. */
const TRACE_ID = /^(?!0{32})[0-9a-f]{32}$/;
const TRACE_ID_BYTES = 16;

/**
 * EC2 as a witness: the intent of a launch, and each attempt of it, is committed before its call, so that what no row knows was
 * forgotten.
 */
export async function declareUnknown(ports: LoopPorts, looks: readonly Look[]): Promise<void> {
  const unknown = looks.flatMap(({ unbound }) =>
    unbound.filter((one) => (one.launch === null && !one.rowEnded) || isOfLostAttempt(one)),
  );
  if (unknown.length === 0) return;
  const instanceIds = unknown.slice(0, EVIDENCE_MAX).map(({ instance }) => instance.instanceId);
  const evidence = { instances: unknown.length, instanceIds };
  await declareAmnesia(ports, { reason: 'unknown-launch', evidence });
}

function isOfLostAttempt({ launch, attempt, rowEnded }: UnboundInstance): boolean {
  return launch !== null && !rowEnded && attempt > launch.currentAttempt;
}

/** True when no row can take the instance by itself: no launch is known, it is over, or its newest attempt was lost. */
function isLost(one: UnboundInstance): boolean {
  // An ended row's instance is no news of a lost commit; it waits until the sweeper may judge again.
  return !one.rowEnded && (one.launch?.state !== 'open' || isOfLostAttempt(one));
}

/**
 * One turn of getting the memory back: rows for every instance of ours that none names, then, when all regions were listed
 * completely, one more listing towards the end of the amnesia. Only the leader writes.
 */
export async function recover(
  ports: LoopPorts,
  mandate: Mandate | null,
  { looks, isWhole }: { readonly looks: readonly Look[]; readonly isWhole: boolean },
): Promise<void> {
  if (mandate === null || !mandate.holds()) return;
  let clean = isWhole && looks.every(({ listing }) => listing.complete);
  for (const look of looks) {
    const lost = look.unbound.filter(isLost);
    if (lost.length > 0) {
      clean = false;
      await rebuild(ports, mandate, look, lost);
    }
    if (await repeatLostCalls(ports, look)) clean = false;
  }
  if (looks.length === 0) return;
  const startedAtMs = Math.min(...looks.map(({ listing }) => listing.startedAtMs));
  if (!mandate.holds()) return;
  const over = await ports.memory.noteListing(mandate.lease, { clean, startedAtMs });
  if (over === null) return;
  const { reason, rebuilt, sinceMs } = over;
  ports.log.info({ reason, rebuilt, since: new Date(sinceMs).toISOString() }, 'the rows are rebuilt; deciding goes on');
}

/** Instances of an open attempt prove a call whose row was lost. Noted, the launch repeats its token and binds them. */
async function repeatLostCalls(ports: LoopPorts, { unbound }: Look): Promise<boolean> {
  const open = new Set(
    unbound.flatMap(({ launch, attempt }) =>
      launch?.state === 'open' && attempt === launch.currentAttempt ? [launch.id] : [],
    ),
  );
  for (const id of open) await ports.memory.noteLostCall(id);
  await ringFor(
    ports,
    [...open].map((id) => ({ kind: 'launch' as const, id })),
  );
  return open.size > 0;
}

async function rebuild(
  ports: LoopPorts,
  mandate: Mandate,
  look: Look,
  lost: readonly UnboundInstance[],
): Promise<void> {
  const types = await readTypes(ports, look.region);
  const planOf = planIds(ports);
  // The newest attempt of a launch first: it is the one that the launch's row shows.
  const newestFirst = [...lost].sort((a, b) => b.attempt - a.attempt);
  const launches: RebuiltLaunch[] = [];
  for (const group of Map.groupBy(newestFirst, ({ instance }) => instance.clientToken).values()) {
    launches.push({ ...planOf(group), ...(await describeLaunch(ports, look, group, types)) });
  }
  if (!mandate.holds()) return;
  const made = await ports.memory.rebuild(mandate.lease, launches);
  if (made === null) return;
  ports.log.warn(
    {
      region: look.region,
      planIds: [...new Set(launches.map(({ planId }) => planId))],
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

type PlanOfGroup = (group: readonly UnboundInstance[]) => Pick<RebuiltLaunch, 'planId' | 'traceId'>;

/** One plan for all launches of one trace, so that the trace leads on from our tags to the rows made anew. */
function planIds(ports: LoopPorts): PlanOfGroup {
  const untagged: TraceId = ports.ids.hex(TRACE_ID_BYTES);
  const made = new Map<TraceId, PlanId>();
  return ([first]) => {
    const tagged = first?.instance.tags['spillway:trace'] ?? '';
    const traceId = TRACE_ID.test(tagged) ? tagged : untagged;
    const planId = made.get(traceId) ?? ports.ids.next('pl');
    made.set(traceId, planId);
    return { planId, traceId };
  };
}

async function readTypes(ports: LoopPorts, region: string): Promise<ReadonlyMap<string, InstanceType>> {
  const types = await ports.cloud.listInstanceTypes(region);
  return new Map(types.map((type) => [type.name, type]));
}

/** One attempt of a launch from what EC2 tells of its instances, our own tags, and the policy for what neither tells. */
async function describeLaunch(
  ports: LoopPorts,
  { region, listing }: Look,
  group: readonly UnboundInstance[],
  types: ReadonlyMap<string, InstanceType>,
): Promise<Omit<RebuiltLaunch, 'planId' | 'traceId'>> {
  const [first] = group;
  if (first === undefined) throw new Error('bug: a launch without instances');
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
    body: describeBody(region, { instance, count: group.length }, policy),
    zone: instance.zone,
    priceUsdPerHour: readNumber(tags['spillway:price']) ?? (await guessPrice(ports, first, policy)),
    ...hardwareOf(types.get(instance.instanceType)),
    machines: group.map((one) => ({ id: ports.ids.next('mc'), instance: one.instance })),
    listedAtMs: listing.startedAtMs,
  };
}

/** Of a type that the region tells nothing of any more the agent's own report counts, as soon as there is one. */
function hardwareOf(type: InstanceType | undefined): Pick<RebuiltLaunch, 'resources' | 'arch'> {
  return type === undefined
    ? { resources: NO_RESOURCES, arch: null }
    : { resources: type.resources, arch: type.architecture };
}

/** No call will be made of it: EC2 has acted upon the launch already. What only a call needs is left empty. */
function describeBody(
  region: string,
  { instance, count }: Pick<UnboundInstance, 'instance'> & { readonly count: number },
  policy: WorkloadPolicy | null,
): LaunchBody {
  return {
    region,
    ...instance.origin,
    instanceType: instance.instanceType,
    market: instance.market,
    count,
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
