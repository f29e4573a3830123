import type { ApiBucket } from '../model/api-rates.ts';

/** `wait`: nothing was taken, and no earlier than after `waitMs` will there be enough. */
export type TakeOutcome = { readonly kind: 'taken' } | { readonly kind: 'wait'; readonly waitMs: number };

/** Tokens for calls to EC2, shared by all replicas of an installation. */
export interface ApiBudget {
  /**
   * Takes one token for the call and one for each of its `instances`, or nothing. More instances than the bucket can ever
   * hold is a bug.
   */
  take(region: string, bucket: ApiBucket, instances: number): Promise<TakeOutcome>;
  /**
   * EC2 asked for fewer calls: halves the rate for everybody and lets nobody call for a while, which is returned (ms). Those
   * that were under way when it began add nothing to it.
   */
  reportThrottle(region: string, bucket: ApiBucket): Promise<number>;
}
