import { isProtected } from './fleet.ts';
import type { MachineView, PlannerInput } from './types.ts';

/** What becomes of machines whose workload has no policy any more. */
export interface WithoutPolicy {
  /** They finish what they run and leave. */
  readonly ready: readonly MachineView[];
  /** They are terminated. */
  readonly stopped: readonly MachineView[];
}

/**
 * Machines whose workload has no policy any more: they go, whatever their policy said, but for working ones that somebody protects.
 * Decided beside the plans of the workloads, because a workload without a policy has none.
 */
export function machinesWithoutPolicy({ amnesia, workloads, machines }: PlannerInput): WithoutPolicy {
  if (amnesia !== undefined) return { ready: [], stopped: [] };
  const inForce = new Set(workloads.map(({ policy }) => policy.name));
  const left = machines.filter(({ workload }) => !inForce.has(workload));
  const inState = (wanted: MachineView['state']): MachineView[] => left.filter(({ state }) => state === wanted);
  return { ready: inState('ready').filter((machine) => !isProtected({ machine })), stopped: inState('stopped') };
}
