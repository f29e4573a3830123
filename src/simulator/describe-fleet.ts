/** The calls that read or end instances. */
import type {
  CreateTagsRequest,
  DescribeInstancesRequest,
  DescribeInstancesResult,
  DescribeInstanceStatusRequest,
  DescribeInstanceStatusResult,
  DescribeSpotInstanceRequestsRequest,
  DescribeSpotInstanceRequestsResult,
  GetConsoleOutputRequest,
  GetConsoleOutputResult,
  TerminateInstancesRequest,
  TerminateInstancesResult,
} from '@aws-sdk/client-ec2';
import type { EpochMs } from '../model/time.ts';
import { Ec2Error } from './ec2-error.ts';
import { renderReservation, renderSpotRequest, renderState } from './instance-shape.ts';
import type { SimulatedInstance } from './life.ts';
import { endLife, runAt, stateAt } from './life.ts';
import type { FilterTable } from './listing.ts';
import { applyFilters, takePage } from './listing.ts';
import type { RegionState } from './region-state.ts';
import {
  arnOf,
  authorize,
  authorizeOnInstances,
  authorizeRead,
  endDryRun,
  iamContext,
  resourceContext,
} from './region-state.ts';
import { readTags } from './run-request.ts';
import { SIMULATED_VPC } from './world.ts';

/** EC2's limits: ids in one TerminateInstances, items on one page, resources in one CreateTags. */
const TERMINATE_IDS_MAX = 1000;
const PAGE_RANGE = [5, 1000] as const;
const TAGGED_RESOURCES_MAX = 1000;

type View = { readonly instance: SimulatedInstance; readonly atMs: EpochMs };

/** Identity of a terminated instance stays; what it gave back no longer matches, as at EC2. */
const whileItLasts = (read: (instance: SimulatedInstance) => string) => (view: View) =>
  stateAt(view.instance, view.atMs) === 'terminated' ? [] : [read(view.instance)];

const INSTANCE_FILTERS: FilterTable<View> = {
  'availability-zone': ({ instance }) => [instance.subnet.zone],
  'client-token': ({ instance }) => [instance.clientToken],
  'image-id': ({ instance }) => [instance.image.imageId],
  'instance-id': ({ instance }) => [instance.instanceId],
  'instance-lifecycle': ({ instance }) => (instance.market === 'spot' ? ['spot'] : []),
  'instance-state-name': ({ instance, atMs }) => [stateAt(instance, atMs)],
  'instance-type': ({ instance }) => [instance.type.name],
  'private-ip-address': whileItLasts((instance) => instance.privateIp),
  'reservation-id': ({ instance }) => [instance.reservationId],
  'spot-instance-request-id': ({ instance }) => (instance.spotRequest === null ? [] : [instance.spotRequest.requestId]),
  'subnet-id': whileItLasts((instance) => instance.subnet.subnetId),
  'vpc-id': whileItLasts(() => SIMULATED_VPC),
};
const INSTANCE_FILTER_OPTIONS = { table: INSTANCE_FILTERS, tagsOf: (view: View) => view.instance.tags };

/** What listings show now: new instances come late, states lag, and the terminated fade after their hour. */
function listViews(state: RegionState): View[] {
  const nowMs = state.clock.nowMs();
  const viewMs = nowMs - state.settings.stateLagMs;
  return [...state.describable.values()]
    .filter((instance) => instance.visibleAtMs <= nowMs)
    .map((instance) => ({ instance, atMs: viewMs }));
}

function refuseIdsWithPages(ids: readonly string[] | undefined, maxResults: number | undefined): void {
  if (ids !== undefined && ids.length > 0 && maxResults !== undefined) {
    throw new Ec2Error(
      'InvalidParameterCombination',
      'The parameter instancesSet cannot be used with the parameter maxResults',
    );
  }
}

/** The instances of these ids, or the error that names every id that is not there. */
function requireKnown(instances: ReadonlyMap<string, SimulatedInstance>, ids: readonly string[]): SimulatedInstance[] {
  const malformed = ids.find((id) => !/^i-[0-9a-f]{8}(?:[0-9a-f]{9})?$/.test(id));
  if (malformed !== undefined) throw new Ec2Error('InvalidInstanceID.Malformed', `Invalid id: "${malformed}"`);
  const missing = ids.filter((id) => !instances.has(id));
  if (missing.length > 0) {
    const [noun, verb] = missing.length === 1 ? ['ID', 'does'] : ['IDs', 'do'];
    throw new Ec2Error('InvalidInstanceID.NotFound', `The instance ${noun} '${missing.join(', ')}' ${verb} not exist`);
  }
  return ids.flatMap((id) => instances.get(id) ?? []);
}

