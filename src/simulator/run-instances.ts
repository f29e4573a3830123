import assert from 'node:assert/strict';
import type { Reservation, RunInstancesRequest } from '@aws-sdk/client-ec2';
import { nanoUsdFromDecimal } from '../model/money.ts';
import type { EpochMs } from '../model/time.ts';
import { Ec2Error } from './ec2-error.ts';
import type { AuthorizationRequest } from './iam.ts';
import { renderReservation } from './instance-shape.ts';
import type { SimulatedInstance, SpotRequest } from './life.ts';
import { newLife, stateAt } from './life.ts';
import { fingerprint } from './listing.ts';
import type { RegionState, TokenRecord } from './region-state.ts';
import { arnOf, authorize, endDryRun, iamContext, listAlive, newEc2Id, profileArn } from './region-state.ts';
import type { RunRequest, TaggedKind } from './run-request.ts';
import { readRunRequest } from './run-request.ts';
import { spotPriceAt } from './spot-prices.ts';
import { FIRST_ADDRESS, SIMULATED_ACCOUNT, SLOT_ADDRESSES, SLOT_ADDRESSES_USABLE } from './world.ts';

export function runInstances(state: RegionState, input: RunInstancesRequest): Reservation {
  const nowMs = state.clock.nowMs();
  const request = readRunRequest(state, input);
  authorize(state, authorizationsOf(state, request));
  endDryRun(input.DryRun);
  const { DryRun: _, ClientToken: __, ...parameters } = input;
  const scope = `${request.isZonal ? request.subnet.zone : state.settings.region}|${request.clientToken}`;
  const known = request.clientToken === '' ? undefined : state.tokens.get(scope);
  if (known !== undefined) return replay(state, known, { fingerprint: fingerprint(parameters), nowMs });

  requireSpotPrice(state, request, nowMs);
  const count = countToGive(state, request, nowMs);
  const reservationId = newEc2Id(state, 'r');
  const instances = Array.from({ length: count }, (_, launchIndex) =>
    makeInstance(state, request, { reservationId, launchIndex, nowMs }),
  );
  for (const instance of instances) {
    state.instances.set(instance.instanceId, instance);
    state.living.set(instance.instanceId, instance);
    state.describable.set(instance.instanceId, instance);
  }
  if (request.clientToken !== '') {
    const instanceIds = instances.map(({ instanceId }) => instanceId);
    state.tokens.set(scope, { fingerprint: fingerprint(parameters), reservationId, instanceIds });
  }
  return renderReservation(instances, nowMs);
}

/** The same token again: the same answer, unless the request differs or nothing of the answer is alive. */
function replay(state: RegionState, known: TokenRecord, now: { fingerprint: string; nowMs: EpochMs }): Reservation {
  if (known.fingerprint !== now.fingerprint) {
    throw new Ec2Error(
      'IdempotentParameterMismatch',
      'Arguments on this idempotent request are inconsistent with arguments used in previous request(s).',
    );
  }
  const instances = known.instanceIds.map((instanceId) => {
    const instance = state.instances.get(instanceId);
    assert(instance !== undefined, `token names an instance that never was: ${instanceId}`);
    return instance;
  });
  if (instances.every((instance) => stateAt(instance, now.nowMs) === 'terminated')) {
    throw new Ec2Error(
      'IdempotentInstanceTerminated',
      'The client token you have provided is associated with a resource that has already been terminated.',
    );
  }
  return renderReservation(instances, now.nowMs);
}

function requireSpotPrice(state: RegionState, { market, maxPrice, type, subnet }: RunRequest, nowMs: EpochMs): void {
  if (market !== 'spot' || maxPrice === null) return;
  if (nanoUsdFromDecimal(maxPrice) < spotPriceAt(state.settings.seed, type, subnet.zone, nowMs)) {
    throw new Ec2Error(
      'SpotMaxPriceTooLow',
      `Your Spot request price of ${maxPrice} is lower than the minimum required Spot price.`,
    );
  }
}

