import type { Resources } from '../model/resources.ts';
import { compareText } from './order.ts';
import type { AgentView, MachineView, SystemReserve } from './types.ts';

/**
 * What Linux and the hypervisor keep of the memory that EC2 advertises. A fixed part (kernel image, crash kernel, agent,
 * sshd) and a share (page tables, firmware): 8 GiB types show some 7.6 GiB, 192 GiB types some 186 GiB. Karpenter takes
 * 7.5 % throughout (`vm-memory-overhead-percent`). Too small costs a machine that its task does not fit; too large, a size step.
 */
export const SYSTEM_RESERVE: SystemReserve = Object.freeze({ memoryMib: 256, memoryShare: 0.05 });

/** What tasks get of a machine of these resources. */
export function usableCapacity(resources: Resources, reserve: SystemReserve): Resources {
  const kept = reserve.memoryMib + Math.ceil(resources.memoryMib * reserve.memoryShare);
  return { ...resources, memoryMib: Math.max(0, resources.memoryMib - kept) };
}

/** Tells what tasks will get of a machine of this type. */
export type CapacityOf = (instanceType: string, resources: Resources) => Resources;

/**
 * Capacity by type: what agents on machines of the type report beats the estimate. Without this, a task that the estimate
 * lets onto a type and the real machine does not would buy the same useless machine again and again.
 */
export function learnCapacity(
  machines: readonly MachineView[],
  agentOf: (machine: MachineView) => AgentView | null,
  reserve: SystemReserve,
): CapacityOf {
  const reported = new Map<string, Resources>();
  for (const machine of [...machines].sort((a, b) => compareText(a.id, b.id))) {
    const capacity = agentOf(machine)?.capacity;
    if (capacity === undefined) continue;
    const known = reported.get(machine.instanceType) ?? capacity;
    reported.set(machine.instanceType, {
      cpuMilli: Math.min(known.cpuMilli, capacity.cpuMilli),
      memoryMib: Math.min(known.memoryMib, capacity.memoryMib),
      gpus: Math.min(known.gpus, capacity.gpus),
    });
  }
  return (instanceType, resources) => reported.get(instanceType) ?? usableCapacity(resources, reserve);
}
