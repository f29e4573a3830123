import { readAwsFailure, toCloudError, toPowerOutcome, toRunOutcome } from '../cloud/aws-errors.ts';
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
} from '../cloud/facts.ts';
import { toPushError } from '../cloud/instance-connect.ts';
import { type Page, readPages } from '../cloud/pages.ts';
import { lateBy } from '../model/clock-times.ts';
import { toRunInput } from '../cloud/run-input.ts';
import type { Clock } from '../ports/clock.ts';
import { SIGN_DEADLINE_PASSED } from '../ports/cloud.ts';
import type {
  Cloud,
  ImageFacts,
  InstanceListing,
  LoginKey,
  PowerOutcome,
  RunOutcome,
  RunRequest,
} from '../ports/cloud.ts';
import { Ec2Error } from '../simulator/ec2-error.ts';
import type { Ec2Action, Ec2Input, Ec2Output, Region } from '../simulator/region.ts';

export interface RegionCloudOptions {
  readonly regions: ReadonlyMap<string, Region>;
  readonly clock: Clock;
  /** Instance types that are shown; the whole catalogue would only make each plan slow. */
  readonly types: readonly string[];
  /** Instances on one page of a listing; EC2's least is 5. */
  readonly pageSize: number;
  /** Called before EC2 hears of a launch. */
  readonly onRun?: (request: RunRequest) => void;
  /** Called with each id that is to be ended or stopped, before EC2 hears of it. */
  readonly onTerminate: (instanceId: string) => void;
}

/** The simulated region as the product's `Cloud`, in process: the adapter's own mapping, without the wire. */
export function createRegionCloud(options: RegionCloudOptions): Cloud {
  const { clock } = options;
  const call = <A extends Ec2Action>(regionName: string, action: A, input: Ec2Input<A>): Ec2Output<A> => {
    const region = options.regions.get(regionName);
    if (region === undefined) throw sdkError('TimeoutError', `no such region: ${regionName}`);
    try {
      const answer = region.perform(action, input);
      if (region.faults.takeLostReply(action)) throw sdkError('TimeoutError', 'the answer was lost');
      return answer;
    } catch (error) {
      throw error instanceof Ec2Error ? sdkError(error.code, error.message, error.httpStatus) : error;
    }
  };
  const asking = <T>(doing: string, ask: () => T): T => {
    try {
      return ask();
    } catch (error) {
      throw toCloudError(error, doing);
    }
  };
  return {
    async runInstances(request) {
      options.onRun?.(request);
      return run(request, clock, call);
    },
    listInstances: async (region, owner) => await list(options, { region, owner, call }),

    async terminateInstances(region, instanceIds, signBefore) {
      if (signBefore !== undefined && lateBy(clock, signBefore) > 0) return { kind: 'late' };
      for (const id of instanceIds) options.onTerminate(id);
      try {
        call(region, 'TerminateInstances', { InstanceIds: [...instanceIds] });
        return { kind: 'accepted' };
      } catch (error) {
        if (readAwsFailure(error).code === 'InvalidInstanceID.NotFound') return { kind: 'not-found', instanceIds };
        throw toCloudError(error, 'terminate instances');
      }
    },

    ...powerOf(options, call),

    async listInstanceTypes(region) {
      const named = { InstanceTypes: [...options.types] as never };
      const answer = asking('list types', () => call(region, 'DescribeInstanceTypes', named));
      return (answer.InstanceTypes ?? []).map(toInstanceType).filter((type) => type !== null);
    },

    describeImages: rememberingImages((region, ImageIds) =>
      asking('describe images', () => call(region, 'DescribeImages', { ImageIds })),
    ),

    async describeSubnets(region, subnetIds) {
      const answer = asking('describe subnets', () => call(region, 'DescribeSubnets', { SubnetIds: [...subnetIds] }));
      return (answer.Subnets ?? []).map(toSubnetFacts).filter((subnet) => subnet !== null);
    },

    async listSpotPrices(region, instanceTypes, sinceMs) {
      const question = { InstanceTypes: [...instanceTypes] as never, StartTime: new Date(sinceMs) };
      const read = async (NextToken: string | undefined): Promise<Page<object>> => {
        const answer = asking('list prices', () =>
          call(region, 'DescribeSpotPriceHistory', { ...question, NextToken }),
        );
        return { items: answer.SpotPriceHistory ?? [], nextToken: answer.NextToken };
      };
      const { items } = await readPages(read, { pagesMax: 100, deadlineMonotonicMs: Infinity, monotonicMs: () => 0 });
      return items.map(toSpotPrice).filter((price) => price !== null);
    },

    ...looksAtInstances(call, asking),
  };
}

