import { isProtected } from './fleet.ts';
import type { MachineView, PlannerInput } from './types.ts';

/**
 * Machines at work whose workload has no policy any more: they finish what they run and leave, whatever their policy said, unless somebody protects them.
 * Decided beside the plans of the workloads, because a workload without a policy has none.
 */
export function machinesWithoutPolicy({ amnesia, workloads, machines }: PlannerInput): readonly MachineView[] {
  if (amnesia !== undefined) return [];
  const inForce = new Set(workloads.map(({ policy }) => policy.name));
  return machines.filter(
    (machine) => machine.state === 'ready' && !inForce.has(machine.workload) && !isProtected({ machine }),
  );
}
