import type { ExpressionWrapper, ExpressionBuilder, SqlBool } from 'kysely';

import type { Constraints } from '../model/constraints.ts';
import type { Architecture } from '../model/offering.ts';
import type { TaskKind } from '../ports/tasks.ts';
import type { Database } from './database.generated.ts';

/** The columns of a task that say what kind it is. */
export const KIND_COLUMNS = ['workload', 'cpu_milli', 'memory_mib', 'gpus', 'arch', 'local_only', 'spot_ok'] as const;

export interface ConstraintsRow {
  readonly arch: string | null;
  readonly local_only: boolean;
  readonly spot_ok: boolean;
}

export interface KindRow extends ConstraintsRow {
  readonly workload: string;
  readonly cpu_milli: number;
  readonly memory_mib: number;
  readonly gpus: number;
}

export function toConstraints(row: ConstraintsRow): Constraints {
  return { arch: row.arch as Architecture | null, localOnly: row.local_only, spotOk: row.spot_ok };
}

export function toKind(row: KindRow): TaskKind {
  return {
    workload: row.workload,
    shape: { cpuMilli: row.cpu_milli, memoryMib: row.memory_mib, gpus: row.gpus },
    constraints: toConstraints(row),
  };
}

/** The condition that a task is of the kind. */
export function isOfKind(
  eb: ExpressionBuilder<Database, 'tasks'>,
  { workload, shape, constraints }: TaskKind,
): ExpressionWrapper<Database, 'tasks', SqlBool> {
  return eb.and([
    eb('workload', '=', workload),
    eb('cpu_milli', '=', shape.cpuMilli),
    eb('memory_mib', '=', shape.memoryMib),
    eb('gpus', '=', shape.gpus),
    eb('arch', 'is not distinct from', constraints.arch),
    eb('local_only', '=', constraints.localOnly),
    eb('spot_ok', '=', constraints.spotOk),
  ]);
}
