import type { EpochMs } from '../model/time.ts';
import { SECOND_MS } from '../model/time.ts';
import { Ec2Error } from './ec2-error.ts';

interface BucketRule {
  readonly capacity: number;
  readonly refillPerSecond: number;
}

/**
 * EC2's published request token buckets per account and region, and its resource buckets for instances
 * (https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html, read 2026).
 */
const RUN: BucketRule = { capacity: 5, refillPerSecond: 2 };
const RUN_RESOURCES: BucketRule = { capacity: 1000, refillPerSecond: 2 };
const START: BucketRule = { capacity: 5, refillPerSecond: 2 };
const START_RESOURCES: BucketRule = { capacity: 1000, refillPerSecond: 2 };
const STOP_RESOURCES: BucketRule = { capacity: 1000, refillPerSecond: 20 };
/** Calls that change something and have no bucket of their own. */
const MUTATE: BucketRule = { capacity: 50, refillPerSecond: 5 };
const TERMINATE: BucketRule = { capacity: 100, refillPerSecond: 5 };
const TERMINATE_RESOURCES: BucketRule = { capacity: 1000, refillPerSecond: 20 };
const TAGS: BucketRule = { capacity: 100, refillPerSecond: 10 };
const READ: BucketRule = { capacity: 100, refillPerSecond: 20 };
const READ_UNPAGED: BucketRule = { capacity: 50, refillPerSecond: 10 };

/** What a call takes: tokens of a bucket, which it may share with other calls. */
export interface TokenDemand {
  readonly action: string;
  /** Instances the call names or asks for; 0 where that does not count. */
  readonly resources: number;
  /** A describe call without filter, ids and page size has a smaller bucket. */
  readonly unpaged: boolean;
}

export class Throttle {
  private readonly buckets = new Map<string, { tokens: number; atMs: EpochMs }>();

  /** Takes the tokens or throws RequestLimitExceeded and takes none. */
  take(demand: TokenDemand, nowMs: EpochMs): void {
    const wanted = bucketsOf(demand);
    for (const { key, rule, tokens } of wanted) {
      if (this.level(key, rule, nowMs) < tokens) throw new Ec2Error('RequestLimitExceeded', 'Request limit exceeded.');
    }
    for (const { key, rule, tokens } of wanted) {
      this.buckets.set(key, { tokens: this.level(key, rule, nowMs) - tokens, atMs: nowMs });
    }
  }

  private level(key: string, rule: BucketRule, nowMs: EpochMs): number {
    const bucket = this.buckets.get(key);
    if (bucket === undefined) return rule.capacity;
    const refilled = ((nowMs - bucket.atMs) / SECOND_MS) * rule.refillPerSecond;
    return Math.min(rule.capacity, bucket.tokens + Math.max(0, refilled));
  }
}

function bucketsOf(demand: TokenDemand): { key: string; rule: BucketRule; tokens: number }[] {
  switch (demand.action) {
    case 'RunInstances':
      return [
        { key: 'run', rule: RUN, tokens: 1 },
        { key: 'run-resources', rule: RUN_RESOURCES, tokens: demand.resources },
      ];
    case 'StartInstances':
      return [
        { key: 'start', rule: START, tokens: 1 },
        { key: 'start-resources', rule: START_RESOURCES, tokens: demand.resources },
      ];
    case 'StopInstances':
      return [
        { key: 'mutate:StopInstances', rule: MUTATE, tokens: 1 },
        { key: 'stop-resources', rule: STOP_RESOURCES, tokens: demand.resources },
      ];
    case 'TerminateInstances':
      return [
        { key: 'terminate', rule: TERMINATE, tokens: 1 },
        { key: 'terminate-resources', rule: TERMINATE_RESOURCES, tokens: demand.resources },
      ];
    case 'SendSSHPublicKey':
      // Of another service, which publishes no rate.
      return [{ key: 'mutate:SendSSHPublicKey', rule: MUTATE, tokens: 1 }];
    case 'CreateTags':
      return [{ key: 'tags', rule: TAGS, tokens: 1 }];
    default:
      // Each describe call has a bucket of its own; an unfiltered, unpaginated one takes from a smaller bucket.
      return demand.unpaged
        ? [{ key: `unpaged:${demand.action}`, rule: READ_UNPAGED, tokens: 1 }]
        : [{ key: `read:${demand.action}`, rule: READ, tokens: 1 }];
  }
}
