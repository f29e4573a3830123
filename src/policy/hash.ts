import { createHash } from 'node:crypto';
import { canonicalJson } from '../model/canonical-json.ts';
import type { WorkloadPolicy } from '../model/policy.ts';

/** SHA-256 in hex of the policy's canonical JSON: equal policies have equal hashes, however they were written. */
export function policyHash(policy: WorkloadPolicy): string {
  return createHash('sha256').update(canonicalJson(policy)).digest('hex');
}
