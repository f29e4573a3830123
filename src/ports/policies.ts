import type { WorkloadPolicy } from '../model/policy.ts';

/** A policy in force and the hash of its validated form. */
export interface LoadedPolicy {
  readonly policy: WorkloadPolicy;
  readonly hash: string;
}

/** The policies in force, as they were last read without an error. */
export interface PolicySource {
  current(): readonly LoadedPolicy[];
}