/** As many as MaxCount if there is room, fewer down to MinCount, else the error that says what there is no room in. */
function countToGive(state: RegionState, request: RunRequest, nowMs: EpochMs): number {
  const { type, subnet, market, least, most } = request;
  const alive = listAlive(state, nowMs);
  if (state.instances.size + most > state.settings.instancesEverMax) {
    throw new Ec2Error(
      'InstanceLimitExceeded',
      `This region makes at most ${state.settings.instancesEverMax} instances in its life`,
    );
  }
  const byQuota = roomInQuota(state, type, { alive, least });
  const addressesUsed = [...state.living.values()].filter(
    (instance) => instance.subnet.subnetId === subnet.subnetId,
  ).length;
  const byAddress = SLOT_ADDRESSES_USABLE - addressesUsed;
  if (byAddress < least) {
    throw new Ec2Error(
      'InsufficientFreeAddressesInSubnet',
      `There are not enough free addresses in subnet '${subnet.subnetId}'.`,
    );
  }
  const byCapacity = roomInCapacity(state, { type, subnet, market }, { alive, nowMs });
  const byPartial = state.faults.takePartial() ?? Infinity;
  if (Math.min(byCapacity, byPartial) < least) throw noCapacity({ type, subnet });
  return Math.min(most, byQuota, byAddress, byCapacity, byPartial);
}

type Placed = Pick<SimulatedInstance, 'type' | 'subnet' | 'market'>;

/** How many more of a type the quota on vCPUs allows; throws when that is less than `least`. */
export function roomInQuota(
  { settings: { vcpusMax } }: RegionState,
  type: SimulatedInstance['type'],
  { alive, least }: { readonly alive: readonly SimulatedInstance[]; readonly least: number },
): number {
  const vcpusUsed = alive.reduce((sum, instance) => sum + instance.type.vcpus, 0);
  const byQuota = Math.floor((vcpusMax - vcpusUsed) / type.vcpus);
  if (byQuota >= least) return byQuota;
  throw new Ec2Error(
    'VcpuLimitExceeded',
    `You have requested more vCPU capacity than your current vCPU limit of ${vcpusMax} allows for the ` +
      'instance bucket that the specified instance type belongs to.',
  );
}

/** How many more of an offering EC2 has now. */
export function roomInCapacity(
  { faults }: RegionState,
  { type, subnet: { zone }, market }: Placed,
  { alive, nowMs }: { readonly alive: readonly SimulatedInstance[]; readonly nowMs: EpochMs },
): number {
  const rule = faults.capacityOf({ instanceType: type.name, zone, market }, nowMs);
  if (rule === null) return Infinity;
  const same = alive.filter((one) => one.type.name === type.name && one.subnet.zone === zone && one.market === market);
  return rule.instancesMax - same.length;
}

export function noCapacity({ type, subnet }: Pick<Placed, 'type' | 'subnet'>): Ec2Error {
  return new Ec2Error(
    'InsufficientInstanceCapacity',
    `We currently do not have sufficient ${type.name} capacity in the Availability Zone you requested (${subnet.zone}).`,
  );
}

interface Making {
  readonly reservationId: string;
  readonly launchIndex: number;
  readonly nowMs: EpochMs;
}

function makeInstance(
  state: RegionState,
  request: RunRequest,
  { reservationId, launchIndex, nowMs }: Making,
): SimulatedInstance {
  const { settings } = state;
  const startFailure = state.faults.takeStartFailure();
  const ordinal = state.instances.size + launchIndex;
  return {
    instanceId: newEc2Id(state, 'i'),
    reservationId,
    ordinal,
    launchIndex,
    type: request.type,
    image: request.image,
    subnet: request.subnet,
    market: request.market,
    clientToken: request.clientToken,
    securityGroupIds: request.securityGroupIds,
    profileName: request.profileName,
    userData: request.userData,
    shutdownBehavior: request.shutdownBehavior,
    httpTokens: request.httpTokens,
    hopLimit: request.hopLimit,
    spotRequest: request.market === 'spot' ? makeSpotRequest(state, request) : null,
    tags: new Map(tagsFor(request, 'instance')),
    interfaceTags: tagsFor(request, 'network-interface'),
    volumes: request.volumes.map((volume) => ({
      ...volume,
      volumeId: newEc2Id(state, 'vol'),
      tags: tagsFor(request, 'volume'),
    })),
    interfaceId: newEc2Id(state, 'eni'),
    privateIp: takeAddress(state, request),
    // TEST-NET-2: an address that looks public and leads nowhere.
    publicIp: request.hasPublicIp ? `198.51.100.${(ordinal % 254) + 1}` : null,
    launchedAtMs: nowMs,
    visibleAtMs: nowMs + settings.listLagMs,
    startFailure,
    steps: newLife({
      launchedAtMs: nowMs,
      pendingMs: settings.pendingMs,
      bootMs: settings.bootMs,
      failsToStart: startFailure !== null,
    }),
    announced: 0,
    consoleText: '',
  };
}

