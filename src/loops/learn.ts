import type { LoopPorts } from './ports.ts';

/** Learns how long the tasks of each workload run and how long its machines take to join. Safe on every replica at once. */
export async function learnTick(ports: Pick<LoopPorts, 'policies' | 'learning'>): Promise<void> {
  await ports.learning.learnTimes(ports.policies.current().map(({ policy }) => policy.name));
}
