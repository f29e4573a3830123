import type { LoopPorts } from './ports.ts';

/** Rows rung for in one turn; the next turn takes the rest. */
const RING_MAX = 1000;

/**
 * Rings for every row whose time has come. This is what makes the queue a mere doorbell: it may lose, delay or forget every
 * job, and each live row still gets its next step.
 */
export async function ringTick(ports: Pick<LoopPorts, 'machines' | 'wake'>): Promise<number> {
  const due = await ports.machines.listDue(RING_MAX);
  if (due.length > 0) await ports.wake.ring(due);
  return due.length;
}
