import assert from 'node:assert/strict';
import {
  DescribeImagesCommand,
  DescribeInstanceTypesCommand,
  DescribeInstancesCommand,
  DescribeSpotInstanceRequestsCommand,
  DescribeSpotPriceHistoryCommand,
  DescribeSubnetsCommand,
  GetConsoleOutputCommand,
  RunInstancesCommand,
  StartInstancesCommand,
  StopInstancesCommand,
  TerminateInstancesCommand,
} from '@aws-sdk/client-ec2';
import type { DescribeSpotPriceHistoryCommandInput, EC2Client, Filter, SpotInstanceRequest } from '@aws-sdk/client-ec2';
import { AppError, describeError } from '../model/errors.ts';
import { OWNER_TAG } from '../model/launch.ts';
import type { InstanceType } from '../model/offering.ts';
import type { ClockTimes } from '../model/clock-times.ts';
import { DAY_MS } from '../model/time.ts';
import type { EpochMs } from '../model/time.ts';
import type { Clock } from '../ports/clock.ts';
import type {
  ImageFacts,
  InstanceListing,
  PowerOutcome,
  RunOutcome,
  RunRequest,
  SpotPrice,
  SubnetFacts,
  TerminateOutcome,
} from '../ports/cloud.ts';
import { readAwsFailure, toCloudError, toPowerOutcome, toRunOutcome } from './aws-errors.ts';
import { openCallGate, type CallGate } from './call-gate.ts';
import { DEFAULT_EC2_TIMEOUTS, SignDeadlineError, fenceSigning, openRegion, withDeadline } from './ec2-client.ts';
import type { Ec2Timeouts } from './ec2-client.ts';
import type { Log } from '../ports/log.ts';
import type { Ec2Cloud, Ec2CloudOptions } from './ec2.ts';
import {
  toCloudInstance,
  toImageFacts,
  toInstanceType,
  toLaunchedInstance,
  SPOT_MARKED,
  toInterruption,
  toSpotEnd,
  toSpotPrice,
  toSubnetFacts,
} from './facts.ts';
import { readPages } from './pages.ts';
import type { Page, PagedItems } from './pages.ts';
import { PAGES_MAX, wholeListing } from './whole-listing.ts';
import { openKeyPusher } from './instance-connect.ts';
import { toRunInput } from './run-input.ts';
import { USER_DATA_BYTES_MAX } from './user-data.ts';

const OWNER_PATTERN = /^[A-Za-z0-9._:/@=+-]{1,256}$/;

/** EC2's largest pages: 1,000, but 100 for instance types. */
const PAGE_SIZE = 1000;
const TYPE_PAGE_SIZE = 100;
const TERMINATE_IDS_MAX = 1000;
/** EC2 takes at most 200 values of a filter. */
const FILTER_VALUES_MAX = 200;
/** Types per price request, so that the request stays small and pages stay few. */
const PRICE_TYPES_MAX = 100;
/** How far back EC2 remembers spot prices. */
const SPOT_MEMORY_MS = 90 * DAY_MS;

interface Ec2Context {
  readonly clock: Clock;
  readonly timeouts: Ec2Timeouts;
  readonly logger: Pick<Log, 'warn'> | null;
  readonly gate: CallGate;
  readonly clientOf: (region: string) => EC2Client;
  readonly images: Map<string, ImageFacts>;
}

/** Behind `createEc2Cloud`; this file loads the SDK. */
export function openEc2Cloud(options: Ec2CloudOptions): Ec2Cloud {
  const timeouts = { ...DEFAULT_EC2_TIMEOUTS, ...options.timeouts };
  const regions = new Map<string, EC2Client>();
  const context: Ec2Context = {
    clock: options.clock,
    timeouts,
    logger: options.logger ?? null,
    gate: options.gate ?? openCallGate({ clock: options.clock }),
    clientOf: (region) => {
      const client = regions.get(region) ?? openRegion(region, timeouts);
      regions.set(region, client);
      return client;
    },
    images: new Map(),
  };
  const keyPusher = openKeyPusher(context);
  return {
    runInstances: (request) => runInstances(context, request),
    listInstances: (region, owner) => listInstances(context, region, owner),
    terminateInstances: (region, instanceIds, signBefore) =>
      terminateInstances(context, { region, instanceIds, signBefore: signBefore ?? null }),
    stopInstance: (region, instanceId) =>
      changePower(context, region, { command: new StopInstancesCommand({ InstanceIds: [instanceId] }) }),
    startInstance: (region, instanceId, signBefore) =>
      changePower(context, region, { command: new StartInstancesCommand({ InstanceIds: [instanceId] }), signBefore }),
    listSpotEnds: (region, instanceIds) => listSpotEnds(context, region, instanceIds),
    listInterruptions: (region, owner) => listInterruptions(context, region, owner),
    listInstanceTypes: (region) => listInstanceTypes(context, region),
    describeSubnets: (region, subnetIds) => describeSubnets(context, region, subnetIds),
    listSpotPrices: (region, instanceTypes, sinceMs) => listSpotPrices(context, { region, instanceTypes, sinceMs }),
    consoleOutput: (region, instanceId) => consoleOutput(context, region, instanceId),
    describeImages: (region, imageIds) => describeImages(context, region, imageIds),
    pushLoginKey: (region, key) => keyPusher.push(region, key),
    close: () => {
      keyPusher.close();
      for (const client of regions.values()) client.destroy();
      regions.clear();
    },
  };
}

