/**
 * What EC2 grants per account and region, and what we allow ourselves. Source: "Request throttling for the Amazon EC2 API",
 * https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html (tables of request and resource token buckets).
 */

/** `other-mutating` and `non-mutating` as EC2's tables have them: all calls that have no bucket of their own. */
export type ApiBucket = 'run' | 'start' | 'stop' | 'terminate' | 'other-mutating' | 'non-mutating';

export interface TokenRate {
  readonly capacity: number;
  readonly perSecond: number;
}

export interface ApiRate {
  /** One token per call. */
  readonly calls: TokenRate;
  /** One token per instance that the call names or asks for; null where EC2 does not count them. */
  readonly instances: TokenRate | null;
}

const TERMINATE_INSTANCES: TokenRate = { capacity: 1000, perSecond: 20 };

const PUBLISHED: Readonly<Record<ApiBucket, ApiRate>> = {
  run: { calls: { capacity: 5, perSecond: 2 }, instances: { capacity: 1000, perSecond: 2 } },
  start: { calls: { capacity: 5, perSecond: 2 }, instances: { capacity: 1000, perSecond: 2 } },
  // Its calls are counted with other mutating ones; alone in ours, they take no more than half of those.
  stop: { calls: { capacity: 50, perSecond: 5 }, instances: TERMINATE_INSTANCES },
  terminate: { calls: { capacity: 100, perSecond: 5 }, instances: TERMINATE_INSTANCES },
  'other-mutating': { calls: { capacity: 50, perSecond: 5 }, instances: null },
  // EC2 gives each action such a bucket; ours share one, which is on the safe side.
  'non-mutating': { calls: { capacity: 100, perSecond: 20 }, instances: null },
};

/** The account belongs to others, too: half is left to them. */
const OUR_SHARE = 0.5;

function ours(rate: TokenRate): TokenRate {
  return { capacity: rate.capacity * OUR_SHARE, perSecond: rate.perSecond * OUR_SHARE };
}

function ourRate({ calls, instances }: ApiRate): ApiRate {
  return { calls: ours(calls), instances: instances === null ? null : ours(instances) };
}

/** Our own buckets: half of EC2's. */
export const API_RATES: Readonly<Record<ApiBucket, ApiRate>> = {
  run: ourRate(PUBLISHED.run),
  start: ourRate(PUBLISHED.start),
  stop: ourRate(PUBLISHED.stop),
  terminate: ourRate(PUBLISHED.terminate),
  'other-mutating': ourRate(PUBLISHED['other-mutating']),
  'non-mutating': ourRate(PUBLISHED['non-mutating']),
};

/** The bucket that an action takes its tokens from. EC2 Instance Connect publishes no rate: its calls take as much as other mutating ones. */
export function bucketOf(action: string): ApiBucket {
  if (action === 'RunInstances') return 'run';
  if (action === 'StartInstances') return 'start';
  if (action === 'StopInstances') return 'stop';
  if (action === 'TerminateInstances') return 'terminate';
  return /^(?:Describe|Get)/.test(action) ? 'non-mutating' : 'other-mutating';
}

/** Instances in one TerminateInstances: EC2 takes 1,000, but a call must fit into a bucket that is full. */
export const TERMINATE_BATCH_MAX = ours(TERMINATE_INSTANCES).capacity;

/** How all replicas slow down together when EC2 asks for it, and come back: halve at once, grow in small steps. */
export const BACKOFF = {
  /** The least share of the rate that is left: at a sixteenth, launches still go every 16 s. */
  factorMin: 1 / 16,
  /** Share of the full rate that comes back with every step without a throttle: from a half in 40 s. */
  stepFactor: 1 / 8,
  stepS: 10,
  /** No call at all after the first throttle; doubled with each one before the rate is whole again. */
  blockS: 1,
  blockMaxS: 60,
} as const;