/** Acting on a new instance works before listings show it: only reads are late at EC2. */
export function requireTouchable(state: RegionState, ids: readonly string[]): SimulatedInstance[] {
  return requireKnown(state.describable, ids);
}

export function describeInstances(state: RegionState, input: DescribeInstancesRequest): DescribeInstancesResult {
  authorizeRead(state, 'DescribeInstances');
  endDryRun(input.DryRun);
  refuseIdsWithPages(input.InstanceIds, input.MaxResults);
  const views = selectViews(state, input.InstanceIds);
  const page = takePage({
    items: applyFilters(views, input.Filters, INSTANCE_FILTER_OPTIONS),
    positionOf: ({ instance }) => instance.ordinal,
    maxResults: input.MaxResults,
    nextToken: input.NextToken,
    range: PAGE_RANGE,
    question: input.Filters,
  });
  const groups = Map.groupBy(page.items, ({ instance }) => instance.reservationId);
  return {
    Reservations: [...groups.values()].map((group) =>
      renderReservation(
        group.map(({ instance }) => instance),
        group[0]?.atMs ?? 0,
      ),
    ),
    NextToken: page.nextToken,
  };
}

function selectViews(state: RegionState, ids: readonly string[] | undefined): View[] {
  const views = listViews(state);
  if (ids === undefined || ids.length === 0) return views;
  const wanted = new Set(requireKnown(new Map(views.map(({ instance }) => [instance.instanceId, instance])), ids));
  return views.filter(({ instance }) => wanted.has(instance));
}

export function describeInstanceStatus(
  state: RegionState,
  input: DescribeInstanceStatusRequest,
): DescribeInstanceStatusResult {
  authorizeRead(state, 'DescribeInstanceStatus');
  endDryRun(input.DryRun);
  refuseIdsWithPages(input.InstanceIds, input.MaxResults);
  const views = selectViews(state, input.InstanceIds).filter(
    ({ instance, atMs }) => input.IncludeAllInstances === true || stateAt(instance, atMs) === 'running',
  );
  const page = takePage({
    items: applyFilters(views, input.Filters, INSTANCE_FILTER_OPTIONS),
    positionOf: ({ instance }) => instance.ordinal,
    maxResults: input.MaxResults,
    nextToken: input.NextToken,
    range: PAGE_RANGE,
    question: [input.Filters, input.IncludeAllInstances],
  });
  return { InstanceStatuses: page.items.map(renderStatus), NextToken: page.nextToken };
}

function renderStatus({ instance, atMs }: View): NonNullable<DescribeInstanceStatusResult['InstanceStatuses']>[number] {
  const current = stateAt(instance, atMs);
  const isUp = runAt(instance, atMs).some(({ kind }) => kind === 'booted');
  const summary = { Status: current !== 'running' ? 'not-applicable' : isUp ? 'ok' : 'initializing' } as const;
  return {
    InstanceId: instance.instanceId,
    AvailabilityZone: instance.subnet.zone,
    InstanceState: renderState(current),
    InstanceStatus: summary,
    SystemStatus: summary,
  };
}

/** All or nothing: one unknown id, and nothing is terminated. */
export function terminateInstances(state: RegionState, input: TerminateInstancesRequest): TerminateInstancesResult {
  const ids = [...new Set(input.InstanceIds ?? [])];
  if (ids.length === 0) throw new Ec2Error('MissingParameter', 'The request must contain the parameter InstanceId');
  if (ids.length > TERMINATE_IDS_MAX) {
    throw new Ec2Error(
      'InvalidParameterValue',
      `At most ${TERMINATE_IDS_MAX} instances can be terminated in one request`,
    );
  }
  const instances = requireTouchable(state, ids);
  authorizeOnInstances(state, 'TerminateInstances', instances);
  endDryRun(input.DryRun);
  const nowMs = state.clock.nowMs();
  return {
    TerminatingInstances: instances.map((instance) => {
      const previous = stateAt(instance, nowMs);
      if (previous !== 'shutting-down' && previous !== 'terminated') {
        endLife(instance, { atMs: nowMs, takesMs: state.settings.terminateMs, cause: 'user', to: 'terminated' });
      }
      return {
        InstanceId: instance.instanceId,
        CurrentState: renderState(stateAt(instance, nowMs)),
        PreviousState: renderState(previous),
      };
    }),
  };
}