async function runInstances(context: Ec2Context, request: RunRequest): Promise<RunOutcome> {
  const userDataBytes = Buffer.byteLength(request.userData, 'utf8');
  if (userDataBytes > USER_DATA_BYTES_MAX) {
    const message = `The user-data has ${userDataBytes} bytes; EC2 takes ${USER_DATA_BYTES_MAX}. Nothing was sent.`;
    return { kind: 'refused', errorClass: 'config', code: 'InvalidUserData.Malformed', message };
  }
  const command = new RunInstancesCommand(toRunInput(request));
  fenceSigning(command, context.clock, request.signBefore);
  try {
    const client = context.clientOf(request.region);
    const answer = await withDeadline(context.timeouts.callMs, (abortSignal) => client.send(command, { abortSignal }));
    const instances = (answer.Instances ?? []).map(toLaunchedInstance).filter((instance) => instance !== null);
    // A success without instances is an answer that was damaged on its way: EC2 gives at least MinCount.
    if (instances.length === 0) {
      return { kind: 'unknown', code: 'EmptyAnswer', message: 'EC2 answered without an instance.' };
    }
    return { kind: 'launched', instances };
  } catch (error) {
    // Nothing was sent. Not a refusal: only EC2's own word on a token lets another one follow, because the database may have forgotten a call of it.
    if (error instanceof SignDeadlineError) return { kind: 'throttled', code: error.name, message: error.message };
    return toRunOutcome(error);
  }
}

async function listInstances(context: Ec2Context, region: string, owner: string): Promise<InstanceListing> {
  // EC2 reads `*` and `?` in a filter as patterns: an owner with one would list what belongs to others.
  assert(OWNER_PATTERN.test(owner), `not a name of an owner: ${owner}`);
  const startedAtMs = context.clock.nowMs();
  const pages = await readAllPages(context, `list instances in ${region}`, async (NextToken) => {
    const input = { Filters: [{ Name: `tag:${OWNER_TAG}`, Values: [owner] }], MaxResults: PAGE_SIZE, NextToken };
    const answer = await read(context, [region, 'DescribeInstances'], (client, options) =>
      client.send(new DescribeInstancesCommand(input), options),
    );
    const items = (answer.Reservations ?? []).flatMap((reservation) => reservation.Instances ?? []);
    return { items, nextToken: answer.NextToken };
  });
  if (pages.stoppedBy !== null) {
    const { reason, error } = pages.stoppedBy;
    context.logger?.warn({ region, reason, error: describeError(error) }, 'the listing of instances is incomplete');
  }
  const instances = pages.items.map(toCloudInstance).filter((instance) => instance !== null);
  // One that cannot be read makes absence meaningless, just as a missing page does; so does one that came twice, for then a
  // page came twice, and perhaps in the place of another.
  const distinct = new Set(instances.map(({ instanceId }) => instanceId)).size;
  const complete = pages.stoppedBy === null && distinct === pages.items.length;
  return { instances, complete, startedAtMs };
}

async function terminateInstances(
  context: Ec2Context,
  {
    region,
    instanceIds,
    signBefore,
  }: { readonly region: string; readonly instanceIds: readonly string[]; readonly signBefore: ClockTimes | null },
): Promise<TerminateOutcome> {
  assert(instanceIds.length <= TERMINATE_IDS_MAX, 'EC2 terminates at most 1,000 instances in one call');
  if (instanceIds.length === 0) return { kind: 'accepted' };
  const command = new TerminateInstancesCommand({ InstanceIds: [...instanceIds] });
  if (signBefore !== null) fenceSigning(command, context.clock, signBefore);
  try {
    const client = context.clientOf(region);
    await withDeadline(context.timeouts.callMs, (abortSignal) => client.send(command, { abortSignal }));
    return { kind: 'accepted' };
  } catch (error) {
    if (error instanceof SignDeadlineError) return { kind: 'late' };
    const missing = readMissingIds(error, instanceIds);
    if (missing !== null) return { kind: 'not-found', instanceIds: missing };
    throw toCloudError(error, `terminate ${instanceIds.length} instances in ${region}`);
  }
}

