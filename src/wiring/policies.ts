import { AppError } from '../model/errors.ts';
import type { WorkloadPolicy } from '../model/policy.ts';
import { formatIssues } from '../policy/format.ts';
import { loadPolicies } from '../policy/load.ts';
import type { Log } from '../ports/log.ts';
import type { LoadedPolicy, PolicySource } from '../ports/policies.ts';

export interface PolicyBook extends PolicySource {
  byWorkload(): ReadonlyMap<string, WorkloadPolicy>;
  /** Reads the files again; on any error the policies before stay in force and the error is told. */
  reload(): Promise<boolean>;
}

/** Reads the policies, all or none. @throws AppError POLICY_INVALID, POLICY_UNREADABLE */
export async function openPolicies(path: string, log: Log): Promise<PolicyBook> {
  let current = await readAll(path);
  let byWorkload = indexed(current);
  return {
    current: () => current,
    byWorkload: () => byWorkload,
    async reload() {
      try {
        current = await readAll(path);
        byWorkload = indexed(current);
        log.info({ policies: current.length }, 'policies reloaded');
        return true;
      } catch (error) {
        if (!(error instanceof AppError)) throw error;
        log.error(
          { code: error.code, error: error.message },
          'policies were not reloaded; the ones before stay in force',
        );
        return false;
      }
    },
  };
}

async function readAll(path: string): Promise<readonly LoadedPolicy[]> {
  const result = await loadPolicies([path], { checkFiles: true });
  if (!result.ok) {
    throw new AppError('POLICY_INVALID', `the policies in ${path} are not valid:\n${formatIssues(result.issues)}`, {
      remedy: 'mend the lines above; `spillway policy validate` checks them without starting the service',
    });
  }
  return result.policies.map(({ policy, hash }) => ({ policy, hash }));
}

function indexed(policies: readonly LoadedPolicy[]): ReadonlyMap<string, WorkloadPolicy> {
  return new Map(policies.map(({ policy }) => [policy.name, policy]));
}
