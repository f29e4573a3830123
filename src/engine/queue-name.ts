import { constraintsKey } from '../model/constraints.ts';
import { shapeKey } from '../model/resources.ts';
import type { TaskKind } from '../ports/tasks.ts';

/** One queue per workload, task shape and constraints: the head of a queue that does not fit never blocks other tasks. */
export function taskQueueName({ workload, shape, constraints }: TaskKind): string {
  return `task-${workload}-${shapeKey(shape)}${constraintsKey(constraints)}`;
}