async function changePower(
  { clock, timeouts, clientOf }: Ec2Context,
  region: string,
  {
    command,
    signBefore,
  }: { readonly command: StopInstancesCommand | StartInstancesCommand; readonly signBefore?: ClockTimes },
): Promise<PowerOutcome> {
  if (signBefore !== undefined) fenceSigning(command, clock, signBefore);
  try {
    const client = clientOf(region);
    await withDeadline(timeouts.callMs, async (abortSignal) =>
      command instanceof StopInstancesCommand
        ? await client.send(command, { abortSignal })
        : await client.send(command, { abortSignal }),
    );
    return { kind: 'accepted' };
  } catch (error) {
    // Nothing was sent, so that nothing came of it: the step looks at its row again.
    if (error instanceof SignDeadlineError) return { kind: 'unknown', code: error.name, message: error.message };
    return toPowerOutcome(error);
  }
}

/** The ids EC2 does not know, or null when the error is another one or names none of those asked for. */
function readMissingIds(error: unknown, asked: readonly string[]): readonly string[] | null {
  const failure = readAwsFailure(error);
  if (failure.code !== 'InvalidInstanceID.NotFound') return null;
  if (asked.length === 1) return asked;
  // The code decides what happened; which ids it concerns is said nowhere but in the text.
  const text = error instanceof Error ? error.message : '';
  const named = new Set(text.match(/\bi-[0-9a-f]{8,17}\b/g));
  const missing = asked.filter((id) => named.has(id));
  return missing.length === 0 ? null : missing;
}

async function listInstanceTypes(context: Ec2Context, region: string): Promise<readonly InstanceType[]> {
  const doing = `list instance types in ${region}`;
  const pages = await readAllPages(context, doing, async (NextToken) => {
    const answer = await read(context, [region, 'DescribeInstanceTypes'], (client, options) =>
      client.send(new DescribeInstanceTypesCommand({ MaxResults: TYPE_PAGE_SIZE, NextToken }), options),
    );
    return { items: answer.InstanceTypes ?? [], nextToken: answer.NextToken };
  });
  return wholeListing(pages, doing)
    .map(toInstanceType)
    .filter((type) => type !== null);
}

async function describeSubnets(
  context: Ec2Context,
  region: string,
  subnetIds: readonly string[],
): Promise<readonly SubnetFacts[]> {
  if (subnetIds.length === 0) return [];
  try {
    const answer = await read(context, [region, 'DescribeSubnets'], (client, options) =>
      client.send(new DescribeSubnetsCommand({ SubnetIds: [...subnetIds] }), options),
    );
    return (answer.Subnets ?? []).map(toSubnetFacts).filter((facts) => facts !== null);
  } catch (error) {
    throw toCloudError(error, `describe the subnets ${subnetIds.join(', ')} in ${region}`);
  }
}

async function listSpotPrices(
  context: Ec2Context,
  query: { readonly region: string; readonly instanceTypes: readonly string[]; readonly sinceMs: EpochMs },
): Promise<readonly SpotPrice[]> {
  const doing = `list spot prices in ${query.region}`;
  const sinceMs = Math.max(query.sinceMs, context.clock.nowMs() - SPOT_MEMORY_MS);
  const prices: SpotPrice[] = [];
  for (let from = 0; from < query.instanceTypes.length; from += PRICE_TYPES_MAX) {
    const types = query.instanceTypes.slice(from, from + PRICE_TYPES_MAX);
    const pages = await readAllPages(context, doing, async (NextToken) => {
      const input = {
        // The SDK's list of types is as old as the SDK; a policy may name newer ones.
        InstanceTypes: types as NonNullable<DescribeSpotPriceHistoryCommandInput['InstanceTypes']>,
        ProductDescriptions: ['Linux/UNIX'],
        StartTime: new Date(sinceMs),
        MaxResults: PAGE_SIZE,
        NextToken,
      };
      const answer = await read(context, [query.region, 'DescribeSpotPriceHistory'], (client, options) =>
        client.send(new DescribeSpotPriceHistoryCommand(input), options),
      );
      return { items: answer.SpotPriceHistory ?? [], nextToken: answer.NextToken };
    });
    for (const price of wholeListing(pages, doing).map(toSpotPrice)) if (price !== null) prices.push(price);
  }
  return prices;
}

