import { createHash } from 'node:crypto';
import { canonicalJson } from '../model/canonical-json.ts';
import type { WorkloadPolicy } from '../model/policy.ts';

/**
 * SHA-256 in hex of the policy's canonical JSON and of the texts of its recipe, if they are given: equal policies have equal
 * hashes, however they were written, and a recipe that was mended makes another one.
 */
export function policyHash(policy: WorkloadPolicy, recipe: readonly Uint8Array[] = []): string {
  const hash = createHash('sha256').update(canonicalJson(policy));
  for (const text of recipe) hash.update(createHash('sha256').update(text).digest());
  return hash.digest('hex');
}