function tagsFor(request: RunRequest, kind: TaggedKind): ReadonlyMap<string, string> {
  return request.tags.get(kind) ?? new Map();
}

function makeSpotRequest(state: RegionState, request: RunRequest): SpotRequest {
  return {
    requestId: newEc2Id(state, 'sir', 8),
    tags: tagsFor(request, 'spot-instances-request'),
    maxPrice: request.maxPrice,
  };
}

/** The next address of the slot that no living instance has; addresses come back, as private addresses do. */
function takeAddress(state: RegionState, { subnet }: RunRequest): string {
  for (let tries = 0; tries < SLOT_ADDRESSES; tries += 1) {
    const next = state.nextAddress.get(subnet.subnetId) ?? FIRST_ADDRESS;
    const following = next + 1 < SLOT_ADDRESSES ? next + 1 : FIRST_ADDRESS;
    state.nextAddress.set(subnet.subnetId, following);
    const host = state.settings.addressSlot * SLOT_ADDRESSES + next;
    const address = `${subnet.network}.${host >> 8}.${host & 255}`;
    const isPlain = (host & 255) !== 0 && (host & 255) !== 255;
    if (!isPlain || state.addresses.has(address)) continue;
    state.addresses.add(address);
    return address;
  }
  assert.fail(`no address in ${subnet.subnetId}, though the launch was counted against them`);
}

/** EC2 asks IAM once per resource the launch touches or makes, once per tagged kind, and once for the role it passes on. */
function authorizationsOf(state: RegionState, request: RunRequest): AuthorizationRequest[] {
  const inputs = [
    `image/${request.image.imageId}`,
    `subnet/${request.subnet.subnetId}`,
    ...request.securityGroupIds.map((group) => `security-group/${group}`),
  ];
  const made: TaggedKind[] = ['instance', 'volume', 'network-interface'];
  if (request.market === 'spot') made.push('spot-instances-request');
  const runOn = (resource: string, context: AuthorizationRequest['context']): AuthorizationRequest => ({
    action: 'ec2:RunInstances',
    resource: arnOf(state, resource),
    context,
  });
  const requests = inputs.map((resource) => runOn(resource, new Map()));
  for (const kind of made) {
    const tags = tagContext(tagsFor(request, kind));
    requests.push(runOn(`${kind}/*`, kind === 'instance' ? new Map([...tags, ...launchContext(request)]) : tags));
    if (request.tags.has(kind)) {
      const context = new Map([...tags, ...iamContext({ 'ec2:CreateAction': 'RunInstances' })]);
      requests.push({ action: 'ec2:CreateTags', resource: arnOf(state, `${kind}/*`), context });
    }
  }
  if (request.profileName !== null) {
    requests.push({
      action: 'iam:PassRole',
      resource: `arn:aws:iam::${SIMULATED_ACCOUNT}:role/${request.profileName}`,
      context: iamContext({ 'iam:PassedToService': 'ec2.amazonaws.com' }),
    });
  }
  return requests;
}

function tagContext(tags: ReadonlyMap<string, string>): Map<string, readonly string[]> {
  const named = Object.fromEntries([...tags].map(([key, value]) => [`aws:RequestTag/${key}`, value]));
  return iamContext({ ...named, ...(tags.size === 0 ? {} : { 'aws:TagKeys': [...tags.keys()] }) });
}

function launchContext(request: RunRequest): Map<string, readonly string[]> {
  return iamContext({
    'ec2:InstanceType': request.type.name,
    'ec2:InstanceMarketType': request.market,
    'ec2:MetadataHttpTokens': request.httpTokens,
    'ec2:MetadataHttpPutResponseHopLimit': String(request.hopLimit),
    ...(request.profileName === null ? {} : { 'ec2:InstanceProfile': profileArn(request.profileName) }),
  });
}