function looksAtInstances(
  call: Call,
  asking: <T>(doing: string, ask: () => T) => T,
): Pick<Cloud, 'consoleOutput' | 'listSpotEnds' | 'listInterruptions' | 'pushLoginKey'> {
  return {
    pushLoginKey: async (region, key) => pushKey(call, region, key),

    async consoleOutput(region, instanceId) {
      const answer = asking('read the console', () => call(region, 'GetConsoleOutput', { InstanceId: instanceId }));
      return answer.Output === undefined ? null : Buffer.from(answer.Output, 'base64').toString('utf8');
    },

    async listSpotEnds(region, instanceIds) {
      const Filters = [{ Name: 'instance-id', Values: [...instanceIds] }];
      const answer = asking('list spot requests', () => call(region, 'DescribeSpotInstanceRequests', { Filters }));
      return new Map((answer.SpotInstanceRequests ?? []).map(toSpotEnd).filter((end) => end !== null));
    },

    async listInterruptions(region, owner) {
      const Filters = [
        { Name: 'tag:spillway:owner', Values: [owner] },
        { Name: 'status-code', Values: [SPOT_MARKED] },
      ];
      const answer = asking('list marked ones', () => call(region, 'DescribeSpotInstanceRequests', { Filters }));
      return new Map((answer.SpotInstanceRequests ?? []).map(toInterruption).filter((marked) => marked !== null));
    },
  };
}

function pushKey(call: Call, region: string, key: LoginKey): void {
  const { instanceId: InstanceId, user: InstanceOSUser, publicKey: SSHPublicKey } = key;
  try {
    call(region, 'SendSSHPublicKey', { InstanceId, InstanceOSUser, SSHPublicKey });
  } catch (error) {
    throw toPushError(error, key);
  }
}

/** Remembers as the adapter does: an image never changes. */
function rememberingImages(
  ask: (region: string, imageIds: string[]) => Ec2Output<'DescribeImages'>,
): Cloud['describeImages'] {
  const images = new Map<string, ImageFacts>();
  return async (region, imageIds) => {
    const unknown = imageIds.filter((id) => !images.has(`${region}/${id}`));
    const answer = unknown.length > 0 ? ask(region, unknown) : {};
    for (const facts of (answer.Images ?? []).map(toImageFacts)) {
      if (facts !== null) images.set(`${region}/${facts.imageId}`, facts);
    }
    return imageIds.flatMap((id) => images.get(`${region}/${id}`) ?? []);
  };
}

type Call = <A extends Ec2Action>(region: string, action: A, input: Ec2Input<A>) => Ec2Output<A>;

/** A launch call that came too late to be signed: nothing was sent. */
export const UNSIGNED: RunOutcome = {
  kind: 'throttled',
  code: SIGN_DEADLINE_PASSED,
  message: 'too late to be signed',
};

function run(request: RunRequest, clock: Clock, call: Call): RunOutcome {
  if (lateBy(clock, request.signBefore) > 0) {
    return UNSIGNED;
  }
  try {
    const answer = call(request.region, 'RunInstances', toRunInput(request));
    const instances = (answer.Instances ?? []).map(toLaunchedInstance).filter((instance) => instance !== null);
    return { kind: 'launched', instances };
  } catch (error) {
    return toRunOutcome(error);
  }
}

function powerOf(
  { clock, onTerminate }: RegionCloudOptions,
  call: Call,
): Pick<Cloud, 'startInstance' | 'stopInstance'> {
  return {
    async stopInstance(region, instanceId) {
      // Whatever runs on it ends, as at its end.
      onTerminate(instanceId);
      return changePower(() => call(region, 'StopInstances', { InstanceIds: [instanceId] }));
    },

    async startInstance(region, instanceId, signBefore) {
      if (lateBy(clock, signBefore) > 0) {
        return { kind: 'unknown', code: SIGN_DEADLINE_PASSED, message: 'too late to be signed' };
      }
      return changePower(() => call(region, 'StartInstances', { InstanceIds: [instanceId] }));
    },
  };
}

function changePower(send: () => unknown): PowerOutcome {
  try {
    send();
    return { kind: 'accepted' };
  } catch (error) {
    return toPowerOutcome(error);
  }
}

async function list(
  { clock, pageSize }: RegionCloudOptions,
  { region, owner, call }: { readonly region: string; readonly owner: string; readonly call: Call },
): Promise<InstanceListing> {
  const startedAtMs = clock.nowMs();
  const filters = [{ Name: 'tag:spillway:owner', Values: [owner] }];
  const readPage = async (NextToken: string | undefined): Promise<Page<object>> => {
    const answer = call(region, 'DescribeInstances', { Filters: filters, MaxResults: pageSize, NextToken });
    return {
      items: (answer.Reservations ?? []).flatMap(({ Instances = [] }) => Instances),
      nextToken: answer.NextToken,
    };
  };
  try {
    const bounds = { pagesMax: 100, deadlineMonotonicMs: Infinity, monotonicMs: () => 0 };
    const pages = await readPages(readPage, bounds);
    const instances = pages.items.map(toCloudInstance).filter((instance) => instance !== null);
    return { instances, complete: pages.stoppedBy === null, startedAtMs };
  } catch (error) {
    throw toCloudError(error, `list instances in ${region}`);
  }
}

/** An exception as the SDK throws it: the code is its name, the status is beside it. */
function sdkError(code: string, message: string, httpStatusCode?: number): Error {
  return Object.assign(new Error(message), {
    name: code,
    ...(httpStatusCode === undefined ? {} : { $metadata: { httpStatusCode } }),
  });
}
