import { AppError } from '../model/errors.ts';
import type { WorkloadPolicy } from '../model/policy.ts';
import { formatDuration } from '../model/units.ts';
import { formatIssues } from '../policy/format.ts';
import { loadPolicies } from '../policy/load.ts';
import type { Log } from '../ports/log.ts';
import type { LoadedPolicy, PolicySource } from '../ports/policies.ts';

export interface PolicyBook extends PolicySource {
  byWorkload(): ReadonlyMap<string, WorkloadPolicy>;
  /** Reads the files again; on any error the policies before stay in force and the error is told. */
  reload(): Promise<boolean>;
}

export interface PolicyBookOptions {
  /** A folder, or one file. */
  readonly path: string;
  /** Between two reports of an agent; a policy may not call reports stale that are merely the last ones. */
  readonly heartbeatIntervalMs: number;
  readonly log: Log;
}

/** Reads the policies, all or none. @throws AppError POLICY_INVALID, POLICY_UNREADABLE */
export async function openPolicies(options: PolicyBookOptions): Promise<PolicyBook> {
  const { log } = options;
  let current = await readAll(options);
  let byWorkload = indexed(current);
  return {
    current: () => current,
    byWorkload: () => byWorkload,
    async reload() {
      try {
        current = await readAll(options);
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

async function readAll({ path, heartbeatIntervalMs }: PolicyBookOptions): Promise<readonly LoadedPolicy[]> {
  const result = await loadPolicies([path], { checkFiles: true });
  if (!result.ok) {
    throw new AppError('POLICY_INVALID', `the policies in ${path} are not valid:\n${formatIssues(result.issues)}`, {
      remedy: 'mend the lines above; `spillway policy validate` checks them without starting the service',
    });
  }
  for (const { policy } of result.policies) requireFreshness(policy, heartbeatIntervalMs);
  return result.policies.map(({ policy, hash }) => ({ policy, hash }));
}

/** With a freshness below two heartbeats every agent would look silent half of the time, and HOLD would be for ever. */
function requireFreshness({ name, demand }: WorkloadPolicy, heartbeatIntervalMs: number): void {
  const leastMs = 2 * heartbeatIntervalMs;
  if (demand.freshnessMs >= leastMs) return;
  const [fresh, least] = [demand.freshnessMs, leastMs].map(formatDuration);
  throw new AppError(
    'POLICY_INVALID',
    `policy ${name}: demand.freshness ${fresh} is shorter than two heartbeats of the agents`,
    {
      remedy: `write at least ${least}, or lower SPILLWAY_HEARTBEAT_INTERVAL`,
    },
  );
}

function indexed(policies: readonly LoadedPolicy[]): ReadonlyMap<string, WorkloadPolicy> {
  return new Map(policies.map(({ policy }) => [policy.name, policy]));
}