async function listSpotEnds(
  context: Ec2Context,
  region: string,
  instanceIds: readonly string[],
): Promise<ReadonlyMap<string, EpochMs>> {
  const ends: (readonly [string, EpochMs])[] = [];
  for (let from = 0; from < instanceIds.length; from += FILTER_VALUES_MAX) {
    const Values = instanceIds.slice(from, from + FILTER_VALUES_MAX);
    const requests = await listSpotRequests(context, region, [{ Name: 'instance-id', Values }]);
    for (const end of requests.map(toSpotEnd)) if (end !== null) ends.push(end);
  }
  return new Map(ends);
}

async function listInterruptions(
  context: Ec2Context,
  region: string,
  owner: string,
): Promise<ReadonlyMap<string, EpochMs>> {
  assert(OWNER_PATTERN.test(owner), `not a name of an owner: ${owner}`);
  const ours = { Name: `tag:${OWNER_TAG}`, Values: [owner] };
  const requests = await listSpotRequests(context, region, [ours, { Name: 'status-code', Values: [SPOT_MARKED] }]);
  return new Map(requests.map(toInterruption).filter((marked) => marked !== null));
}

async function listSpotRequests(
  context: Ec2Context,
  region: string,
  Filters: Filter[],
): Promise<readonly SpotInstanceRequest[]> {
  const doing = `list spot requests in ${region}`;
  const pages = await readAllPages(context, doing, async (NextToken) => {
    const input = { Filters, MaxResults: PAGE_SIZE, NextToken };
    const answer = await read(context, [region, 'DescribeSpotInstanceRequests'], (client, options) =>
      client.send(new DescribeSpotInstanceRequestsCommand(input), options),
    );
    return { items: answer.SpotInstanceRequests ?? [], nextToken: answer.NextToken };
  });
  return wholeListing(pages, doing);
}

async function consoleOutput(context: Ec2Context, region: string, instanceId: string): Promise<string | null> {
  try {
    const answer = await read(context, [region, 'GetConsoleOutput'], (client, options) =>
      client.send(new GetConsoleOutputCommand({ InstanceId: instanceId }), options),
    );
    const text = Buffer.from(answer.Output ?? '', 'base64').toString('utf8');
    return text === '' ? null : text;
  } catch (error) {
    // EC2 may not know a young instance yet, nor an old one any more.
    if (readAwsFailure(error).code === 'InvalidInstanceID.NotFound') return null;
    throw toCloudError(error, `give the console output of ${instanceId}`);
  }
}

async function describeImages(
  context: Ec2Context,
  region: string,
  imageIds: readonly string[],
): Promise<readonly ImageFacts[]> {
  const unknown = imageIds.filter((id) => !context.images.has(`${region}/${id}`));
  if (unknown.length > 0) {
    const doing = `describe the images ${unknown.join(', ')} in ${region}`;
    const answer = await read(context, [region, 'DescribeImages'], (client, options) =>
      client.send(new DescribeImagesCommand({ ImageIds: unknown }), options),
    ).catch((error: unknown) => {
      throw toCloudError(error, doing);
    });
    for (const facts of (answer.Images ?? []).map(toImageFacts)) {
      if (facts !== null) context.images.set(`${region}/${facts.imageId}`, facts);
    }
  }
  return imageIds.map((id) => context.images.get(`${region}/${id}`) ?? missingImage(id, region));
}

function missingImage(imageId: string, region: string): never {
  throw new AppError('AWS_CONFIG', `EC2 in ${region} has no image ${imageId} that boots on x86_64 or arm64.`, {
    remedy: `Check with \`aws ec2 describe-images --region ${region} --image-ids ${imageId}\` and correct the policy.`,
  });
}

type Send<T> = (client: EC2Client, options: { readonly abortSignal: AbortSignal }) => Promise<T>;

/** One page of anything that changes nothing: by way of the gate, within the deadline of a call. */
function read<T>(
  { gate, timeouts, clientOf }: Ec2Context,
  [region, action]: readonly [region: string, action: string],
  send: Send<T>,
): Promise<T> {
  return gate.read({ region, action, deadlineMs: timeouts.callMs }, (leftMs) =>
    withDeadline(leftMs, (abortSignal) => send(clientOf(region), { abortSignal })),
  );
}

async function readAllPages<T>(
  context: Ec2Context,
  doing: string,
  readPage: (nextToken: string | undefined) => Promise<Page<T>>,
): Promise<PagedItems<T>> {
  const { clock, timeouts } = context;
  const bounds = {
    pagesMax: PAGES_MAX,
    deadlineMonotonicMs: clock.monotonicMs() + timeouts.listMs,
    monotonicMs: () => clock.monotonicMs(),
  };
  try {
    return await readPages(readPage, bounds);
  } catch (error) {
    throw toCloudError(error, doing);
  }
}
