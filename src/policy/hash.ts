import { createHash } from 'node:crypto';
import type { WorkloadPolicy } from '../model/policy.ts';

/** SHA-256 in hex of the policy's canonical JSON: equal policies have equal hashes, however they were written. */
export function policyHash(policy: WorkloadPolicy): string {
  return createHash('sha256').update(canonicalJson(policy)).digest('hex');
}

/** JSON with the keys of every object in code-unit order. */
function canonicalJson(value: unknown): string {
  return JSON.stringify(value, (_, inner: unknown) =>
    typeof inner === 'object' && inner !== null && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).toSorted(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  );
}