export function createTags(state: RegionState, input: CreateTagsRequest): object {
  const resources = input.Resources ?? [];
  if (resources.length === 0)
    throw new Ec2Error('MissingParameter', 'The request must contain the parameter ResourceId');
  if (resources.length > TAGGED_RESOURCES_MAX) {
    throw new Ec2Error(
      'InvalidParameterValue',
      `At most ${TAGGED_RESOURCES_MAX} resources can be tagged in one request`,
    );
  }
  const tags = readTags(input.Tags ?? []);
  const instances = requireTouchable(state, resources);
  const requested = iamContext({
    ...Object.fromEntries([...tags].map(([key, value]) => [`aws:RequestTag/${key}`, value])),
    'aws:TagKeys': [...tags.keys()],
  });
  authorize(
    state,
    instances.map((instance) => ({
      action: 'ec2:CreateTags',
      resource: arnOf(state, `instance/${instance.instanceId}`),
      context: new Map([...resourceContext(instance), ...requested]),
    })),
  );
  endDryRun(input.DryRun);
  for (const instance of instances) {
    readTags([...new Map([...instance.tags, ...tags])].map(([Key, Value]) => ({ Key, Value })));
  }
  for (const instance of instances) for (const [key, value] of tags) instance.tags.set(key, value);
  return {};
}

export function getConsoleOutput(state: RegionState, input: GetConsoleOutputRequest): GetConsoleOutputResult {
  const [instance] = requireTouchable(state, [input.InstanceId ?? '']);
  if (instance === undefined)
    throw new Ec2Error('MissingParameter', 'The request must contain the parameter InstanceId');
  authorizeOnInstances(state, 'GetConsoleOutput', [instance]);
  endDryRun(input.DryRun);
  return {
    InstanceId: instance.instanceId,
    Timestamp: new Date(state.clock.nowMs()),
    // EC2 gives the output in base64, and nothing before the first line was written.
    Output: instance.consoleText === '' ? undefined : Buffer.from(instance.consoleText).toString('base64'),
  };
}

const SPOT_FILTERS: FilterTable<View> = {
  'instance-id': ({ instance }) => [instance.instanceId],
  'launched-availability-zone': ({ instance }) => [instance.subnet.zone],
  'spot-instance-request-id': ({ instance }) => (instance.spotRequest === null ? [] : [instance.spotRequest.requestId]),
  state: ({ instance, atMs }) => [renderSpotRequest(instance, atMs).State ?? ''],
  'status-code': ({ instance, atMs }) => [renderSpotRequest(instance, atMs).Status?.Code ?? ''],
};

export function describeSpotInstanceRequests(
  state: RegionState,
  input: DescribeSpotInstanceRequestsRequest,
): DescribeSpotInstanceRequestsResult {
  authorizeRead(state, 'DescribeSpotInstanceRequests');
  endDryRun(input.DryRun);
  const ids = input.SpotInstanceRequestIds ?? [];
  refuseIdsWithPages(ids, input.MaxResults);
  const nowMs = state.clock.nowMs();
  const views = [...state.instances.values()]
    .filter(({ spotRequest }) => spotRequest !== null && (ids.length === 0 || ids.includes(spotRequest.requestId)))
    .map((instance) => ({ instance, atMs: nowMs }));
  if (ids.length > views.length) {
    throw new Ec2Error('InvalidSpotInstanceRequestID.NotFound', 'The spot instance request ID does not exist');
  }
  const page = takePage({
    items: applyFilters(views, input.Filters, {
      table: SPOT_FILTERS,
      tagsOf: (view) => view.instance.spotRequest?.tags ?? new Map(),
    }),
    positionOf: ({ instance }) => instance.ordinal,
    maxResults: input.MaxResults,
    nextToken: input.NextToken,
    range: PAGE_RANGE,
    question: input.Filters,
  });
  return {
    SpotInstanceRequests: page.items.map(({ instance, atMs }) => renderSpotRequest(instance, atMs)),
    NextToken: page.nextToken,
  };
}
