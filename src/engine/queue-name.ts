import { shapeKey, type Resources } from '../model/resources.ts';

/** One queue per workload and task shape: the head of a queue that does not fit never blocks other shapes. */
export function taskQueueName(workload: string, shape: Resources): string {
  return `task-${workload}-${shapeKey(shape)}`;
}
