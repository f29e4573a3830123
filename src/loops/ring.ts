import { AppError } from '../model/errors.ts';
import type { WakeJob } from '../ports/queue.ts';
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

/** Rings for rows that changed. The queue is only a doorbell: when it is away, the rows' own time rings again. */
export async function ringFor(ports: Pick<LoopPorts, 'wake' | 'log'>, jobs: readonly WakeJob[]): Promise<void> {
  if (jobs.length === 0) return;
  try {
    await ports.wake.ring(jobs);
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    ports.log.warn({ error: error.message, jobs: jobs.length }, 'queue could not be rung; the rows ring again');
  }
}
