import type { WorkloadPolicy } from '../model/policy.ts';
import { usage } from './options.ts';

/**
 * The one policy in a file that `--policy` names. The files that the policy itself names may be on another machine; nothing that
 * only plans needs them. @throws AppError POLICY_INVALID, or a usage error when the file does not hold exactly one policy
 */
export async function readOnePolicy(file: string): Promise<WorkloadPolicy> {
  const [{ loadPolicies }, { policyInvalidError }] = await Promise.all([
    import('../policy/load.ts'),
    import('../policy/format.ts'),
  ]);
  const result = await loadPolicies([file], { checkFiles: false });
  if (!result.ok) throw policyInvalidError(result.issues);
  const [only, ...others] = result.policies;
  if (only === undefined || others.length > 0) {
    throw usage(`--policy ${file} must name one policy file`, 'name a *.yaml file, once for each policy');
  }
  return only.policy;
}
